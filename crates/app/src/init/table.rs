//! A sample of a table's rows, column by column.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use paceline_features::expression::Type;
use paceline_store::{SourceReader, SourceSpec};

/// Rows that are looked at, at most twice as many are held.
const SAMPLE_ROWS: usize = 100_000;

/// A table, sampled evenly in the order of its rows.
#[derive(Debug)]
pub struct Table {
    /// Rows of the files.
    pub rows_read: usize,
    /// Rows of the sample.
    pub rows: usize,
    /// In the order of the files; columns of types that cannot be read are left out.
    pub columns: Vec<Column>,
}

/// One column of the sample.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is read as. A column of nulls is of numbers.
    pub kind: Type,
    /// Its values.
    pub values: Values,
    /// Rows of the sample without value.
    pub nulls: usize,
    /// Distinct values of the sample.
    pub distinct: usize,
}

/// The values of a column.
#[derive(Debug)]
pub enum Values {
    /// Numbers, truth values as 0 and 1, timestamps in microseconds; NaN where there is none.
    Numbers(Vec<f64>),
    /// Texts by their index among the distinct ones, in order of first sight.
    Texts {
        /// The distinct texts.
        distinct: Vec<String>,
        /// One per row, `None` where there is none.
        codes: Vec<Option<u32>>,
    },
}

impl Table {
    /// Reads a table of Parquet or CSV files.
    ///
    /// # Errors
    /// When it cannot be read or has no rows.
    pub fn read(location: &str) -> anyhow::Result<Table> {
        let reader = SourceReader::open(&SourceSpec::new("the table", location), Path::new(""))?;
        let mut sample = Sample { kept: Vec::new(), kept_rows: 0, stride: 1, rows_read: 0 };
        for batch in reader {
            sample.add(&batch?)?;
        }
        let schema = sample.kept.first().context("the table has no rows")?.schema();
        let rows = concat_batches(&schema, &sample.kept)?;
        let mut columns = Vec::new();
        for (field, array) in schema.fields().iter().zip(rows.columns()) {
            if let Some(column) = Column::read(field.name(), array)? {
                columns.push(column);
            }
        }
        Ok(Table { rows_read: sample.rows_read, rows: rows.num_rows(), columns })
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Every `stride`th row; when too many are held, every other one is dropped and the stride doubles.
struct Sample {
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    stride: usize,
    rows_read: usize,
}

impl Sample {
    fn add(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let first = self.rows_read.next_multiple_of(self.stride) - self.rows_read;
        self.rows_read += batch.num_rows();
        let kept = every(batch, first, self.stride)?;
        self.kept_rows += kept.num_rows();
        self.kept.push(kept);
        if self.kept_rows > 2 * SAMPLE_ROWS {
            let all = concat_batches(&self.kept[0].schema(), &self.kept)?;
            let half = every(&all, 0, 2)?;
            (self.kept_rows, self.stride) = (half.num_rows(), self.stride * 2);
            self.kept = vec![half];
        }
        Ok(())
    }
}

fn every(batch: &RecordBatch, first: usize, stride: usize) -> anyhow::Result<RecordBatch> {
    if stride == 1 {
        return Ok(batch.clone());
    }
    let rows: UInt64Array = (first..batch.num_rows()).step_by(stride).map(|row| row as u64).collect();
    Ok(take_record_batch(batch, &rows)?)
}

impl Column {
    fn read(name: &str, array: &ArrayRef) -> anyhow::Result<Option<Column>> {
        let kind = match array.data_type() {
            DataType::Null => Type::Float,
            other => match Type::of_arrow(other) {
                Some(kind) => kind,
                None => return Ok(None),
            },
        };
        let values = match kind {
            Type::Bool | Type::Int | Type::Float => Values::Numbers(floats(&cast(array, &DataType::Float64)?)),
            Type::Timestamp => {
                let micros = cast(&cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?, &DataType::Int64)?;
                let micros = micros.as_primitive::<Int64Type>();
                Values::Numbers(micros.iter().map(|micros| micros.map_or(f64::NAN, |micros| micros as f64)).collect())
            }
            Type::Text => texts(&cast(array, &DataType::Utf8)?),
        };
        let (nulls, distinct) = match &values {
            Values::Numbers(numbers) => {
                let known = numbers.iter().filter(|number| !number.is_nan());
                let distinct: HashSet<u64> = known.clone().map(|number| number.to_bits()).collect();
                (numbers.len() - known.count(), distinct.len())
            }
            Values::Texts { distinct, codes } => (codes.iter().filter(|code| code.is_none()).count(), distinct.len()),
        };
        Ok(Some(Column { name: name.to_owned(), kind, values, nulls, distinct }))
    }

    /// Rows of the sample with a value.
    #[must_use]
    pub fn known(&self) -> usize {
        self.len() - self.nulls
    }

    /// Rows of the sample.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Texts { codes, .. } => codes.len(),
        }
    }

    /// Whether the sample has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `row` has no value.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Numbers(numbers) => numbers[row].is_nan(),
            Values::Texts { codes, .. } => codes[row].is_none(),
        }
    }

    /// The numbers, `None` for texts.
    #[must_use]
    pub fn numbers(&self) -> Option<&[f64]> {
        match &self.values {
            Values::Numbers(numbers) => Some(numbers),
            Values::Texts { .. } => None,
        }
    }

    /// The distinct texts, `None` for numbers.
    #[must_use]
    pub fn texts(&self) -> Option<&[String]> {
        match &self.values {
            Values::Texts { distinct, .. } => Some(distinct),
            Values::Numbers(_) => None,
        }
    }

    /// Smallest and largest number, `None` for texts and without any value.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        let known = || self.numbers().unwrap_or_default().iter().copied().filter(|number| !number.is_nan());
        Some((known().reduce(f64::min)?, known().reduce(f64::max)?))
    }
}

fn floats(array: &ArrayRef) -> Vec<f64> {
    array.as_primitive::<Float64Type>().iter().map(|number| number.unwrap_or(f64::NAN)).collect()
}

fn texts(array: &ArrayRef) -> Values {
    let mut codes_of: HashMap<&str, u32> = HashMap::new();
    let mut distinct = Vec::new();
    let texts = array.as_string::<i32>();
    let mut code = |text| {
        *codes_of.entry(text).or_insert_with(|| {
            distinct.push(String::from(text));
            distinct.len() as u32 - 1
        })
    };
    let codes = texts.iter().map(|text| text.map(&mut code)).collect();
    Values::Texts { distinct, codes }
}
