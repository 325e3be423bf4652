//! A source in memory.

use arrow::array::RecordBatch;

use paceline_core::Timestamp;

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
