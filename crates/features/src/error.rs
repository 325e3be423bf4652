//! Why features could not be computed.

use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use thiserror::Error;

use paceline_core::Timestamp;

/// Why features could not be computed, grouped by what the caller can change.
#[derive(Debug, Error)]
pub enum FeatureError {
    /// A table lacks a column that a view needs: change the pipeline file or the table.
    #[error("{needed_by} needs column {column:?}, which {table} does not have; it has {}", .found.join(", "))]
    MissingColumn {
        /// Which table: `source "sales"` or `the spine`.
        table: String,
        /// Who needs it: `view user` or `feature user.spend_30d`.
        needed_by: String,
        /// The column that is missing.
        column: String,
        /// The columns that are there.
        found: Vec<String>,
    },
    /// A column has a type that cannot be used so: cast it, or use another column.
    #[error("{needed_by} cannot use column {column:?} of {table}: it is {found}, expected {expected}")]
    ColumnType {
        /// Which table.
        table: String,
        /// Who needs it.
        needed_by: String,
        /// The column.
        column: String,
        /// Its type.
        found: DataType,
        /// The types that would do.
        expected: String,
    },
    /// A value cannot be represented: filter or repair the row.
    #[error("column {column:?} of {table}, row {row}: {value} {problem}")]
    ColumnValue {
        /// Which table.
        table: String,
        /// The column.
        column: String,
        /// Position of the row, from 0.
        row: usize,
        /// The value as text.
        value: String,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
    /// A view declares something that has no meaning: change the pipeline file.
    #[error("{subject}: {problem}")]
    Declaration {
        /// The view or feature.
        subject: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// A key of one entity does not fit the view's key columns: change the request.
    #[error("view {view} is keyed by {expected}; the key {key} does not fit")]
    Key {
        /// The view.
        view: String,
        /// Its key columns and their types.
        expected: String,
        /// The key that was given.
        key: String,
    },
    /// A value does not fit the encoder of its column: change the request.
    #[error("column {column:?}: {value} cannot be encoded, expected {expected}")]
    Category {
        /// The encoded column.
        column: String,
        /// The value that was given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A table has more rows than one join can hold: partition it by entity first ([`crate::partition`]).
    #[error("{table} has {rows} rows, more than one join in memory can address; partition it by entity first")]
    TooManyRows {
        /// Which table.
        table: String,
        /// Its number of rows.
        rows: usize,
    },
    /// One part of a partitioned join does not fit: allow more memory, or read fewer columns or rows.
    #[error(
        "one part of the join holds {bytes} bytes, more than the {memory_bytes_max} it may take; allow more memory"
    )]
    PartTooLarge {
        /// Size of the part.
        bytes: usize,
        /// What the join may take.
        memory_bytes_max: usize,
    },
    /// The scratch directory could not be written or read: free space, or name another directory.
    #[error("scratch file {}: {cause}", .path.display())]
    Scratch {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// A stream is asked for a time whose rows it no longer holds: ask for a later one.
    #[error("the stream no longer holds what was known at {at}; the earliest time it answers for is {earliest}")]
    TooEarly {
        /// The time that was asked for.
        at: Timestamp,
        /// The earliest that can be.
        earliest: Timestamp,
    },
    /// Saved state of a stream cannot be used: build the state again from the events.
    #[error("the {what} of the stream cannot be used: {problem}; build it again from the events")]
    SavedState {
        /// A snapshot, or the spilled state of an entity.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Arrow refused: the message is its own.
    #[error("{context}: {cause}")]
    Arrow {
        /// What was being done.
        context: String,
        /// What Arrow said.
        cause: ArrowError,
    },
}

impl FeatureError {
    pub(crate) fn arrow(context: impl Into<String>) -> impl FnOnce(ArrowError) -> Self {
        move |cause| FeatureError::Arrow { context: context.into(), cause }
    }
}
