//! Everything durable: source tables, the online store, the event log, the artifact registry.
//!
//! - [`sources`]: [`SourceReader`] streams Parquet and CSV tables as Arrow batches; [`to_timestamps`] reads a time
//!   column of any usual type; [`write_table`] writes result tables, whole or not at all.
//!
//! Everything here blocks; an async caller hands it to a thread.

mod durable;
pub mod sources;

pub use sources::{
    Format, SourceError, SourceFile, SourceReader, SourceSpec, TableWriter, WriteError, to_timestamps, write_table,
};
