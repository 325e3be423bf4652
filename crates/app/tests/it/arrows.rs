//! The dependency arrows between rooms are those of the design, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Who may depend on whom outside tests. `docs/decisions/0002-testkit-in-the-binary.md` argues the last column of app.
const ALLOWED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("kernels", &[]),
    ("lightgbm", &[]),
    ("features", &["core"]),
    ("store", &["core"]),
    ("monitor", &["core"]),
    ("models", &["core", "kernels"]),
    ("testkit", &["core"]),
    ("learn", &["core", "kernels", "models", "lightgbm"]),
    ("serve", &["core", "features", "models", "monitor"]),
    ("app", &["core", "features", "store", "models", "learn", "serve", "monitor", "testkit"]),
];

/// Crates that may name a dependency at all: who moves bytes, who speaks HTTP.
const CONFINED: &[(&str, &[&str])] = &[
    ("tokio", &["serve", "app", "store"]),
    ("axum", &["serve"]),
    ("libloading", &["lightgbm"]),
    ("anyhow", &["app"]),
    ("clap", &["app"]),
];

fn dependencies(room: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let manifest: toml::Table = text.parse().expect("a manifest is TOML");
    let table = manifest["dependencies"].as_table().cloned().unwrap_or_default();
    table.keys().cloned().collect()
}

#[test]
fn every_arrow_between_rooms_is_in_the_design() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for entry in std::fs::read_dir(crates).expect("the crates folder") {
        let room = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let may = allowed.get(room.as_str()).unwrap_or_else(|| panic!("room {room:?} is not in the table of arrows"));
        for dependency in dependencies(&room) {
            if let Some(target) = dependency.strip_prefix("paceline-") {
                assert!(may.contains(&target), "{room} may not depend on {target}");
            }
        }
    }
}

#[test]
fn confined_dependencies_stay_in_their_rooms() {
    for (dependency, rooms) in CONFINED {
        for (room, _) in ALLOWED {
            assert!(
                rooms.contains(room) || !dependencies(room).contains(*dependency),
                "{dependency} belongs in {rooms:?}, not in {room}"
            );
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_kernels_and_lightgbm() {
    for (room, _) in ALLOWED {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(path).expect("a manifest").parse().expect("TOML");
        let inherits = manifest["lints"].get("workspace").and_then(toml::Value::as_bool) == Some(true);
        assert_eq!(inherits, !["kernels", "lightgbm"].contains(room), "lints of {room}");
    }
}
