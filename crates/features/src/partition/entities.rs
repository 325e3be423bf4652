//! The values of every entity that is known at one time, or that can have changed since another: what a materialization
//! writes.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use paceline_core::Timestamp;

use super::change::{GROUPS, Known, Past, Since, key_bytes};
use super::scratch::Scratch;
use super::{PARTITIONS, PartitionedJoin, SourceInput, partitions_of};
use crate::FeatureError;
use crate::point_in_time::entity::{KeyColumn, key_column, key_hashes};
use crate::point_in_time::{Index, Spine};

/// An entity of a part.
struct Found {
    /// One of its rows.
    row: u32,
    group: usize,
    is_known: bool,
    was_known: bool,
    /// Whether its values can have changed, if the source says the same of the earlier time as it did then.
    is_changed: bool,
}

/// A row of each entity.
struct Wanted {
    values: UInt32Array,
    removed: UInt32Array,
}

/// Some entities with their values, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityValues {
    /// The key columns, in the order of the source's columns.
    pub keys: RecordBatch,
    /// One column per feature, named `view.feature`, in declaration order.
    pub features: RecordBatch,
    /// The keys of entities that were known at the earlier time of a change and are known no more.
    pub removed: RecordBatch,
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
    since: Option<Since>,
    /// What is known at `at`, and at the earlier time as the source says it now, of the parts so far.
    known: Known,
    known_before: Known,
    is_incomparable: bool,
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
    pub fn finish_entities(self, at: Timestamp) -> Result<Entities, FeatureError> {
        self.entities_at(at, None)
    }

    /// As [`PartitionedJoin::finish_entities`], but of those entities only whose values can have changed since an
    /// earlier time, and those that are known no more (see `change.rs` for which these are).
    ///
    /// # Errors
    /// As [`PartitionedJoin::finish_entities`].
    ///
    /// # Panics
    /// As [`PartitionedJoin::finish_entities`], and when the earlier time is after `at`: the caller's bug.
    pub fn finish_changes(self, since: Since, at: Timestamp) -> Result<Entities, FeatureError> {
        assert!(since.at <= at, "a change since {} as of {at}", since.at);
        self.entities_at(at, Some(since))
    }

    fn entities_at(mut self, at: Timestamp, since: Option<Since>) -> Result<Entities, FeatureError> {
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
        let (known, known_before) = (Known::default(), Known::default());
        Ok(Entities {
            join: self,
            source,
            at,
            next_part: 0,
            since,
            known,
            known_before,
            is_incomparable: false,
            scratch,
        })
    }
}

impl Entities {
    /// What is known at the time of the values, of the parts that were given so far.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Whether a change cannot be told, because the source now names other entities as known at the earlier time than
    /// it did then. No more parts are given; all values must be written.
    #[must_use]
    pub fn is_incomparable(&self) -> bool {
        self.is_incomparable
    }

    /// A row of every entity whose values are wanted, and of every one that is known no more; `None` when the change
    /// cannot be told.
    fn wanted(&mut self, index: &Index, rows: &RecordBatch, part: usize) -> Result<Option<Wanted>, FeatureError> {
        let entity = &self.join.views[0].entity;
        let (table, view) = ("the source", self.join.views[0].name.as_str());
        let keys: Vec<KeyColumn> =
            entity.iter().map(|name| key_column(rows, name, table, view)).collect::<Result<_, _>>()?;
        let hashes = key_hashes(rows, entity, table, view)?;
        let mut found = Vec::new();
        let (mut now, mut before, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for entity in 0..index.entity_count() as u32 {
            let Some(row) = index.row_of(entity) else { continue };
            parts.clear();
            parts.extend(keys.iter().map(|key| key.value(row as usize)));
            let key = key_bytes(&parts);
            let group = (hashes[row as usize].expect("an entity has no null key") >> 32) as usize % GROUPS;
            now.clear();
            let is_known = index.append_counting_rows(entity, self.at, &mut now);
            if is_known {
                self.known.add(group, &key, &now);
            }
            let Some(since) = &self.since else {
                found.push(Found { row, group, is_known, was_known: false, is_changed: true });
                continue;
            };
            let was = if index.counts_differently(entity, since.at, self.at) {
                before.clear();
                index.append_counting_rows(entity, since.at, &mut before).then_some(&before)
            } else {
                is_known.then_some(&now)
            };
            if let Some(rows) = was {
                self.known_before.add(group, &key, rows);
            }
            let was_known = was.is_some();
            let is_changed = was != is_known.then_some(&now) || index.changes_with_time(entity, since.at, self.at);
            found.push(Found { row, group, is_known, was_known, is_changed });
        }
        let parts = if self.scratch.is_some() { PARTITIONS } else { 1 };
        let past = |group| self.since.as_ref().map_or(Past::Same, |since| since.known.past(&self.known_before, group));
        if (part..GROUPS).step_by(parts).any(|group| past(group) == Past::OtherEntities) {
            return Ok(None);
        }
        let rows = |wanted: &dyn Fn(&Found) -> bool| {
            UInt32Array::from_iter_values(found.iter().filter(|found| wanted(found)).map(|found| found.row))
        };
        Ok(Some(Wanted {
            values: rows(&|found| found.is_known && (found.is_changed || past(found.group) == Past::OtherRows)),
            removed: rows(&|found| found.was_known && !found.is_known),
        }))
    }

    /// The values of a part; `None` when the change cannot be told.
    fn part(&mut self, part: usize) -> Result<Option<EntityValues>, FeatureError> {
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
        let Some(Wanted { values: rows, removed }) = self.wanted(&index, &table.rows, part)? else { return Ok(None) };
        let views = self.join.views();
        let schema = table.rows.schema();
        let is_key = |column: &usize| views[0].entity.contains(schema.field(*column).name());
        let columns: Vec<usize> = (0..schema.fields().len()).filter(is_key).collect();
        let keys_at = |rows: &UInt32Array| {
            let keys = table.rows.project(&columns).and_then(|keys| take_record_batch(&keys, rows));
            keys.map_err(FeatureError::arrow("the keys of a part"))
        };
        let (keys, removed) = (keys_at(&rows)?, keys_at(&removed)?);
        let time = vec![self.at; keys.num_rows()];
        let features = index.join(&Spine { keys: &keys, time: &time }, self.join.options.threads)?;
        Ok(Some(EntityValues { keys, features, removed }))
    }
}

impl Iterator for Entities {
    type Item = Result<EntityValues, FeatureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let parts = if self.scratch.is_some() { PARTITIONS } else { 1 };
        while self.next_part < parts {
            let part = self.next_part;
            self.next_part += 1;
            match self.part(part) {
                Ok(Some(values)) if values.keys.num_rows() + values.removed.num_rows() == 0 => {}
                Ok(Some(values)) => return Some(Ok(values)),
                Ok(None) => {
                    self.is_incomparable = true;
                    self.next_part = parts;
                }
                Err(error) => {
                    self.next_part = parts;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
