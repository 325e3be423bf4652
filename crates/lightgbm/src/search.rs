use std::path::{Path, PathBuf};

use crate::{Library, LightGbmError};

/// Where to look for LightGBM's library. The caller fills in what it knows about the machine; nothing is read from the
/// environment here.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// A path from the configuration: when given, the only place.
    pub explicit: Option<PathBuf>,
    /// The value of `PACELINE_LIGHTGBM`: when given, and no explicit path is, the only place.
    pub environment: Option<PathBuf>,
    /// The running executable: its folder, and `lib` beside that folder.
    pub executable: Option<PathBuf>,
    /// The project folder, whose `.runtime/lib` is where `make setup` puts the library.
    pub project: Option<PathBuf>,
    /// Prefixes of Python installations (a virtual environment, `/usr/local`, `~/.local`), whose `site-packages` and
    /// `dist-packages` may hold the lightgbm wheel.
    pub python_prefixes: Vec<PathBuf>,
}

impl Search {
    /// Every place, best first. A place named by hand is the only one: quietly using another library would be worse
    /// than an error.
    #[must_use]
    pub fn candidates(&self) -> Vec<PathBuf> {
        if let Some(named) = self.explicit.as_ref().or(self.environment.as_ref()) {
            return vec![named.clone()];
        }
        let mut places = Vec::new();
        if let Some(folder) = self.executable.as_deref().and_then(Path::parent) {
            places.push(folder.join(LIBRARY_FILE));
            places.extend(folder.parent().map(|prefix| prefix.join("lib").join(LIBRARY_FILE)));
        }
        if let Some(project) = &self.project {
            places.push(project.join(".runtime").join("lib").join(LIBRARY_FILE));
        }
        places.extend(
            self.python_prefixes
                .iter()
                .flat_map(|prefix| package_folders(prefix))
                .map(|packages| packages.join("lightgbm").join("lib").join(LIBRARY_FILE)),
        );
        places
    }

    /// Loads the first candidate that loads.
    ///
    /// # Errors
    /// [`LightGbmError::NotFound`] with every place tried and what was wrong there; [`LightGbmError::Incompatible`]
    /// when a library loads but is not a LightGBM of version 4.
    pub fn open(&self) -> Result<Library, LightGbmError> {
        let mut tried = Vec::new();
        for candidate in self.candidates() {
            match Library::open(&candidate) {
                Err(LightGbmError::NotFound { tried: mut here }) => tried.append(&mut here),
                other => return other,
            }
        }
        Err(LightGbmError::NotFound { tried })
    }
}

#[cfg(target_os = "macos")]
const LIBRARY_FILE: &str = "lib_lightgbm.dylib";
#[cfg(not(target_os = "macos"))]
const LIBRARY_FILE: &str = "lib_lightgbm.so";

/// `PREFIX/lib/python3.N/{site,dist}-packages` that exist, sorted; where there is none, a pattern that names where one was
/// expected.
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
    fn a_place_named_by_hand_is_the_only_one() {
        let mut search = Search {
            environment: Some("/env/lib.so".into()),
            project: Some("/project".into()),
            executable: Some("/opt/bin/paceline".into()),
            ..Search::default()
        };
        assert_eq!(search.candidates(), [PathBuf::from("/env/lib.so")]);
        search.explicit = Some("/explicit/lib.so".into());
        assert_eq!(search.candidates(), [PathBuf::from("/explicit/lib.so")]);
        (search.explicit, search.environment) = (None, None);
        let places: Vec<_> = ["/opt/bin", "/opt/lib", "/project/.runtime/lib"]
            .map(|folder| Path::new(folder).join(LIBRARY_FILE))
            .to_vec();
        assert_eq!(search.candidates(), places);
    }

    #[test]
    fn a_failed_search_names_every_place_and_what_to_do() {
        let search = Search {
            executable: Some("/nowhere/bin/paceline".into()),
            project: Some("/nowhere/project".into()),
            python_prefixes: vec!["/nowhere/python".into()],
            ..Search::default()
        };
        let message = search.open().unwrap_err().to_string();
        for place in search.candidates() {
            assert!(message.contains(&*place.to_string_lossy()), "{message}");
        }
        assert!(message.contains("make setup") && message.contains("pip install lightgbm"), "{message}");
    }
}
