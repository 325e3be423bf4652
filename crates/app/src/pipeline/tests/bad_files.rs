//! `bad/NAME.toml` holds mistakes, `bad/NAME.txt` what is said about them, word by word.

use std::path::Path;

use super::super::{PipelineFile, Weight};
use super::{check_generated, schemas_of};

fn check(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let file = PipelineFile::parse(Path::new(&name), text);
    let mistakes = file.check(Some(&schemas_of(&file))).expect_err(&name);
    let said = format!("{}{}\n", mistakes.render_plain(Weight::Error), mistakes.count(Weight::Error));
    check_generated(&path.with_extension("txt"), &said);
}

#[test]
fn every_bad_file_is_answered_with_all_of_its_mistakes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/bad");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(paths.len() >= 24, "only {} bad files were found", paths.len());
    for path in paths {
        check(&path);
    }
}

#[test]
fn both_renderings_place_a_mistake_alike_and_color_is_optional() {
    let text = "name = \"shop\"\n[sources.sales]\npath = \"é.parquet\"\nevnt_time = \"at\"\n";
    let file = PipelineFile::parse(Path::new("p.toml"), text.to_owned());
    let mistakes = file.check(None).unwrap_err();
    let plain = mistakes.render_plain(Weight::Error);
    assert_eq!(
        plain,
        "p.toml:4:1: error: unknown key `evnt_time` in [sources.sales]\n  help: did you mean `event_time`?\n"
    );
    let graphical = mistakes.render_graphical(Weight::Error, false);
    for part in ["p.toml:4:1", "unknown key `evnt_time`", "evnt_time = \"at\"", "did you mean `event_time`?"] {
        assert!(graphical.contains(part), "{part} is not in:\n{graphical}");
    }
    assert!(!graphical.contains('\u{1b}'), "an escape in:\n{graphical}");
    assert!(mistakes.render_graphical(Weight::Error, true).contains('\u{1b}'));
}

#[test]
fn columns_are_counted_in_characters() {
    let text = "name = \"ü\"  # ö\nseed = -1\n";
    let file = PipelineFile::parse(Path::new("p.toml"), text.to_owned());
    let placed = file.check(None).unwrap_err().placed();
    let places: Vec<_> = placed.iter().map(|mistake| (mistake.line, mistake.column, mistake.key.as_str())).collect();
    assert_eq!(places, [(1, 1, ""), (1, 8, "name"), (2, 8, "seed")]);
}
