//! The event log on the local disk, for one process at a time.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use paceline_core::event::{Appended, Dropped, Event, EventLog, EventLogError, Extent, Offset, Retention};

use super::{DROPPED_AT_ONCE, Encoded, Head, READ_EVENTS_MAX, encode};

/// Offset (big-endian) to the event as JSON.
const EVENTS: &str = "events.1";
/// (source, id) to the offset (big-endian).
const IDS: &str = "ids.1";
/// [`EXTENT`] to what the log holds: the first position, the next one and the bytes of all events (each big-endian).
/// Logs of earlier builds lack it; nothing was dropped from them.
const ABOUT: &str = "about.1";
const EXTENT: &str = "extent";

/// A log in one directory, which one process holds open at a time.
///
/// Durability: [`EventLog::append`] returns after the events are synced to the disk (`fsync`). Appends that wait for
/// the disk at the same time share one sync: whoever gets the commit lock first writes for everybody in the queue.
/// After a failed write the log takes no more until it is opened again, because what the disk holds is then unknown.
///
/// A dropped event can no longer be read, and its bytes leave the files when the database compacts them.
pub struct EmbeddedEventLog {
    directory: PathBuf,
    database: Database,
    events: Keyspace,
    ids: Keyspace,
    about: Keyspace,
    /// Appends that wait; at most one per calling thread.
    queue: Mutex<Vec<Arc<Waiting>>>,
    /// Held while anything is written.
    commit: Mutex<Extent>,
    /// [`Extent::first`] for readers: moved before events are dropped, so that who looks at it after reading knows whether
    /// something was missing.
    first: AtomicU64,
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
        let about = database.keyspace(ABOUT, KeyspaceCreateOptions::default).map_err(failed)?;
        let last = events.last_key_value().map(|entry| entry.key()).transpose().map_err(failed)?;
        let next = match last {
            None => 0,
            Some(key) => parse_offset(&key).ok_or_else(|| broken(address(), None, "a key is no offset"))?.0 + 1,
        };
        let extent = match about.get(EXTENT).map_err(failed)? {
            Some(bytes) => {
                let known = parse_extent(&bytes)
                    .ok_or_else(|| broken(address(), None, "its extent is in an unknown format"))?;
                // An earlier build may have appended without noting it.
                Extent { next: known.next.max(Offset(next)), ..known }
            }
            None => Extent { first: Offset(0), next: Offset(next), bytes: count_bytes(&events).map_err(failed)? },
        };
        Ok(EmbeddedEventLog {
            directory: directory.to_owned(),
            database,
            events,
            ids,
            about,
            queue: Mutex::default(),
            first: AtomicU64::new(extent.first.0),
            commit: Mutex::new(extent),
        })
    }

    /// Writes everything that waits in one batch with one sync, and tells each its outcome.
    fn commit_queue(&self, extent: &mut Extent) {
        let group = std::mem::take(&mut *lock(&self.queue));
        let written = self.write_group(&group, extent);
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

    fn write_group(&self, group: &[Arc<Waiting>], extent: &mut Extent) -> Result<Vec<Vec<Appended>>, fjall::Error> {
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
                let offset = extent.next;
                extent.next.0 += 1;
                extent.bytes += event.json.len() as u64;
                batch.insert(&self.events, offset.0.to_be_bytes(), event.json.as_slice());
                if let Some(id) = &event.id {
                    batch.insert(&self.ids, id.as_slice(), offset.0.to_be_bytes());
                    group_ids.insert(id, offset);
                }
                outcome.push(Appended::New(offset));
            }
            outcomes.push(outcome);
        }
        self.commit(batch, extent)?;
        Ok(outcomes)
    }

    /// Writes a batch together with what the log holds after it.
    fn commit(&self, mut batch: OwnedWriteBatch, extent: &Extent) -> Result<(), fjall::Error> {
        let words = [extent.first.0, extent.next.0, extent.bytes];
        batch.insert(&self.about, EXTENT, words.map(u64::to_be_bytes).concat());
        batch.commit()
    }

    fn remove_some(&self, offsets: &[Offset]) -> Result<Dropped, EventLogError> {
        let mut extent = lock(&self.commit);
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let mut dropped = Dropped::default();
        for offset in offsets.iter().collect::<BTreeSet<_>>() {
            let key = offset.0.to_be_bytes();
            let Some(json) = self.events.get(key).map_err(|error| self.failed(&error))? else { continue };
            let (_, head) = self.head(&key, &json)?;
            batch.remove(&self.events, key);
            if let Some(id) = head.id_key() {
                batch.remove(&self.ids, id);
            }
            dropped += Dropped { events: 1, bytes: json.len() as u64 };
        }
        if dropped.events > 0 {
            extent.bytes = extent.bytes.saturating_sub(dropped.bytes);
            self.commit(batch, &extent).map_err(|error| self.failed(&error))?;
        }
        Ok(dropped)
    }

    fn head(&self, key: &[u8], json: &[u8]) -> Result<(Offset, Head), EventLogError> {
        let offset = parse_offset(key).ok_or_else(|| broken(self.address(), None, "a key is no offset"))?;
        let head = serde_json::from_slice(json)
            .map_err(|error| broken(self.address(), Some(offset), &format!("not an event: {error}")))?;
        Ok((offset, head))
    }

    fn failed(&self, error: &fjall::Error) -> EventLogError {
        EventLogError::Unavailable { address: self.address(), cause: crate::fjall_cause(error) }
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
        let mut extent = lock(&self.commit);
        // Whoever held the lock before may have written this append with its own.
        if lock(&waiting.outcome).is_none() {
            self.commit_queue(&mut extent);
        }
        drop(extent);
        let outcome = lock(&waiting.outcome).take().expect("the queue holds every append until it has an outcome");
        outcome.map_err(|cause| EventLogError::Unavailable { address: self.address(), cause })
    }

    fn read(&self, from: Offset, limit: usize) -> Result<Vec<(Offset, Event)>, EventLogError> {
        let entries = self.events.range(from.0.to_be_bytes()..).take(limit.min(READ_EVENTS_MAX));
        let mut events = Vec::new();
        for entry in entries {
            let (key, json) = entry.into_inner().map_err(|error| self.failed(&error))?;
            let offset = parse_offset(&key).ok_or_else(|| broken(self.address(), None, "a key is no offset"))?;
            let event = serde_json::from_slice(&json)
                .map_err(|error| broken(self.address(), Some(offset), &format!("not an event: {error}")))?;
            events.push((offset, event));
        }
        let first = Offset(self.first.load(Ordering::SeqCst));
        if from < first {
            return Err(EventLogError::Gone { address: self.address(), asked: from, first });
        }
        Ok(events)
    }

    fn extent(&self) -> Result<Extent, EventLogError> {
        Ok(*lock(&self.commit))
    }

    fn trim(&self, retention: &Retention) -> Result<Dropped, EventLogError> {
        let mut extent = lock(&self.commit);
        let entries = self.events.range(extent.first.0.to_be_bytes()..).take(DROPPED_AT_ONCE);
        let mut oldest = Vec::new();
        let mut heads = Vec::new();
        for entry in entries {
            let (key, json) = entry.into_inner().map_err(|error| self.failed(&error))?;
            let (offset, head) = self.head(&key, &json)?;
            oldest.push((offset, head.received, json.len() as u64));
            heads.push(head);
        }
        let count = retention.count_dropped(extent.bytes, &oldest);
        let Some((last, ..)) = oldest[..count].last() else { return Ok(Dropped::default()) };
        let mut batch = self.database.batch();
        let mut dropped = Dropped::default();
        for ((offset, _, bytes), head) in oldest[..count].iter().zip(&heads) {
            batch.remove(&self.events, offset.0.to_be_bytes());
            if let Some(id) = head.id_key() {
                batch.remove(&self.ids, id);
            }
            dropped += Dropped { events: 1, bytes: *bytes };
        }
        extent.first = Offset(last.0 + 1);
        extent.bytes = extent.bytes.saturating_sub(dropped.bytes);
        self.first.store(extent.first.0, Ordering::SeqCst);
        self.commit(batch, &extent).map_err(|error| self.failed(&error))?;
        Ok(dropped)
    }

    fn remove(&self, offsets: &[Offset]) -> Result<Dropped, EventLogError> {
        let mut dropped = Dropped::default();
        for some in offsets.chunks(DROPPED_AT_ONCE) {
            dropped += self.remove_some(some)?;
        }
        Ok(dropped)
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

fn parse_extent(bytes: &[u8]) -> Option<Extent> {
    let (words, rest) = bytes.as_chunks::<8>();
    match (words, rest) {
        ([first, next, bytes], []) => Some(Extent {
            first: Offset(u64::from_be_bytes(*first)),
            next: Offset(u64::from_be_bytes(*next)),
            bytes: u64::from_be_bytes(*bytes),
        }),
        _ => None,
    }
}

fn count_bytes(events: &Keyspace) -> Result<u64, fjall::Error> {
    events.iter().map(|entry| Ok(entry.into_inner()?.1.len() as u64)).sum()
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

        // Also when nothing is left.
        let everything = Retention { bytes_max: Some(0), ..Retention::default() };
        assert_eq!(log.trim(&everything).unwrap().events, 3);
        drop(log);
        let log = EmbeddedEventLog::open(directory.path()).unwrap();
        assert_eq!(log.extent().unwrap(), Extent { first: Offset(3), next: Offset(3), bytes: 0 });
        assert!(matches!(log.read(Offset(2), 1), Err(EventLogError::Gone { first: Offset(3), .. })));
        assert_eq!(log.append(&[event("a")]).unwrap(), [Appended::New(Offset(3))]);
    }

    #[test]
    fn a_log_of_an_earlier_build_is_counted_when_it_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let json = r#"{"id":"a","source":"s","received":"1970-01-01T00:00:00Z","fields":{}}"#;
        {
            let database = Database::builder(directory.path()).open().unwrap();
            let events = database.keyspace(EVENTS, KeyspaceCreateOptions::default).unwrap();
            let ids = database.keyspace(IDS, KeyspaceCreateOptions::default).unwrap();
            let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
            for offset in 0..3u64 {
                batch.insert(&events, offset.to_be_bytes(), json);
            }
            batch.insert(&ids, super::super::id_key("s", "a"), 2u64.to_be_bytes());
            batch.commit().unwrap();
        }
        let log = EmbeddedEventLog::open(directory.path()).unwrap();
        let bytes = 3 * json.len() as u64;
        assert_eq!(log.extent().unwrap(), Extent { first: Offset(0), next: Offset(3), bytes });
        assert_eq!(log.read(Offset(0), 10).unwrap().len(), 3);
        let half = Retention { bytes_max: Some(bytes / 2), ..Retention::default() };
        assert_eq!(log.trim(&half).unwrap(), Dropped { events: 2, bytes: bytes / 3 * 2 });
    }
}
