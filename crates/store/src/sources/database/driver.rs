//! Where the drivers' libraries are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use adbc_core::options::AdbcVersion;
use adbc_driver_manager::ManagedDriver;

use super::DatabaseDriver;
use crate::sources::SourceError;

/// Drivers that were loaded stay: what they link (OpenSSL) leaves calls for the end of the process behind, which must
/// not point into a library that is gone.
static LOADED: Mutex<BTreeMap<PathBuf, ManagedDriver>> = Mutex::new(BTreeMap::new());

/// Where to look for a driver's library.
#[derive(Debug, Clone, Default)]
pub(super) struct DriverSearch {
    /// The value of [`variable`]: when given, the only place.
    environment: Option<PathBuf>,
    /// The running executable: its folder, and `lib` beside that folder.
    executable: Option<PathBuf>,
    /// The project folder, whose `.runtime/lib` is where `make setup` puts the library.
    project: Option<PathBuf>,
    /// Prefixes of Python installations, whose packages may hold the driver's wheel.
    python_prefixes: Vec<PathBuf>,
}

impl DriverSearch {
    /// As this process, its environment and its current directory say.
    pub(super) fn of_process(driver: DatabaseDriver) -> DriverSearch {
        // Set to nothing means not set.
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let prefixes = [
            variable("VIRTUAL_ENV"),
            variable("HOME").map(|home| home.join(".local")),
            Some("/usr/local".into()),
            Some("/usr".into()),
        ];
        DriverSearch {
            environment: variable(self::variable(driver)),
            executable: std::env::current_exe().ok(),
            project: std::env::current_dir().ok(),
            python_prefixes: prefixes.into_iter().flatten().collect(),
        }
    }

    /// Every place, best first.
    fn candidates(&self, driver: DatabaseDriver) -> Vec<PathBuf> {
        if let Some(named) = &self.environment {
            return vec![named.clone()];
        }
        let file = library_file(driver);
        let mut places = Vec::new();
        if let Some(folder) = self.executable.as_deref().and_then(Path::parent) {
            places.push(folder.join(&file));
            places.extend(folder.parent().map(|prefix| prefix.join("lib").join(&file)));
        }
        places.extend(self.project.iter().map(|project| project.join(".runtime").join("lib").join(&file)));
        let packages = self.python_prefixes.iter().flat_map(|prefix| package_folders(prefix));
        places.extend(packages.map(|packages| packages.join(package(driver)).join(&file)));
        places
    }

    /// Loads the first candidate that loads.
    ///
    /// # Errors
    /// [`SourceError::NoDriver`] with every place and what was wrong there.
    pub(super) fn load(&self, driver: DatabaseDriver) -> Result<ManagedDriver, SourceError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tried = Vec::new();
        for candidate in self.candidates(driver) {
            if let Some(driver) = loaded.get(&candidate) {
                return Ok(driver.clone());
            }
            if !candidate.is_file() {
                tried.push(format!("{} (no such file)", candidate.display()));
                continue;
            }
            match ManagedDriver::load_dynamic_from_filename(&candidate, Some(b"AdbcDriverInit"), AdbcVersion::V110) {
                Ok(driver) => return Ok(loaded.entry(candidate).or_insert(driver).clone()),
                Err(error) => tried.push(format!("{} ({})", candidate.display(), error.message)),
            }
        }
        Err(SourceError::NoDriver {
            driver: driver.name(),
            tried: tried.join(", "),
            wheel: package(driver).replace('_', "-"),
            variable: variable(driver),
        })
    }
}

/// The environment variable that names a library.
fn variable(driver: DatabaseDriver) -> &'static str {
    match driver {
        DatabaseDriver::Postgresql => "PACELINE_ADBC_POSTGRESQL",
        DatabaseDriver::Sqlite => "PACELINE_ADBC_SQLITE",
    }
}

/// The Python package that brings it.
fn package(driver: DatabaseDriver) -> &'static str {
    match driver {
        DatabaseDriver::Postgresql => "adbc_driver_postgresql",
        DatabaseDriver::Sqlite => "adbc_driver_sqlite",
    }
}

/// The wheels of every platform call it so.
fn library_file(driver: DatabaseDriver) -> String {
    format!("lib{}.so", package(driver))
}

/// `PREFIX/lib/python3.N/{site,dist}-packages` that exist, sorted; where there is none, a pattern that names where one
/// was expected.
fn package_folders(prefix: &Path) -> Vec<PathBuf> {
    let lib = prefix.join("lib");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&lib)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name)))
        .filter(|folder| folder.is_dir())
        .collect();
    folders.sort();
    if folders.is_empty() {
        folders.push(lib.join("python3*").join("site-packages"));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tried_in_order_and_one_named_by_hand_is_the_only_one() {
        let mut search = DriverSearch {
            executable: Some("/opt/bin/paceline".into()),
            project: Some("/project".into()),
            python_prefixes: vec!["/nowhere".into()],
            ..DriverSearch::default()
        };
        let file = "libadbc_driver_sqlite.so";
        let expected = [
            format!("/opt/bin/{file}"),
            format!("/opt/lib/{file}"),
            format!("/project/.runtime/lib/{file}"),
            format!("/nowhere/lib/python3*/site-packages/adbc_driver_sqlite/{file}"),
        ];
        assert_eq!(search.candidates(DatabaseDriver::Sqlite), expected.map(PathBuf::from));
        search.environment = Some("/env/driver.so".into());
        assert_eq!(search.candidates(DatabaseDriver::Sqlite), [PathBuf::from("/env/driver.so")]);
    }

    #[test]
    fn a_missing_driver_says_where_it_was_looked_for_and_how_to_get_it() {
        let search = DriverSearch { executable: Some("/nowhere/bin/paceline".into()), ..DriverSearch::default() };
        let message = search.load(DatabaseDriver::Postgresql).map(|_| ()).unwrap_err().to_string();
        for part in [
            "/nowhere/bin/libadbc_driver_postgresql.so (no such file)",
            "make setup",
            "pip install adbc-driver-postgresql",
            "PACELINE_ADBC_POSTGRESQL",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}
