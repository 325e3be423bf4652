//! The online store on a Redis 7 or Valkey server, shared by any number of processes.
//!
//! Keys of table `T`, with the default prefix:
//!
//! | key | |
//! |---|---|
//! | `paceline:online:{T}:current` | the pointer: `1 <version> <as of> <rows>` |
//! | `paceline:online:{T}:versions` | a counter, so that no version's number is used twice |
//! | `paceline:online:{T}:rows:<version>` | a hash of the version's keys and values |
//!
//! `as of` is microseconds since 1970 plus 2^63, in 20 digits: as text it orders as the time does, which Lua's floating
//! point numbers would not.
//!
//! The server should run with `maxmemory-policy noeviction`; a table whose rows were evicted is reported as broken, not
//! as empty.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use redis::{Connection, RedisResult, Script};

use paceline_core::Timestamp;
use paceline_core::online::{OnlineError, OnlineRow, OnlineStore, Snapshot};

use super::{check_row, check_table_name};
use crate::redis_pool::{PoolError, RedisOptions, RedisPool};

/// Rows are sent in commands of at most this many, so that neither side buffers a whole table.
const CHUNK_ROWS: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;
/// Rows of a publish that stopped are deleted by the server this long after its last command.
const UNFINISHED_TTL_S: u64 = 600;
/// A read that meets this many publishes in a row gives up: they must be milliseconds apart.
const READ_ATTEMPTS_MAX: usize = 16;

/// Compares and moves the pointer; one script, so nothing happens in between.
///
/// KEYS: pointer, rows of the new version. ARGV: version, as of, number of distinct keys, prefix of rows keys.
/// Answers the newer `as of` when there is one, otherwise nothing.
const MOVE_POINTER: &str = r"
local current = redis.call('GET', KEYS[1])
local old
if current then
  local as_of
  old, as_of = string.match(current, '^1 (%d+) (%d+) %d+$')
  if not old then
    return redis.error_reply('PACELINE the pointer ' .. KEYS[1] .. ' was not written by this version of Paceline')
  end
  if as_of > ARGV[2] then
    redis.call('UNLINK', KEYS[2])
    return as_of
  end
end
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[3]) then
  return redis.error_reply('PACELINE rows vanished while they were written; is maxmemory-policy noeviction?')
end
redis.call('PERSIST', KEYS[2])
redis.call('SET', KEYS[1], '1 ' .. ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
if old then
  redis.call('UNLINK', ARGV[4] .. old)
end
return false
";

/// Tables on a server. Threads share it; each call takes a connection from a small pool.
///
/// Why readers never see a mixture: one pipeline reads the rows of the version that the reader believes to be current
/// and **then** the pointer. If the pointer still names that version, it was current, and whole, when its rows were
/// read, because a version's number is never used again; otherwise the read is repeated with the version that the
/// pointer names. So a read costs one round trip, and old versions can be deleted at once.
///
/// Durability: what [`OnlineStore::publish`] returned from was acknowledged by the server; whether it survives a crash
/// of the server is decided there (`appendonly yes`, `appendfsync`).
pub struct RedisOnlineStore {
    pool: RedisPool,
    move_pointer: Script,
    /// The pointers last seen; a wrong one costs a round trip, never a wrong value.
    believed: RwLock<HashMap<String, Pointer>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pointer {
    version: u64,
    as_of: Timestamp,
    rows: u64,
}

impl Pointer {
    fn parse(text: &str) -> Option<Pointer> {
        let mut words = text.split(' ');
        let mut next = || words.next();
        if next()? != "1" {
            return None;
        }
        let version = next()?.parse().ok()?;
        let as_of = parse_time(next()?)?;
        let rows = next()?.parse().ok()?;
        words.next().is_none().then_some(Pointer { version, as_of, rows })
    }
}

const SIGN: u64 = 1 << 63;

fn ordered_text(time: Timestamp) -> String {
    format!("{:020}", (time.0 as u64) ^ SIGN)
}

fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse::<u64>().ok().map(|biased| Timestamp((biased ^ SIGN) as i64))
}

impl RedisOnlineStore {
    /// Takes a `redis://[user:password@]host:port[/database]` URL and checks that the server answers.
    ///
    /// # Errors
    /// [`OnlineError::Unreachable`] when it does not, [`OnlineError::Broken`] for a URL or log in that cannot work.
    pub fn connect(url: &str, options: RedisOptions) -> Result<Self, OnlineError> {
        let pool = RedisPool::new(url, options).map_err(|error| pool_error("redis", error))?;
        let store = RedisOnlineStore { pool, move_pointer: Script::new(MOVE_POINTER), believed: RwLock::default() };
        store.ping()?;
        Ok(store)
    }

    fn key(&self, table: &str, what: &str) -> String {
        // The braces make a cluster keep a table's keys together, which the script needs.
        format!("{}:online:{{{table}}}:{what}", self.pool.key_prefix())
    }

    fn rows_key(&self, table: &str, version: u64) -> String {
        self.key(table, &format!("rows:{version}"))
    }

    fn believed(&self, table: &str) -> Option<Pointer> {
        self.believed.read().unwrap_or_else(PoisonError::into_inner).get(table).copied()
    }

    fn believe(&self, table: &str, pointer: Option<Pointer>) {
        let mut believed = self.believed.write().unwrap_or_else(PoisonError::into_inner);
        match pointer {
            Some(pointer) => believed.insert(table.to_owned(), pointer),
            None => believed.remove(table),
        };
    }

    fn read_pointer(&self, table: &str) -> Result<Option<Pointer>, OnlineError> {
        let key = self.key(table, "current");
        let text: Option<String> =
            self.pool.read(|connection| redis::cmd("GET").arg(&key).query(connection)).map_err(|e| self.failed(e))?;
        let pointer = self.parse(table, text)?;
        self.believe(table, pointer);
        Ok(pointer)
    }

    fn parse(&self, table: &str, text: Option<String>) -> Result<Option<Pointer>, OnlineError> {
        let Some(text) = text else { return Ok(None) };
        let unknown = || self.broken(format!("the pointer of table {table:?} is {text:?}, which is an unknown format"));
        Pointer::parse(&text).map(Some).ok_or_else(unknown)
    }

    /// The rows of `pointer`'s version, whether its hash exists, and the pointer after that.
    fn read_rows(&self, table: &str, pointer: Pointer, keys: &[&[u8]]) -> Result<RowsAndPointer, OnlineError> {
        let rows_key = self.rows_key(table, pointer.version);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(&rows_key).arg(keys);
        pipeline.cmd("EXISTS").arg(&rows_key);
        pipeline.cmd("GET").arg(self.key(table, "current"));
        let (values, exists, current): (Vec<Option<Vec<u8>>>, bool, Option<String>) =
            self.pool.read(|connection| pipeline.query(connection)).map_err(|error| self.failed(error))?;
        Ok(RowsAndPointer { values, exists, current: self.parse(table, current)? })
    }

    /// Sends all rows to `rows_key`; returns how many there were and how many distinct keys.
    fn send_rows(
        connection: &mut Connection,
        table: &str,
        rows_key: &str,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> RedisResult<Result<Sent, OnlineError>> {
        let mut sent = Sent::default();
        loop {
            let mut command = redis::cmd("HSET");
            command.arg(rows_key);
            let (mut chunk_rows, mut chunk_bytes) = (0, 0);
            for row in &mut *rows {
                if let Err(refusal) = check_row(table, &row) {
                    return Ok(Err(refusal));
                }
                chunk_bytes += row.0.len() + row.1.len();
                command.arg(row.0).arg(row.1);
                chunk_rows += 1;
                if chunk_rows == CHUNK_ROWS || chunk_bytes > CHUNK_BYTES {
                    break;
                }
            }
            if chunk_rows == 0 {
                return Ok(Ok(sent));
            }
            let mut pipeline = redis::pipe();
            pipeline.add_command(command).cmd("EXPIRE").arg(rows_key).arg(UNFINISHED_TTL_S).ignore();
            let (added,): (u64,) = pipeline.query(connection)?;
            sent.rows += chunk_rows as u64;
            sent.distinct += added;
        }
    }

    fn failed(&self, error: PoolError) -> OnlineError {
        pool_error(self.pool.address(), error)
    }

    fn broken(&self, cause: String) -> OnlineError {
        OnlineError::Broken { address: self.pool.address().to_owned(), cause }
    }
}

struct RowsAndPointer {
    values: Vec<Option<Vec<u8>>>,
    exists: bool,
    current: Option<Pointer>,
}

#[derive(Default)]
struct Sent {
    rows: u64,
    distinct: u64,
}

impl OnlineStore for RedisOnlineStore {
    fn publish(
        &self,
        table: &str,
        as_of: Timestamp,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> Result<u64, OnlineError> {
        check_table_name(table)?;
        let outdated = |current| OnlineError::Outdated { table: table.to_owned(), current, offered: as_of };
        if let Some(current) = self.read_pointer(table)?.filter(|current| current.as_of > as_of) {
            return Err(outdated(current.as_of));
        }
        let published = self.pool.write(|connection| {
            let version: u64 = redis::cmd("INCR").arg(self.key(table, "versions")).query(connection)?;
            let rows_key = self.rows_key(table, version);
            let sent = match Self::send_rows(connection, table, &rows_key, rows)? {
                Ok(sent) => sent,
                Err(refusal) => {
                    redis::cmd("UNLINK").arg(&rows_key).exec(connection)?;
                    return Ok(Err(refusal));
                }
            };
            let newer: Option<String> = self
                .move_pointer
                .key(self.key(table, "current"))
                .key(&rows_key)
                .arg(version)
                .arg(ordered_text(as_of))
                .arg(sent.distinct)
                .arg(self.key(table, "rows:"))
                .invoke(connection)?;
            Ok(match newer.as_deref().and_then(parse_time) {
                Some(current) => Err(outdated(current)),
                None => Ok((sent.rows, Pointer { version, as_of, rows: sent.distinct })),
            })
        });
        let (rows, pointer) = published.map_err(|error| self.failed(error))??;
        self.believe(table, Some(pointer));
        Ok(rows)
    }

    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError> {
        let mut pointer = match self.believed(table) {
            Some(pointer) => Some(pointer),
            None => self.read_pointer(table)?,
        };
        if keys.is_empty() {
            let as_of = self.read_pointer(table)?.map(|pointer| pointer.as_of);
            return Ok(Snapshot { as_of, values: Vec::new() });
        }
        for _ in 0..READ_ATTEMPTS_MAX {
            let Some(tried) = pointer else {
                return Ok(Snapshot { as_of: None, values: vec![None; keys.len()] });
            };
            let read = self.read_rows(table, tried, keys)?;
            if read.current == Some(tried) {
                if tried.rows > 0 && !read.exists {
                    return Err(self.broken(format!(
                        "the {} rows of table {table:?} are gone; is maxmemory-policy noeviction? Publish it again",
                        tried.rows
                    )));
                }
                return Ok(Snapshot { as_of: Some(tried.as_of), values: read.values });
            }
            self.believe(table, read.current);
            pointer = read.current;
        }
        Err(OnlineError::Unreachable {
            address: self.pool.address().to_owned(),
            cause: format!("table {table:?} was published {READ_ATTEMPTS_MAX} times while it was read"),
        })
    }

    fn as_of(&self, table: &str) -> Result<Option<Timestamp>, OnlineError> {
        Ok(self.read_pointer(table)?.map(|pointer| pointer.as_of))
    }

    fn ping(&self) -> Result<(), OnlineError> {
        self.pool.read(|connection| redis::cmd("PING").exec(connection)).map_err(|error| self.failed(error))
    }
}

impl fmt::Debug for RedisOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOnlineStore").field("pool", &self.pool).finish_non_exhaustive()
    }
}

fn pool_error(address: &str, error: PoolError) -> OnlineError {
    let address = address.to_owned();
    match error {
        PoolError::Unreachable(cause) => OnlineError::Unreachable { address, cause },
        PoolError::Refused(cause) => OnlineError::Broken { address, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_order_as_texts() {
        let times = [Timestamp::MIN, Timestamp(-1), Timestamp(0), Timestamp(1 << 60), Timestamp::MAX];
        let texts = times.map(ordered_text);
        assert!(texts.is_sorted() && texts.iter().all(|text| text.len() == 20), "{texts:?}");
        assert_eq!(texts.map(|text| parse_time(&text).unwrap()), times);
    }

    #[test]
    fn pointers_of_other_formats_are_not_guessed() {
        let pointer = Pointer { version: 3, as_of: Timestamp(5), rows: 9 };
        assert_eq!(Pointer::parse(&format!("1 3 {} 9", ordered_text(Timestamp(5)))), Some(pointer));
        for other in ["", "2 3 00000000000000000005 9", "1 3 5", "1 3 5 9 x"] {
            assert_eq!(Pointer::parse(other), None, "{other:?}");
        }
    }
}
