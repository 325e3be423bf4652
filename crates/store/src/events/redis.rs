//! The event log on a Redis 7 or Valkey server.
//!
//! Keys, with the default prefix:
//!
//! | key | |
//! |---|---|
//! | `paceline:{events}:log` | the stream; entry `<offset>-0` has one field `e`, the event as JSON |
//! | `paceline:{events}:next` | the last offset given out |
//! | `paceline:{events}:ids` | a hash from (source, id) to the offset |
//! | `paceline:{events}:first` | the first position that was not dropped; absent for 0 |
//! | `paceline:{events}:bytes` | bytes of all events; absent in a log of an earlier build until it is counted |

use std::fmt;

use redis::Script;
use redis::streams::StreamRangeReply;
use serde::de::DeserializeOwned;

use paceline_core::event::{Appended, Dropped, Event, EventLog, EventLogError, Extent, Offset, Retention};

use super::{DROPPED_AT_ONCE, Head, READ_EVENTS_MAX, encode};
use crate::redis_pool::{PoolError, RedisOptions, RedisPool};

/// Appends the events whose id is new, all in one step.
///
/// KEYS: stream, counter, ids, bytes. ARGV: per event its index key (empty without id) and its JSON. Answers, per event,
/// the offset as text, with a `d` before it when the id was there already. Offsets are texts because Lua's numbers are
/// floating point; they stay exact to 2^53.
const APPEND: &str = r"
local answer = {}
local counted = redis.call('EXISTS', KEYS[4]) == 1 or redis.call('EXISTS', KEYS[1]) == 0
local bytes = 0
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
    bytes = bytes + #ARGV[i + 1]
    answer[#answer + 1] = offset
  end
end
if counted and bytes > 0 then redis.call('INCRBY', KEYS[4], string.format('%.0f', bytes)) end
return answer
";

/// Counts the bytes of a log of an earlier build, once.
///
/// KEYS: stream, bytes, first, counter. Answers bytes, first position and the last offset given out.
const EXTENT: &str = r"
if redis.call('EXISTS', KEYS[2]) == 0 then
  local bytes, from = 0, '-'
  while true do
    local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1000)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do bytes = bytes + #entry[2][2] end
    from = '(' .. entries[#entries][1]
  end
  redis.call('SET', KEYS[2], string.format('%.0f', bytes))
end
return { redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3]) or '0', redis.call('GET', KEYS[4]) or '0' }
";

/// Drops everything before a position, in one step, unless somebody else has dropped something meanwhile.
///
/// KEYS: stream, first, ids, bytes. ARGV: the first position as it was read, the new one, then index keys of dropped
/// events. Answers how many events and bytes that were; nothing when the first position is another.
const TRIM: &str = r"
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return false end
local events, bytes = 0, 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '(' .. ARGV[2] .. '-0')) do
  events = events + 1
  bytes = bytes + #entry[2][2]
end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2] .. '-0')
for i = 3, #ARGV do
  local at = redis.call('HGET', KEYS[3], ARGV[i])
  if at and tonumber(at) < tonumber(ARGV[2]) then redis.call('HDEL', KEYS[3], ARGV[i]) end
end
redis.call('SET', KEYS[2], ARGV[2])
if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('DECRBY', KEYS[4], string.format('%.0f', bytes)) end
return { events, bytes }
";

/// Takes single events out, in one step.
///
/// KEYS: stream, ids, bytes. ARGV: per event its offset and its index key (empty without id). Answers how many events and
/// bytes that were.
const REMOVE: &str = r"
local events, bytes = 0, 0
for i = 1, #ARGV, 2 do
  local at = ARGV[i] .. '-0'
  local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
  if entry then
    events = events + 1
    bytes = bytes + #entry[2][2]
    redis.call('XDEL', KEYS[1], at)
    if ARGV[i + 1] ~= '' and redis.call('HGET', KEYS[2], ARGV[i + 1]) == ARGV[i] then
      redis.call('HDEL', KEYS[2], ARGV[i + 1])
    end
  end
end
if bytes > 0 and redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('DECRBY', KEYS[3], string.format('%.0f', bytes))
end
return { events, bytes }
";

/// A log on a server, shared by any number of processes.
///
/// Durability: [`EventLog::append`] returns after the server has acknowledged the events. Whether they survive a crash
/// of the server is its configuration: with `appendonly yes` and `appendfsync always` it acknowledges after its own
/// sync, with `everysec` the last second can be lost. It needs `maxmemory-policy noeviction`.
///
/// An append whose connection breaks is reported as [`EventLogError::Unavailable`] and may have been written; a retry is
/// harmless for events with an id.
///
/// Of a single event that is removed the server keeps the bytes, marked as deleted, until its neighbours in the stream
/// (100 by default) are gone too; no command shows them.
pub struct RedisEventLog {
    pool: RedisPool,
    append: Script,
    extent: Script,
    trim: Script,
    remove: Script,
    stream: String,
    counter: String,
    ids: String,
    first: String,
    bytes: String,
}

impl RedisEventLog {
    /// Takes a `redis://[user:password@]host:port[/database]` URL and checks that the server answers.
    ///
    /// # Errors
    /// [`EventLogError::Unavailable`] when it does not, [`EventLogError::Broken`] for a URL or log in that cannot work.
    pub fn connect(url: &str, options: RedisOptions) -> Result<Self, EventLogError> {
        let pool = RedisPool::new(url, options).map_err(|error| pool_error("redis", error))?;
        // The braces make a cluster keep them together, which the scripts need.
        let key = |what: &str| format!("{}:{{events}}:{what}", pool.key_prefix());
        let log = RedisEventLog {
            append: Script::new(APPEND),
            extent: Script::new(EXTENT),
            trim: Script::new(TRIM),
            remove: Script::new(REMOVE),
            stream: key("log"),
            counter: key("next"),
            ids: key("ids"),
            first: key("first"),
            bytes: key("bytes"),
            pool,
        };
        log.pool.read(|connection| redis::cmd("PING").exec(connection)).map_err(|error| log.failed(error))?;
        Ok(log)
    }

    fn failed(&self, error: PoolError) -> EventLogError {
        pool_error(self.pool.address(), error)
    }

    fn broken(&self, offset: Option<Offset>, cause: String) -> EventLogError {
        EventLogError::Broken { address: self.pool.address().to_owned(), offset, cause }
    }

    /// One step of a trim; `None` when another process has trimmed meanwhile.
    fn try_trim(&self, retention: &Retention) -> Result<Option<Dropped>, EventLogError> {
        let held_bytes = match retention.bytes_max {
            Some(_) => self.extent()?.bytes,
            None => 0,
        };
        let (range, first) = self.read_range(Offset(0), DROPPED_AT_ONCE)?;
        let mut oldest = Vec::with_capacity(range.ids.len());
        let mut heads: Vec<Head> = Vec::with_capacity(range.ids.len());
        for entry in &range.ids {
            let json: Option<Vec<u8>> = entry.get("e");
            let bytes = json.as_ref().map_or(0, Vec::len) as u64;
            let (offset, head) = self.decode::<Head>(&entry.id, json)?;
            oldest.push((offset, head.received, bytes));
            heads.push(head);
        }
        let count = retention.count_dropped(held_bytes, &oldest);
        let Some((last, ..)) = oldest[..count].last() else { return Ok(Some(Dropped::default())) };
        let dropped: Option<(u64, u64)> = self
            .pool
            .write(|connection| {
                let mut script = self.trim.key(&self.stream);
                script.key(&self.first).key(&self.ids).key(&self.bytes).arg(first.0).arg(last.0 + 1);
                heads[..count].iter().filter_map(Head::id_key).for_each(|id| {
                    script.arg(id);
                });
                script.invoke(connection)
            })
            .map_err(|error| self.failed(error))?;
        Ok(dropped.map(|(events, bytes)| Dropped { events, bytes }))
    }

    fn remove_some(&self, offsets: &[Offset]) -> Result<Dropped, EventLogError> {
        let mut pipeline = redis::pipe();
        for offset in offsets {
            let at = format!("{}-0", offset.0);
            pipeline.cmd("XRANGE").arg(&self.stream).arg(&at).arg(&at);
        }
        let found: Vec<StreamRangeReply> =
            self.pool.read(|connection| pipeline.query(connection)).map_err(|error| self.failed(error))?;
        let mut wanted = Vec::new();
        for entry in found.iter().flat_map(|range| &range.ids) {
            let (offset, head) = self.decode::<Head>(&entry.id, entry.get("e"))?;
            wanted.push((offset, head.id_key().unwrap_or_default()));
        }
        if wanted.is_empty() {
            return Ok(Dropped::default());
        }
        let (events, bytes) = self
            .pool
            .write(|connection| {
                let mut script = self.remove.key(&self.stream);
                script.key(&self.ids).key(&self.bytes);
                for (offset, id) in &wanted {
                    script.arg(offset.0).arg(id.as_slice());
                }
                script.invoke(connection)
            })
            .map_err(|error| self.failed(error))?;
        Ok(Dropped { events, bytes })
    }

    /// Entries from a position on, and the first position after that: who finds it later than what was asked knows that
    /// something may have been missing.
    fn read_range(&self, from: Offset, limit: usize) -> Result<(StreamRangeReply, Offset), EventLogError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&self.stream).arg(format!("{}-0", from.0)).arg("+").arg("COUNT").arg(limit);
        pipeline.cmd("GET").arg(&self.first);
        let read = self.pool.read(|connection| pipeline.query(connection));
        let (range, first): (StreamRangeReply, Option<u64>) = read.map_err(|error| self.failed(error))?;
        Ok((range, Offset(first.unwrap_or(0))))
    }

    fn decode<T: DeserializeOwned>(
        &self,
        stream_id: &str,
        json: Option<Vec<u8>>,
    ) -> Result<(Offset, T), EventLogError> {
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
                script.key(&self.counter).key(&self.ids).key(&self.bytes);
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
        let (range, first) = self.read_range(from, limit.min(READ_EVENTS_MAX))?;
        if from < first {
            return Err(EventLogError::Gone { address: self.pool.address().to_owned(), asked: from, first });
        }
        range.ids.iter().map(|entry| self.decode(&entry.id, entry.get("e"))).collect()
    }

    fn extent(&self) -> Result<Extent, EventLogError> {
        let (bytes, first, last): (u64, u64, u64) = self
            .pool
            .read(|connection| {
                let mut script = self.extent.key(&self.stream);
                script.key(&self.bytes).key(&self.first).key(&self.counter);
                script.invoke(connection)
            })
            .map_err(|error| self.failed(error))?;
        Ok(Extent { first: Offset(first), next: Offset(last + 1), bytes })
    }

    fn trim(&self, retention: &Retention) -> Result<Dropped, EventLogError> {
        loop {
            // Each other trim has dropped something, so this ends.
            if let Some(dropped) = self.try_trim(retention)? {
                return Ok(dropped);
            }
        }
    }

    fn remove(&self, offsets: &[Offset]) -> Result<Dropped, EventLogError> {
        let mut dropped = Dropped::default();
        for some in offsets.chunks(DROPPED_AT_ONCE) {
            dropped += self.remove_some(some)?;
        }
        Ok(dropped)
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
