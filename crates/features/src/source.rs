//! A source in memory.

use arrow::array::RecordBatch;

use paceline_core::Timestamp;

/// A source's rows after `where`, with its derived columns, in file order (path, then row).
///
/// NaN in a float column has been replaced by null.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// The source's name in the pipeline.
    pub name: String,
    /// All columns, derived ones included.
    pub rows: RecordBatch,
    /// Event time of each row; `None` for a static source, whose rows are always known.
    pub event_time: Option<Vec<Timestamp>>,
    /// When each row could first have been known; `None` means: at its event time.
    pub available_time: Option<Vec<Timestamp>>,
    /// Name of the column that identifies an event: same id and same content is ignored, same id and other content
    /// replaces the earlier row from its own available time on.
    pub event_id: Option<String>,
}
