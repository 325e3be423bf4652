//! The online store on the local disk, for one process at a time.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use paceline_core::Timestamp;
use paceline_core::online::{OnlineChange, OnlineError, OnlineRow, OnlineStore, Pushed, PushedRow, Snapshot, Version};

use super::layer::{Kind, MERGE_FACTOR, tagged};
use super::pushed::PushedRows;
use super::{check_change, check_key, check_pushed, check_row, check_table_name};

/// Rows are written in batches of at most this many.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// The keyspace that maps a table's name to its current version.
const POINTERS: &str = "pointers";
/// No table has this name. Removing its pointer, which is not there, takes a sequence number and leaves nothing.
///
/// fjall 3.1 gives its directory of keyspaces sequence numbers of the same counter as rows, but after an opening counts
/// from the rows alone. A keyspace made then can have a lower number than the deletion of an earlier one that had its
/// id, and is lost at the next opening, with all its rows. So the counter is moved on by rows: at each opening by more
/// than one deletion takes, and after each deletion.
const NO_TABLE: &[u8] = &[0];
/// A deletion takes two numbers, and the upkeep of the directory a few.
const OPENING_STEPS: usize = 256;
/// A version's rows live in a keyspace of their own, so that deleting it deletes files rather than rows.
const ROWS_PREFIX: &str = "rows.";

/// Tables in one directory, which one process holds open at a time.
///
/// Why readers never see a mixture: what a version adds is in a keyspace of its own, a reader takes the handles of one
/// version's layers and reads all keys from them, and the store keeps a deleted keyspace readable while somebody holds
/// its handle.
///
/// Why a publish is whole or absent after a crash: the pointer is written with a sync of the journal, which covers
/// every row written before it; a version that no pointer names is deleted when the store is opened.
pub struct EmbeddedOnlineStore {
    directory: PathBuf,
    database: Database,
    pointers: Keyspace,
    pushed: PushedRows,
    tables: RwLock<HashMap<String, Published>>,
    next_version: AtomicU64,
    /// Held while a pointer is compared and moved.
    moving: Mutex<()>,
}

#[derive(Clone)]
struct Published {
    version: Version,
    /// The newest first; a key has the value of the first layer that knows it.
    layers: Arc<[Layer]>,
}

#[derive(Clone)]
struct Layer {
    number: u64,
    kind: Kind,
    rows: Keyspace,
}

impl Layer {
    /// Exact up to keys that one change wrote twice: a layer's rows are written once.
    fn row_count(&self) -> usize {
        self.rows.approximate_len()
    }
}

/// What a pointer says, as bytes: the format, number and time of the version, both big-endian; in format 2 then each
/// layer's number and kind. A version of format 1 has one layer, whole rows with the number of the version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer {
    version: Version,
    layers: Vec<(u64, Kind)>,
}

impl Pointer {
    const WHOLE: u8 = 1;
    const LAYERED: u8 = 2;

    fn of(published: &Published) -> Pointer {
        let layers = published.layers.iter().map(|layer| (layer.number, layer.kind)).collect();
        Pointer { version: published.version, layers }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let is_whole = self.layers == [(self.version.number, Kind::Rows)];
        let mut bytes = vec![if is_whole { Pointer::WHOLE } else { Pointer::LAYERED }];
        bytes.extend(self.version.number.to_be_bytes());
        bytes.extend(self.version.as_of.0.to_be_bytes());
        if !is_whole {
            for (number, kind) in &self.layers {
                bytes.extend(number.to_be_bytes());
                bytes.push(kind.letter());
            }
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Pointer> {
        let (&format, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (as_of, rest) = rest.split_first_chunk()?;
        let version = Version { number: u64::from_be_bytes(*number), as_of: Timestamp(i64::from_be_bytes(*as_of)) };
        let layers = match format {
            Pointer::WHOLE => rest.is_empty().then(|| vec![(version.number, Kind::Rows)])?,
            Pointer::LAYERED => {
                let layer = |bytes: &[u8]| {
                    let (number, kind) = bytes.split_first_chunk()?;
                    Some((u64::from_be_bytes(*number), Kind::from_letter(*kind.first()?)?))
                };
                rest.chunks(9).map(layer).collect::<Option<Vec<_>>>()?
            }
            _ => return None,
        };
        Some(Pointer { version, layers })
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
        for _ in 0..OPENING_STEPS {
            pointers.remove(NO_TABLE).map_err(failed)?;
        }

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
            let version = pointer.version;
            let mut layers = Vec::with_capacity(pointer.layers.len());
            for (number, kind) in pointer.layers {
                let keyspace = rows_keyspace(number);
                if !database.keyspace_exists(&keyspace) {
                    return Err(broken(format!("the rows of table {name:?}, version {number}, are gone")));
                }
                let rows = database.keyspace(&keyspace, KeyspaceCreateOptions::default).map_err(failed)?;
                layers.push(Layer { number, kind, rows });
            }
            newest_version = newest_version.max(version.number);
            tables.insert(name, Published { version, layers: layers.into() });
        }
        let swept = sweep(&database, &pointers, &tables).map_err(failed)?;
        let pushed = PushedRows::open(&database).map_err(failed)?;
        Ok(EmbeddedOnlineStore {
            directory: directory.to_owned(),
            database,
            pointers,
            pushed,
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
            Some(Published { version: Version { as_of: current, .. }, .. }) if current > offered => {
                Err(OnlineError::Outdated { table: table.to_owned(), current, offered })
            }
            _ => Ok(()),
        }
    }

    fn new_keyspace(&self) -> Result<(u64, Keyspace), OnlineError> {
        let number = self.next_version.fetch_add(1, Ordering::Relaxed);
        let keyspace = self.database.keyspace(&rows_keyspace(number), KeyspaceCreateOptions::default);
        Ok((number, keyspace.map_err(|error| self.failed(&error))?))
    }

    /// Writes rows in batches; returns their number.
    fn write_rows(
        &self,
        target: &Keyspace,
        rows: &mut dyn Iterator<Item = Result<OnlineRow, OnlineError>>,
    ) -> Result<u64, OnlineError> {
        let mut written = 0;
        let mut batch = self.database.batch();
        let mut batch_bytes = 0;
        for row in rows {
            let (key, value) = row?;
            batch_bytes += key.len() + value.len();
            batch.insert(target, key, value);
            written += 1;
            if batch.len() == BATCH_ROWS || batch_bytes > BATCH_BYTES {
                std::mem::replace(&mut batch, self.database.batch()).commit().map_err(|error| self.failed(&error))?;
                batch_bytes = 0;
            }
        }
        batch.commit().map_err(|error| self.failed(&error))?;
        Ok(written)
    }

    /// Writes into `target` what of `older` it does not know yet. Removals are left out of the oldest layer of all.
    fn merge(&self, target: &Keyspace, older: &Layer, is_oldest: bool) -> Result<u64, OnlineError> {
        let mut missing = older.rows.iter().filter_map(|entry| {
            let row = || {
                let (key, value) = entry.into_inner()?;
                let value = older.kind.value(value.to_vec());
                let is_superfluous = is_oldest && value.is_none() || target.contains_key(&key)?;
                Ok((!is_superfluous).then(|| (key.to_vec(), tagged(value))))
            };
            row().map_err(|error| self.failed(&error)).transpose()
        });
        self.write_rows(target, &mut missing)
    }

    /// The layers of a change: a new one, into which those that are not much larger were merged, and the rest.
    fn layers_of_change(
        &self,
        (number, target): (u64, &Keyspace),
        current: &Published,
        written: u64,
    ) -> Result<Arc<[Layer]>, OnlineError> {
        if written == 0 {
            return Ok(current.layers.clone());
        }
        let mut rest = &current.layers[..];
        let mut rows = written as usize;
        while let Some((next, older)) = rest.split_first() {
            if next.row_count() > MERGE_FACTOR * rows {
                break;
            }
            rows += self.merge(target, next, older.is_empty())? as usize;
            rest = older;
        }
        let newest = Layer { number, kind: Kind::Changes, rows: target.clone() };
        Ok(std::iter::once(newest).chain(rest.iter().cloned()).collect())
    }

    /// Moves the pointer unless a newer publish won meanwhile, or any did where `base` is given; what is left of the
    /// version before is deleted.
    fn move_pointer(&self, table: &str, published: Published, base: Option<Version>) -> Result<(), OnlineError> {
        let replaced = {
            let _moving: MutexGuard<'_, ()> = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            self.refuse_older(table, published.version.as_of)?;
            if let Some(base) = base {
                self.current(table, base)?;
            }
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&self.pointers, table.as_bytes(), Pointer::of(&published).to_bytes());
            batch.commit().map_err(|error| self.failed(&error))?;
            let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
            tables.insert(table.to_owned(), published.clone())
        };
        let is_kept = |layer: &Layer| published.layers.iter().any(|kept| kept.number == layer.number);
        let replaced = replaced.iter().flat_map(|replaced| replaced.layers.iter());
        replaced.filter(|layer| !is_kept(layer)).for_each(|layer| self.discard(layer.rows.clone()));
        // What fails here is never read again, and deleted after the next version.
        let _ = self.pushed.sweep(&self.database, table, published.version.as_of);
        Ok(())
    }

    /// The table while it still is what a change was made for.
    fn current(&self, table: &str, base: Version) -> Result<Published, OnlineError> {
        let moved = || OnlineError::Moved { table: table.to_owned(), expected: base.as_of };
        self.published(table).filter(|current| current.version == base).ok_or_else(moved)
    }

    fn failed(&self, error: &fjall::Error) -> OnlineError {
        store_error(&self.directory, error)
    }

    /// Deletes a version that nobody points to. What fails here is deleted at the next opening.
    fn discard(&self, rows: Keyspace) {
        let _ = delete(&self.database, &self.pointers, rows);
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
        let (number, target) = self.new_keyspace()?;
        let mut checked = rows.map(|row| check_row(table, &row).map(|()| row));
        let published = self.write_rows(&target, &mut checked).and_then(|written| {
            let layer = Layer { number, kind: Kind::Rows, rows: target.clone() };
            let published = Published { version: Version { number, as_of }, layers: Arc::new([layer]) };
            self.move_pointer(table, published, None)?;
            Ok(written)
        });
        if published.is_err() {
            self.discard(target);
        }
        published
    }

    fn publish_change(
        &self,
        table: &str,
        base: Version,
        as_of: Timestamp,
        changes: &mut dyn Iterator<Item = OnlineChange>,
    ) -> Result<u64, OnlineError> {
        check_table_name(table)?;
        self.refuse_older(table, as_of)?;
        let current = self.current(table, base)?;
        let (number, target) = self.new_keyspace()?;
        let mut checked = changes.map(|change| check_change(table, &change).map(|()| (change.0, tagged(change.1))));
        let published = self.write_rows(&target, &mut checked).and_then(|written| {
            let layers = self.layers_of_change((number, &target), &current, written)?;
            self.move_pointer(table, Published { version: Version { number, as_of }, layers }, Some(base))?;
            Ok(written)
        });
        if !matches!(published, Ok(written) if written > 0) {
            self.discard(target);
        }
        published
    }

    fn push(&self, table: &str, rows: &[PushedRow]) -> Result<Vec<Pushed>, OnlineError> {
        check_pushed(table, rows)?;
        let as_of = || self.published(table).map(|published| published.version.as_of);
        self.pushed.push(&self.database, table, rows, as_of).map_err(|error| self.failed(&error))
    }

    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError> {
        // Before the version: see `pushed.rs`.
        let pushed = self.pushed.get(table, keys).map_err(|error| self.failed(&error))?;
        let Some(published) = self.published(table) else {
            return Ok(Snapshot::of_version(None, vec![None; keys.len()]).with_pushed(pushed));
        };
        let read = |key: &&[u8]| {
            if key.is_empty() || key.len() > super::KEY_BYTES_MAX {
                return Ok(None);
            }
            for layer in &*published.layers {
                if let Some(value) = layer.rows.get(key).map_err(|error| self.failed(&error))? {
                    return Ok(layer.kind.value(value.to_vec()));
                }
            }
            Ok(None)
        };
        let values = keys.iter().map(read).collect::<Result<_, OnlineError>>()?;
        Ok(Snapshot::of_version(Some(published.version.as_of), values).with_pushed(pushed))
    }

    fn erase(&self, table: &str, keys: &[&[u8]]) -> Result<u64, OnlineError> {
        check_table_name(table)?;
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let _pushing = self.pushed.lock();
        let is_key = |key: &&[u8]| check_key(table, key).is_ok();
        let keys: Vec<&[u8]> = keys.iter().copied().filter(is_key).collect::<BTreeSet<_>>().into_iter().collect();
        let erased = self.get(table, &keys)?.values.iter().flatten().count() as u64;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let pushed = self.pushed.get(table, &keys).map_err(|error| self.failed(&error))?;
        for (key, _) in keys.iter().zip(pushed).filter(|(_, row)| row.is_some()) {
            self.pushed.remove(&mut batch, table, key);
        }
        let pushed_count = batch.len();
        let current = self.published(table);
        for layer in current.iter().flat_map(|current| current.layers.iter().rev()) {
            // The oldest first, so that nobody who reads meanwhile sees an older value.
            for key in &keys {
                if layer.rows.contains_key(key).map_err(|error| self.failed(&error))? {
                    batch.remove(&layer.rows, *key);
                }
            }
        }
        if batch.is_empty() {
            return Ok(0);
        }
        let changed = current.filter(|_| batch.len() > pushed_count).map(|current| {
            let number = self.next_version.fetch_add(1, Ordering::Relaxed);
            Published { version: Version { number, ..current.version }, ..current }
        });
        if let Some(changed) = &changed {
            batch.insert(&self.pointers, table.as_bytes(), Pointer::of(changed).to_bytes());
        }
        batch.commit().map_err(|error| self.failed(&error))?;
        if let Some(changed) = changed {
            self.tables.write().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), changed);
        }
        Ok(erased)
    }

    fn visit_keys(&self, table: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), OnlineError> {
        for layer in self.published(table).iter().flat_map(|published| published.layers.iter()) {
            for entry in layer.rows.iter() {
                visit(&entry.key().map_err(|error| self.failed(&error))?);
            }
        }
        self.pushed.visit_keys(table, visit).map_err(|error| self.failed(&error))
    }

    fn version(&self, table: &str) -> Result<Option<Version>, OnlineError> {
        Ok(self.published(table).map(|published| published.version))
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
fn sweep(database: &Database, pointers: &Keyspace, tables: &HashMap<String, Published>) -> Result<u64, fjall::Error> {
    let mut newest = 0;
    for name in database.list_keyspace_names() {
        let Some(version) = name.strip_prefix(ROWS_PREFIX).and_then(|digits| digits.parse().ok()) else { continue };
        newest = newest.max(version);
        let is_current = |published: &Published| published.layers.iter().any(|layer| layer.rows.name() == &name);
        if !tables.values().any(is_current) {
            delete(database, pointers, database.keyspace(&name, KeyspaceCreateOptions::default)?)?;
        }
    }
    Ok(newest)
}

/// Deletes a keyspace (see [`NO_TABLE`]).
fn delete(database: &Database, pointers: &Keyspace, rows: Keyspace) -> Result<(), fjall::Error> {
    database.delete_keyspace(rows)?;
    pointers.remove(NO_TABLE)
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
        let version = Version { number: 7, as_of: Timestamp(-1) };
        let whole = Pointer { version, layers: vec![(7, Kind::Rows)] };
        let bytes = whole.to_bytes();
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(Pointer::from_bytes(&bytes), Some(whole));
        assert_eq!(Pointer::from_bytes(&bytes[..16]), None);
        assert_eq!(Pointer::from_bytes(&[3; 17]), None);
        let layered = Pointer { version, layers: vec![(7, Kind::Changes), (3, Kind::Rows)] };
        let bytes = layered.to_bytes();
        assert_eq!((bytes[0], &bytes[17..]), (2, &b"\0\0\0\0\0\0\0\x07c\0\0\0\0\0\0\0\x03r"[..]));
        assert_eq!(Pointer::from_bytes(&bytes), Some(layered));
        assert_eq!(Pointer::from_bytes(&bytes[..bytes.len() - 1]), None, "cut off");
    }

    #[test]
    fn many_changes_leave_few_layers() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedOnlineStore::open(directory.path()).unwrap();
        let key = |row: u32| row.to_be_bytes().to_vec();
        store.publish("t", Timestamp(0), &mut (0..2_000).map(|row| (key(row), vec![0]))).unwrap();
        for step in 1..=100u8 {
            let base = store.version("t").unwrap().unwrap();
            let first = u32::from(step) * 17;
            let mut changes = (first..first + 3).map(|row| (key(row), (row % 5 != 0).then(|| vec![step])));
            assert_eq!(store.publish_change("t", base, Timestamp(i64::from(step)), &mut changes).unwrap(), 3);
            let layers = store.published("t").unwrap().layers.len();
            assert!(layers <= 6, "{layers} layers after {step} changes");
            assert_eq!(store.database.list_keyspace_names().len(), layers + 2, "nothing else is kept");
        }
        drop(store);
        let store = EmbeddedOnlineStore::open(directory.path()).unwrap();
        for row in 0..2_000u32 {
            let step = row / 17;
            let is_changed = row % 17 < 3 && (1..=100).contains(&step);
            let expected = if is_changed { (row % 5 != 0).then(|| vec![step as u8]) } else { Some(vec![0]) };
            assert_eq!(store.get("t", &[&key(row)]).unwrap().values, [expected], "row {row}");
        }
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
        assert_eq!(store.database.list_keyspace_names().len(), 3, "pointers, pushed rows and one version");
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
