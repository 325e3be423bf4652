//! What a stream of features keeps on the local disk: its last snapshot, and the parts of entities that left memory.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::durable::replace_file;
use crate::fjall_cause;

/// Key of an entity and number of a part (big-endian) to its bytes. No entity's key begins another's.
const PARTS: &str = "parts.1";
const PARTS_FOLDER: &str = "parts";
const SNAPSHOT_FILE: &str = "snapshot";

/// The state of one stream in one directory, which one process holds open at a time.
pub struct StreamFiles {
    directory: PathBuf,
    database: Database,
    parts: Keyspace,
}

impl StreamFiles {
    /// Opens the state in `directory`, creating it if needed.
    ///
    /// # Errors
    /// When it cannot be opened, most often because another process has it open.
    pub fn open(directory: &Path) -> io::Result<StreamFiles> {
        let failed = |error: fjall::Error| {
            let cause = match error {
                fjall::Error::Locked => "another process has it open; stop that one".to_owned(),
                other => fjall_cause(&other),
            };
            io::Error::other(format!("{}: {cause}", directory.display()))
        };
        let folder = directory.join(PARTS_FOLDER);
        fs::create_dir_all(&folder)?;
        let database = Database::builder(&folder).worker_threads(1).open().map_err(failed)?;
        let parts = database.keyspace(PARTS, KeyspaceCreateOptions::default).map_err(failed)?;
        Ok(StreamFiles { directory: directory.to_owned(), database, parts })
    }

    /// The last snapshot; `None` before the first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.snapshot_path()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps parts, each as its entity's key, its number and its bytes; one takes the place of an older one. They are
    /// durable when the next snapshot is.
    ///
    /// # Errors
    /// When they cannot be written; then none is kept.
    pub fn keep<'p>(&self, parts: impl Iterator<Item = (&'p [u8], u32, &'p [u8])>) -> io::Result<()> {
        let mut batch = self.database.batch();
        for (key, part, bytes) in parts {
            batch.insert(&self.parts, part_key(key, part), bytes);
        }
        batch.commit().map_err(|error| self.failed(&error))
    }

    /// The parts `0..count` of an entity; a missing one is left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn parts(&self, key: &[u8], count: u32) -> io::Result<Vec<Vec<u8>>> {
        let read = |part| self.parts.get(part_key(key, part)).map(|found| found.map(|bytes| bytes.to_vec()));
        let parts = (0..count).map(read).collect::<Result<Vec<_>, _>>().map_err(|error| self.failed(&error))?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Replaces the snapshot, durably with the parts that it names, then forgets other parts. `spilled` are the keys
    /// that it names with their numbers of parts.
    ///
    /// # Errors
    /// When it cannot be written; then the last snapshot stays with its parts.
    pub fn save(&self, snapshot: &[u8], spilled: &HashMap<Vec<u8>, u32>) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(|error| self.failed(&error))?;
        replace_file(&self.snapshot_path(), snapshot)?;
        let mut unnamed = Vec::new();
        for entry in self.parts.iter() {
            let stored = entry.key().map_err(|error| self.failed(&error))?;
            let named = stored
                .split_last_chunk()
                .is_some_and(|(key, part)| spilled.get(key).is_some_and(|count| u32::from_be_bytes(*part) < *count));
            if !named {
                unnamed.push(stored);
            }
        }
        let mut batch = self.database.batch();
        unnamed.into_iter().for_each(|key| batch.remove(&self.parts, key));
        batch.commit().map_err(|error| self.failed(&error))
    }

    /// Forgets everything, for a stream that begins anew.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.snapshot_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.parts.clear().map_err(|error| self.failed(&error))
    }

    fn snapshot_path(&self) -> PathBuf {
        self.directory.join(SNAPSHOT_FILE)
    }

    fn failed(&self, error: &fjall::Error) -> io::Error {
        io::Error::other(format!("{}: {}", self.directory.display(), fjall_cause(error)))
    }
}

impl fmt::Debug for StreamFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamFiles").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn part_key(key: &[u8], part: u32) -> Vec<u8> {
    [key, &part.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_keeps_the_parts_that_it_names() {
        let directory = tempfile::tempdir().unwrap();
        let files = StreamFiles::open(directory.path()).unwrap();
        assert_eq!(files.snapshot().unwrap(), None);
        let keep = |files: &StreamFiles, parts: &[(&[u8], u32, &[u8])]| files.keep(parts.iter().copied()).unwrap();
        keep(&files, &[(b"a", 0, b"a0"), (b"a", 1, b"a1"), (b"b", 0, b"b0"), (b"b", 1, b"old")]);
        keep(&files, &[(b"b", 1, b"b1")]);
        files.save(b"one", &[(b"a".to_vec(), 1), (b"b".to_vec(), 2)].into()).unwrap();
        assert!(StreamFiles::open(directory.path()).is_err(), "one process at a time");
        drop(files);
        let files = StreamFiles::open(directory.path()).unwrap();
        assert_eq!(files.snapshot().unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(files.parts(b"a", 2).unwrap(), [b"a0"], "the second was not named");
        assert_eq!(files.parts(b"b", 2).unwrap(), [b"b0", b"b1"]);
        files.clear().unwrap();
        assert_eq!((files.snapshot().unwrap(), files.parts(b"b", 2).unwrap().len()), (None, 0));
    }
}
