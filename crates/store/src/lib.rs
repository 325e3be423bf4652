//! Everything durable: source tables, the online store, the event log, the artifact registry.
//!
//! - [`sources`]: [`SourceReader`] streams Parquet and CSV tables and queries as Arrow batches; [`to_timestamps`] reads a time
//!   column of any usual type; [`write_table`] writes result tables, whole or not at all.
//! - [`online`]: [`EmbeddedOnlineStore`] and [`RedisOnlineStore`], tables that are replaced as a whole.
//! - [`events`]: [`EmbeddedEventLog`] and [`RedisEventLog`], append-only and idempotent by id.
//! - [`streams`]: [`StreamFiles`], what a stream of features keeps on the local disk.
//! - [`artifacts`]: [`ArtifactRegistry`], published models with a verified content digest.
//!
//! Everything here blocks; an async caller hands it to a thread.

pub mod artifacts;
mod durable;
pub mod events;
pub mod online;
mod redis_pool;
pub mod sources;
pub mod streams;

pub use artifacts::{Artifact, ArtifactError, ArtifactRegistry};
pub use events::{EmbeddedEventLog, RedisEventLog};
pub use online::{EmbeddedOnlineStore, RedisOnlineStore};
pub use redis_pool::RedisOptions;
pub use sources::{
    DatabaseDriver, DatabaseQuery, Format, Location, SourceError, SourceFile, SourceReader, SourceSpec, TableWriter,
    WriteError, to_timestamps, write_table,
};
pub use streams::StreamFiles;

/// What an operator can act on in an error of the embedded stores.
fn fjall_cause(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(cause) => cause.to_string(),
        fjall::Error::Poisoned => "an earlier write failed, so it takes no more until it is opened again".into(),
        other => other.to_string(),
    }
}
