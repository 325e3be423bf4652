//! Event logs: [`EmbeddedEventLog`] on the local disk, [`RedisEventLog`] on Redis Streams.
//!
//! Both write an event and its entry in the index of (source, id) in one atomic step, so a retried event is found even
//! when the first try was acknowledged a moment before a crash. The index keeps an entry for every event with an id, as
//! long as the log keeps the event. Events are dropped together with their entries in one atomic step as well, some at a
//! time, so that appends do not wait long and a kill leaves nothing half dropped.

mod embedded;
mod redis;

pub use embedded::EmbeddedEventLog;
pub use redis::RedisEventLog;

use paceline_core::event::EventLogError;
use paceline_core::{Event, Timestamp};
use serde::Deserialize;

/// The longest event, as JSON, in bytes.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// The most events of one append.
pub const APPEND_EVENTS_MAX: usize = 1_000;
/// The most bytes of one append, as JSON.
pub const APPEND_BYTES_MAX: usize = 16 << 20;
/// The longest source name and the longest id, in bytes each.
pub const NAME_BYTES_MAX: usize = 1_024;
/// The most events of one read; a larger limit is lowered to it.
pub const READ_EVENTS_MAX: usize = 10_000;

/// Events that are dropped in one step.
const DROPPED_AT_ONCE: usize = 1_000;

/// What dropping an event needs to know of it.
#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    source: String,
    received: Timestamp,
}

impl Head {
    /// Its key in the index.
    fn id_key(&self) -> Option<Vec<u8>> {
        self.id.as_deref().map(|id| id_key(&self.source, id))
    }
}

/// An event as it is stored.
struct Encoded {
    /// The index entry's key, `None` for an event without id.
    id: Option<Vec<u8>>,
    json: Vec<u8>,
}

/// Checks the limits and encodes every event, before any is written.
fn encode(events: &[Event]) -> Result<Vec<Encoded>, EventLogError> {
    let refused = |index: usize, cause: String| Err(EventLogError::Refused { index, cause });
    if events.len() > APPEND_EVENTS_MAX {
        let cause = format!("{} events at once; at most {APPEND_EVENTS_MAX} are taken", events.len());
        return refused(APPEND_EVENTS_MAX, cause);
    }
    let mut total_bytes = 0;
    let mut encoded = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        for (what, name) in [("source", Some(&event.source)), ("id", event.id.as_ref())] {
            if let Some(name) = name
                && (name.is_empty() || name.len() > NAME_BYTES_MAX)
            {
                let cause = format!("its {what} has {} bytes; it must have 1 to {NAME_BYTES_MAX}", name.len());
                return refused(index, cause);
            }
        }
        let json = serde_json::to_vec(event).expect("an event is plain data with text keys");
        if json.len() > EVENT_BYTES_MAX {
            return refused(index, format!("it has {} bytes; at most {EVENT_BYTES_MAX} are taken", json.len()));
        }
        total_bytes += json.len();
        if total_bytes > APPEND_BYTES_MAX {
            return refused(
                index,
                format!("the call has more than {APPEND_BYTES_MAX} bytes up to here; send fewer at once"),
            );
        }
        encoded.push(Encoded { id: event.id.as_deref().map(|id| id_key(&event.source, id)), json });
    }
    Ok(encoded)
}

/// The length before the source keeps ("ab", "c") and ("a", "bc") apart.
fn id_key(source: &str, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + source.len() + id.len());
    key.extend((source.len() as u16).to_be_bytes());
    key.extend(source.as_bytes());
    key.extend(id.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_core::Timestamp;

    fn event(source: &str, id: Option<&str>, text_bytes: usize) -> Event {
        let fields = [("text".to_owned(), "x".repeat(text_bytes).into())].into_iter().collect();
        Event { id: id.map(str::to_owned), source: source.to_owned(), received: Timestamp(0), fields }
    }

    #[test]
    fn limits_name_the_event_and_the_limit() {
        let small = event("sales", Some("1"), 10);
        let check = |events: &[Event], at: usize, part: &str| match encode(events).map(|encoded| encoded.len()) {
            Err(EventLogError::Refused { index, cause }) => {
                assert_eq!(index, at);
                assert!(cause.contains(part), "{cause}");
            }
            other => panic!("{other:?}"),
        };
        check(&[small.clone(), event("sales", None, EVENT_BYTES_MAX)], 1, "at most 1048576");
        check(&vec![event("sales", None, EVENT_BYTES_MAX - 200); 17], 16, "send fewer at once");
        check(&vec![small.clone(); APPEND_EVENTS_MAX + 1], APPEND_EVENTS_MAX, "1001 events at once");
        check(&[event("", None, 1)], 0, "its source has 0 bytes");
        check(&[event("sales", Some(&"i".repeat(1_025)), 1)], 0, "its id has 1025 bytes");
        assert_eq!(encode(&[small]).unwrap().len(), 1);
    }

    #[test]
    fn ids_of_different_sources_differ() {
        assert_ne!(id_key("ab", "c"), id_key("a", "bc"));
    }
}
