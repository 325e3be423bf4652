//! Pushed rows: where the embedded store keeps them, and which of them count.
//!
//! They are no part of a version: a version that is published neither copies nor touches them. A reader takes the pushed
//! row of a key first and the version after it; if another version became current in between, that one is at least as new
//! as what the row is compared with. Rows that a version has made older than itself can never be read again and are
//! deleted after it became current.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use paceline_core::Timestamp;
use paceline_core::online::{Pushed, PushedRow, PushedValue};

use super::PUSHED_KEY_BYTES_MAX;

/// Table and key to time and value.
const PUSHED: &str = "pushed.1";
/// Rows that a version has outdated are deleted this many at a time.
const SWEEP_ROWS: usize = 1_000;

/// The pushed rows of all tables.
pub(super) struct PushedRows {
    rows: Keyspace,
    /// Tables that may have some, so that reads of all others cost nothing.
    tables: RwLock<BTreeSet<String>>,
    /// Held while a row is compared and written.
    pushing: Mutex<()>,
}

impl PushedRows {
    pub(super) fn open(database: &Database) -> Result<PushedRows, fjall::Error> {
        let rows = database.keyspace(PUSHED, KeyspaceCreateOptions::default)?;
        let mut tables = BTreeSet::new();
        let mut from = Vec::new();
        // One look per table: after a row of a table, what comes after all its rows.
        while let Some(entry) = rows.range(from..).next() {
            let key = entry.key()?;
            let Some((&length, rest)) = key.split_first() else { break };
            let table = &rest[..usize::from(length).min(rest.len())];
            tables.insert(String::from_utf8_lossy(table).into_owned());
            from = after(&[&[length], table].concat());
        }
        Ok(PushedRows { rows, tables: RwLock::new(tables), pushing: Mutex::new(()) })
    }

    fn has(&self, table: &str) -> bool {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).contains(table)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.pushing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pushed row of each key; nothing where the table has none at all.
    pub(super) fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Vec<Option<PushedValue>>, fjall::Error> {
        if !self.has(table) {
            return Ok(Vec::new());
        }
        keys.iter().map(|key| self.one(table, key)).collect()
    }

    fn one(&self, table: &str, key: &[u8]) -> Result<Option<PushedValue>, fjall::Error> {
        if key.is_empty() || key.len() > PUSHED_KEY_BYTES_MAX {
            return Ok(None);
        }
        Ok(self.rows.get(row_key(table, key))?.and_then(|stored| parse(&stored)))
    }

    /// Writes each row unless it is older than the version, as of `as_of`, or than what was pushed before.
    pub(super) fn push(
        &self,
        database: &Database,
        table: &str,
        rows: &[PushedRow],
        as_of: impl FnOnce() -> Option<Timestamp>,
    ) -> Result<Vec<Pushed>, fjall::Error> {
        let _pushing = self.lock();
        let as_of = as_of();
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        // Those of this call are not in the store yet.
        let mut seen: HashMap<&[u8], Timestamp> = HashMap::new();
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            let stored = match seen.get(row.key.as_slice()) {
                Some(time) => Some(*time),
                None => self.one(table, &row.key)?.map(|(time, _)| time),
            };
            outcomes.push(match as_of.max(stored) {
                Some(newest) if newest > row.time => Pushed::Older(newest),
                _ => {
                    let time = ordered(row.time).to_be_bytes();
                    batch.insert(&self.rows, row_key(table, &row.key), [&time[..], &row.value].concat());
                    seen.insert(&row.key, row.time);
                    Pushed::Written
                }
            });
        }
        if !batch.is_empty() {
            self.tables.write().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned());
            batch.commit()?;
        }
        Ok(outcomes)
    }

    /// Removes a row with `batch`, which is committed under [`PushedRows::lock`].
    pub(super) fn remove(&self, batch: &mut OwnedWriteBatch, table: &str, key: &[u8]) {
        batch.remove(&self.rows, row_key(table, key));
    }

    pub(super) fn visit_keys(&self, table: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), fjall::Error> {
        let prefix = row_key(table, &[]);
        for entry in self.rows.prefix(&prefix) {
            visit(&entry.key()?[prefix.len()..]);
        }
        Ok(())
    }

    /// Deletes what a version as of `as_of` has outdated.
    pub(super) fn sweep(&self, database: &Database, table: &str, as_of: Timestamp) -> Result<(), fjall::Error> {
        if !self.has(table) {
            return Ok(());
        }
        let _pushing = self.lock();
        let mut batch = database.batch();
        for entry in self.rows.prefix(row_key(table, &[])) {
            let (key, stored) = entry.into_inner()?;
            if parse(&stored).is_some_and(|(time, _)| time < as_of) {
                batch.remove(&self.rows, key);
            }
            if batch.len() == SWEEP_ROWS {
                std::mem::replace(&mut batch, database.batch()).commit()?;
            }
        }
        batch.commit()
    }
}

/// The length before the table keeps ("ab", "c") and ("a", "bc") apart; a table's name has at most 200 bytes.
fn row_key(table: &str, key: &[u8]) -> Vec<u8> {
    [&[table.len() as u8], table.as_bytes(), key].concat()
}

/// The first bytes after all that begin with `prefix`, whose last byte is a letter of a table's name.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    if let Some(last) = after.last_mut() {
        *last = last.saturating_add(1);
    }
    after
}

fn ordered(time: Timestamp) -> u64 {
    (time.0 as u64) ^ (1 << 63)
}

fn parse(stored: &[u8]) -> Option<PushedValue> {
    let (time, value) = stored.split_first_chunk()?;
    Some((Timestamp((u64::from_be_bytes(*time) ^ (1 << 63)) as i64), value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_tables_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let row = |time: i64| PushedRow { key: vec![255, 255], time: Timestamp(time), value: vec![7] };
        {
            let database = Database::builder(directory.path()).open().unwrap();
            let pushed = PushedRows::open(&database).unwrap();
            for (table, time) in [("a", -1), ("ab", 2), ("b", 3)] {
                assert_eq!(pushed.push(&database, table, &[row(time)], || None).unwrap(), [Pushed::Written]);
            }
        }
        let database = Database::builder(directory.path()).open().unwrap();
        let pushed = PushedRows::open(&database).unwrap();
        assert_eq!(pushed.tables.read().unwrap().iter().collect::<Vec<_>>(), ["a", "ab", "b"]);
        assert_eq!(pushed.get("a", &[&[255, 255], &[1]]).unwrap(), [Some((Timestamp(-1), vec![7])), None]);
        pushed.sweep(&database, "a", Timestamp(0)).unwrap();
        assert_eq!(pushed.get("a", &[&[255, 255]]).unwrap(), [None]);
        assert_eq!(pushed.get("ab", &[&[255, 255]]).unwrap(), [Some((Timestamp(2), vec![7]))]);
    }
}
