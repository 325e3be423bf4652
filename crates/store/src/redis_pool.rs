//! Synchronous connections to one Redis or Valkey server, shared by threads.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, Connection, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind};

/// How a Redis store connects. The defaults suit one server in the same data center.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// How long a connection may take to be made, log in included.
    pub connect_timeout: Duration,
    /// How long the server may take to answer one command.
    pub answer_timeout: Duration,
    /// Connections at most; a thread that needs one more waits for at most `connect_timeout`.
    pub connections_max: usize,
    /// Every key begins with it, so that several deployments can share a server. Letters, digits, `-`, `_`, `:`.
    pub key_prefix: String,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(5),
            connections_max: 32,
            key_prefix: "paceline".into(),
        }
    }
}

/// Why a command failed, grouped by what the caller can do.
#[derive(Debug)]
pub(crate) enum PoolError {
    /// Retrying may help.
    Unreachable(String),
    /// It does not.
    Refused(String),
}

/// Connections to one server, made when needed, kept for the next caller.
///
/// It holds the password; neither its `Debug` nor any error shows it.
pub(crate) struct RedisPool {
    client: Client,
    address: String,
    options: RedisOptions,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// Idle ones and those in use.
    open: usize,
}

impl RedisPool {
    /// Takes a `redis://[user:password@]host:port[/database]` URL. Does not connect yet.
    pub(crate) fn new(url: &str, options: RedisOptions) -> Result<RedisPool, PoolError> {
        // The client's message may quote the URL, which may hold a password.
        let bad = || {
            PoolError::Refused(
                "it is not of the form redis://[user:password@]host:port[/database] (TLS is not built in)".into(),
            )
        };
        let info = url.into_connection_info().map_err(|_| bad())?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let address = match settings.db() {
            0 => info.addr().to_string(),
            database => format!("{}/{database}", info.addr()),
        };
        let client = Client::open(info.set_redis_settings(settings)).map_err(|_| bad())?;
        Ok(RedisPool { client, address, options, state: Mutex::default(), returned: Condvar::new() })
    }

    /// Host, port and database; no user, no password.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What every key begins with.
    pub(crate) fn key_prefix(&self) -> &str {
        &self.options.key_prefix
    }

    /// Runs commands that may be repeated: if a kept connection turns out to be dead, once more on a new one.
    pub(crate) fn read<T>(&self, commands: impl Fn(&mut Connection) -> RedisResult<T>) -> Result<T, PoolError> {
        let mut lease = self.lease()?;
        let kept = lease.kept;
        match lease.run(&commands) {
            Err(error) if kept && is_dead(&error) => {
                drop(lease);
                self.drop_idle();
                self.lease()?.run(&commands)
            }
            result => result,
        }
        .map_err(classify)
    }

    /// Runs commands that must not be repeated blindly, once, on a connection that has just answered.
    pub(crate) fn write<T>(&self, commands: impl FnOnce(&mut Connection) -> RedisResult<T>) -> Result<T, PoolError> {
        // The connection given back last is taken next; if another thread is faster, the other one answered a moment
        // ago as well.
        self.read(|connection| redis::cmd("PING").exec(connection))?;
        self.lease()?.run(commands).map_err(classify)
    }

    fn lease(&self) -> Result<Lease<'_>, PoolError> {
        let mut state = self.state();
        if state.idle.is_empty() && state.open >= self.options.connections_max {
            let all_in_use = |state: &mut State| state.idle.is_empty() && state.open >= self.options.connections_max;
            let waited = self.returned.wait_timeout_while(state, self.options.connect_timeout, all_in_use);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                let count = self.options.connections_max;
                return Err(PoolError::Unreachable(format!("all {count} connections are in use")));
            }
        }
        if let Some(connection) = state.idle.pop() {
            return Ok(Lease { pool: self, connection: Some(connection), kept: true });
        }
        state.open += 1;
        drop(state);
        // From here on the lease's drop gives the place back, whatever happens.
        let mut lease = Lease { pool: self, connection: None, kept: false };
        lease.connection = Some(self.connect().map_err(classify)?);
        Ok(lease)
    }

    fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(self.options.connect_timeout)?;
        connection.set_read_timeout(Some(self.options.answer_timeout))?;
        connection.set_write_timeout(Some(self.options.answer_timeout))?;
        Ok(connection)
    }

    /// After a restart of the server every kept connection is dead.
    fn drop_idle(&self) {
        let mut state = self.state();
        state.open -= state.idle.len();
        state.idle.clear();
        self.returned.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RedisPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPool")
            .field("address", &self.address)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// One connection in use; dropping it gives the connection, or its place, back.
struct Lease<'a> {
    pool: &'a RedisPool,
    connection: Option<Connection>,
    kept: bool,
}

impl Lease<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease has a connection until it is found dead")
    }

    /// An answer that was not read to its end would be taken for the next command's answer, so a connection is only
    /// kept after a success or a complete error answer.
    fn run<T>(&mut self, commands: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let result = commands(self.connection());
        if let Err(error) = &result
            && is_dead(error)
        {
            self.connection = None;
        }
        result
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        match self.connection.take() {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

/// Whether the connection must not be used again. Only an answer of the server leaves it in a known state.
pub(crate) fn is_dead(error: &RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Groups an error by what the caller can do.
pub(crate) fn classify(error: RedisError) -> PoolError {
    let cause = error.to_string();
    match error.kind() {
        ErrorKind::Io => PoolError::Unreachable(cause),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::ReadOnly,
        ) => PoolError::Unreachable(cause),
        // Out of memory, a script of another client that blocks, a disk error: these pass.
        ErrorKind::Extension if matches!(error.code(), Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS")) => {
            PoolError::Unreachable(cause)
        }
        _ => PoolError::Refused(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let secret = "hunter2";
        let pool = RedisPool::new("redis://me:hunter2@127.0.0.1:1/3", RedisOptions::default()).unwrap();
        assert_eq!(pool.address(), "127.0.0.1:1/3");
        let failure = pool.read(|connection| redis::cmd("PING").exec(connection)).unwrap_err();
        assert!(matches!(failure, PoolError::Unreachable(_)), "{failure:?}");
        let malformed = RedisPool::new("redis//me:hunter2@127.0.0.1", RedisOptions::default()).unwrap_err();
        let unbuilt = RedisPool::new("rediss://me:hunter2@127.0.0.1", RedisOptions::default());
        let unbuilt = unbuilt.and_then(|pool| pool.read(|connection| redis::cmd("PING").exec(connection))).unwrap_err();
        for shown in [format!("{pool:?}"), format!("{failure:?}"), format!("{malformed:?}"), format!("{unbuilt:?}")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
