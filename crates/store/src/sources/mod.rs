//! Source tables: Parquet and CSV files, directories and globs, and what a database answers to a query, read as a stream
//! of Arrow batches.
//!
//! A location is a path relative to a base directory, an absolute path, a `file://` URL, or an `s3://bucket/key` URL of
//! S3 or a server that speaks like it, which the environment names; it names a file, a directory (its files, recursively,
//! without names that begin with `.` or `_`), or a glob (`*` and `?` within one path segment, `**` over any number).
//! Files are read in the order of their paths and must agree in their columns.
//!
//! What a reader of batches may rely on:
//! - every file has the same columns with the same types ([`SourceReader::schema`]), in the same order;
//! - types are boolean, integers, 32 and 64 bit floats, the three string types, dates, timestamps, or `Null` for a
//!   column that has no type because it has no value. Dictionaries are unpacked, 16 bit floats widened,
//!   decimals read as 64 bit floats; anything else is refused by name;
//! - no float is NaN: it is read as null and counted ([`SourceReader::nan_counts`]).
//!
//! ```
//! use std::path::Path;
//! use paceline_store::{SourceReader, SourceSpec};
//!
//! let directory = tempfile::tempdir()?;
//! std::fs::write(directory.path().join("sales.csv"), "user,price\n1,2.5\n2,\n")?;
//! let mut reader = SourceReader::open(&SourceSpec::new("sales", "sales.csv"), directory.path())?;
//! assert_eq!(reader.schema().field(1).name(), "price");
//! let rows: usize = reader.by_ref().map(|batch| batch.map(|batch| batch.num_rows())).sum::<Result<_, _>>()?;
//! assert_eq!(rows, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod csv;
mod database;
mod digest;
mod error;
mod event_time;
mod files;
mod location;
mod objects;
mod parquet;
mod reader;
mod s3;
mod write;

pub use csv::CsvType;
pub use database::{DatabaseDriver, DatabaseQuery};
pub use error::SourceError;
pub use event_time::to_timestamps;
pub use location::SourceFile;
pub use reader::{Format, Location, SourceReader, SourceSpec};
pub use write::{TableWriter, WriteError, write_table};
