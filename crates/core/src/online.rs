//! The online store: what serving reads.

use std::fmt;

use thiserror::Error;

use crate::Timestamp;

/// Why a store could not answer, grouped by what the caller can do.
#[derive(Debug, Error)]
pub enum OnlineError {
    /// The table already holds something newer; nothing was written.
    #[error("table {table:?} holds values as of {current}; values as of {offered} are older and were not written")]
    Outdated {
        /// The table.
        table: String,
        /// As of when the stored values are.
        current: Timestamp,
        /// As of when the refused values were.
        offered: Timestamp,
    },
    /// The table is no longer the version that a change was made for; nothing was written. Compute the change again.
    #[error(
        "table {table:?} no longer holds the version that the change was made for (as of {expected}), so nothing was \
         written; another process wrote it meanwhile: run again"
    )]
    Moved {
        /// The table.
        table: String,
        /// As of when that version was.
        expected: Timestamp,
    },
    /// The store cannot be reached now; retrying may help.
    #[error("online store at {address} cannot be reached: {cause}")]
    Unreachable {
        /// Where it was looked for; no password.
        address: String,
        /// What the client said.
        cause: String,
    },
    /// The caller asks for something that no store takes; nothing was written.
    #[error("table {table:?}: {cause}")]
    Refused {
        /// The table.
        table: String,
        /// What is not taken, with the limit.
        cause: String,
    },
    /// Stored bytes make no sense, or the disk failed; retrying does not help.
    #[error("online store {address}: {cause}")]
    Broken {
        /// Which store.
        address: String,
        /// What is wrong.
        cause: String,
    },
}

/// What one read saw: all values belong to the same version of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// As of when the values are; `None` when the table was never published.
    pub as_of: Option<Timestamp>,
    /// One entry per requested key, in order; `None` for an unknown key.
    pub values: Vec<Option<Vec<u8>>>,
    /// For every key whose value was pushed, the time of that value; `None` for those of the version.
    pub pushed: Vec<Option<Timestamp>>,
}

impl Snapshot {
    /// The values of a version, none of them pushed.
    #[must_use]
    pub fn of_version(as_of: Option<Timestamp>, values: Vec<Option<Vec<u8>>>) -> Snapshot {
        Snapshot { as_of, pushed: vec![None; values.len()], values }
    }

    /// Takes each pushed value that is not older than the version in place of the version's.
    #[must_use]
    pub fn with_pushed(mut self, pushed: Vec<Option<PushedValue>>) -> Snapshot {
        for (at, row) in pushed.into_iter().enumerate() {
            if let Some((time, value)) = row.filter(|(time, _)| self.as_of.is_none_or(|as_of| *time >= as_of)) {
                self.values[at] = Some(value);
                self.pushed[at] = Some(time);
            }
        }
        self
    }
}

/// A row whose value was computed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedRow {
    /// Its key bytes.
    pub key: Vec<u8>,
    /// As of when its value is.
    pub time: Timestamp,
    /// Its value bytes.
    pub value: Vec<u8>,
}

/// Time and value bytes of a pushed row.
pub type PushedValue = (Timestamp, Vec<u8>);

/// What became of a pushed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Its value is the key's now.
    Written,
    /// The store holds a value of this later time, which stays.
    Older(Timestamp),
}

/// What a table holds between two writes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Differs from that of every other version of the table.
    pub number: u64,
    /// As of when the values are.
    pub as_of: Timestamp,
}

/// A row that [`OnlineStore::publish`] writes: key bytes ([`crate::EntityKey::to_bytes`]) and value bytes.
pub type OnlineRow = (Vec<u8>, Vec<u8>);

/// What [`OnlineStore::publish_change`] does to a key: `None` removes it, whether it is there or not.
pub type OnlineChange = (Vec<u8>, Option<Vec<u8>>);

/// Tables of key and value bytes, each replaced as a whole or changed as a whole. Implemented by the embedded store and
/// by Redis.
///
/// Of rows with the same key the last one counts. Invariants that the conformance suite in testkit checks of both:
/// 1. A reader sees all of one version or all of another, never a mixture, also while a publish runs or after it died. A
///    change counts as a version like a whole table.
/// 2. An older `as_of` never replaces a newer one ([`OnlineError::Outdated`]); an equal one does. A change is applied to
///    the version that it was made for or not at all ([`OnlineError::Moved`]).
/// 3. A pushed row lies above the versions: it is read in place of the version's value while its time is not before the
///    version's `as_of`, and a version of a later time takes its place. Of two pushed rows of a key the one of the later
///    time stays, of equal times the one pushed last. So nothing older ever replaces a newer value, and no reader of a key
///    goes back in time.
/// 4. What a method that writes returned from is on disk (embedded) or acknowledged by the server (Redis).
pub trait OnlineStore: Send + Sync + fmt::Debug {
    /// Replaces the content of `table` and returns the number of rows written.
    fn publish(
        &self,
        table: &str,
        as_of: Timestamp,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> Result<u64, OnlineError>;

    /// Makes a new version of `table` from `base`, without writing the rows that stay; returns the number of changes.
    /// Of changes of the same key the last one counts.
    fn publish_change(
        &self,
        table: &str,
        base: Version,
        as_of: Timestamp,
        changes: &mut dyn Iterator<Item = OnlineChange>,
    ) -> Result<u64, OnlineError>;

    /// Puts rows above the current version of `table`, or where there is none yet, each unless the store holds something
    /// newer; tells what became of each. All that are written become durable together.
    fn push(&self, table: &str, rows: &[PushedRow]) -> Result<Vec<Pushed>, OnlineError>;

    /// Reads `keys` from one version of `table` and the rows pushed above it.
    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError>;

    /// As [`OnlineStore::get`] of several tables with their keys, in as few requests to the store as can be. The values of
    /// one table are of one version; different tables may be of different times, as in separate calls.
    fn get_tables(&self, asked: &[(&str, &[&[u8]])]) -> Result<Vec<Snapshot>, OnlineError> {
        asked.iter().map(|(table, keys)| self.get(table, keys)).collect()
    }

    /// Takes `keys` out of `table`, pushed rows and all values too, wherever it keeps them, and makes what is left a version of the same
    /// time; returns how many of the keys had a value. Unlike a change that removes them, it leaves no older value behind
    /// the current one. A change that is being made for the version before is not applied any more. Without a value
    /// nothing changes.
    fn erase(&self, table: &str, keys: &[&[u8]]) -> Result<u64, OnlineError>;

    /// Gives `visit` every key of `table` at least once. Keys that come or go meanwhile, and some that were removed, may
    /// be among them.
    fn visit_keys(&self, table: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), OnlineError>;

    /// The current version of `table`, `None` when it was never published.
    fn version(&self, table: &str) -> Result<Option<Version>, OnlineError>;

    /// As of when the table is, `None` when it was never published.
    fn as_of(&self, table: &str) -> Result<Option<Timestamp>, OnlineError> {
        Ok(self.version(table)?.map(|version| version.as_of))
    }

    /// Whether the store answers now.
    fn ping(&self) -> Result<(), OnlineError>;
}
