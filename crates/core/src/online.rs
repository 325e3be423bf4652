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
}

/// A row that [`OnlineStore::publish`] writes: key bytes ([`crate::EntityKey::to_bytes`]) and value bytes.
pub type OnlineRow = (Vec<u8>, Vec<u8>);

/// Tables of key and value bytes, each replaced as a whole. Implemented by the embedded store and by Redis.
///
/// Of rows with the same key the last one counts. Invariants that the conformance suite in testkit checks of both:
/// 1. A reader sees all of one version or all of another, never a mixture, also while a publish runs or after it died.
/// 2. An older `as_of` never replaces a newer one ([`OnlineError::Outdated`]); an equal one does.
/// 3. What `publish` returned from is on disk (embedded) or acknowledged by the server (Redis).
pub trait OnlineStore: Send + Sync + fmt::Debug {
    /// Replaces the content of `table` and returns the number of rows written.
    fn publish(
        &self,
        table: &str,
        as_of: Timestamp,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> Result<u64, OnlineError>;

    /// Reads `keys` from one version of `table`.
    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError>;

    /// As of when the table is, `None` when it was never published.
    fn as_of(&self, table: &str) -> Result<Option<Timestamp>, OnlineError>;

    /// Whether the store answers now.
    fn ping(&self) -> Result<(), OnlineError>;
}
