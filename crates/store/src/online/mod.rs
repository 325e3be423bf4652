//! Online stores: [`EmbeddedOnlineStore`] on the local disk, [`RedisOnlineStore`] on a Redis 7 or Valkey server.
//!
//! Both write a new version of a table beside the current one and then move one pointer. Until the pointer moves, no
//! reader sees the new rows; afterwards the old version is deleted. A publisher that dies before it leaves rows that
//! nobody points to: the embedded store deletes them when it is opened, Redis lets them expire.
//!
//! Rows that are pushed from outside lie in a place of their own beside all versions (`pushed.rs`).
//!
//! A change of a table is a version, too: one more layer over those of the version that it changes (`layer.rs`).

mod embedded;
mod layer;
mod pushed;
mod redis;
mod redis_pointer;
mod redis_scripts;

pub use embedded::EmbeddedOnlineStore;
pub use redis::RedisOnlineStore;

use paceline_core::online::{OnlineChange, OnlineError, OnlineRow, PushedRow};

/// The longest table name in bytes.
pub const TABLE_NAME_BYTES_MAX: usize = 200;
/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;
/// The longest value in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// The longest key of a pushed row in bytes.
pub const PUSHED_KEY_BYTES_MAX: usize = 60_000;

fn check_table_name(table: &str) -> Result<(), OnlineError> {
    let plain = table.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte));
    if table.is_empty() || table.len() > TABLE_NAME_BYTES_MAX || !plain {
        return Err(refused(
            table,
            format!("a table's name has 1 to {TABLE_NAME_BYTES_MAX} letters, digits, '_', '-', '.' or '@'"),
        ));
    }
    Ok(())
}

fn check_row(table: &str, (key, value): &OnlineRow) -> Result<(), OnlineError> {
    check_key(table, key)?;
    check_value(table, value)
}

fn check_change(table: &str, (key, value): &OnlineChange) -> Result<(), OnlineError> {
    check_key(table, key)?;
    value.as_ref().map_or(Ok(()), |value| check_value(table, value))
}

fn check_key(table: &str, key: &[u8]) -> Result<(), OnlineError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(refused(table, format!("a key has {} bytes; it must have 1 to {KEY_BYTES_MAX}", key.len())));
    }
    Ok(())
}

fn check_value(table: &str, value: &[u8]) -> Result<(), OnlineError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(refused(table, format!("a value has {} bytes; at most {VALUE_BYTES_MAX} are taken", value.len())));
    }
    Ok(())
}

fn check_pushed(table: &str, rows: &[PushedRow]) -> Result<(), OnlineError> {
    check_table_name(table)?;
    for PushedRow { key, value, .. } in rows {
        if key.is_empty() || key.len() > PUSHED_KEY_BYTES_MAX {
            let cause = format!("a key has {} bytes; a pushed one must have 1 to {PUSHED_KEY_BYTES_MAX}", key.len());
            return Err(refused(table, cause));
        }
        check_value(table, value)?;
    }
    Ok(())
}

fn refused(table: &str, cause: String) -> OnlineError {
    OnlineError::Refused { table: table.to_owned(), cause }
}
