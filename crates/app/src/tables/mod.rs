//! A pipeline's sources as Arrow batches: read, derived columns added, filtered, times parsed.

pub mod profile;

use std::path::Path;

use anyhow::{Context as _, anyhow};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use paceline_core::{Digest, Timestamp};
use paceline_features::SourceTable;
use paceline_features::expression::{Program, Type, filter, with_column};
use paceline_store::{SourceReader, SourceSpec, to_timestamps};

use crate::pipeline::{Source, TimeUnit};

/// The rows of one source, batch by batch.
#[derive(Debug)]
pub struct SourceRows<'a> {
    source: &'a Source,
    reader: SourceReader,
    derived: Vec<(&'a str, Program)>,
    filter: Option<Program>,
}

/// One batch of a source.
#[derive(Debug)]
pub struct Batch {
    /// How many rows the files had there.
    pub rows_read: usize,
    /// The rows that `where` keeps, with derived columns.
    pub rows: RecordBatch,
    /// Event time of each kept row; `None` for a static source.
    pub event_time: Option<Vec<Timestamp>>,
    /// Available time of each kept row, where the source has one.
    pub available_time: Option<Vec<Timestamp>>,
}

impl<'a> SourceRows<'a> {
    /// Opens a source of a pipeline whose paths begin in `folder`.
    ///
    /// # Errors
    /// When its files cannot be read or its expressions do not fit their columns.
    pub fn open(source: &'a Source, folder: &Path) -> anyhow::Result<Self> {
        let reader =
            SourceReader::open(&spec_of(source), folder).with_context(|| format!("[sources.{}]", source.name))?;
        let mut columns = readable_columns(&reader.schema());
        let mut derived = Vec::new();
        let compile = |what: &str, text: &str, columns: &[(String, Type)]| {
            Program::compile(text, columns).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                anyhow!("[sources.{}] {what}: {}", source.name, errors.join("; "))
            })
        };
        for column in &source.columns {
            let program = compile(&column.name, &column.expression, &columns)?;
            columns.push((column.name.clone(), program.output_type()));
            derived.push((column.name.as_str(), program));
        }
        let filter = source.filter.as_ref().map(|text| compile("where", text, &columns)).transpose()?;
        Ok(SourceRows { source, reader, derived, filter })
    }

    /// The columns as the files have them.
    #[must_use]
    pub fn file_schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    /// How many files there are, and their size together in bytes.
    #[must_use]
    pub fn files(&self) -> (usize, u64) {
        let files = self.reader.files();
        (files.len(), files.iter().map(|file| file.bytes).sum())
    }

    /// How many NaN were read as null so far, by column.
    #[must_use]
    pub fn nan_counts(&self) -> &std::collections::BTreeMap<String, u64> {
        self.reader.nan_counts()
    }

    fn prepare(&self, batch: RecordBatch) -> anyhow::Result<Batch> {
        let rows_read = batch.num_rows();
        let mut rows = batch;
        for (name, program) in &self.derived {
            rows = with_column(&rows, name, program)?;
        }
        if let Some(condition) = &self.filter {
            rows = filter(condition, &rows)?;
        }
        let unit = self.source.time_unit.map(TimeUnit::to_arrow);
        let times = |column: &Option<String>| {
            let read = |column: &String| {
                let array = rows.column_by_name(column).with_context(|| format!("no column {column:?}"))?;
                Ok::<_, anyhow::Error>(to_timestamps(column, array, unit)?)
            };
            column.as_ref().map(read).transpose()
        };
        let event_time = times(&self.source.event_time)?;
        let available_time = times(&self.source.available_time)?;
        Ok(Batch { rows_read, rows, event_time, available_time })
    }
}

impl Iterator for SourceRows<'_> {
    type Item = anyhow::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let prepared = batch.map_err(anyhow::Error::from).and_then(|batch| self.prepare(batch));
        Some(prepared.with_context(|| format!("[sources.{}]", self.source.name)))
    }
}

/// A whole source in memory.
///
/// # Errors
/// When it cannot be read, or `where` keeps no row.
pub fn load(source: &Source, folder: &Path) -> anyhow::Result<SourceTable> {
    load_described(source, folder).map(|(table, _)| table)
}

/// What was read for a source in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Digest of the files' content.
    pub digest: Digest,
    /// Rows of the files, before `where`.
    pub rows_read: usize,
}

/// A whole source in memory, and what it was read from.
///
/// # Errors
/// As [`load`].
pub fn load_described(source: &Source, folder: &Path) -> anyhow::Result<(SourceTable, Reading)> {
    let mut rows_read = 0;
    let mut batches = Vec::new();
    let mut event_time = source.event_time.as_ref().map(|_| Vec::new());
    let mut available_time = source.available_time.as_ref().map(|_| Vec::new());
    let mut source_rows = SourceRows::open(source, folder)?;
    for batch in source_rows.by_ref() {
        let batch = batch?;
        rows_read += batch.rows_read;
        extend(&mut event_time, batch.event_time);
        extend(&mut available_time, batch.available_time);
        batches.push(batch.rows);
    }
    let kept: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let Some(schema) = batches.first().map(RecordBatch::schema).filter(|_| kept > 0) else {
        return Err(anyhow!("[sources.{}] `where` keeps none of its {rows_read} rows", source.name));
    };
    let rows = concat_batches(&schema, &batches).with_context(|| format!("[sources.{}]", source.name))?;
    let digest = source_rows.reader.digest().with_context(|| format!("[sources.{}]", source.name))?;
    let table = SourceTable {
        name: source.name.clone(),
        rows,
        event_time,
        available_time,
        available_time_column: source.available_time.clone(),
        event_id: source.event_id.clone(),
    };
    Ok((table, Reading { digest, rows_read }))
}

/// Names and types of the columns that can be read. A column without any value has no type of its own and reads as
/// numbers.
#[must_use]
pub fn readable_columns(schema: &Schema) -> Vec<(String, Type)> {
    let kind = |data_type: &DataType| match data_type {
        DataType::Null => Some(Type::Float),
        other => Type::of_arrow(other),
    };
    let column = |field: &FieldRef| Some((field.name().clone(), kind(field.data_type())?));
    schema.fields().iter().filter_map(column).collect()
}

fn extend(times: &mut Option<Vec<Timestamp>>, more: Option<Vec<Timestamp>>) {
    if let (Some(times), Some(more)) = (times, more) {
        times.extend(more);
    }
}

fn spec_of(source: &Source) -> SourceSpec {
    SourceSpec { format: Some(source.format.to_store()), ..SourceSpec::new(&source.name, &source.path) }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    use super::profile::SourceProfile;
    use super::*;
    use crate::pipeline::PipelineFile;

    const ROWS: &str =
        "user,price,quantity,at,seen\n1,2.5,2,1000,1500\n2,NaN,1,3000,2000\n1,,1,2000,2500\n3,1,0,500,700\n";

    /// The one source of a pipeline over `ROWS`, with `keys` beside its path, in a folder.
    fn source(keys: &str) -> (Source, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sales.csv"), ROWS).unwrap();
        let text = format!("name = \"t\"\n[sources.sales]\npath = \"sales.csv\"\n{keys}");
        let mut file = PipelineFile::parse(&folder.path().join("p.toml"), text);
        let schemas = file.read_schemas();
        let (pipeline, _) = file.check(Some(&schemas)).unwrap();
        (pipeline.sources[0].clone(), folder)
    }

    const TIMED: &str = "event_time = \"at\"\navailable_time = \"seen\"\ntime_unit = \"s\"\nwhere = \"amount is null or amount > 0\"\ncolumns.amount = \"price * quantity\"\n";

    #[test]
    fn rows_are_filtered_derived_and_timed() {
        let (source, folder) = source(TIMED);
        let (table, reading) = load_described(&source, folder.path()).unwrap();
        assert_eq!(reading, Reading { digest: Digest::of(ROWS.as_bytes()), rows_read: 4 });
        let times = |seconds: &[i64]| Some(seconds.iter().map(|s| Timestamp::from_seconds(*s)).collect::<Vec<_>>());
        assert_eq!(table.event_time, times(&[1000, 3000, 2000]));
        assert_eq!(table.available_time, times(&[1500, 2000, 2500]));
        let amounts = table.rows.column_by_name("amount").unwrap().as_primitive::<Float64Type>();
        assert_eq!(amounts.iter().collect::<Vec<_>>(), [Some(5.0), None, None]);
    }

    #[test]
    fn a_profile_counts_what_where_keeps() {
        let (source, folder) = source(TIMED);
        let mut heard = 0;
        let profile = SourceProfile::read(&source, folder.path(), |rows| heard += rows).unwrap();
        assert_eq!((profile.rows_read, profile.rows, heard), (4, 3, 4));
        let range = profile.event_time.unwrap();
        assert_eq!((range.first, range.last), (Timestamp::from_seconds(1000), Timestamp::from_seconds(3000)));
        assert_eq!(profile.available_before_event, Some(1));
        let figures = |name: &str| {
            let column = profile.column(name).unwrap();
            (column.nulls, column.nans, column.is_constant)
        };
        assert_eq!(figures("price"), (2, 1, true));
        assert_eq!(figures("user"), (0, 0, false));
        assert_eq!(figures("amount"), (2, 0, true));
    }

    #[test]
    fn a_condition_that_keeps_nothing_is_an_error_with_its_count() {
        let (source, folder) = source("where = \"price > 99\"\n");
        let message = load(&source, folder.path()).unwrap_err().to_string();
        assert_eq!(message, "[sources.sales] `where` keeps none of its 4 rows");
    }
}
