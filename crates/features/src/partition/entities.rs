//! The values of every entity that is known at one time: what a materialization writes.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use paceline_core::Timestamp;

use super::scratch::Scratch;
use super::{PARTITIONS, PartitionedJoin, SourceInput, partitions_of};
use crate::FeatureError;
use crate::point_in_time::{Index, Spine};

/// Some entities with their values, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityValues {
    /// The key columns, in the order of the source's columns.
    pub keys: RecordBatch,
    /// One column per feature, named `view.feature`, in declaration order.
    pub features: RecordBatch,
}

/// The values of every entity with a row that is known at one time, part by part. Each entity comes once.
///
/// Holds the scratch directory, which is removed when this is dropped.
#[derive(Debug)]
pub struct Entities {
    join: PartitionedJoin,
    source: SourceInput,
    at: Timestamp,
    next_part: usize,
    scratch: Option<Arc<Scratch>>,
}

impl PartitionedJoin {
    /// The values at `at` of every entity that has a row known by then; no spine is needed.
    ///
    /// # Errors
    /// A failure of the scratch directory; while iterating also a part that alone exceeds the memory.
    ///
    /// # Panics
    /// When no piece of the source was pushed: the caller's bug (push an empty one).
    pub fn finish_entities(mut self, at: Timestamp) -> Result<Entities, FeatureError> {
        let mut source = self.source.take().expect("at least one piece of the source was pushed");
        if let Some(scratch) = self.scratch.clone() {
            let by = source.layout.partition_columns(&self.views).to_vec();
            source.rows.flush(&scratch, |rows| partitions_of(rows, &by))?;
            source.rows.close()?;
            if source.layout.event_id.is_some() {
                source = self.resolve_versions(source, &scratch)?;
            }
        }
        let scratch = self.scratch.clone();
        Ok(Entities { join: self, source, at, next_part: 0, scratch })
    }
}

impl Entities {
    fn part(&mut self, part: usize) -> Result<EntityValues, FeatureError> {
        let layout = &self.source.layout;
        let views = self.join.views();
        let (table, index) = if self.scratch.is_some() {
            self.join.check_size(self.source.rows.bytes(part))?;
            let (table, until) = layout.read_resolved(&self.source.rows.read(part)?)?;
            let index = Index::build_resolved(&views, &table, until)?;
            (table, index)
        } else {
            let table = layout.read(&self.source.rows.take_buffered())?;
            let index = Index::build(&views, &table)?;
            (table, index)
        };
        let rows = UInt32Array::from(index.rows_of_known_entities(self.at));
        let schema = table.rows.schema();
        let is_key = |column: &usize| views[0].entity.contains(schema.field(*column).name());
        let columns: Vec<usize> = (0..schema.fields().len()).filter(is_key).collect();
        let keys = table.rows.project(&columns).and_then(|keys| take_record_batch(&keys, &rows));
        let keys = keys.map_err(FeatureError::arrow("the keys of a part"))?;
        let time = vec![self.at; keys.num_rows()];
        let features = index.join(&Spine { keys: &keys, time: &time }, self.join.options.threads)?;
        Ok(EntityValues { keys, features })
    }
}

impl Iterator for Entities {
    type Item = Result<EntityValues, FeatureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let parts = if self.scratch.is_some() { PARTITIONS } else { 1 };
        while self.next_part < parts {
            let part = self.next_part;
            self.next_part += 1;
            let values = self.part(part);
            if values.is_err() {
                self.next_part = parts;
            }
            if values.as_ref().is_ok_and(|values| values.keys.num_rows() == 0) {
                continue;
            }
            return Some(values);
        }
        None
    }
}
