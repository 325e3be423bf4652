//! The event log: events and outcomes as they arrived.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Timestamp;

/// Position in the log; later appends have larger offsets. Gaps are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// One event: a row of a source, an exposure, a prediction or an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The client's id, which makes a retry harmless: an id seen before is not appended again.
    pub id: Option<String>,
    /// The source or kind it belongs to.
    pub source: String,
    /// When it was received: its available time.
    pub received: Timestamp,
    /// The fields, a JSON object.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// What happened to one appended event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Written, at this offset.
    New(Offset),
    /// The id was there already, at this offset; nothing was written.
    Duplicate(Offset),
}

/// Why the log could not take or give events.
#[derive(Debug, Error)]
pub enum EventLogError {
    /// The log cannot be reached or written now; nothing of the call was acknowledged, retrying may help.
    #[error("event log at {address} cannot take events: {cause}")]
    Unavailable {
        /// Where it is; no password.
        address: String,
        /// What went wrong.
        cause: String,
    },
    /// An event is larger than the log takes, or there are too many at once; nothing of the call was written.
    #[error("event {index} of the call is refused: {cause}")]
    Refused {
        /// Which event, from 0.
        index: usize,
        /// What is not taken, with the limit.
        cause: String,
    },
    /// Stored bytes make no sense.
    #[error("event log {address} at offset {offset:?}: {cause}")]
    Broken {
        /// Which log.
        address: String,
        /// Where.
        offset: Option<Offset>,
        /// What is wrong.
        cause: String,
    },
}

/// An append-only log. Implemented by the embedded log and by Redis Streams.
///
/// Invariants that the conformance suite in testkit checks of both:
/// 1. What `append` returned from is durable (embedded: synced to disk; Redis: acknowledged by the server, whose
///    `appendfsync` then decides).
/// 2. `read` gives events in offset order, each exactly once.
/// 3. An event whose (source, id) was appended before is not appended again.
pub trait EventLog: Send + Sync + fmt::Debug {
    /// Appends all events and returns what happened to each, in order. On an error none is acknowledged.
    fn append(&self, events: &[Event]) -> Result<Vec<Appended>, EventLogError>;

    /// At most `limit` events with offsets at or after `from`.
    fn read(&self, from: Offset, limit: usize) -> Result<Vec<(Offset, Event)>, EventLogError>;
}
