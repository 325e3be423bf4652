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

/// What a trim keeps. Events are dropped from the oldest on, up to the first one that nothing asks to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Events that were received before this time are dropped; `None` keeps every age.
    pub received_from: Option<Timestamp>,
    /// The oldest events are dropped while the log holds more bytes than this ([`Extent::bytes`]); `None` keeps any
    /// number.
    pub bytes_max: Option<u64>,
    /// Nothing at or after this position is dropped, whatever its age and size: who replays the log from there still
    /// needs it.
    pub needed_from: Option<Offset>,
}

impl Retention {
    /// How many of the `oldest` events, given with their time and bytes, are dropped from a log that holds `held_bytes`.
    #[must_use]
    pub fn count_dropped(&self, mut held_bytes: u64, oldest: &[(Offset, Timestamp, u64)]) -> usize {
        let is_dropped = |(offset, received, bytes): &&(Offset, Timestamp, u64)| {
            let is_needed = self.needed_from.is_some_and(|needed| *offset >= needed);
            let is_old = self.received_from.is_some_and(|from| *received < from);
            let is_too_much = self.bytes_max.is_some_and(|max| held_bytes > max);
            held_bytes = held_bytes.saturating_sub(*bytes);
            !is_needed && (is_old || is_too_much)
        };
        oldest.iter().take_while(is_dropped).count()
    }
}

/// What a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Events before this position were dropped.
    pub first: Offset,
    /// The next event gets this position or a later one.
    pub next: Offset,
    /// Bytes of all events, as JSON.
    pub bytes: u64,
}

/// What was taken out of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Dropped {
    /// Events.
    pub events: u64,
    /// Their bytes, as JSON.
    pub bytes: u64,
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Dropped) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
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
    /// The position was dropped by the log's retention; reading can go on at `first`, with what is missing before it.
    #[error(
        "event log {address} no longer holds offset {asked:?}: events before {first:?} were dropped by its retention; \
         read on from there, or keep events longer ([serve] events_keep, events_bytes_max)"
    )]
    Gone {
        /// Which log.
        address: String,
        /// The position that was asked for.
        asked: Offset,
        /// The first position that can be read.
        first: Offset,
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

/// A log that grows at its end and is dropped from its start. Implemented by the embedded log and by Redis Streams.
///
/// Invariants that the conformance suite in testkit checks of both:
/// 1. What `append` returned from is durable (embedded: synced to disk; Redis: acknowledged by the server, whose
///    `appendfsync` then decides).
/// 2. `read` gives events in offset order, each exactly once.
/// 3. An event whose (source, id) was appended before, and is still there, is not appended again.
/// 4. A position is never given out twice, also after everything was dropped, nor over a restart.
/// 5. A reader of a position that a trim has dropped is told so ([`EventLogError::Gone`]), never given a later one as if
///    nothing had been there. What `remove` took out is a gap.
pub trait EventLog: Send + Sync + fmt::Debug {
    /// Appends all events and returns what happened to each, in order. On an error none is acknowledged.
    fn append(&self, events: &[Event]) -> Result<Vec<Appended>, EventLogError>;

    /// At most `limit` events with offsets at or after `from`, which must not be before [`Extent::first`].
    fn read(&self, from: Offset, limit: usize) -> Result<Vec<(Offset, Event)>, EventLogError>;

    /// What the log holds now.
    fn extent(&self) -> Result<Extent, EventLogError>;

    /// Drops some of the oldest events that `retention` does not keep, in one step, and forgets their ids with them. None
    /// when there are no more such: who wants them all gone calls again until then. Appends and reads go on meanwhile.
    fn trim(&self, retention: &Retention) -> Result<Dropped, EventLogError>;

    /// Takes single events out, wherever they are, and forgets their ids; positions without an event count for nothing.
    /// What it returned from is as durable as an append.
    fn remove(&self, offsets: &[Offset]) -> Result<Dropped, EventLogError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_dropped_up_to_the_first_that_must_stay() {
        let oldest: Vec<(Offset, Timestamp, u64)> =
            [(3, 10), (4, 20), (7, 15), (8, 30)].map(|(at, received)| (Offset(at), Timestamp(received), 100)).into();
        let check = |from: Option<i64>, bytes_max: Option<u64>, needed: Option<u64>, dropped: usize| {
            let retention =
                Retention { received_from: from.map(Timestamp), bytes_max, needed_from: needed.map(Offset) };
            assert_eq!(retention.count_dropped(400, &oldest), dropped, "{retention:?}");
        };
        check(None, None, None, 0);
        check(Some(10), None, None, 0);
        check(Some(11), None, None, 1);
        // One that came out of order waits for those before it.
        check(Some(16), None, None, 1);
        check(Some(21), None, None, 3);
        check(Some(99), None, None, 4);
        check(None, Some(400), None, 0);
        check(None, Some(399), None, 1);
        check(None, Some(200), None, 2);
        check(None, Some(0), None, 4);
        check(Some(11), Some(200), None, 2);
        check(Some(99), Some(0), Some(7), 2);
        check(Some(99), None, Some(3), 0);
        check(Some(99), None, Some(100), 4);
    }
}
