//! A column of times, with mistakes placed in the file that they are in.

use anyhow::anyhow;
use arrow::array::{Array, BooleanArray};
use arrow::datatypes::TimeUnit;
use paceline_core::Timestamp;
use paceline_store::{SourceError, to_timestamps};

/// Where the rows of an array come from.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The file, and how many of its rows come before those of the batch.
    pub file: (&'a str, u64),
    /// Which rows of the batch are in the array; `None` for all of them.
    pub stays: Option<&'a BooleanArray>,
}

impl Place<'_> {
    /// The row of the file, from 1, of row `index` of the array.
    #[must_use]
    pub fn row(&self, index: usize) -> u64 {
        let in_batch = match self.stays {
            None => Some(index),
            Some(stays) => (0..stays.len()).filter(|row| stays.value(*row)).nth(index),
        };
        self.file.1 + in_batch.unwrap_or(index) as u64 + 1
    }
}

/// Reads `array`, the column `column`, as times; `advice` says what to do about a null.
///
/// # Errors
/// What [`to_timestamps`] refuses, with the file and its row.
pub fn read(
    column: &str,
    array: &dyn Array,
    unit: Option<TimeUnit>,
    place: Place<'_>,
    advice: &str,
) -> anyhow::Result<Vec<Timestamp>> {
    let file = place.file.0;
    to_timestamps(column, array, unit).map_err(|error| match error {
        SourceError::NullTime { count, rows, .. } if count == rows => {
            anyhow!(
                "{file}: column {column:?} is null in all of {rows} rows, so they have no time; name another column"
            )
        }
        SourceError::NullTime { row, .. } => {
            anyhow!("{file}, row {}: column {column:?} is null; {advice}", place.row(row - 1))
        }
        SourceError::BadTime { row, cause, .. } => {
            anyhow!("{file}, row {}: column {column:?}: {cause}", place.row(row - 1))
        }
        other => anyhow!("{file}: {other}"),
    })
}
