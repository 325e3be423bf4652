//! From a source's declaration to a stream of its batches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use paceline_core::Digest;
use serde::{Deserialize, Serialize};

use super::columns::nan_to_null;
use super::csv::CsvType;
use super::database::{DatabaseQuery, QueryTable};
use super::files::FileTable;
use super::location::SourceFile;
use super::{SourceError, digest::TableDigest};

/// Rows of a batch at most: large enough for columnar work, small enough for a cache and for streaming.
pub(super) const BATCH_ROWS: usize = 32_768;
/// A table format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma separated values with a header line.
    Csv,
}

impl Format {
    /// The field's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "Parquet",
            Format::Csv => "CSV",
        }
    }

    /// The format that a file name's extension says, in any case.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Format> {
        let (_, extension) = path.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Some(Format::Parquet),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// Where a source's rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Path, directory, glob or URL; see the module.
    Files(String),
    /// A query that a database answers.
    Query(DatabaseQuery),
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// The source's name in the pipeline.
    pub name: String,
    /// Where its rows are.
    pub location: Location,
    /// `None` goes by the file names; of no effect on a query.
    pub format: Option<Format>,
    /// The columns to read, in this order; `None` reads all in the order of the first file or of the query.
    pub columns: Option<Vec<String>>,
    /// Types of CSV columns that shall not be inferred; of no effect on others.
    pub types: BTreeMap<String, CsvType>,
    /// Whether a table without rows is read as such instead of being an error.
    pub allow_empty: bool,
}

impl SourceSpec {
    /// All columns of the files at `location`, everything else inferred, an empty table refused.
    pub fn new(name: impl Into<String>, location: impl Into<String>) -> Self {
        SourceSpec::at(name, Location::Files(location.into()))
    }

    /// All columns of the rows at `location`, everything else inferred, an empty table refused.
    pub fn at(name: impl Into<String>, location: Location) -> Self {
        let types = BTreeMap::new();
        SourceSpec { name: name.into(), location, format: None, columns: None, types, allow_empty: false }
    }

    /// The same with only these columns.
    #[must_use]
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }
}

/// The batches of a source: file after file in the order of their paths, rows in the order of the file; or the rows of a
/// query in the order in which the database gives them.
///
/// The iterator ends after the first error. It blocks on storage, so do not step it inside an async task.
#[derive(Debug)]
pub struct SourceReader {
    table: Table,
    schema: SchemaRef,
    is_ended: bool,
    nan_counts: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Table {
    Files(Box<FileTable>),
    Query(Box<QueryTable>, TableDigest),
}

impl SourceReader {
    /// Finds the files, checks that they agree, and decides the columns' types. Reads no rows of Parquet files and the
    /// first rows of CSV files. Of a query, asks the database for its columns.
    ///
    /// # Errors
    /// See [`SourceError`]; everything that can be known without reading all rows is reported here.
    pub fn open(spec: &SourceSpec, base_dir: &Path) -> Result<SourceReader, SourceError> {
        let (table, schema) = match &spec.location {
            Location::Files(location) => {
                let (table, schema) = FileTable::open(spec, location, base_dir)?;
                (Table::Files(Box::new(table)), schema)
            }
            Location::Query(query) => {
                let (table, schema) = QueryTable::open(spec, query, base_dir)?;
                (Table::Query(Box::new(table), TableDigest::default()), schema)
            }
        };
        Ok(SourceReader { table, schema, is_ended: false, nan_counts: BTreeMap::new() })
    }

    /// The same reader for only these columns, in this order. A database is asked for no others.
    ///
    /// # Panics
    /// When a column is not in [`SourceReader::schema`], or a batch was read already: the caller's bug.
    #[must_use]
    pub fn with_columns(mut self, columns: &[String]) -> SourceReader {
        let is_started = match &self.table {
            Table::Files(files) => files.is_started(),
            Table::Query(query, _) => query.is_started(),
        };
        assert!(!is_started, "the columns are chosen before the first batch");
        let index = |name: &String| self.schema.index_of(name).expect("the caller takes the names from the schema");
        let indices: Vec<usize> = columns.iter().map(index).collect();
        self.schema = Arc::new(self.schema.project(&indices).expect("the indices are in the schema"));
        self
    }

    /// The file or query that the last batch comes from and how many rows of it come before that batch.
    ///
    /// # Panics
    /// Before the first batch: the caller's bug.
    #[must_use]
    pub fn place(&self) -> (&str, u64) {
        match &self.table {
            Table::Files(files) => files.place(),
            Table::Query(query, _) => query.place(),
        }
    }

    /// The columns of every batch; all are nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The files behind the location, in reading order; none of a query.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        match &self.table {
            Table::Files(files) => files.files(),
            Table::Query(..) => &[],
        }
    }

    /// How many NaN were replaced by null so far, by column; columns without any are absent.
    #[must_use]
    pub fn nan_counts(&self) -> &BTreeMap<String, u64> {
        &self.nan_counts
    }

    /// Digest of the content. Of files: that of the file, or of the digests of several files in reading order; names and
    /// places are no part of it, and every byte is read once more. Of a query: of the columns and rows that were read,
    /// so ask after the last batch; how they were cut into batches is no part of it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<Digest, SourceError> {
        match &self.table {
            Table::Files(files) => files.digest(),
            Table::Query(_, digest) => Ok(digest.of(&self.schema)),
        }
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let batch = match &mut self.table {
            Table::Files(files) => files.next_batch(&self.schema)?,
            Table::Query(query, _) => query.next_batch(&self.schema)?,
        };
        let Some(batch) = batch else { return Ok(None) };
        let batch = nan_to_null(batch, &mut self.nan_counts).map_err(|error| match &self.table {
            Table::Files(files) => files.damaged(error.to_string()),
            Table::Query(query, _) => query.failed(&error.to_string()),
        })?;
        if let Table::Query(_, digest) = &mut self.table {
            digest.add(&batch);
        }
        Ok(Some(batch))
    }
}

impl Iterator for SourceReader {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let step = self.step();
        self.is_ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
