//! The features of all views for the rows of a spine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use paceline_core::Timestamp;
use paceline_features::FeatureView;
use paceline_features::partition::{Joined, PartitionOptions, PartitionedJoin};
use paceline_features::point_in_time;

use super::JoinMeans;
use crate::pipeline::{Pipeline, Source};
use crate::tables::{SourceRows, keeps_nothing};

/// Rows per batch where no view says how many: as many as [`Joined`] gives.
const BATCH_ROWS: usize = 65_536;

/// A join of all views of a pipeline that is being fed: first its sources, then the spine.
#[derive(Debug)]
pub struct FeatureJoin<'a> {
    pipeline: &'a Pipeline,
    groups: Vec<Group<'a>>,
    spine_rows: usize,
}

/// Views of one entity from one source, which share the sort.
#[derive(Debug)]
struct Group<'a> {
    source: &'a Source,
    /// Positions in the pipeline's views.
    views: Vec<usize>,
    join: PartitionedJoin,
}

impl<'a> FeatureJoin<'a> {
    /// A join that was fed nothing yet.
    ///
    /// # Panics
    /// When `means.threads` is zero: the caller's bug.
    #[must_use]
    pub fn new(pipeline: &'a Pipeline, means: &JoinMeans) -> Self {
        let views = group_views(&pipeline.views);
        let options = PartitionOptions {
            scratch: means.scratch.clone(),
            memory_bytes_max: means.memory_bytes_max / views.len().max(1),
            threads: means.threads,
        };
        let group = |views: Vec<usize>| {
            let of_group: Vec<&FeatureView> = views.iter().map(|&view| &pipeline.views[view]).collect();
            let source = pipeline.source(&of_group[0].source).expect("a checked view names a source");
            Group { source, join: PartitionedJoin::new(&of_group, options.clone()), views }
        };
        FeatureJoin { pipeline, groups: views.into_iter().map(group).collect(), spine_rows: 0 }
    }

    /// Reads every source that a view needs, once, with the columns that its views read; `on_rows` hears of its rows.
    ///
    /// # Errors
    /// When a source cannot be read or keeps no row.
    pub fn read_sources(&mut self, folder: &Path, on_rows: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        for source in &self.pipeline.sources {
            let views = self.pipeline.views.iter().filter(|view| view.source == source.name);
            let of_source = self.groups.iter_mut().filter(|group| group.source.name == source.name);
            let joins: Vec<&mut PartitionedJoin> = of_source.map(|group| &mut group.join).collect();
            push_source(source, folder, views, joins, on_rows)?;
        }
        Ok(())
    }

    /// Adds the next rows of the spine.
    ///
    /// # Errors
    /// When a key column is missing or is no key, or rows without time meet a source with an event time.
    ///
    /// # Panics
    /// When the times are not one per row: the caller's bug.
    pub fn push_spine(&mut self, rows: &RecordBatch, time: Option<&[Timestamp]>) -> anyhow::Result<()> {
        self.spine_rows += rows.num_rows();
        for group in &mut self.groups {
            // A static source is known at any time.
            let always;
            let time = match time {
                Some(time) => time,
                None if group.source.event_time.is_none() => {
                    always = vec![Timestamp::default(); rows.num_rows()];
                    &always
                }
                None => bail!(
                    "[features.{}] needs the time of each row, because [sources.{}] has an `event_time`; the rows have \
                     none",
                    self.pipeline.views[group.views[0]].name,
                    group.source.name
                ),
            };
            group.join.push_spine(&point_in_time::Spine { keys: rows, time })?;
        }
        Ok(())
    }

    /// Joins what was pushed.
    ///
    /// # Errors
    /// Key columns of other types than in the source, or a failure of the scratch folder.
    pub fn finish(self) -> anyhow::Result<FeatureBatches> {
        let mut joined = Vec::with_capacity(self.groups.len());
        let mut columns = vec![Vec::new(); self.pipeline.views.len()];
        for group in self.groups {
            let name = &self.pipeline.views[group.views[0]].name;
            let features = group.join.finish().with_context(|| format!("[features.{name}]"))?;
            let mut next = 0;
            for view in group.views {
                let count = self.pipeline.views[view].features.len();
                columns[view] = (next..next + count).map(|column| (joined.len(), column)).collect();
                next += count;
            }
            joined.push(features);
        }
        let columns: Vec<(usize, usize)> = columns.into_iter().flatten().collect();
        let schemas: Vec<SchemaRef> = joined.iter().map(Joined::schema).collect();
        let fields: Vec<FieldRef> =
            columns.iter().map(|&(group, column)| schemas[group].fields()[column].clone()).collect();
        Ok(FeatureBatches { schema: Arc::new(Schema::new(fields)), joined, columns, rows_left: self.spine_rows })
    }
}

/// The features of every spine row, in the spine's order, batch by batch: the columns of all views in the order of the
/// pipeline.
#[derive(Debug)]
pub struct FeatureBatches {
    schema: SchemaRef,
    joined: Vec<Joined>,
    /// Where each output column is: which group, which of its columns.
    columns: Vec<(usize, usize)>,
    rows_left: usize,
}

impl FeatureBatches {
    /// One column per feature, named `view.feature`.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next_batch(&mut self) -> anyhow::Result<RecordBatch> {
        let mut batches = Vec::with_capacity(self.joined.len());
        for joined in &mut self.joined {
            batches.push(joined.next().context("a view has fewer rows than the spine")??);
        }
        let rows = batches.first().map_or(BATCH_ROWS.min(self.rows_left), RecordBatch::num_rows);
        let columns = self.columns.iter().map(|&(group, column)| batches[group].column(column).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl Iterator for FeatureBatches {
    type Item = anyhow::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows_left == 0 {
            return None;
        }
        let batch = self.next_batch();
        self.rows_left -= batch.as_ref().map_or(self.rows_left, RecordBatch::num_rows);
        Some(batch)
    }
}

/// Reads `source` once, with the columns that `views` read, into every one of `joins`; `on_rows` hears of its rows.
/// Without a join it is not read.
///
/// # Errors
/// When the source cannot be read or keeps no row.
pub(crate) fn push_source<'v>(
    source: &Source,
    folder: &Path,
    views: impl Iterator<Item = &'v FeatureView>,
    mut joins: Vec<&mut PartitionedJoin>,
    on_rows: &mut dyn FnMut(u64),
) -> anyhow::Result<()> {
    if joins.is_empty() {
        return Ok(());
    }
    let wanted = wanted_columns(views);
    let (mut rows_read, mut rows_kept) = (0, 0);
    for batch in SourceRows::open_for_features(source, folder, &wanted)? {
        let batch = batch?;
        on_rows(batch.rows_read as u64);
        rows_read += batch.rows_read;
        rows_kept += batch.rows_kept;
        let piece = batch.into_table(source);
        for join in &mut joins {
            join.push_source(&piece)?;
        }
    }
    if rows_kept == 0 { Err(keeps_nothing(source, rows_read)) } else { Ok(()) }
}

/// Positions of views with the same source and entity, together.
pub(crate) fn group_views(views: &[FeatureView]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, view) in views.iter().enumerate() {
        let same = |group: &&mut Vec<usize>| {
            let first = &views[group[0]];
            first.source == view.source && first.entity == view.entity
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// The columns of a source that these views read.
#[must_use]
pub fn wanted_columns<'v>(views: impl Iterator<Item = &'v FeatureView>) -> BTreeSet<&'v str> {
    let read = |view: &'v FeatureView| {
        let of = view.features.iter().filter_map(|feature| feature.of.as_deref());
        view.entity.iter().map(String::as_str).chain(of)
    };
    views.flat_map(read).collect()
}
