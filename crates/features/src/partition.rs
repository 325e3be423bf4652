//! Joins whose inputs are larger than memory.
//!
//! Pieces of a source and of a spine are pushed in file order. As long as they are small they stay in memory and are
//! joined there. Beyond that they are written to a scratch directory, partitioned by a hash of the entity, and joined
//! part by part; [`Joined`] merges the parts back into the spine's order. The values are those of
//! [`crate::point_in_time::join_all`], bit for bit. Without a spine, [`PartitionedJoin::finish_entities`] gives the
//! values of all entities at one time.
//!
//! A source with an event id is first partitioned by id, because a correction may change the entity that its event
//! belongs to; only when it is known until when each row counts are the rows partitioned by entity.
//!
//! The scratch directory is removed when the join is dropped, finished or not. After a crash it stays, named
//! `paceline-scratch-N`, and can be deleted.

mod change;
mod entities;
mod merge;
mod scratch;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use paceline_core::Timestamp;

pub use change::{Known, Since};
pub use entities::{Entities, EntityValues};
pub use merge::Joined;
use scratch::{Scratch, Spill};

use crate::point_in_time::correction::{NEVER, known_until};
use crate::point_in_time::entity::key_hashes;
use crate::point_in_time::{Index, Spine};
use crate::{FeatureError, FeatureView, SourceTable};

/// Number of parts: enough for inputs 64 times as large as the memory, few enough to keep all their files open.
const PARTITIONS: usize = 256;

/// Bytes of one value of a result: eight, and its share of a null mask.
const RESULT_BYTES: usize = 9;

/// A join takes about this many times its raw input: the input, its order, gathered columns and results.
const MEMORY_FACTOR: usize = 4;

/// Where and how far a join may spread.
#[derive(Debug, Clone)]
pub struct PartitionOptions {
    /// An existing directory; a scratch directory is made in it when needed.
    pub scratch: PathBuf,
    /// About how much memory the join may take. A quarter of it is filled with pieces before they go to disk.
    pub memory_bytes_max: usize,
    /// Threads that join one part.
    pub threads: usize,
}

/// A join that is being fed. All its views have the same entity and source.
#[derive(Debug)]
pub struct PartitionedJoin {
    views: Vec<FeatureView>,
    options: PartitionOptions,
    scratch: Option<Arc<Scratch>>,
    source: Option<SourceInput>,
    spine: Spill,
    spine_schema: Option<SchemaRef>,
}

/// What has been pushed of the source.
#[derive(Debug)]
struct SourceInput {
    layout: Layout,
    /// Partitioned by event id where there is one, else by entity.
    rows: Spill,
    position: i64,
}

/// How source rows are written: the kept columns, then times and position as Int64.
#[derive(Debug, Clone)]
struct Layout {
    name: String,
    has_event_time: bool,
    has_available_time: bool,
    available_time_column: Option<String>,
    event_id: Option<String>,
    columns: Vec<String>,
    schema: SchemaRef,
}

impl PartitionedJoin {
    /// An empty join of `views`.
    ///
    /// # Panics
    /// When `views` is empty or `options.threads` is zero: the caller's bug.
    #[must_use]
    pub fn new(views: &[&FeatureView], options: PartitionOptions) -> Self {
        assert!(!views.is_empty(), "a join needs at least one view");
        assert!(options.threads > 0, "a join needs at least one thread");
        let views = views.iter().map(|view| (*view).clone()).collect();
        PartitionedJoin { views, options, scratch: None, source: None, spine: Spill::new("spine"), spine_schema: None }
    }

    /// Adds the next rows of the source; an empty piece still says which columns there are.
    ///
    /// # Errors
    /// At the first piece what [`Index::build`] refuses; later the scratch directory's failures.
    ///
    /// # Panics
    /// When a piece has other columns or times than the first: the caller's bug.
    pub fn push_source(&mut self, piece: &SourceTable) -> Result<(), FeatureError> {
        let mut input = match self.source.take() {
            Some(input) => input,
            None => {
                Index::build(&self.views(), &empty(piece))?;
                let layout = Layout::of(piece, &self.views);
                SourceInput { layout, rows: Spill::new("source"), position: 0 }
            }
        };
        let rows = input.layout.write(piece, input.position)?;
        input.position += rows.num_rows() as i64;
        input.rows.push(rows);
        if input.rows.buffered_bytes() > self.buffer_bytes_max() {
            let scratch = self.scratch()?;
            let by = input.layout.partition_columns(&self.views);
            input.rows.flush(&scratch, |rows| partitions_of(rows, by))?;
        }
        self.source = Some(input);
        Ok(())
    }

    /// Adds the next rows of the spine.
    ///
    /// # Errors
    /// A missing key column, one of another type than in the source (found in [`PartitionedJoin::finish`] at the
    /// latest), or a failure of the scratch directory.
    ///
    /// # Panics
    /// When the times are not one per row, or a piece has other key columns than the first: the caller's bug.
    pub fn push_spine(&mut self, spine: &Spine<'_>) -> Result<(), FeatureError> {
        assert_eq!(spine.keys.num_rows(), spine.time.len(), "one time per spine row");
        let entity = &self.views[0].entity;
        key_hashes(&spine.keys.slice(0, 0), entity, "the spine", &self.views[0].name)?;
        let names = spine.keys.schema();
        let keys = names.fields().iter().zip(spine.keys.columns()).filter(|(field, _)| entity.contains(field.name()));
        let columns = keys
            .map(|(field, column)| Ok((field.name().clone(), plain(column)?)))
            .chain([Ok(("time".to_owned(), int64(spine.time.iter().map(|time| time.0)))), {
                let from = self.spine.rows() as i64;
                Ok(("position".to_owned(), int64(from..from + spine.time.len() as i64)))
            }])
            .collect::<Result<Vec<_>, FeatureError>>()?;
        let rows = batch(columns)?;
        let schema = self.spine_schema.get_or_insert_with(|| rows.schema());
        assert_eq!(*schema, rows.schema(), "the pieces of a spine have the same key columns");
        self.spine.push(rows);
        // Joined in memory, the results of all these rows stand there at once.
        let features: usize = self.views.iter().map(|view| view.features.len()).sum();
        let result_bytes = self.spine.rows() * features * RESULT_BYTES;
        if self.spine.buffered_bytes() + result_bytes > self.buffer_bytes_max() {
            let scratch = self.scratch()?;
            self.spine.flush(&scratch, |rows| partitions_of(rows, &self.views[0].entity))?;
        }
        Ok(())
    }

    /// Joins what was pushed.
    ///
    /// # Errors
    /// Key columns of different types, a failure of the scratch directory, or a part that alone exceeds the memory.
    ///
    /// # Panics
    /// When no piece of the source or none of the spine was pushed: the caller's bug (push an empty one).
    pub fn finish(mut self) -> Result<Joined, FeatureError> {
        let mut source = self.source.take().expect("at least one piece of the source was pushed");
        let spine_schema = self.spine_schema.clone().expect("at least one piece of the spine was pushed");
        if self.scratch.is_none() {
            let table = source.layout.read(&source.rows.take_buffered())?;
            let index = Index::build(&self.views(), &table)?;
            let joined = join_part(&index, &spine_schema, &self.spine.take_buffered(), self.options.threads)?;
            return Ok(Joined::in_memory(joined.0));
        }
        let scratch = self.scratch()?;
        let entity = self.views[0].entity.clone();
        self.spine.flush(&scratch, |rows| partitions_of(rows, &entity))?;
        let by = source.layout.partition_columns(&self.views).to_vec();
        source.rows.flush(&scratch, |rows| partitions_of(rows, &by))?;
        self.spine.close()?;
        source.rows.close()?;
        if source.layout.event_id.is_some() {
            source = self.resolve_versions(source, &scratch)?;
        }

        let (schema, mut results) = (self.result_schema(&source.layout, &spine_schema)?, Vec::new());
        for part in 0..PARTITIONS {
            let spine = self.spine.read(part)?;
            if spine.is_empty() {
                continue;
            }
            self.check_size(source.rows.bytes(part) + self.spine.bytes(part))?;
            let (table, until) = source.layout.read_resolved(&source.rows.read(part)?)?;
            let index = Index::build_resolved(&self.views(), &table, until)?;
            let (joined, position) = join_part(&index, &spine_schema, &spine, self.options.threads)?;
            results.push(merge::write(&scratch, part, &joined, position)?);
        }
        Ok(Joined::merged(schema, results, self.spine.rows(), scratch))
    }

    fn views(&self) -> Vec<&FeatureView> {
        self.views.iter().collect()
    }

    fn buffer_bytes_max(&self) -> usize {
        self.options.memory_bytes_max / MEMORY_FACTOR
    }

    fn scratch(&mut self) -> Result<Arc<Scratch>, FeatureError> {
        if let Some(scratch) = &self.scratch {
            return Ok(scratch.clone());
        }
        let scratch = Arc::new(Scratch::create_in(&self.options.scratch)?);
        self.scratch = Some(scratch.clone());
        Ok(scratch)
    }

    fn check_size(&self, bytes: usize) -> Result<(), FeatureError> {
        if bytes <= self.options.memory_bytes_max {
            return Ok(());
        }
        Err(FeatureError::PartTooLarge { bytes, memory_bytes_max: self.options.memory_bytes_max })
    }

    /// Partitions by entity what is partitioned by event id, with the time until which each row counts.
    fn resolve_versions(&self, source: SourceInput, scratch: &Arc<Scratch>) -> Result<SourceInput, FeatureError> {
        let entity = &self.views[0].entity;
        let layout = source.layout.resolved(&self.views);
        let mut rows = Spill::new("resolved");
        for part in 0..PARTITIONS {
            let batches = source.rows.read(part)?;
            if batches.is_empty() {
                continue;
            }
            self.check_size(source.rows.bytes(part))?;
            rows.push(source.layout.resolve(&batches, &layout)?);
            rows.flush(scratch, |rows| partitions_of(rows, entity))?;
        }
        rows.close()?;
        Ok(SourceInput { layout, rows, position: source.position })
    }

    fn result_schema(&self, layout: &Layout, spine_schema: &SchemaRef) -> Result<SchemaRef, FeatureError> {
        let (table, _) = layout.read_resolved(&[])?;
        let index = Index::build_resolved(&self.views(), &table, None)?;
        Ok(join_part(&index, spine_schema, &[], 1)?.0.schema())
    }
}

impl Layout {
    fn of(piece: &SourceTable, views: &[FeatureView]) -> Self {
        let is_read = |name: &str| {
            let of = |view: &FeatureView| view.features.iter().any(|feature| feature.of.as_deref() == Some(name));
            // Every column may tell two versions of an event apart.
            piece.event_id.is_some() || views[0].entity.iter().any(|key| key == name) || views.iter().any(of)
        };
        let schema = piece.rows.schema();
        Layout {
            name: piece.name.clone(),
            has_event_time: piece.event_time.is_some(),
            has_available_time: piece.available_time.is_some(),
            available_time_column: piece.available_time_column.clone(),
            event_id: piece.event_id.clone(),
            columns: schema.fields().iter().map(|field| field.name().clone()).filter(|name| is_read(name)).collect(),
            schema,
        }
    }

    /// The layout after the versions of events are resolved: only what the views read.
    fn resolved(&self, views: &[FeatureView]) -> Layout {
        let of = |view: &FeatureView, name: &String| view.features.iter().any(|f| f.of.as_ref() == Some(name));
        let is_read = |name: &String| views[0].entity.contains(name) || views.iter().any(|view| of(view, name));
        let columns = self.columns.iter().filter(|name| is_read(name)).cloned().collect();
        Layout { event_id: None, available_time_column: None, columns, ..self.clone() }
    }

    fn partition_columns<'a>(&'a self, views: &'a [FeatureView]) -> &'a [String] {
        self.event_id.as_ref().map_or(&views[0].entity, std::slice::from_ref)
    }

    /// The kept columns and times of a piece whose first row has this position.
    fn write(&self, piece: &SourceTable, position: i64) -> Result<RecordBatch, FeatureError> {
        assert_eq!(self.schema, piece.rows.schema(), "the pieces of a source have the same columns");
        let found = (piece.event_time.is_some(), piece.available_time.is_some());
        assert_eq!(found, (self.has_event_time, self.has_available_time), "the pieces of a source have the same times");
        let mut columns = Vec::with_capacity(self.columns.len() + 3);
        for name in &self.columns {
            columns.push((name.clone(), plain(&piece.rows[name.as_str()])?));
        }
        for times in [&piece.event_time, &piece.available_time].into_iter().flatten() {
            columns.push(("time".to_owned(), int64(times.iter().map(|time| time.0))));
        }
        columns.push(("position".to_owned(), int64(position..position + piece.rows.num_rows() as i64)));
        batch(columns)
    }

    /// The source that these rows, in order of position, are.
    fn read(&self, batches: &[RecordBatch]) -> Result<SourceTable, FeatureError> {
        let rows = match batches.first() {
            Some(first) => {
                concat_batches(&first.schema(), batches).map_err(FeatureError::arrow("rows of the source"))?
            }
            None => return self.empty(),
        };
        let kept = rows.project(&(0..self.columns.len()).collect::<Vec<_>>());
        let mut next = self.columns.len();
        let mut times = |is_there: bool| {
            is_there.then(|| {
                next += 1;
                timestamps(rows.column(next - 1))
            })
        };
        Ok(SourceTable {
            name: self.name.clone(),
            event_time: times(self.has_event_time),
            available_time: times(self.has_available_time),
            rows: kept.map_err(FeatureError::arrow("rows of the source"))?,
            available_time_column: self.available_time_column.clone(),
            event_id: self.event_id.clone(),
        })
    }

    fn empty(&self) -> Result<SourceTable, FeatureError> {
        let field = |name: &String| {
            let field = self.schema.field_with_name(name).expect("kept columns are in the schema");
            Field::new(name, plain_type(field.data_type()).clone(), true)
        };
        let schema = Schema::new(self.columns.iter().map(field).collect::<Vec<_>>());
        Ok(SourceTable {
            name: self.name.clone(),
            rows: RecordBatch::new_empty(Arc::new(schema)),
            event_time: self.has_event_time.then(Vec::new),
            available_time: self.has_available_time.then(Vec::new),
            available_time_column: self.available_time_column.clone(),
            event_id: self.event_id.clone(),
        })
    }

    /// The rows that count at some time, with the columns of `layout` and until when they count.
    fn resolve(&self, batches: &[RecordBatch], layout: &Layout) -> Result<RecordBatch, FeatureError> {
        let table = self.read(batches)?;
        let id = self.event_id.as_deref().expect("only a source with an event id is resolved");
        let until = known_until(&table, id)?.unwrap_or_else(|| vec![i64::MAX; table.rows.num_rows()]);
        let positions = batches.iter().flat_map(|rows| {
            let position = rows.column(rows.num_columns() - 1);
            position.as_primitive::<Int64Type>().values().iter().copied()
        });
        let mut columns: Vec<(String, ArrayRef)> =
            layout.columns.iter().map(|name| (name.clone(), table.rows[name.as_str()].clone())).collect();
        for times in [&table.event_time, &table.available_time].into_iter().flatten() {
            columns.push(("time".to_owned(), int64(times.iter().map(|time| time.0))));
        }
        columns.push(("position".to_owned(), int64(positions)));
        columns.push(("known_until".to_owned(), int64(until.iter().copied())));
        let kept = (0..until.len() as u32).filter(|&row| until[row as usize] != NEVER);
        take_record_batch(&batch(columns)?, &UInt32Array::from_iter_values(kept))
            .map_err(FeatureError::arrow("rows of the source"))
    }

    /// The source that these rows are once they are put in order of position, and until when each counts (where it was
    /// resolved).
    fn read_resolved(&self, batches: &[RecordBatch]) -> Result<(SourceTable, Option<Vec<i64>>), FeatureError> {
        let Some(first) = batches.first() else { return Ok((self.empty()?, None)) };
        let context = "rows of the source";
        let times = usize::from(self.has_event_time) + usize::from(self.has_available_time);
        let position = self.columns.len() + times;
        if first.num_columns() == position + 1 {
            return Ok((self.read(batches)?, None));
        }
        let rows = concat_batches(&first.schema(), batches).map_err(FeatureError::arrow(context))?;
        let order = sort_to_indices(rows.column(position), None, None).map_err(FeatureError::arrow(context))?;
        let rows = take_record_batch(&rows, &order).map_err(FeatureError::arrow(context))?;
        let until = rows.column(position + 1).as_primitive::<Int64Type>().values().to_vec();
        Ok((self.read(&[rows])?, Some(until)))
    }
}

/// Joins a part; returns its features and the positions of its spine rows.
fn join_part(
    index: &Index,
    spine_schema: &SchemaRef,
    spine: &[RecordBatch],
    threads: usize,
) -> Result<(RecordBatch, ArrayRef), FeatureError> {
    let rows = concat_batches(spine_schema, spine).map_err(FeatureError::arrow("rows of the spine"))?;
    let position = rows.num_columns() - 1;
    let time = timestamps(rows.column(position - 1));
    let joined = index.join(&Spine { keys: &rows, time: &time }, threads)?;
    Ok((joined, rows.column(position).clone()))
}

/// The part of each row. Rows without a key are spread, so that they do not fill one part.
fn partitions_of(rows: &RecordBatch, by: &[String]) -> Result<Vec<usize>, FeatureError> {
    let hashes = key_hashes(rows, by, "the scratch file", "partition")?;
    let spread = |(row, hash): (usize, Option<u64>)| hash.map_or(row, |hash| (hash >> 32) as usize) % PARTITIONS;
    Ok(hashes.into_iter().enumerate().map(spread).collect())
}

fn empty(piece: &SourceTable) -> SourceTable {
    SourceTable {
        rows: piece.rows.slice(0, 0),
        event_time: piece.event_time.as_ref().map(|_| Vec::new()),
        available_time: piece.available_time.as_ref().map(|_| Vec::new()),
        ..piece.clone()
    }
}

/// A column without dictionary: pieces may have different ones, and a small key type may not hold their union.
fn plain(column: &ArrayRef) -> Result<ArrayRef, FeatureError> {
    let data_type = plain_type(column.data_type());
    if data_type == column.data_type() {
        return Ok(column.clone());
    }
    cast(column, data_type).map_err(FeatureError::arrow("a dictionary column"))
}

fn plain_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        other => other,
    }
}

fn int64(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn timestamps(column: &ArrayRef) -> Vec<Timestamp> {
    column.as_primitive::<Int64Type>().values().iter().copied().map(Timestamp).collect()
}

fn batch(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch, FeatureError> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(FeatureError::arrow("rows to partition"))
}
