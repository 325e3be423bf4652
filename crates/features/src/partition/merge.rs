//! Parts of a join put back into the spine's order.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};

use super::scratch::{BatchFile, BatchReader, Scratch};
use crate::FeatureError;

/// Rows per batch that [`Joined`] gives; the last batch is smaller.
pub(super) const BATCH_ROWS: usize = 65_536;

/// Rows per batch of a part's file: all parts are open at once when they are merged.
const PART_BATCH_ROWS: usize = 4_096;

/// The features of every spine row, in the spine's order, in batches of 65,536 rows (the last one smaller).
///
/// Holds the scratch directory, which is removed when this is dropped.
#[derive(Debug)]
pub struct Joined {
    schema: SchemaRef,
    rows: usize,
    given: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    InMemory(RecordBatch),
    // The scratch directory is dropped after the files in it.
    Merging { parts: Vec<PathBuf>, open: Vec<Part>, _scratch: Arc<Scratch> },
    Failed,
}

/// A part that is being read: the batch at hand and the first of its rows not given yet.
#[derive(Debug)]
struct Part {
    reader: BatchReader,
    batch: Option<RecordBatch>,
    next: usize,
}

/// Writes the features of a part with the positions of their spine rows; returns the file.
pub(super) fn write(
    scratch: &Scratch,
    part: usize,
    features: &RecordBatch,
    position: ArrayRef,
) -> Result<PathBuf, FeatureError> {
    let mut fields: Vec<Arc<Field>> = features.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("position", position.data_type().clone(), false)));
    let columns = features.columns().iter().cloned().chain([position]).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(FeatureError::arrow("the features of a part"))?;
    let mut file = BatchFile::create(scratch.file(&format!("joined-{part}")), &rows.schema())?;
    for from in (0..rows.num_rows()).step_by(PART_BATCH_ROWS) {
        file.write(&rows.slice(from, PART_BATCH_ROWS.min(rows.num_rows() - from)))?;
    }
    file.close()
}

impl Joined {
    pub(super) fn in_memory(rows: RecordBatch) -> Self {
        Joined { schema: rows.schema(), rows: rows.num_rows(), given: 0, state: State::InMemory(rows) }
    }

    pub(super) fn merged(schema: SchemaRef, parts: Vec<PathBuf>, rows: usize, scratch: Arc<Scratch>) -> Self {
        Joined { schema, rows, given: 0, state: State::Merging { parts, open: Vec::new(), _scratch: scratch } }
    }

    /// One column per feature, named `view.feature`, in declaration order.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Number of spine rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows
    }

    fn next_batch(&mut self) -> Result<RecordBatch, FeatureError> {
        let count = BATCH_ROWS.min(self.rows - self.given);
        let (parts, open) = match &mut self.state {
            State::InMemory(rows) => return Ok(rows.slice(self.given, count)),
            State::Merging { parts, open, .. } => (parts, open),
            State::Failed => unreachable!("nothing is asked after a failure"),
        };
        for path in parts.drain(..) {
            let mut reader = BatchReader::open(&path)?;
            let batch = reader.next().transpose()?;
            open.push(Part { reader, batch, next: 0 });
        }
        // For each row of this batch, which of `taken` holds it, and where.
        let mut taken = Vec::new();
        let mut place = vec![(usize::MAX, 0); count];
        for part in open.iter_mut() {
            part.take_before(self.given, count, &mut taken, &mut place)?;
        }
        assert!(place.iter().all(|(batch, _)| *batch != usize::MAX), "every spine row lies in one part");
        let taken: Vec<&RecordBatch> = taken.iter().collect();
        let rows = interleave_record_batch(&taken, &place).map_err(FeatureError::arrow("the merged features"))?;
        let features: Vec<usize> = (0..self.schema.fields().len()).collect();
        let rows = rows.project(&features).map_err(FeatureError::arrow("the merged features"))?;
        Ok(rows)
    }
}

impl Part {
    /// Notes the places of all rows whose position lies in `first..first + count`; positions ascend within a part.
    fn take_before(
        &mut self,
        first: usize,
        count: usize,
        taken: &mut Vec<RecordBatch>,
        place: &mut [(usize, usize)],
    ) -> Result<(), FeatureError> {
        while let Some(batch) = &self.batch {
            let positions = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>().values();
            let rest = &positions[self.next..];
            let end = self.next + rest.partition_point(|&position| (position as usize) < first + count);
            for row in self.next..end {
                place[positions[row] as usize - first] = (taken.len(), row);
            }
            if end > self.next {
                taken.push(batch.clone());
            }
            self.next = end;
            if end < batch.num_rows() {
                break;
            }
            self.batch = self.reader.next().transpose()?;
            self.next = 0;
        }
        Ok(())
    }
}

impl Iterator for Joined {
    type Item = Result<RecordBatch, FeatureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given == self.rows || matches!(self.state, State::Failed) {
            return None;
        }
        let batch = self.next_batch();
        match &batch {
            Ok(batch) => self.given += batch.num_rows(),
            Err(_) => self.state = State::Failed,
        }
        Some(batch)
    }
}
