//! CSV files: comma separated, UTF-8, `"` quotes, column names in the first line, an empty cell is null.
//!
//! The types of a column are inferred from the first rows of every file that hold a value of it; a column without any
//! value has the type `Null`. Only what can be written back unchanged is a number: `007` is text, so an identifier keeps
//! its zeros. Dates and times stay text; [`super::to_timestamps`] reads
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::csv::reader::{Decoder, Format as CsvFormat, ReaderBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use super::location::SourceFile;
use super::objects::Objects;
use super::reader::BATCH_ROWS;
use super::{Format, SourceError};

/// Types are inferred from at most this many rows of each file, as far as they lie within [`SAMPLE_BYTES`].
const SAMPLE_ROWS: usize = 10_000;
const SAMPLE_BYTES: u64 = 1 << 20;
/// A file is fetched in pieces of this size.
const CHUNK_BYTES: u64 = 4 << 20;

/// The type of a CSV column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CsvType {
    /// 64 bit integers without leading zeros or plus sign.
    Integer,
    /// 64 bit floats; `nan` reads as null.
    Float,
    /// `true` or `false` in any case.
    Boolean,
    /// Anything.
    Text,
}

impl CsvType {
    fn arrow(self) -> DataType {
        match self {
            CsvType::Integer => DataType::Int64,
            CsvType::Float => DataType::Float64,
            CsvType::Boolean => DataType::Boolean,
            CsvType::Text => DataType::Utf8,
        }
    }

    /// The narrowest type of one cell.
    fn of(cell: &str) -> CsvType {
        if parse_integer(cell).is_some() {
            CsvType::Integer
        } else if parse_boolean(cell).is_some() {
            CsvType::Boolean
        } else if parse_float(cell).is_some() {
            CsvType::Float
        } else {
            CsvType::Text
        }
    }

    /// The narrowest type that holds both.
    fn or(self, other: CsvType) -> CsvType {
        match (self, other) {
            (a, b) if a == b => a,
            (CsvType::Integer, CsvType::Float) | (CsvType::Float, CsvType::Integer) => CsvType::Float,
            _ => CsvType::Text,
        }
    }
}

fn parse_integer(cell: &str) -> Option<i64> {
    let digits = cell.trim();
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let keeps_its_text = unsigned == "0" && !digits.starts_with('-') || !unsigned.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| keeps_its_text)
}

/// An integer that is not exactly a float (an identifier of 20 digits, `007`) is none.
fn parse_float(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    let digits = cell.trim_start_matches(['+', '-']);
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    if only_digits && parse_integer(cell).is_none_or(|integer| integer.unsigned_abs() > 1 << f64::MANTISSA_DIGITS) {
        return None;
    }
    cell.parse().ok()
}

fn parse_boolean(cell: &str) -> Option<bool> {
    let cell = cell.trim();
    if cell.eq_ignore_ascii_case("true") {
        Some(true)
    } else if cell.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The beginning of one file: its column names and what its first rows look like.
pub(super) struct Sample {
    pub(super) header: Vec<String>,
    /// Of each column, `None` when no sampled row has a value.
    types: Vec<Option<CsvType>>,
    pub(super) rows: usize,
}

impl Sample {
    /// The column names alone.
    pub(super) fn header(objects: &Objects, file: &SourceFile) -> Result<Vec<String>, SourceError> {
        let bytes = read_chunk(objects, file, 0, SAMPLE_BYTES)?;
        read_header(without_byte_order_mark(&bytes), file)
    }

    pub(super) fn read(objects: &Objects, file: &SourceFile) -> Result<Sample, SourceError> {
        let bytes = read_chunk(objects, file, 0, SAMPLE_BYTES)?;
        let whole = bytes.len() as u64 == file.bytes;
        let bytes = without_byte_order_mark(&bytes);
        let header = read_header(bytes, file)?;
        let rows = if whole { bytes } else { whole_rows(bytes, file)? };

        let mut decoder = text_decoder(&header, SAMPLE_ROWS);
        let mut rest = rows;
        loop {
            let decoded = decoder.decode(rest).map_err(|error| damaged(file, &error))?;
            rest = &rest[decoded..];
            if decoded == 0 || decoder.capacity() == 0 {
                break;
            }
        }
        let batch = decoder.flush().map_err(|error| damaged(file, &error))?;
        let types = match &batch {
            Some(batch) => batch.columns().iter().map(|column| infer(column.as_string())).collect(),
            None => vec![None; header.len()],
        };
        let is_all = whole && decoder.capacity() > 0;
        let mut sample = Sample { header, types, rows: batch.map_or(0, |batch| batch.num_rows()) };
        if !is_all && sample.types.contains(&None) {
            sample.look_further(objects, file)?;
        }
        Ok(sample)
    }

    /// Reads on until the columns without any value so far have one: without reading all rows it is not known that a
    /// column has none.
    fn look_further(&mut self, objects: &Objects, file: &SourceFile) -> Result<(), SourceError> {
        let fields: Vec<Field> = self.header.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let mut batches = CsvBatches::open(&self.header, &Arc::new(Schema::new(fields)));
        while let Some(batch) = batches.next_batch(objects, file)? {
            for (kind, column) in self.types.iter_mut().zip(batch.columns()).filter(|(kind, _)| kind.is_none()) {
                *kind = infer(column.as_string());
            }
            if !self.types.contains(&None) {
                break;
            }
        }
        Ok(())
    }

    /// Adds what another file with the same columns, in any order, looks like.
    pub(super) fn widen(&mut self, other: &Sample) {
        for (name, merged) in self.header.iter().zip(&mut self.types) {
            let found = other.header.iter().position(|column| column == name).and_then(|index| other.types[index]);
            *merged = match (*merged, found) {
                (Some(a), Some(b)) => Some(a.or(b)),
                (a, b) => a.or(b),
            };
        }
        self.rows += other.rows;
    }

    /// The columns with their types; `declared` ones win, a column without any value has none.
    pub(super) fn schema(&self, declared: &BTreeMap<String, CsvType>) -> Schema {
        let field = |(name, inferred): (&String, &Option<CsvType>)| {
            let csv_type = declared.get(name).copied().or(*inferred);
            Field::new(name, csv_type.map_or(DataType::Null, CsvType::arrow), true)
        };
        Schema::new(self.header.iter().zip(&self.types).map(field).collect::<Vec<_>>())
    }
}

fn infer(cells: &StringArray) -> Option<CsvType> {
    cells.iter().flatten().map(CsvType::of).reduce(CsvType::or)
}

fn read_header(bytes: &[u8], file: &SourceFile) -> Result<Vec<String>, SourceError> {
    let bad = |cause: String| SourceError::BadHeader { file: file.path.clone(), cause };
    if bytes.is_empty() {
        return Err(bad("the file is empty".into()));
    }
    let (schema, _) =
        CsvFormat::default().with_header(true).infer_schema(bytes, Some(0)).map_err(|error| damaged(file, &error))?;
    let header: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    if let [only] = header.as_slice()
        && only.contains([';', '\t'])
    {
        return Err(bad(format!("it is {only:?}; columns must be separated by commas")));
    }
    if let Some(index) = header.iter().position(|name| name.trim().is_empty()) {
        return Err(bad(format!("column {} has no name", index + 1)));
    }
    if header.iter().all(|name| !matches!(CsvType::of(name), CsvType::Text)) {
        return Err(bad(format!("it holds values ({}) instead", header.join(", "))));
    }
    for (index, name) in header.iter().enumerate() {
        if header[..index].contains(name) {
            return Err(bad(format!("{name:?} stands there twice")));
        }
    }
    Ok(header)
}

/// Cuts `bytes` after the last line end outside quotes.
fn whole_rows<'a>(bytes: &'a [u8], file: &SourceFile) -> Result<&'a [u8], SourceError> {
    let mut quoted = false;
    let mut end = 0;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => end = index + 1,
            _ => {}
        }
    }
    if end == 0 {
        let cause = format!("a row is longer than {SAMPLE_BYTES} bytes");
        return Err(SourceError::Damaged { file: file.path.clone(), format: Format::Csv.name(), cause });
    }
    Ok(&bytes[..end])
}

fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

fn read_chunk(objects: &Objects, file: &SourceFile, from: u64, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
    let to = file.bytes.min(from + bytes_max);
    if from >= to {
        return Ok(Vec::new());
    }
    let mut chunks = objects.read(&file.object, std::slice::from_ref(&(from..to)))?;
    Ok(chunks.pop().map(Vec::from).unwrap_or_default())
}

/// Decodes every column as text; the typed columns are made from it so that a bad cell can be named.
fn text_decoder(header: &[String], batch_rows: usize) -> Decoder {
    let fields: Vec<Field> = header.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    ReaderBuilder::new(Arc::new(Schema::new(fields))).with_header(true).with_batch_size(batch_rows).build_decoder()
}

fn damaged(file: &SourceFile, error: &ArrowError) -> SourceError {
    // The format is said already.
    let cause = match error {
        ArrowError::CsvError(cause) => cause.clone(),
        other => other.to_string(),
    };
    SourceError::Damaged { file: file.path.clone(), format: Format::Csv.name(), cause }
}

/// Batches of one file. Holds one piece of the file and one batch in memory.
pub(super) struct CsvBatches {
    decoder: Decoder,
    schema: SchemaRef,
    chunk: Vec<u8>,
    consumed: usize,
    fetched_bytes: u64,
    rows: u64,
}

impl CsvBatches {
    /// `schema` names columns that `header` has.
    pub(super) fn open(header: &[String], schema: &SchemaRef) -> Self {
        CsvBatches {
            decoder: text_decoder(header, BATCH_ROWS),
            schema: Arc::clone(schema),
            chunk: Vec::new(),
            consumed: 0,
            fetched_bytes: 0,
            rows: 0,
        }
    }

    pub(super) fn next_batch(
        &mut self,
        objects: &Objects,
        file: &SourceFile,
    ) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            if self.consumed == self.chunk.len() {
                self.fetch(objects, file)?;
            }
            // An empty rest tells the decoder that the file ends here.
            let decoded = self.decoder.decode(&self.chunk[self.consumed..]).map_err(|error| damaged(file, &error))?;
            self.consumed += decoded;
            if self.decoder.capacity() == 0 || (decoded == 0 && self.fetched_bytes >= file.bytes) {
                break;
            }
        }
        let Some(text) = self.decoder.flush().map_err(|error| damaged(file, &error))? else { return Ok(None) };
        let batch = self.typed(&text, file)?;
        self.rows += text.num_rows() as u64;
        Ok(Some(batch))
    }

    fn fetch(&mut self, objects: &Objects, file: &SourceFile) -> Result<(), SourceError> {
        let first = self.fetched_bytes == 0;
        self.chunk = read_chunk(objects, file, self.fetched_bytes, CHUNK_BYTES)?;
        self.fetched_bytes += self.chunk.len() as u64;
        self.consumed = if first { self.chunk.len() - without_byte_order_mark(&self.chunk).len() } else { 0 };
        Ok(())
    }

    fn typed(&self, text: &RecordBatch, file: &SourceFile) -> Result<RecordBatch, SourceError> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let index = text.schema_ref().index_of(field.name()).map_err(|error| damaged(file, &error))?;
            let cells = text.column(index).as_string::<i32>();
            let column = typed_column(cells, field.data_type()).map_err(|bad| SourceError::BadCell {
                file: file.path.clone(),
                row: self.rows + bad.row as u64 + 1,
                column: field.name().clone(),
                value: cells.value(bad.row).to_owned(),
                expected: bad.expected,
            })?;
            columns.push(column);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(text.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| damaged(file, &error))
    }
}

struct BadCellAt {
    row: usize,
    expected: &'static str,
}

fn typed_column(cells: &StringArray, data_type: &DataType) -> Result<ArrayRef, BadCellAt> {
    Ok(match data_type {
        DataType::Int64 => Arc::new(Int64Array::from(parse_all(cells, parse_integer, "an integer")?)),
        DataType::Float64 => Arc::new(Float64Array::from(parse_all(cells, parse_float, "a number")?)),
        DataType::Boolean => Arc::new(BooleanArray::from(parse_all(cells, parse_boolean, "true or false")?)),
        // Only a file that was written to meanwhile has a value here.
        DataType::Null => match cells.iter().position(|cell| cell.is_some()) {
            None => new_null_array(&DataType::Null, cells.len()),
            Some(row) => return Err(BadCellAt { row, expected: "without any value" }),
        },
        _ => Arc::new(cells.clone()),
    })
}

fn parse_all<T>(
    cells: &StringArray,
    parse: impl Fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<Vec<Option<T>>, BadCellAt> {
    let parse_one = |(row, cell): (usize, Option<&str>)| match cell {
        None => Ok(None),
        Some(cell) => parse(cell).map(Some).ok_or(BadCellAt { row, expected }),
    };
    cells.iter().enumerate().map(parse_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cells_that_can_be_written_back_are_numbers() {
        for (cell, expected) in [
            ("0", CsvType::Integer),
            ("-7", CsvType::Integer),
            (" 12 ", CsvType::Integer),
            ("007", CsvType::Text),
            ("-0", CsvType::Text),
            ("+5", CsvType::Text),
            ("9223372036854775807", CsvType::Integer),
            ("9223372036854775808", CsvType::Text),
            ("1.50", CsvType::Float),
            ("-1e-3", CsvType::Float),
            ("NaN", CsvType::Float),
            ("TRUE", CsvType::Boolean),
            ("2011-09-01", CsvType::Text),
            ("85123A", CsvType::Text),
        ] {
            assert_eq!(CsvType::of(cell), expected, "{cell:?}");
        }
        assert_eq!(parse_float("9007199254740993"), None, "not exactly a float");
        assert_eq!(parse_float("3"), Some(3.0));
    }

    #[test]
    fn a_cut_sample_ends_with_a_whole_row() {
        let file = SourceFile { path: "a.csv".into(), bytes: 0, object: "a.csv".into() };
        let cut = |text: &'static str| whole_rows(text.as_bytes(), &file).map(|rows| rows.len());
        assert_eq!(cut("a,b\n1,2\n3,").unwrap(), 8);
        assert_eq!(cut("a,b\n1,\"x\ny").unwrap(), 4);
        assert_eq!(cut("a,b\n1,\"x\"\"\ny\"\n3").unwrap(), 14);
        assert!(cut("a,b").is_err());
    }
}
