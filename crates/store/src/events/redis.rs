//! The event log on a Redis 7 or Valkey server.
//!
//! Keys, with the default prefix:
//!
//! | key | |
//! |---|---|
//! | `paceline:{events}:log` | the stream; entry `<offset>-0` has one field `e`, the event as JSON |
//! | `paceline:{events}:next` | the last offset given out |
//! | `paceline:{events}:ids` | a hash from (source, id) to the offset |

use std::fmt;

use redis::Script;
use redis::streams::StreamRangeReply;

use paceline_core::event::{Appended, Event, EventLog, EventLogError, Offset};

use super::{READ_EVENTS_MAX, encode};
use crate::redis_pool::{PoolError, RedisOptions, RedisPool};

/// Appends the events whose id is new, all in one step.
///
/// KEYS: stream, counter, ids. ARGV: per event its index key (empty without id) and its JSON. Answers, per event, the
/// offset as text, with a `d` before it when the id was there already. Offsets are texts because Lua's numbers are
/// floating point; they stay exact to 2^53.
const APPEND: &str = r"
local answer = {}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  local seen = id ~= '' and redis.call('HGET', KEYS[3], id)
  if seen then
    answer[#answer + 1] = 'd' .. seen
  else
    local offset = string.format('%.0f', redis.call('INCR', KEYS[2]))
    redis.call('XADD', KEYS[1], offset .. '-0', 'e', ARGV[i + 1])
    if id ~= '' then
      redis.call('HSET', KEYS[3], id, offset)
    end
    answer[#answer + 1] = offset
  end
end
return answer
";

/// A log on a server, shared by any number of processes.
///
/// Durability: [`EventLog::append`] returns after the server has acknowledged the events. Whether they survive a crash
/// of the server is its configuration: with `appendonly yes` and `appendfsync always` it acknowledges after its own
/// sync, with `everysec` the last second can be lost. It needs `maxmemory-policy noeviction`.
///
/// An append whose connection breaks is reported as [`EventLogError::Unavailable`] and may have been written; a retry is
/// harmless for events with an id.
pub struct RedisEventLog {
    pool: RedisPool,
    append: Script,
    stream: String,
    counter: String,
    ids: String,
}

impl RedisEventLog {
    /// Takes a `redis://[user:password@]host:port[/database]` URL and checks that the server answers.
    ///
    /// # Errors
    /// [`EventLogError::Unavailable`] when it does not, [`EventLogError::Broken`] for a URL or log in that cannot work.
    pub fn connect(url: &str, options: RedisOptions) -> Result<Self, EventLogError> {
        let pool = RedisPool::new(url, options).map_err(|error| pool_error("redis", error))?;
        // The braces make a cluster keep the three together, which the script needs.
        let key = |what: &str| format!("{}:{{events}}:{what}", pool.key_prefix());
        let (stream, counter, ids) = (key("log"), key("next"), key("ids"));
        let log = RedisEventLog { pool, append: Script::new(APPEND), stream, counter, ids };
        log.pool.read(|connection| redis::cmd("PING").exec(connection)).map_err(|error| log.failed(error))?;
        Ok(log)
    }

    fn failed(&self, error: PoolError) -> EventLogError {
        pool_error(self.pool.address(), error)
    }

    fn broken(&self, offset: Option<Offset>, cause: String) -> EventLogError {
        EventLogError::Broken { address: self.pool.address().to_owned(), offset, cause }
    }

    fn decode(&self, stream_id: &str, json: Option<Vec<u8>>) -> Result<(Offset, Event), EventLogError> {
        let offset = stream_id.strip_suffix("-0").and_then(|digits| digits.parse().ok()).map(Offset);
        let offset = offset.ok_or_else(|| {
            self.broken(None, format!("entry {stream_id} of {} was not written by Paceline", self.stream))
        })?;
        let json = json.ok_or_else(|| self.broken(Some(offset), "the entry has no field \"e\"".into()))?;
        let event = serde_json::from_slice(&json)
            .map_err(|error| self.broken(Some(offset), format!("not an event: {error}")))?;
        Ok((offset, event))
    }
}

impl EventLog for RedisEventLog {
    fn append(&self, events: &[Event]) -> Result<Vec<Appended>, EventLogError> {
        let events = encode(events)?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let answer: Vec<String> = self
            .pool
            .write(|connection| {
                let mut script = self.append.key(&self.stream);
                script.key(&self.counter).key(&self.ids);
                for event in &events {
                    script.arg(event.id.as_deref().unwrap_or_default()).arg(event.json.as_slice());
                }
                script.invoke(connection)
            })
            .map_err(|error| self.failed(error))?;
        let parse = |text: &String| {
            let (duplicate, digits) = match text.strip_prefix('d') {
                Some(digits) => (true, digits),
                None => (false, text.as_str()),
            };
            let offset = digits
                .parse()
                .map(Offset)
                .map_err(|_| self.broken(None, format!("{} holds {digits:?}, which is no offset", self.ids)))?;
            Ok(if duplicate { Appended::Duplicate(offset) } else { Appended::New(offset) })
        };
        answer.iter().map(parse).collect()
    }

    fn read(&self, from: Offset, limit: usize) -> Result<Vec<(Offset, Event)>, EventLogError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let range: StreamRangeReply = self
            .pool
            .read(|connection| {
                let mut command = redis::cmd("XRANGE");
                command.arg(&self.stream).arg(format!("{}-0", from.0)).arg("+");
                command.arg("COUNT").arg(limit.min(READ_EVENTS_MAX)).query(connection)
            })
            .map_err(|error| self.failed(error))?;
        range.ids.iter().map(|entry| self.decode(&entry.id, entry.get("e"))).collect()
    }
}

impl fmt::Debug for RedisEventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEventLog").field("pool", &self.pool).field("stream", &self.stream).finish_non_exhaustive()
    }
}

fn pool_error(address: &str, error: PoolError) -> EventLogError {
    let address = address.to_owned();
    match error {
        PoolError::Unreachable(cause) => EventLogError::Unavailable { address, cause },
        PoolError::Refused(cause) => EventLogError::Broken { address, offset: None, cause },
    }
}
