//! The event log on the local disk, for one process at a time.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use paceline_core::event::{Appended, Event, EventLog, EventLogError, Offset};

use super::{Encoded, READ_EVENTS_MAX, encode};

/// Offset (big-endian) to the event as JSON.
const EVENTS: &str = "events.1";
/// (source, id) to the offset (big-endian).
const IDS: &str = "ids.1";

/// A log in one directory, which one process holds open at a time.
///
/// Durability: [`EventLog::append`] returns after the events are synced to the disk (`fsync`). Appends that wait for
/// the disk at the same time share one sync: whoever gets the commit lock first writes for everybody in the queue.
/// After a failed write the log takes no more until it is opened again, because what the disk holds is then unknown.
pub struct EmbeddedEventLog {
    directory: PathBuf,
    database: Database,
    events: Keyspace,
    ids: Keyspace,
    /// Appends that wait; at most one per calling thread.
    queue: Mutex<Vec<Arc<Waiting>>>,
    /// The next offset. Held while a group is written.
    commit: Mutex<u64>,
}

/// One append in the queue.
struct Waiting {
    events: Vec<Encoded>,
    outcome: Mutex<Option<Result<Vec<Appended>, String>>>,
}

impl EmbeddedEventLog {
    /// Opens the log in `directory`, creating it if needed.
    ///
    /// # Errors
    /// [`EventLogError::Unavailable`] while another process has it open, [`EventLogError::Broken`] otherwise.
    pub fn open(directory: &Path) -> Result<Self, EventLogError> {
        let address = || directory.display().to_string();
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => EventLogError::Unavailable {
                address: address(),
                cause: "another process has it open; stop that one, or use a Redis log, which many can share".into(),
            },
            other => EventLogError::Broken { address: address(), offset: None, cause: crate::fjall_cause(&other) },
        };
        let database = Database::builder(directory).worker_threads(1).open().map_err(failed)?;
        let events = database.keyspace(EVENTS, KeyspaceCreateOptions::default).map_err(failed)?;
        let ids = database.keyspace(IDS, KeyspaceCreateOptions::default).map_err(failed)?;
        let last = events.last_key_value().map(|entry| entry.key()).transpose().map_err(failed)?;
        let next = match last {
            None => 0,
            Some(key) => parse_offset(&key).ok_or_else(|| broken(address(), None, "a key is no offset"))?.0 + 1,
        };
        Ok(EmbeddedEventLog {
            directory: directory.to_owned(),
            database,
            events,
            ids,
            queue: Mutex::default(),
            commit: Mutex::new(next),
        })
    }

    /// Writes everything that waits in one batch with one sync, and tells each its outcome.
    fn commit_queue(&self, next_offset: &mut u64) {
        let group = std::mem::take(&mut *lock(&self.queue));
        let written = self.write_group(&group, next_offset);
        match written {
            Ok(outcomes) => {
                for (waiting, outcome) in group.iter().zip(outcomes) {
                    *lock(&waiting.outcome) = Some(Ok(outcome));
                }
            }
            Err(error) => {
                for waiting in &group {
                    *lock(&waiting.outcome) = Some(Err(crate::fjall_cause(&error)));
                }
            }
        }
    }

    fn write_group(&self, group: &[Arc<Waiting>], next_offset: &mut u64) -> Result<Vec<Vec<Appended>>, fjall::Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        // Ids of this group are not in the index yet.
        let mut group_ids: HashMap<&[u8], Offset> = HashMap::new();
        let mut outcomes = Vec::with_capacity(group.len());
        for waiting in group {
            let mut outcome = Vec::with_capacity(waiting.events.len());
            for event in &waiting.events {
                if let Some(id) = &event.id
                    && let Some(seen) = self.seen(id, &group_ids)?
                {
                    outcome.push(Appended::Duplicate(seen));
                    continue;
                }
                let offset = Offset(*next_offset);
                *next_offset += 1;
                batch.insert(&self.events, offset.0.to_be_bytes(), event.json.as_slice());
                if let Some(id) = &event.id {
                    batch.insert(&self.ids, id.as_slice(), offset.0.to_be_bytes());
                    group_ids.insert(id, offset);
                }
                outcome.push(Appended::New(offset));
            }
            outcomes.push(outcome);
        }
        batch.commit()?;
        Ok(outcomes)
    }

    fn seen(&self, id: &[u8], group_ids: &HashMap<&[u8], Offset>) -> Result<Option<Offset>, fjall::Error> {
        if let Some(offset) = group_ids.get(id) {
            return Ok(Some(*offset));
        }
        Ok(self.ids.get(id)?.and_then(|bytes| parse_offset(&bytes)))
    }

    fn address(&self) -> String {
        self.directory.display().to_string()
    }
}

impl EventLog for EmbeddedEventLog {
    fn append(&self, events: &[Event]) -> Result<Vec<Appended>, EventLogError> {
        let events = encode(events)?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let waiting = Arc::new(Waiting { events, outcome: Mutex::new(None) });
        lock(&self.queue).push(Arc::clone(&waiting));
        let mut next_offset = lock(&self.commit);
        // Whoever held the lock before may have written this append with its own.
        if lock(&waiting.outcome).is_none() {
            self.commit_queue(&mut next_offset);
        }
        drop(next_offset);
        let outcome = lock(&waiting.outcome).take().expect("the queue holds every append until it has an outcome");
        outcome.map_err(|cause| EventLogError::Unavailable { address: self.address(), cause })
    }

    fn read(&self, from: Offset, limit: usize) -> Result<Vec<(Offset, Event)>, EventLogError> {
        let failed = |cause: fjall::Error| EventLogError::Unavailable {
            address: self.address(),
            cause: crate::fjall_cause(&cause),
        };
        let entries = self.events.range(from.0.to_be_bytes()..).take(limit.min(READ_EVENTS_MAX));
        let mut events = Vec::new();
        for entry in entries {
            let (key, json) = entry.into_inner().map_err(failed)?;
            let offset = parse_offset(&key).ok_or_else(|| broken(self.address(), None, "a key is no offset"))?;
            let event = serde_json::from_slice(&json)
                .map_err(|error| broken(self.address(), Some(offset), &format!("not an event: {error}")))?;
            events.push((offset, event));
        }
        Ok(events)
    }
}

impl fmt::Debug for EmbeddedEventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEventLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn parse_offset(bytes: &[u8]) -> Option<Offset> {
    bytes.try_into().ok().map(|bytes| Offset(u64::from_be_bytes(bytes)))
}

fn broken(address: String, offset: Option<Offset>, cause: &str) -> EventLogError {
    EventLogError::Broken { address, offset, cause: cause.to_owned() }
}

/// A panic of another thread cannot leave these values half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_core::Timestamp;

    #[test]
    fn one_process_at_a_time_and_offsets_go_on_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let event = |id: &str| Event {
            id: Some(id.into()),
            source: "s".into(),
            received: Timestamp(0),
            fields: Default::default(),
        };
        let log = EmbeddedEventLog::open(directory.path()).unwrap();
        assert_eq!(log.append(&[event("a"), event("b"), event("a")]).unwrap().len(), 3);
        let error = EmbeddedEventLog::open(directory.path()).unwrap_err();
        assert!(matches!(error, EventLogError::Unavailable { .. }), "{error}");
        drop(log);
        let log = EmbeddedEventLog::open(directory.path()).unwrap();
        let outcome = log.append(&[event("b"), event("c")]).unwrap();
        assert_eq!(outcome, [Appended::Duplicate(Offset(1)), Appended::New(Offset(2))]);
    }
}
