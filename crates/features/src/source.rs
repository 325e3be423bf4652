//! A source in memory.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use paceline_core::Timestamp;

use crate::FeatureError;

/// A source's rows after `where`, with its derived columns, in file order (path, then row).
///
/// The position of a row in `rows` is the last word in the order of an entity's rows (event time, available time,
/// position).
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// The source's name in the pipeline.
    pub name: String,
    /// All columns, derived ones included. NaN is read as null.
    ///
    /// A row whose entity key is null belongs to nobody. With `event_id`, a row that `where` refuses must stay, with
    /// its keys set to null: it counts for nobody, but may still replace an earlier row.
    pub rows: RecordBatch,
    /// Event time of each row; `None` for a static source, whose rows are always known.
    pub event_time: Option<Vec<Timestamp>>,
    /// When each row could first have been known; `None` means: at its event time.
    pub available_time: Option<Vec<Timestamp>>,
    /// The column of `rows` that `available_time` was read from, if it is there. It is no part of a row's content, so
    /// an event delivered twice is the same event although the second copy was loaded later.
    pub available_time_column: Option<String>,
    /// Name of the column that identifies an event: same id and same content is ignored, same id and other content
    /// replaces the earlier row from its own available time on.
    pub event_id: Option<String>,
}

impl SourceTable {
    /// The rows in the order in which they became available, as a stream gets them; those that became available at once
    /// stay in their order. A static source stays as it is.
    ///
    /// # Errors
    /// When Arrow cannot reorder a column.
    ///
    /// # Panics
    /// With 2^32 rows or more: the caller's bug.
    pub fn by_availability(&self) -> Result<SourceTable, FeatureError> {
        let Some(event) = &self.event_time else { return Ok(self.clone()) };
        let available = self.available_time.as_ref().unwrap_or(event);
        let count = u32::try_from(event.len()).expect("fewer than 2^32 rows");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by_key(|row| available[*row as usize]);
        let in_order = |times: &[Timestamp]| order.iter().map(|row| times[*row as usize]).collect();
        let (event_time, available_time) = (Some(in_order(event)), Some(in_order(available)));
        let rows = take_record_batch(&self.rows, &UInt32Array::from(order));
        let rows = rows.map_err(FeatureError::arrow("the rows of a source in order"))?;
        Ok(SourceTable { rows, event_time, available_time, ..self.clone() })
    }

    /// Rows `from..to`.
    ///
    /// # Panics
    /// When there are no such rows: the caller's bug.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> SourceTable {
        let times = |times: &Option<Vec<Timestamp>>| times.as_ref().map(|times| times[from..to].to_vec());
        SourceTable {
            name: self.name.clone(),
            rows: self.rows.slice(from, to - from),
            event_time: times(&self.event_time),
            available_time: times(&self.available_time),
            available_time_column: self.available_time_column.clone(),
            event_id: self.event_id.clone(),
        }
    }
}
