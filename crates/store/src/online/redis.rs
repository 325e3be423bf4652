//! The online store on a Redis 7 or Valkey server, shared by any number of processes.
//!
//! Keys of table `T`, with the default prefix:
//!
//! | key | |
//! |---|---|
//! | `paceline:online:{T}:current` | the pointer: `1 <version> <as of> <rows>`, or after a change `2 <version> <as of>` and each layer's `<version>:<rows>:<kind>`, the newest first |
//! | `paceline:online:{T}:versions` | a counter, so that no version's number is used twice |
//! | `paceline:online:{T}:rows:<version>` | a hash of the keys and values that the version wrote |
//! | `paceline:online:{T}:pushed` | a hash of the keys of pushed rows, each to its time (20 digits) and value |
//!
//! `as of` is microseconds since 1970 plus 2^63, in 20 digits: as text it orders as the time does, which Lua's floating
//! point numbers would not.
//!
//! The server should run with `maxmemory-policy noeviction`; a table whose rows were evicted is reported as broken, not
//! as empty.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use redis::{Connection, FromRedisValue, RedisResult, Script};

use paceline_core::Timestamp;
use paceline_core::online::{
    OnlineChange, OnlineError, OnlineRow, OnlineStore, Pushed, PushedRow, PushedValue, Snapshot, Version,
};

use super::layer::{Kind, MERGE_FACTOR, tagged};
use super::redis_pointer::{Layer, Pointer, TIME_DIGITS, ordered_text, parse_time};
use super::redis_scripts::{ERASE, MOVE_POINTER, MOVED, PUSH, SWEEP};
use super::{check_change, check_pushed, check_row, check_table_name};
use crate::redis_pool::{PoolError, RedisOptions, RedisPool};

/// Rows are sent in commands of at most this many, so that neither side buffers a whole table.
const CHUNK_ROWS: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;
/// Rows of a publish that stopped are deleted by the server this long after its last command.
const UNFINISHED_TTL_S: u64 = 600;
/// A read that meets this many publishes in a row gives up: they must be milliseconds apart.
const READ_ATTEMPTS_MAX: usize = 16;

/// Tables on a server. Threads share it; each call takes a connection from a small pool.
///
/// Why readers never see a mixture: one pipeline reads the layers of the version that the reader believes to be current
/// and **then** the pointer. If the pointer still names that version, it was current, and whole, when its rows were
/// read, because a version's number is never used again; otherwise the read is repeated with the version that the
/// pointer names. So a read costs one round trip, and old versions can be deleted at once.
///
/// Durability: what [`OnlineStore::publish`] returned from was acknowledged by the server; whether it survives a crash
/// of the server is decided there (`appendonly yes`, `appendfsync`).
pub struct RedisOnlineStore {
    pool: RedisPool,
    move_pointer: Script,
    erase: Script,
    push: Script,
    sweep: Script,
    /// The pointers last seen; a wrong one costs a round trip, never a wrong value.
    believed: RwLock<HashMap<String, Pointer>>,
}

impl RedisOnlineStore {
    /// Takes a `redis://[user:password@]host:port[/database]` URL and checks that the server answers.
    ///
    /// # Errors
    /// [`OnlineError::Unreachable`] when it does not, [`OnlineError::Broken`] for a URL or log in that cannot work.
    pub fn connect(url: &str, options: RedisOptions) -> Result<Self, OnlineError> {
        let pool = RedisPool::new(url, options).map_err(|error| pool_error("redis", error))?;
        let store = RedisOnlineStore {
            pool,
            move_pointer: Script::new(MOVE_POINTER),
            erase: Script::new(ERASE),
            push: Script::new(PUSH),
            sweep: Script::new(SWEEP),
            believed: RwLock::default(),
        };
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
        self.believed.read().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
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
        self.believe(table, pointer.clone());
        Ok(pointer)
    }

    fn parse(&self, table: &str, text: Option<String>) -> Result<Option<Pointer>, OnlineError> {
        let Some(text) = text else { return Ok(None) };
        let unknown = || self.broken(format!("the pointer of table {table:?} is {text:?}, which is an unknown format"));
        Pointer::parse(&text).map(Some).ok_or_else(unknown)
    }

    /// The values in `pointer`'s version and the rows pushed above it, how many of the version's hashes exist, and the
    /// pointer after that.
    ///
    /// Pushed rows come first: a version that becomes current after they were read is at least as new as what they are
    /// compared with.
    fn read_rows(&self, table: &str, pointer: Option<&Pointer>, keys: &[&[u8]]) -> Result<RowsAndPointer, OnlineError> {
        let mut pipeline = redis::pipe();
        self.ask_rows(&mut pipeline, table, pointer, keys);
        let answers = self.pool.read(|connection| pipeline.query(connection)).map_err(|error| self.failed(error))?;
        self.answered_rows(table, pointer, keys.len(), answers)
    }

    /// Adds what [`RedisOnlineStore::answered_rows`] reads: a command for pushed rows, one a layer, and two.
    fn ask_rows(&self, pipeline: &mut redis::Pipeline, table: &str, pointer: Option<&Pointer>, keys: &[&[u8]]) {
        let layers = pointer.map_or(&[][..], |pointer| &pointer.layers);
        let hashes: Vec<String> = layers.iter().map(|layer| self.rows_key(table, layer.number)).collect();
        pipeline.cmd("HMGET").arg(self.key(table, "pushed")).arg(keys);
        for hash in &hashes {
            pipeline.cmd("HMGET").arg(hash).arg(keys);
        }
        // Without hashes it answers for a key that is never there.
        pipeline.cmd("EXISTS").arg(&hashes).arg(self.key(table, "none"));
        pipeline.cmd("GET").arg(self.key(table, "current"));
    }

    fn answered_rows(
        &self,
        table: &str,
        pointer: Option<&Pointer>,
        key_count: usize,
        mut answers: Vec<redis::Value>,
    ) -> Result<RowsAndPointer, OnlineError> {
        let layers = pointer.map_or(&[][..], |pointer| &pointer.layers);
        let read = || {
            let current: Option<String> = FromRedisValue::from_redis_value(answers.pop().unwrap_or(redis::Value::Nil))?;
            let existing: u64 = FromRedisValue::from_redis_value(answers.pop().unwrap_or(redis::Value::Nil))?;
            let found: Vec<Vec<Option<Vec<u8>>>> =
                answers.into_iter().map(FromRedisValue::from_redis_value).collect::<Result<_, _>>()?;
            Ok((found, existing, current))
        };
        let read: Result<_, redis::ParsingError> = read();
        let (found, existing, current) = read.map_err(|error| self.broken(format!("table {table:?}: {error}")))?;
        let mut found = found.into_iter();
        let pushed = found.next().unwrap_or_default().into_iter();
        let pushed = pushed.map(|stored| stored.map(|stored| self.pushed_row(table, &stored)).transpose());
        let pushed = pushed.collect::<Result<_, _>>()?;
        // `None` until a layer knows the key.
        let mut values: Vec<Option<Option<Vec<u8>>>> = vec![None; key_count];
        for (layer, found) in layers.iter().zip(found) {
            for (value, found) in values.iter_mut().zip(found) {
                if value.is_none() {
                    *value = found.map(|stored| layer.kind.value(stored));
                }
            }
        }
        let values = values.into_iter().map(Option::flatten).collect();
        Ok(RowsAndPointer { values, pushed, existing, current: self.parse(table, current)? })
    }

    /// What was read of the version that `pointer` names, which was still the current one.
    fn snapshot(&self, table: &str, pointer: Option<&Pointer>, read: RowsAndPointer) -> Result<Snapshot, OnlineError> {
        let rows = pointer.into_iter().flat_map(|pointer| &pointer.layers).map(|layer| layer.rows);
        if read.existing < rows.clone().filter(|rows| *rows > 0).count() as u64 {
            return Err(self.broken(format!(
                "of the {} rows of table {table:?} some are gone; is maxmemory-policy noeviction? Publish it again",
                rows.sum::<u64>()
            )));
        }
        let as_of = pointer.map(|pointer| pointer.version.as_of);
        Ok(Snapshot::of_version(as_of, read.values).with_pushed(read.pushed))
    }

    fn pushed_row(&self, table: &str, stored: &[u8]) -> Result<PushedValue, OnlineError> {
        let parts = stored.split_at_checked(TIME_DIGITS);
        let row = parts.and_then(|(time, value)| Some((parse_time(std::str::from_utf8(time).ok()?)?, value.to_vec())));
        row.ok_or_else(|| self.broken(format!("a pushed row of table {table:?} is in an unknown format")))
    }

    fn visit_hash(&self, hash: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), OnlineError> {
        let mut cursor = 0u64;
        loop {
            let scan = |connection: &mut Connection| {
                redis::cmd("HSCAN").arg(hash).arg(cursor).arg("COUNT").arg(CHUNK_ROWS).query(connection)
            };
            let found: (u64, Vec<OnlineRow>) = self.pool.read(scan).map_err(|error| self.failed(error))?;
            found.1.iter().for_each(|(key, _)| visit(key));
            cursor = found.0;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Deletes pushed rows that a version as of `as_of` has outdated.
    fn sweep_pushed(&self, table: &str, as_of: Timestamp) -> Result<(), PoolError> {
        let (pushed_key, as_of) = (self.key(table, "pushed"), ordered_text(as_of));
        let mut cursor = 0u64;
        loop {
            let found: (u64, Vec<OnlineRow>) = self.pool.read(|connection| {
                redis::cmd("HSCAN").arg(&pushed_key).arg(cursor).arg("COUNT").arg(CHUNK_ROWS).query(connection)
            })?;
            let is_older =
                |(_, stored): &&OnlineRow| stored.get(..TIME_DIGITS).is_some_and(|time| time < as_of.as_bytes());
            let older: Vec<&OnlineRow> = found.1.iter().filter(is_older).collect();
            if !older.is_empty() {
                self.pool.read(|connection| {
                    let mut script = self.sweep.key(&pushed_key);
                    script.arg(&as_of);
                    older.iter().for_each(|(key, _)| {
                        script.arg(key.as_slice());
                    });
                    script.invoke::<()>(connection)
                })?;
            }
            cursor = found.0;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Sends all rows to `rows_key`; returns how many there were and how many distinct keys.
    fn send_rows(
        connection: &mut Connection,
        rows_key: &str,
        rows: &mut dyn Iterator<Item = Result<OnlineRow, OnlineError>>,
    ) -> RedisResult<Result<Sent, OnlineError>> {
        let mut sent = Sent::default();
        loop {
            let mut command = redis::cmd("HSET");
            command.arg(rows_key);
            let (mut chunk_rows, mut chunk_bytes) = (0, 0);
            for row in &mut *rows {
                let (key, value) = match row {
                    Ok(row) => row,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                chunk_bytes += key.len() + value.len();
                command.arg(key).arg(value);
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

    /// Writes into `rows_key` what of an older layer it does not know yet; returns how many keys that were. Removals
    /// are left out of the oldest layer of all.
    ///
    /// Where the older layer vanishes meanwhile the table has moved on, and the pointer will not be moved.
    fn merge(
        connection: &mut Connection,
        rows_key: &str,
        (older_key, kind): (&str, Kind),
        is_oldest: bool,
    ) -> RedisResult<u64> {
        let mut added = 0;
        let mut cursor = 0u64;
        loop {
            let (next, found): (u64, Vec<OnlineRow>) =
                redis::cmd("HSCAN").arg(older_key).arg(cursor).arg("COUNT").arg(CHUNK_ROWS).query(connection)?;
            let mut pipeline = redis::pipe();
            for (key, stored) in found {
                let value = kind.value(stored);
                if !(is_oldest && value.is_none()) {
                    pipeline.cmd("HSETNX").arg(rows_key).arg(key).arg(tagged(value));
                }
            }
            pipeline.cmd("EXPIRE").arg(rows_key).arg(UNFINISHED_TTL_S).ignore();
            let new: Vec<u64> = pipeline.query(connection)?;
            added += new.iter().sum::<u64>();
            cursor = next;
            if cursor == 0 {
                return Ok(added);
            }
        }
    }

    /// Sends a new layer and moves the pointer to it: alone, or over the layers of `base` where it is a change.
    fn publish_layer(
        &self,
        table: &str,
        as_of: Timestamp,
        base: Option<&Pointer>,
        rows: &mut dyn Iterator<Item = Result<OnlineRow, OnlineError>>,
    ) -> Result<u64, OnlineError> {
        let outdated = |current| OnlineError::Outdated { table: table.to_owned(), current, offered: as_of };
        let published = self.pool.write(|connection| {
            let number: u64 = redis::cmd("INCR").arg(self.key(table, "versions")).query(connection)?;
            let version = Version { number, as_of };
            let rows_key = self.rows_key(table, number);
            let sent = match Self::send_rows(connection, &rows_key, rows)? {
                Ok(sent) => sent,
                Err(refusal) => {
                    redis::cmd("UNLINK").arg(&rows_key).exec(connection)?;
                    return Ok(Err(refusal));
                }
            };
            let mut distinct = sent.distinct;
            let pointer = match base {
                None => Pointer::whole(version, distinct),
                Some(base) if distinct == 0 => Pointer { version, layers: base.layers.clone() },
                Some(base) => {
                    let mut rest = &base.layers[..];
                    while let Some((next, older)) = rest.split_first() {
                        if next.rows > MERGE_FACTOR as u64 * distinct {
                            break;
                        }
                        let source = (&*self.rows_key(table, next.number), next.kind);
                        distinct += Self::merge(connection, &rows_key, source, older.is_empty())?;
                        rest = older;
                    }
                    let newest = Layer { number, rows: distinct, kind: Kind::Changes };
                    Pointer { version, layers: std::iter::once(newest).chain(rest.iter().copied()).collect() }
                }
            };
            let answer: Option<String> = self
                .move_pointer
                .key(self.key(table, "current"))
                .key(&rows_key)
                .arg(pointer.to_text())
                .arg(ordered_text(as_of))
                .arg(distinct)
                .arg(self.key(table, "rows:"))
                .arg(base.map(Pointer::to_text).unwrap_or_default())
                .invoke(connection)?;
            Ok(match answer.as_deref() {
                Some(MOVED) => Err(moved(table, base.map_or(as_of, |base| base.version.as_of))),
                Some(newer) => Err(outdated(parse_time(newer).unwrap_or(Timestamp::MAX))),
                None => Ok((sent.rows, pointer)),
            })
        });
        let (rows, pointer) = published.map_err(|error| self.failed(error))??;
        self.believe(table, Some(pointer));
        // What fails here is never read again, and deleted after the next version.
        let _ = self.sweep_pushed(table, as_of);
        Ok(rows)
    }

    /// The current pointer, unless it is newer than what is offered.
    fn refuse_older(&self, table: &str, offered: Timestamp) -> Result<Option<Pointer>, OnlineError> {
        let pointer = self.read_pointer(table)?;
        match pointer.as_ref().map(|pointer| pointer.version.as_of) {
            Some(current) if current > offered => {
                Err(OnlineError::Outdated { table: table.to_owned(), current, offered })
            }
            _ => Ok(pointer),
        }
    }

    fn failed(&self, error: PoolError) -> OnlineError {
        pool_error(self.pool.address(), error)
    }

    fn restless(&self, table: &str) -> OnlineError {
        OnlineError::Unreachable {
            address: self.pool.address().to_owned(),
            cause: format!("table {table:?} was published {READ_ATTEMPTS_MAX} times while it was read"),
        }
    }

    fn broken(&self, cause: String) -> OnlineError {
        OnlineError::Broken { address: self.pool.address().to_owned(), cause }
    }
}

struct RowsAndPointer {
    values: Vec<Option<Vec<u8>>>,
    pushed: Vec<Option<PushedValue>>,
    /// Hashes that exist; one without rows does not.
    existing: u64,
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
        self.refuse_older(table, as_of)?;
        self.publish_layer(table, as_of, None, &mut rows.map(|row| check_row(table, &row).map(|()| row)))
    }

    fn publish_change(
        &self,
        table: &str,
        base: Version,
        as_of: Timestamp,
        changes: &mut dyn Iterator<Item = OnlineChange>,
    ) -> Result<u64, OnlineError> {
        check_table_name(table)?;
        let current = self.refuse_older(table, as_of)?;
        let current = current.filter(|current| current.version == base).ok_or_else(|| moved(table, base.as_of))?;
        let mut rows = changes.map(|change| check_change(table, &change).map(|()| (change.0, tagged(change.1))));
        self.publish_layer(table, as_of, Some(&current), &mut rows)
    }

    fn push(&self, table: &str, rows: &[PushedRow]) -> Result<Vec<Pushed>, OnlineError> {
        check_pushed(table, rows)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        // Repeated after a broken connection it finds its own rows, which as equally old it writes again.
        let answer: Vec<String> = self
            .pool
            .write(|connection| {
                let mut script = self.push.key(self.key(table, "pushed"));
                script.key(self.key(table, "current"));
                for row in rows {
                    script.arg(row.key.as_slice()).arg(ordered_text(row.time)).arg(row.value.as_slice());
                }
                script.invoke(connection)
            })
            .map_err(|error| self.failed(error))?;
        let outcome = |newer: &String| match newer.as_str() {
            "" => Pushed::Written,
            newer => Pushed::Older(parse_time(newer).unwrap_or(Timestamp::MAX)),
        };
        Ok(answer.iter().map(outcome).collect())
    }

    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError> {
        if keys.is_empty() {
            return Ok(Snapshot::of_version(self.as_of(table)?, Vec::new()));
        }
        let mut pointer = match self.believed(table) {
            Some(pointer) => Some(pointer),
            None => self.read_pointer(table)?,
        };
        for _ in 0..READ_ATTEMPTS_MAX {
            let read = self.read_rows(table, pointer.as_ref(), keys)?;
            if read.current == pointer {
                return self.snapshot(table, pointer.as_ref(), read);
            }
            self.believe(table, read.current.clone());
            pointer = read.current;
        }
        Err(self.restless(table))
    }

    fn get_tables(&self, asked: &[(&str, &[&[u8]])]) -> Result<Vec<Snapshot>, OnlineError> {
        let mut pipeline = redis::pipe();
        let mut pointers = Vec::with_capacity(asked.len());
        for (table, keys) in asked {
            // A table whose version is not known yet is read alone below.
            let pointer = self.believed(table).filter(|_| !keys.is_empty());
            if let Some(pointer) = &pointer {
                self.ask_rows(&mut pipeline, table, Some(pointer), keys);
            }
            pointers.push(pointer);
        }
        let mut answers = Vec::new().into_iter();
        if pointers.iter().any(Option::is_some) {
            let read = |connection: &mut Connection| pipeline.query::<Vec<redis::Value>>(connection);
            answers = self.pool.read(read).map_err(|error| self.failed(error))?.into_iter();
        }
        let mut snapshots = Vec::with_capacity(asked.len());
        for ((table, keys), pointer) in asked.iter().zip(pointers) {
            let read = match &pointer {
                Some(known) => {
                    let own = answers.by_ref().take(known.layers.len() + 3).collect();
                    Some(self.answered_rows(table, Some(known), keys.len(), own)?)
                }
                None => None,
            };
            snapshots.push(match read {
                Some(read) if read.current == pointer => self.snapshot(table, pointer.as_ref(), read)?,
                Some(read) => {
                    self.believe(table, read.current);
                    self.get(table, keys)?
                }
                None => self.get(table, keys)?,
            });
        }
        Ok(snapshots)
    }

    fn erase(&self, table: &str, keys: &[&[u8]]) -> Result<u64, OnlineError> {
        check_table_name(table)?;
        let mut erased = 0;
        for keys in keys.chunks(CHUNK_ROWS) {
            let here: u64 = self
                .pool
                .write(|connection| {
                    let mut script = self.erase.key(self.key(table, "current"));
                    script.key(self.key(table, "versions")).key(self.key(table, "pushed"));
                    script.arg(self.key(table, "rows:"));
                    keys.iter().for_each(|key| {
                        script.arg(*key);
                    });
                    script.invoke(connection)
                })
                .map_err(|error| self.failed(error))?;
            erased += here;
        }
        Ok(erased)
    }

    fn visit_keys(&self, table: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), OnlineError> {
        self.visit_hash(&self.key(table, "pushed"), visit)?;
        let mut pointer = self.read_pointer(table)?;
        for _ in 0..READ_ATTEMPTS_MAX {
            let Some(visited) = pointer else { return Ok(()) };
            for layer in &visited.layers {
                self.visit_hash(&self.rows_key(table, layer.number), visit)?;
            }
            // Layers that were replaced meanwhile may have been deleted before they were visited.
            pointer = self.read_pointer(table)?;
            if pointer.as_ref() == Some(&visited) {
                return Ok(());
            }
        }
        Err(self.restless(table))
    }

    fn version(&self, table: &str) -> Result<Option<Version>, OnlineError> {
        Ok(self.read_pointer(table)?.map(|pointer| pointer.version))
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

fn moved(table: &str, expected: Timestamp) -> OnlineError {
    OnlineError::Moved { table: table.to_owned(), expected }
}

fn pool_error(address: &str, error: PoolError) -> OnlineError {
    let address = address.to_owned();
    match error {
        PoolError::Unreachable(cause) => OnlineError::Unreachable { address, cause },
        PoolError::Refused(cause) => OnlineError::Broken { address, cause },
    }
}
