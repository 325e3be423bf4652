//! The rows of a spine with every feature of a pipeline beside them, as known then.
//!
//! ```text
//! sources ──▶ FeatureJoin ◀── keys and time of the spine
//!                 │ view.feature, in the spine's order
//!                 ▼
//! spine rows ─▶ RequestFeatures ──▶ spine columns, view.feature ..., request.NAME ...
//! ```
//!
//! - [`append_features`] is for a spine in memory, such as the rows of a model.
//! - [`build`] streams a spine file; neither it nor the sources need fit into memory.
//!
//! Both give the same bits, whatever the memory and the number of threads. A batch-placed view with a schedule has the
//! value of its last materialization before the row's time, as serving will.

mod join;
mod request;
mod spine;
#[cfg(test)]
mod tests;
pub mod values;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use paceline_core::Timestamp;

pub(crate) use join::group_views;
pub(crate) use join::push_source;
pub use join::{FeatureBatches, FeatureJoin, wanted_columns};
pub use request::RequestFeatures;
pub(crate) use request::arrow_type;
pub use spine::{SpineBatch, SpineFile, SpineSpec, TIME};

use crate::pipeline::Pipeline;

/// How a join is carried out; none of it changes a value.
#[derive(Debug, Clone)]
pub struct JoinMeans {
    /// Threads that join; at least one.
    pub threads: usize,
    /// About how much memory the join may take. Larger inputs go to `scratch`, partitioned by entity.
    pub memory_bytes_max: usize,
    /// An existing folder for a scratch folder, which is removed at the end.
    pub scratch: PathBuf,
}

impl Default for JoinMeans {
    /// One thread, 2 GiB, the system's temporary folder.
    fn default() -> Self {
        JoinMeans { threads: 1, memory_bytes_max: 2 << 30, scratch: std::env::temp_dir() }
    }
}

/// Rows for which features are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Spine<'a> {
    /// The key columns of every view, and whatever columns request-time features read. A null key is an unknown entity.
    pub rows: &'a RecordBatch,
    /// The time of each row; `None` where rows have none: then no view's source may have an event time, and `time` is
    /// null in request-time features.
    pub time: Option<&'a [Timestamp]>,
}

/// The columns of `spine.rows`, then every view's features (`view.feature`) and the request-time features
/// (`request.NAME`), in the order of the pipeline. Rows keep their order and number.
///
/// # Errors
/// When a source cannot be read, a key column is missing or of another type than in the source, a column of the spine
/// has the name of a feature, or a request-time feature does not fit the spine's columns.
///
/// # Panics
/// When the times are not one per row, or `means.threads` is zero: the caller's bug.
pub fn append_features(pipeline: &Pipeline, spine: &Spine<'_>, means: &JoinMeans) -> anyhow::Result<RecordBatch> {
    let mut join = FeatureJoin::new(pipeline, means);
    join.read_sources(&pipeline.folder, &mut |_| ())?;
    join.push_spine(spine.rows, spine.time)?;
    let features = join.finish()?;
    let request = RequestFeatures::compile(pipeline, &features.schema(), &spine.rows.schema())?;
    let mut batches = Vec::new();
    let mut from = 0;
    for features in features {
        let features = features?;
        let rows = spine.rows.slice(from, features.num_rows());
        let time = spine.time.map(|time| &time[from..from + features.num_rows()]);
        from += features.num_rows();
        batches.push(request.append(&rows, time, &features)?);
    }
    let schema = request.output_schema();
    arrow::compute::concat_batches(&schema, &batches).context("the joined rows")
}

/// The rows of a spine file with all features, batch by batch.
#[derive(Debug)]
pub struct TrainingRows {
    spine: SpineFile,
    request: RequestFeatures,
    features: FeatureBatches,
    /// Rows of the spine that are read but not given yet.
    rest: Option<SpineBatch>,
    schema: SchemaRef,
}

/// As [`append_features`] for a spine file, which is read twice: for its keys, then for its columns. `on_rows` hears of
/// rows as they are read.
///
/// # Errors
/// As [`append_features`], and when the spine cannot be read.
pub fn build(
    pipeline: &Pipeline,
    spine: &SpineSpec,
    means: &JoinMeans,
    on_rows: &mut dyn FnMut(u64),
) -> anyhow::Result<TrainingRows> {
    let mut join = FeatureJoin::new(pipeline, means);
    let first = SpineFile::open(spine, pipeline)?;
    refuse_names_of_features(pipeline, &first.schema(), &format!("--spine {}", first.path()))?;
    join.read_sources(&pipeline.folder, on_rows)?;
    let path = first.path().to_owned();
    for batch in first {
        let batch = batch?;
        on_rows(batch.rows.num_rows() as u64);
        join.push_spine(&batch.rows, Some(&batch.time)).with_context(|| format!("--spine {path}"))?;
    }
    let features = join.finish()?;
    let spine = SpineFile::open(spine, pipeline)?;
    let request = RequestFeatures::compile(pipeline, &features.schema(), &spine.schema())?;
    let schema = request.output_schema();
    Ok(TrainingRows { spine, request, features, rest: None, schema })
}

impl TrainingRows {
    /// The columns of every batch.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The request-time features, compiled for the spine.
    #[must_use]
    pub fn request(&self) -> &RequestFeatures {
        &self.request
    }

    /// The next spine rows, exactly `count`.
    fn take_spine(&mut self, count: usize) -> anyhow::Result<SpineBatch> {
        let mut parts: Vec<SpineBatch> = Vec::new();
        let mut missing = count;
        while missing > 0 {
            let batch = match self.rest.take() {
                Some(rest) => rest,
                None => self.spine.next().with_context(|| format!("--spine {} has changed", self.spine.path()))??,
            };
            let taken = missing.min(batch.rows.num_rows());
            let (part, rest) = batch.split(taken);
            self.rest = rest;
            missing -= taken;
            parts.push(part);
        }
        SpineBatch::concat(&self.spine.schema(), &parts)
    }

    /// The next rows with their times.
    pub fn next_timed(&mut self) -> Option<anyhow::Result<(RecordBatch, Vec<Timestamp>)>> {
        let features = self.features.next()?;
        Some(features.and_then(|features| {
            let spine = self.take_spine(features.num_rows())?;
            Ok((self.request.append(&spine.rows, Some(&spine.time), &features)?, spine.time))
        }))
    }
}

impl Iterator for TrainingRows {
    type Item = anyhow::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_timed().map(|rows| rows.map(|(rows, _)| rows))
    }
}

/// A spine column that has the name of a feature would stand twice in the result.
fn refuse_names_of_features(pipeline: &Pipeline, spine: &Schema, place: &str) -> anyhow::Result<()> {
    let views = pipeline.views.iter();
    let of_views = views.flat_map(|view| view.features.iter().map(|f| format!("{}.{}", view.name, f.name)));
    let of_requests = pipeline.request_features.iter().map(|feature| format!("request.{}", feature.name));
    if let Some(name) = of_views.chain(of_requests).find(|name| spine.field_with_name(name).is_ok()) {
        bail!("{place}: column {name:?} has the name of a feature; rename or drop it");
    }
    Ok(())
}

/// Columns beside columns.
fn beside(parts: &[&RecordBatch], more: Vec<(FieldRef, ArrayRef)>, rows: usize) -> anyhow::Result<RecordBatch> {
    let fields = parts.iter().flat_map(|part| part.schema_ref().fields().iter().cloned());
    let columns = parts.iter().flat_map(|part| part.columns().iter().cloned());
    let (mut fields, mut columns): (Vec<FieldRef>, Vec<ArrayRef>) = (fields.collect(), columns.collect());
    for (field, column) in more {
        fields.push(field);
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}
