//! The artifact registry: published models in a directory.
//!
//! ```text
//! <root>/<name>/<digest>/manifest.json   and the files that it names
//! <root>/<name>/current                  the digest that is served
//! ```
//!
//! A version appears whole or not at all (written beside, synced, renamed) and is never changed afterwards; moving
//! `current` replaces one small file. Every file is verified against its digest each time it is loaded.
//!
//! ```
//! use paceline_core::{Manifest, manifest::MANIFEST_SCHEMA};
//! use paceline_store::ArtifactRegistry;
//!
//! let directory = tempfile::tempdir()?;
//! let registry = ArtifactRegistry::new(directory.path());
//! let manifest = Manifest {
//!     schema: MANIFEST_SCHEMA,
//!     name: "retail".into(),
//!     task: "recommend".into(),
//!     files: Default::default(),
//!     inputs: Default::default(),
//! };
//! let digest = registry.publish(manifest, [("model.txt".to_owned(), b"tree".to_vec())].into())?;
//! registry.promote("retail", &digest)?;
//! assert_eq!(registry.load_current("retail")?.files["model.txt"], b"tree");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use paceline_core::manifest::MANIFEST_SCHEMA;
use paceline_core::{Digest, Manifest};

use crate::durable::{rename_durably, replace_file, sync_directory, temporary_beside, write_synced};

const MANIFEST_FILE: &str = "manifest.json";
const CURRENT_FILE: &str = "current";
const NAME_BYTES_MAX: usize = 100;

/// Why an artifact could not be published or loaded.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// A name that cannot safely be a path.
    #[error(
        "{what} {name:?}: use 1 to {NAME_BYTES_MAX} letters, digits, '_', '-' and '.', not beginning with '.'; \
         manifest.json is taken"
    )]
    BadName {
        /// Artifact or file.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing is published under the name, or not this version.
    #[error("no artifact {wanted} in {root}; there {}", known_list(known))]
    NotFound {
        /// Name, or name and digest.
        wanted: String,
        /// The registry.
        root: PathBuf,
        /// What there is instead.
        known: Vec<String>,
    },
    /// The content is not what was published; it must not be used.
    #[error("{path} is corrupt: its digest is {found}, but {expected} was published; publish the artifact again")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The digest at publication.
        expected: Digest,
        /// The digest now.
        found: Digest,
    },
    /// A file of the registry cannot be understood.
    #[error("{path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The disk failed; what was published before is untouched.
    #[error("{path}: {cause}")]
    Disk {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

fn known_list(known: &[String]) -> String {
    match known {
        [] => "is none".into(),
        names => format!("are {}", names.join(", ")),
    }
}

/// A loaded artifact, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its digest: that of its manifest.
    pub digest: Digest,
    /// What it was made from.
    pub manifest: Manifest,
    /// File name to content; each was compared with its digest in the manifest.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// One published name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactVersions {
    /// The artifact's name.
    pub name: String,
    /// Its versions, sorted by digest.
    pub digests: Vec<Digest>,
    /// The promoted one.
    pub current: Option<Digest>,
}

/// Published artifacts below one directory. Several processes may use it at the same time.
#[derive(Debug, Clone)]
pub struct ArtifactRegistry {
    root: PathBuf,
}

impl ArtifactRegistry {
    /// The registry in `root`, which is created by the first publication.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        ArtifactRegistry { root: root.into() }
    }

    /// Writes a version and returns its digest. `manifest.files` is set from `files`. Does not promote it.
    ///
    /// Publishing the same content again is harmless; a damaged copy of it is replaced.
    ///
    /// # Errors
    /// [`ArtifactError::BadName`] and [`ArtifactError::Disk`]; then nothing was published.
    pub fn publish(&self, mut manifest: Manifest, files: BTreeMap<String, Vec<u8>>) -> Result<Digest, ArtifactError> {
        check_name("artifact", &manifest.name)?;
        files.keys().try_for_each(|name| check_name("file", name))?;
        manifest.files = files.iter().map(|(name, content)| (name.clone(), Digest::of(content))).collect();
        let digest = manifest.digest();
        let directory = self.version_directory(&manifest.name, &digest);
        if directory.exists() {
            match self.load(&manifest.name, &digest) {
                Ok(_) => return Ok(digest),
                Err(
                    ArtifactError::Corrupt { .. } | ArtifactError::Unreadable { .. } | ArtifactError::NotFound { .. },
                ) => {
                    // Renamed out of the way first: a directory that is being deleted must not look published.
                    let damaged = temporary_beside(&directory);
                    at(&directory, fs::rename(&directory, &damaged))?;
                    at(&damaged, fs::remove_dir_all(&damaged))?;
                }
                Err(disk) => return Err(disk),
            }
        }
        let temporary = temporary_beside(&directory);
        let written = self.write_version(&temporary, &directory, &manifest, &files);
        if written.is_err() {
            // The first error is the one to report; a hidden left-over is harmless.
            let _ = fs::remove_dir_all(&temporary);
        }
        // Another process may have published the same content meanwhile.
        match written {
            Err(_) if directory.exists() => self.load(&manifest.name, &digest).map(|_| digest),
            written => written.map(|()| digest),
        }
    }

    /// Makes a published version the current one, after verifying it.
    pub fn promote(&self, name: &str, digest: &Digest) -> Result<(), ArtifactError> {
        self.load(name, digest)?;
        let current = self.root.join(name).join(CURRENT_FILE);
        at(&current, replace_file(&current, format!("{digest}\n").as_bytes()))
    }

    /// Which version is current, `None` when none was promoted.
    pub fn current(&self, name: &str) -> Result<Option<Digest>, ArtifactError> {
        check_name("artifact", name)?;
        let path = self.root.join(name).join(CURRENT_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ArtifactError::Disk { path, cause: error }),
        };
        let unreadable =
            |cause| ArtifactError::Unreadable { path, cause: format!("{cause}; publish the artifact again") };
        let digest = text.trim().parse().map_err(unreadable)?;
        Ok(Some(digest))
    }

    /// Loads the current version of `name`.
    pub fn load_current(&self, name: &str) -> Result<Artifact, ArtifactError> {
        match self.current(name)? {
            Some(digest) => self.load(name, &digest),
            None => Err(self.not_found(name, None)),
        }
    }

    /// Loads a version and verifies every byte of it.
    ///
    /// # Errors
    /// [`ArtifactError::Corrupt`] names the first file that differs and both digests.
    pub fn load(&self, name: &str, digest: &Digest) -> Result<Artifact, ArtifactError> {
        check_name("artifact", name)?;
        let directory = self.version_directory(name, digest);
        if !directory.is_dir() {
            return Err(self.not_found(name, Some(digest)));
        }
        let manifest = self.load_manifest(&directory, digest)?;
        let mut files = BTreeMap::new();
        for (file, expected) in &manifest.files {
            check_name("file", file)?;
            let path = directory.join(file);
            let content = read(&path)?;
            let found = Digest::of(&content);
            if found != *expected {
                return Err(ArtifactError::Corrupt { path, expected: *expected, found });
            }
            files.insert(file.clone(), content);
        }
        Ok(Artifact { digest: *digest, manifest, files })
    }

    /// Everything published, sorted by name.
    pub fn list(&self) -> Result<Vec<ArtifactVersions>, ArtifactError> {
        let mut listed = Vec::new();
        for name in names_below(&self.root)?.into_iter().filter(|name| check_name("artifact", name).is_ok()) {
            let directory = self.root.join(&name);
            if directory.is_dir() {
                let digests = names_below(&directory)?.iter().filter_map(|entry| entry.parse().ok()).collect();
                listed.push(ArtifactVersions { digests, current: self.current(&name)?, name });
            }
        }
        Ok(listed)
    }

    fn version_directory(&self, name: &str, digest: &Digest) -> PathBuf {
        self.root.join(name).join(digest.to_string())
    }

    fn write_version(
        &self,
        temporary: &Path,
        directory: &Path,
        manifest: &Manifest,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), ArtifactError> {
        at(temporary, fs::create_dir_all(temporary))?;
        for (name, content) in files {
            let path = temporary.join(name);
            at(&path, write_synced(&path, content))?;
        }
        let path = temporary.join(MANIFEST_FILE);
        let json = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
        at(&path, write_synced(&path, &json))?;
        at(temporary, sync_directory(temporary))?;
        at(directory, rename_durably(temporary, directory))?;
        // The directories above may be new as well.
        for above in directory.ancestors().skip(2).take(2) {
            at(above, sync_directory(above))?;
        }
        Ok(())
    }

    fn load_manifest(&self, directory: &Path, digest: &Digest) -> Result<Manifest, ArtifactError> {
        let path = directory.join(MANIFEST_FILE);
        let unreadable = |cause: String| ArtifactError::Unreadable { path: path.clone(), cause };
        let json = read(&path)?;
        let manifest: Manifest = serde_json::from_slice(&json)
            .map_err(|error| unreadable(format!("not a manifest of schema {MANIFEST_SCHEMA}: {error}")))?;
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(unreadable(format!(
                "schema {} was written by another version; this one reads {MANIFEST_SCHEMA}",
                manifest.schema
            )));
        }
        let found = manifest.digest();
        if found != *digest {
            return Err(ArtifactError::Corrupt { path, expected: *digest, found });
        }
        Ok(manifest)
    }

    fn not_found(&self, name: &str, digest: Option<&Digest>) -> ArtifactError {
        // An unreadable directory lists nothing; that it is unreadable shows when it is used.
        let listed = self.list().unwrap_or_default();
        let (wanted, known) = match (digest, listed.iter().find(|versions| versions.name == name)) {
            (Some(digest), Some(versions)) => {
                (format!("{name} {digest}"), versions.digests.iter().map(Digest::to_string).collect())
            }
            (None, Some(versions)) => (
                format!("{name} that was promoted"),
                versions.digests.iter().map(|digest| format!("{digest} (not promoted)")).collect(),
            ),
            (_, None) => (name.to_owned(), listed.into_iter().map(|versions| versions.name).collect()),
        };
        ArtifactError::NotFound { wanted, root: self.root.clone(), known }
    }
}

/// Names become path segments, so they may neither climb nor hide.
fn check_name(what: &'static str, name: &str) -> Result<(), ArtifactError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let taken = what == "file" && name == MANIFEST_FILE;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !plain || name.starts_with('.') || taken {
        return Err(ArtifactError::BadName { what, name: name.to_owned() });
    }
    Ok(())
}

fn names_below(directory: &Path) -> Result<Vec<String>, ArtifactError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ArtifactError::Disk { path: directory.to_owned(), cause: error }),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(at(directory, entry)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArtifactError::Unreadable {
            path: path.to_owned(),
            cause: "the file is missing; publish the artifact again".into(),
        }),
        read => at(path, read),
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ArtifactError> {
    result.map_err(|cause| ArtifactError::Disk { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, seed: &str) -> Manifest {
        Manifest {
            schema: MANIFEST_SCHEMA,
            name: name.into(),
            task: "rank".into(),
            files: BTreeMap::new(),
            inputs: [("seed".to_owned(), seed.to_owned())].into(),
        }
    }

    fn files() -> BTreeMap<String, Vec<u8>> {
        [("model.txt".to_owned(), b"tree".to_vec()), ("items.parquet".to_owned(), Vec::new())].into()
    }

    fn registry() -> (tempfile::TempDir, ArtifactRegistry) {
        let directory = tempfile::tempdir().unwrap();
        let registry = ArtifactRegistry::new(directory.path().join("models"));
        (directory, registry)
    }

    #[test]
    fn versions_are_kept_and_one_is_current() {
        let (_directory, registry) = registry();
        assert_eq!(registry.list().unwrap(), []);
        let first = registry.publish(manifest("shop", "1"), files()).unwrap();
        let second = registry.publish(manifest("shop", "2"), files()).unwrap();
        assert_eq!(registry.publish(manifest("shop", "1"), files()).unwrap(), first);
        assert_eq!(registry.current("shop").unwrap(), None);
        for digest in [first, second, first] {
            registry.promote("shop", &digest).unwrap();
            let loaded = registry.load_current("shop").unwrap();
            assert_eq!((loaded.digest, loaded.files), (digest, files()));
        }
        let mut digests = vec![first, second];
        digests.sort_by_key(Digest::to_string);
        let current = Some(first);
        assert_eq!(registry.list().unwrap(), [ArtifactVersions { name: "shop".into(), digests, current }]);
    }

    #[test]
    fn a_corrupt_file_is_refused_by_name_and_mended_by_publishing_again() {
        let (_directory, registry) = registry();
        let digest = registry.publish(manifest("shop", "1"), files()).unwrap();
        let version = registry.version_directory("shop", &digest);
        let other_task = fs::read_to_string(version.join(MANIFEST_FILE)).unwrap().replace("rank", "regress");
        for (file, damaged) in [
            ("model.txt", Some("tref")),
            ("model.txt", None),
            (MANIFEST_FILE, Some(other_task.as_str())),
            (MANIFEST_FILE, Some("{")),
        ] {
            match damaged {
                Some(content) => fs::write(version.join(file), content).unwrap(),
                None => fs::remove_file(version.join(file)).unwrap(),
            }
            let error = registry.load("shop", &digest).unwrap_err();
            assert!(error.to_string().contains(file), "{error}");
            if let ArtifactError::Corrupt { expected, found, .. } = &error {
                let message = error.to_string();
                assert!(message.contains(&expected.to_string()) && message.contains(&found.to_string()), "{message}");
            }
            assert!(registry.promote("shop", &digest).is_err());
            registry.publish(manifest("shop", "1"), files()).unwrap();
            assert_eq!(registry.load("shop", &digest).unwrap().files, files());
        }
        assert_eq!(fs::read_dir(version.parent().unwrap()).unwrap().count(), 1, "no left-overs");
    }

    #[test]
    fn names_cannot_leave_the_registry() {
        let (_directory, registry) = registry();
        for name in ["", "..", ".hidden", "a/b", "a\\b", "/etc", "a b", &"x".repeat(101)] {
            let published = registry.publish(manifest(name, "1"), files());
            assert!(matches!(published, Err(ArtifactError::BadName { what: "artifact", .. })), "{name}");
            assert!(matches!(registry.current(name), Err(ArtifactError::BadName { .. })), "{name}");
            let file = [(name.to_owned(), Vec::new())].into();
            let published = registry.publish(manifest("shop", "1"), file);
            assert!(matches!(published, Err(ArtifactError::BadName { what: "file", .. })), "{name}");
        }
        assert!(registry.publish(manifest("shop", "1"), [(MANIFEST_FILE.to_owned(), Vec::new())].into()).is_err());
        assert_eq!(registry.list().unwrap(), []);
    }

    #[test]
    fn what_is_missing_says_what_there_is() {
        let (_directory, registry) = registry();
        let digest = registry.publish(manifest("shop", "1"), files()).unwrap();
        let check = |error: ArtifactError, part: &str| assert!(error.to_string().contains(part), "{error}");
        check(registry.load_current("shp").unwrap_err(), "there are shop");
        check(registry.load_current("shop").unwrap_err(), "(not promoted)");
        check(registry.load("shop", &Digest::of(b"x")).unwrap_err(), &digest.to_string());
        fs::write(registry.root.join("shop/current"), "soon").unwrap();
        check(registry.load_current("shop").unwrap_err(), "\"soon\" is not a digest");
    }

    #[test]
    fn publishers_of_the_same_content_do_not_disturb_each_other() {
        let (_directory, registry) = registry();
        std::thread::scope(|scope| {
            let publish = || registry.publish(manifest("shop", "1"), files()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(publish)).collect();
            let digests: Vec<Digest> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
        });
        assert_eq!(registry.list().unwrap()[0].digests.len(), 1);
    }
}
