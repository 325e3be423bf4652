//! The online store on the local disk, for one process at a time.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use paceline_core::Timestamp;
use paceline_core::online::{OnlineError, OnlineRow, OnlineStore, Snapshot};

use super::{check_row, check_table_name};

/// Rows are written in batches of at most this many.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// The keyspace that maps a table's name to its current version.
const POINTERS: &str = "pointers";
/// A version's rows live in a keyspace of their own, so that deleting it deletes files rather than rows.
const ROWS_PREFIX: &str = "rows.";

/// Tables in one directory, which one process holds open at a time.
///
/// Why readers never see a mixture: a version's rows are in a keyspace of their own, a reader takes the handle of one
/// version and reads all keys from it, and the store keeps a deleted keyspace readable while somebody holds its handle.
///
/// Why a publish is whole or absent after a crash: the pointer is written with a sync of the journal, which covers
/// every row written before it; a version that no pointer names is deleted when the store is opened.
pub struct EmbeddedOnlineStore {
    directory: PathBuf,
    database: Database,
    pointers: Keyspace,
    tables: RwLock<HashMap<String, Published>>,
    next_version: AtomicU64,
    /// Held while a pointer is compared and moved.
    moving: Mutex<()>,
}

#[derive(Clone)]
struct Published {
    as_of: Timestamp,
    rows: Keyspace,
}

/// What a pointer says, as bytes: format 1, version and time, both big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pointer {
    version: u64,
    as_of: Timestamp,
}

impl Pointer {
    const FORMAT: u8 = 1;

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![Pointer::FORMAT];
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.as_of.0.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Pointer> {
        let (&format, rest) = bytes.split_first()?;
        let (version, as_of) = rest.split_at_checked(8)?;
        let version = u64::from_be_bytes(version.try_into().ok()?);
        let as_of = Timestamp(i64::from_be_bytes(as_of.try_into().ok()?));
        (format == Pointer::FORMAT).then_some(Pointer { version, as_of })
    }
}

impl EmbeddedOnlineStore {
    /// Opens the store in `directory`, creating it if needed, and deletes what unfinished publishes left.
    ///
    /// # Errors
    /// [`OnlineError::Unreachable`] while another process has it open, [`OnlineError::Broken`] otherwise.
    pub fn open(directory: &Path) -> Result<Self, OnlineError> {
        let failed = |error: fjall::Error| store_error(directory, &error);
        let database = Database::builder(directory).worker_threads(1).open().map_err(failed)?;
        let pointers = database.keyspace(POINTERS, KeyspaceCreateOptions::default).map_err(failed)?;

        let mut tables = HashMap::new();
        let mut newest_version = 0;
        for entry in pointers.iter() {
            let (name, bytes) = entry.into_inner().map_err(failed)?;
            let broken = |cause: String| OnlineError::Broken { address: directory.display().to_string(), cause };
            let name = String::from_utf8(name.to_vec()).map_err(|_| broken("a table's name is not UTF-8".into()))?;
            let pointer = Pointer::from_bytes(&bytes).ok_or_else(|| {
                broken(format!(
                    "the pointer of table {name:?} has an unknown format; was it written by a newer version?"
                ))
            })?;
            let keyspace = rows_keyspace(pointer.version);
            if !database.keyspace_exists(&keyspace) {
                return Err(broken(format!("the rows of table {name:?}, version {}, are gone", pointer.version)));
            }
            let rows = database.keyspace(&keyspace, KeyspaceCreateOptions::default).map_err(failed)?;
            newest_version = newest_version.max(pointer.version);
            tables.insert(name, Published { as_of: pointer.as_of, rows });
        }
        let swept = sweep(&database, &tables).map_err(failed)?;
        Ok(EmbeddedOnlineStore {
            directory: directory.to_owned(),
            database,
            pointers,
            tables: RwLock::new(tables),
            next_version: AtomicU64::new(newest_version.max(swept) + 1),
            moving: Mutex::new(()),
        })
    }

    fn published(&self, table: &str) -> Option<Published> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    fn refuse_older(&self, table: &str, offered: Timestamp) -> Result<(), OnlineError> {
        match self.published(table) {
            Some(Published { as_of: current, .. }) if current > offered => {
                Err(OnlineError::Outdated { table: table.to_owned(), current, offered })
            }
            _ => Ok(()),
        }
    }

    fn write_rows(
        &self,
        table: &str,
        target: &Keyspace,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> Result<u64, OnlineError> {
        let mut written = 0;
        let mut batch = self.database.batch();
        let mut batch_bytes = 0;
        for row in rows {
            check_row(table, &row)?;
            batch_bytes += row.0.len() + row.1.len();
            batch.insert(target, row.0, row.1);
            written += 1;
            if batch.len() == BATCH_ROWS || batch_bytes > BATCH_BYTES {
                std::mem::replace(&mut batch, self.database.batch()).commit().map_err(|error| self.failed(&error))?;
                batch_bytes = 0;
            }
        }
        batch.commit().map_err(|error| self.failed(&error))?;
        Ok(written)
    }

    /// Moves the pointer unless a newer publish won meanwhile; returns the version that it replaced.
    fn move_pointer(&self, table: &str, pointer: Pointer, rows: &Keyspace) -> Result<Option<Published>, OnlineError> {
        let _moving: MutexGuard<'_, ()> = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_older(table, pointer.as_of)?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.pointers, table.as_bytes(), pointer.to_bytes());
        batch.commit().map_err(|error| self.failed(&error))?;
        let published = Published { as_of: pointer.as_of, rows: rows.clone() };
        Ok(self.tables.write().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), published))
    }

    fn failed(&self, error: &fjall::Error) -> OnlineError {
        store_error(&self.directory, error)
    }

    /// Deletes a version that nobody points to. What fails here is deleted at the next opening.
    fn discard(&self, rows: Keyspace) {
        let _ = self.database.delete_keyspace(rows);
    }
}

impl OnlineStore for EmbeddedOnlineStore {
    fn publish(
        &self,
        table: &str,
        as_of: Timestamp,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> Result<u64, OnlineError> {
        check_table_name(table)?;
        self.refuse_older(table, as_of)?;
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        let target = self
            .database
            .keyspace(&rows_keyspace(version), KeyspaceCreateOptions::default)
            .map_err(|error| self.failed(&error))?;
        let written = self.write_rows(table, &target, rows);
        let moved = written.and_then(|written| {
            let replaced = self.move_pointer(table, Pointer { version, as_of }, &target)?;
            Ok((written, replaced))
        });
        match moved {
            Ok((written, replaced)) => {
                if let Some(old) = replaced {
                    self.discard(old.rows);
                }
                Ok(written)
            }
            Err(error) => {
                self.discard(target);
                Err(error)
            }
        }
    }

    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError> {
        let Some(published) = self.published(table) else {
            return Ok(Snapshot { as_of: None, values: vec![None; keys.len()] });
        };
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let fits = !key.is_empty() && key.len() <= super::KEY_BYTES_MAX;
            let value = if fits { published.rows.get(key).map_err(|error| self.failed(&error))? } else { None };
            values.push(value.map(|value| value.to_vec()));
        }
        Ok(Snapshot { as_of: Some(published.as_of), values })
    }

    fn as_of(&self, table: &str) -> Result<Option<Timestamp>, OnlineError> {
        Ok(self.published(table).map(|published| published.as_of))
    }

    fn ping(&self) -> Result<(), OnlineError> {
        // A store whose disk failed refuses this as it would refuse a publish.
        self.database.persist(PersistMode::Buffer).map_err(|error| self.failed(&error))
    }
}

impl fmt::Debug for EmbeddedOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOnlineStore").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn rows_keyspace(version: u64) -> String {
    format!("{ROWS_PREFIX}{version}")
}

/// Deletes the versions that no table points to; returns the newest version seen.
fn sweep(database: &Database, tables: &HashMap<String, Published>) -> Result<u64, fjall::Error> {
    let mut newest = 0;
    for name in database.list_keyspace_names() {
        let Some(version) = name.strip_prefix(ROWS_PREFIX).and_then(|digits| digits.parse().ok()) else { continue };
        newest = newest.max(version);
        if !tables.values().any(|published| published.rows.name() == &name) {
            database.delete_keyspace(database.keyspace(&name, KeyspaceCreateOptions::default)?)?;
        }
    }
    Ok(newest)
}

fn store_error(directory: &Path, error: &fjall::Error) -> OnlineError {
    let address = directory.display().to_string();
    match error {
        fjall::Error::Locked => OnlineError::Unreachable {
            address,
            cause: "another process has it open; stop that one, or use a Redis store, which many can share".into(),
        },
        other => OnlineError::Broken { address, cause: crate::fjall_cause(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(store: &EmbeddedOnlineStore, as_of: i64, rows: usize) -> u64 {
        let mut rows = (0..rows).map(|row| (vec![b'k', row as u8], vec![as_of as u8]));
        store.publish("users", Timestamp(as_of), &mut rows).unwrap()
    }

    #[test]
    fn pointers_have_a_stable_form() {
        let pointer = Pointer { version: 7, as_of: Timestamp(-1) };
        let bytes = pointer.to_bytes();
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(Pointer::from_bytes(&bytes), Some(pointer));
        assert_eq!(Pointer::from_bytes(&bytes[..16]), None);
        assert_eq!(Pointer::from_bytes(&[2; 17]), None);
    }

    #[test]
    fn old_and_unfinished_versions_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedOnlineStore::open(directory.path()).unwrap();
        publish(&store, 1, 10);
        publish(&store, 2, 10);
        store.database.keyspace(&rows_keyspace(99), KeyspaceCreateOptions::default).unwrap().insert("k", "v").unwrap();
        drop(store);

        let store = EmbeddedOnlineStore::open(directory.path()).unwrap();
        assert_eq!(store.database.list_keyspace_names().len(), 2, "the pointers and one version");
        publish(&store, 3, 1);
        assert_eq!(store.get("users", &[b"k\0"]).unwrap().values, [Some(vec![3])]);
        assert!(store.database.keyspace_exists(&rows_keyspace(100)), "a swept version's number is not used again");
    }

    #[test]
    fn one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let _store = EmbeddedOnlineStore::open(directory.path()).unwrap();
        let error = EmbeddedOnlineStore::open(directory.path()).unwrap_err();
        assert!(matches!(error, OnlineError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("another process has it open"), "{error}");
    }
}
