//! The point-in-time join: feature values of every spine row as known at its time.
//!
//! The rules are written in `docs/features.md`. [`join`] takes one view; [`join_all`] takes several over one source and
//! sorts the source once per entity; [`Index`] keeps the sorted source, for more spines or single keys.

pub(crate) mod column;
pub(crate) mod correction;
pub(crate) mod entity;
mod index;
pub(crate) mod order;
pub(crate) mod plan;
#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod times;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use paceline_core::Timestamp;

pub use index::Index;

use crate::{FeatureError, FeatureView, SourceTable};

/// Rows for which features are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Spine<'a> {
    /// The key columns by name, among any others: an integer or string type each. A null key is an unknown entity.
    pub keys: &'a RecordBatch,
    /// The time of each row.
    pub time: &'a [Timestamp],
}

/// The features of one view for every spine row: one column per feature, named `view.feature`, in declaration order;
/// rows in the spine's order. `count` and `count_distinct` are Int64 and never null; `sum`, `mean`, `std` and
/// `seconds_since_last` are Float64; `min`, `max`, `first` and `last` have the column's type (Int64, Float64, Utf8,
/// Boolean or Timestamp in microseconds).
///
/// The result does not depend on `threads`.
///
/// # Errors
/// A missing column, a column of a wrong type, or a declaration without meaning; each names view, feature and column.
///
/// # Panics
/// When `threads` is zero, or times are not one per row: the caller's bug.
pub fn join(
    view: &FeatureView,
    source: &SourceTable,
    spine: &Spine<'_>,
    threads: usize,
) -> Result<RecordBatch, FeatureError> {
    Index::build(&[view], source)?.join(spine, threads)
}

/// As [`join`], for several views over one source: views with the same entity share the sort. Columns come in the order
/// of `views`.
///
/// # Errors
/// As [`join`].
///
/// # Panics
/// As [`join`], and when `views` is empty.
pub fn join_all(
    views: &[&FeatureView],
    source: &SourceTable,
    spine: &Spine<'_>,
    threads: usize,
) -> Result<RecordBatch, FeatureError> {
    assert!(!views.is_empty(), "a join needs at least one view");
    let mut fields = vec![Vec::new(); views.len()];
    for (i, view) in views.iter().enumerate() {
        if views[..i].iter().any(|earlier| earlier.entity == view.entity) {
            continue;
        }
        let same: Vec<usize> = (i..views.len()).filter(|&j| views[j].entity == view.entity).collect();
        let sharing: Vec<&FeatureView> = same.iter().map(|&j| views[j]).collect();
        let joined = Index::build(&sharing, source)?.join(spine, threads)?;
        let mut columns = joined.schema_ref().fields().iter().cloned().zip(joined.columns().iter().cloned());
        for &j in &same {
            fields[j] = columns.by_ref().take(views[j].features.len()).collect();
        }
    }
    let (fields, columns): (Vec<_>, Vec<_>) = fields.into_iter().flatten().unzip();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(spine.time.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(FeatureError::arrow("the joined features"))
}
