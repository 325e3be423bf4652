//! When the rows of a source happened and could be known.

use paceline_core::Timestamp;

use crate::window::cells::NO_ROW;
use crate::{FeatureError, SourceTable};

/// The times of a source's rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceTimes<'a> {
    event: Option<&'a [Timestamp]>,
    available: Option<&'a [Timestamp]>,
}

impl<'a> SourceTimes<'a> {
    /// Checks that there are as many times as rows, and that the rows can be numbered.
    pub(crate) fn of(source: &'a SourceTable) -> Result<Self, FeatureError> {
        let rows = source.rows.num_rows();
        check_row_count(&format!("source {:?}", source.name), rows)?;
        for times in [&source.event_time, &source.available_time].into_iter().flatten() {
            assert_eq!(times.len(), rows, "source {:?}: one time per row", source.name);
        }
        Ok(SourceTimes { event: source.event_time.as_deref(), available: source.available_time.as_deref() })
    }

    /// A static row happened before everything.
    pub(crate) fn event(self, row: u32) -> i64 {
        self.event.map_or(i64::MIN, |times| times[row as usize].0)
    }

    /// The event time where there is no other.
    pub(crate) fn available(self, row: u32) -> i64 {
        self.available.map_or_else(|| self.event(row), |times| times[row as usize].0)
    }

    /// When both have passed.
    pub(crate) fn known_from(self, row: u32) -> i64 {
        self.event(row).max(self.available(row))
    }
}

/// Refuses a table whose rows cannot be numbered.
pub(crate) fn check_row_count(table: &str, rows: usize) -> Result<(), FeatureError> {
    // Row numbers are 32 bits wide, and the largest two stand for no row and nobody.
    if rows < NO_ROW as usize {
        return Ok(());
    }
    Err(FeatureError::TooManyRows { table: table.to_owned(), rows })
}
