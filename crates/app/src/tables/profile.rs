//! What a source holds: rows, columns, nulls, times.

use std::path::Path;

use arrow::array::{Array, ArrayRef, Scalar};
use arrow::compute::kernels::cmp::neq;
use arrow::datatypes::{DataType, SchemaRef};
use paceline_core::Timestamp;
use paceline_features::expression::Type;
use serde::Serialize;

use super::{Batch, SourceRows};
use crate::pipeline::Source;

/// A source's rows in figures.
#[derive(Debug, Clone, Serialize)]
pub struct SourceProfile {
    /// Name of the source.
    pub name: String,
    /// Number of files.
    pub files: usize,
    /// Their size together.
    pub bytes: u64,
    /// Rows in the files.
    pub rows_read: u64,
    /// Rows that `where` keeps; the figures below are about these.
    pub rows: u64,
    /// First and last event time; `None` for a static source or one without rows.
    pub event_time: Option<TimeRange>,
    /// Rows whose available time is before their event time; `None` without available times.
    pub available_before_event: Option<u64>,
    /// In the order of the files, derived columns last.
    pub columns: Vec<ColumnProfile>,
}

/// First and last of some times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TimeRange {
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

/// One column in figures.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnProfile {
    /// Name of the column.
    pub name: String,
    /// The type that features and expressions read it as; `None` when they cannot.
    #[serde(rename = "type")]
    pub kind: Option<Type>,
    /// Rows without a value, NaN included.
    pub nulls: u64,
    /// NaN in the files, which are read as null. Counted before `where`.
    pub nans: u64,
    /// Whether all rows with a value have the same one; false without any.
    pub is_constant: bool,
    #[serde(skip)]
    constancy: Constancy,
}

/// Whether one value has been seen, and whether it was the only one.
#[derive(Debug, Clone, Default)]
enum Constancy {
    #[default]
    Nothing,
    One(ArrayRef),
    Several,
}

impl SourceProfile {
    /// Reads the whole source, batch by batch; `on_rows` hears of each batch's rows.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn read(source: &Source, folder: &Path, mut on_rows: impl FnMut(u64)) -> anyhow::Result<Self> {
        let mut reader = SourceRows::open(source, folder)?;
        let (files, bytes) = reader.files();
        let mut profile = SourceProfile {
            name: source.name.clone(),
            files,
            bytes,
            rows_read: 0,
            rows: 0,
            event_time: None,
            available_before_event: source.available_time.as_ref().map(|_| 0),
            columns: Vec::new(),
        };
        for batch in reader.by_ref() {
            let batch = batch?;
            on_rows(batch.rows_read as u64);
            profile.add(&batch)?;
        }
        for column in &mut profile.columns {
            column.nans = reader.nan_counts().get(&column.name).copied().unwrap_or(0);
            column.is_constant = matches!(column.constancy, Constancy::One(_));
            column.constancy = Constancy::Nothing;
        }
        Ok(profile)
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnProfile> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn add(&mut self, batch: &Batch) -> anyhow::Result<()> {
        if self.columns.is_empty() {
            self.columns = empty_columns(&batch.rows.schema());
        }
        self.rows_read += batch.rows_read as u64;
        self.rows += batch.rows.num_rows() as u64;
        for (profile, array) in self.columns.iter_mut().zip(batch.rows.columns()) {
            profile.add(array)?;
        }
        if let Some(times) = &batch.event_time {
            self.event_time = joined(self.event_time, times);
            if let (Some(count), Some(available)) = (&mut self.available_before_event, &batch.available_time) {
                *count += available.iter().zip(times).filter(|(available, event)| available < event).count() as u64;
            }
        }
        Ok(())
    }
}

impl ColumnProfile {
    fn add(&mut self, array: &ArrayRef) -> anyhow::Result<()> {
        self.nulls += array.logical_null_count() as u64;
        if matches!(self.constancy, Constancy::Nothing) {
            let first = (0..array.len()).find(|row| array.data_type() != &DataType::Null && array.is_valid(*row));
            if let Some(row) = first {
                self.constancy = Constancy::One(array.slice(row, 1));
            }
        }
        if let Constancy::One(value) = &self.constancy {
            // Null compares as null, which is not counted.
            let differs = neq(array, &Scalar::new(value.clone()))?;
            if differs.true_count() > 0 {
                self.constancy = Constancy::Several;
            }
        }
        Ok(())
    }
}

fn empty_columns(schema: &SchemaRef) -> Vec<ColumnProfile> {
    let column = |field: &arrow::datatypes::FieldRef| ColumnProfile {
        name: field.name().clone(),
        kind: Type::of_arrow(field.data_type()),
        nulls: 0,
        nans: 0,
        is_constant: false,
        constancy: Constancy::Nothing,
    };
    schema.fields().iter().map(column).collect()
}

fn joined(range: Option<TimeRange>, times: &[Timestamp]) -> Option<TimeRange> {
    let batch =
        times.iter().min().zip(times.iter().max()).map(|(first, last)| TimeRange { first: *first, last: *last });
    match (range, batch) {
        (Some(a), Some(b)) => Some(TimeRange { first: a.first.min(b.first), last: a.last.max(b.last) }),
        (one, other) => one.or(other),
    }
}
