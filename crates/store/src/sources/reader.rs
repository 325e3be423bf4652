//! From a source's declaration to a stream of its batches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use paceline_core::Digest;
use serde::{Deserialize, Serialize};

use super::columns::{first_difference, nan_to_null, no_such_column, readable_schema};
use super::csv::{CsvBatches, CsvType, Sample};
use super::location::{SourceFile, locate};
use super::objects::Objects;
use super::parquet::{Footer, ParquetBatches};
use super::{SourceError, location::Located};

/// Rows of a batch at most: large enough for columnar work, small enough for a cache and for streaming.
pub(super) const BATCH_ROWS: usize = 32_768;
/// A digest reads so much at a time.
const DIGEST_BYTES: u64 = 8 << 20;

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

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// The source's name in the pipeline.
    pub name: String,
    /// Path, directory, glob or URL; see the module.
    pub location: String,
    /// `None` goes by the file names.
    pub format: Option<Format>,
    /// The columns to read, in this order; `None` reads all in the order of the first file.
    pub columns: Option<Vec<String>>,
    /// Types of CSV columns that shall not be inferred; of no effect on Parquet.
    pub types: BTreeMap<String, CsvType>,
    /// Whether a table without rows is read as such instead of being an error.
    pub allow_empty: bool,
}

impl SourceSpec {
    /// All columns of `location`, everything else inferred, an empty table refused.
    pub fn new(name: impl Into<String>, location: impl Into<String>) -> Self {
        SourceSpec {
            name: name.into(),
            location: location.into(),
            format: None,
            columns: None,
            types: BTreeMap::new(),
            allow_empty: false,
        }
    }

    /// The same with only these columns.
    #[must_use]
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }
}

/// The batches of a source, file after file in the order of their paths, rows in the order of the file.
///
/// The iterator ends after the first error. It blocks on storage, so do not step it inside an async task.
pub struct SourceReader {
    objects: Objects,
    files: Vec<SourceFile>,
    format: Format,
    schema: SchemaRef,
    next_file: usize,
    current: Option<FileBatches>,
    failed: bool,
    nan_counts: BTreeMap<String, u64>,
    /// Rows of the current file in the batches given so far, and those before the last batch.
    rows_given: u64,
    rows_before: u64,
}

enum FileBatches {
    Parquet(Box<ParquetBatches>),
    Csv(Box<CsvBatches>),
}

impl SourceReader {
    /// Finds the files, checks that they agree, and decides the columns' types. Reads no rows of Parquet files and the
    /// first rows of CSV files.
    ///
    /// # Errors
    /// See [`SourceError`]; everything that can be known without reading all rows is reported here.
    pub fn open(spec: &SourceSpec, base_dir: &Path) -> Result<SourceReader, SourceError> {
        let Located { objects, files } = locate(&spec.location, base_dir)?;
        let format = common_format(spec, &files)?;
        let (schema, has_rows) = match format {
            Format::Parquet => parquet_schema(spec, &objects, &files)?,
            Format::Csv => csv_schema(spec, &objects, &files)?,
        };
        if !has_rows && !spec.allow_empty {
            return Err(SourceError::Empty { location: spec.location.clone() });
        }
        Ok(SourceReader {
            objects,
            files,
            format,
            schema,
            next_file: 0,
            current: None,
            failed: false,
            nan_counts: BTreeMap::new(),
            rows_given: 0,
            rows_before: 0,
        })
    }

    /// The same reader for only these columns, in this order.
    ///
    /// # Panics
    /// When a column is not in [`SourceReader::schema`], or a batch was read already: the caller's bug.
    #[must_use]
    pub fn with_columns(mut self, columns: &[String]) -> SourceReader {
        assert!(self.next_file == 0, "the columns are chosen before the first batch");
        let index = |name: &String| self.schema.index_of(name).expect("the caller takes the names from the schema");
        let indices: Vec<usize> = columns.iter().map(index).collect();
        self.schema = Arc::new(self.schema.project(&indices).expect("the indices are in the schema"));
        self
    }

    /// The file that the last batch comes from and how many rows of it come before that batch.
    ///
    /// # Panics
    /// Before the first batch: the caller's bug.
    #[must_use]
    pub fn place(&self) -> (&str, u64) {
        (&self.files[self.next_file - 1].path, self.rows_before)
    }

    /// The columns of every batch; all are nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The files behind the location, in reading order.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// How many NaN were replaced by null so far, by column; columns without any are absent.
    #[must_use]
    pub fn nan_counts(&self) -> &BTreeMap<String, u64> {
        &self.nan_counts
    }

    /// Digest of the content: that of the file, or of the digests of several files in reading order. Names and places
    /// are no part of it. Reads every byte once more.
    ///
    /// # Errors
    /// [`SourceError::Storage`] when a file cannot be read.
    pub fn digest(&self) -> Result<Digest, SourceError> {
        let of_file = |file: &SourceFile| {
            let starts = (0..file.bytes).step_by(DIGEST_BYTES as usize);
            let piece = |start: u64| {
                let range = start..(start + DIGEST_BYTES).min(file.bytes);
                Ok::<_, SourceError>(self.objects.read(&file.object, &[range])?.concat())
            };
            Digest::of_pieces(starts.map(piece))
        };
        match self.files.as_slice() {
            [file] => of_file(file),
            files => {
                let digests = files.iter().map(|file| Ok(of_file(file)?.to_string())).collect::<Result<Vec<_>, _>>()?;
                Ok(Digest::of_parts(digests.iter().map(String::as_bytes)))
            }
        }
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(file) = self.files.get(self.next_file) else { return Ok(None) };
                self.current = Some(open_file(&self.objects, file, self.format, &self.schema)?);
                self.next_file += 1;
                self.rows_given = 0;
                continue;
            };
            let file = &self.files[self.next_file - 1];
            let batch = match current {
                FileBatches::Parquet(batches) => batches.next_batch(&self.objects, file)?,
                FileBatches::Csv(batches) => batches.next_batch(&self.objects, file)?,
            };
            match batch {
                None => self.current = None,
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    self.rows_before = self.rows_given;
                    self.rows_given += batch.num_rows() as u64;
                    let format = self.format.name();
                    return nan_to_null(batch, &mut self.nan_counts).map(Some).map_err(|error| SourceError::Damaged {
                        file: file.path.clone(),
                        format,
                        cause: error.to_string(),
                    });
                }
            }
        }
    }
}

impl Iterator for SourceReader {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

impl std::fmt::Debug for SourceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceReader")
            .field("files", &self.files)
            .field("format", &self.format)
            .field("schema", &self.schema)
            .field("next_file", &self.next_file)
            .finish_non_exhaustive()
    }
}

/// A file may have been replaced since the schema was decided, so its columns are looked up anew.
fn open_file(
    objects: &Objects,
    file: &SourceFile,
    format: Format,
    schema: &SchemaRef,
) -> Result<FileBatches, SourceError> {
    Ok(match format {
        Format::Parquet => {
            let footer = Footer::read(objects, file)?;
            let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
            readable_schema(&file.path, footer.schema(), Some(&names))?;
            FileBatches::Parquet(Box::new(ParquetBatches::open(footer, file, schema)?))
        }
        Format::Csv => {
            let header = Sample::header(objects, file)?;
            let stored =
                Schema::new(header.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>());
            for field in schema.fields() {
                stored.index_of(field.name()).map_err(|_| no_such_column(&file.path, &stored, field.name()))?;
            }
            FileBatches::Csv(Box::new(CsvBatches::open(&header, schema)))
        }
    })
}

fn common_format(spec: &SourceSpec, files: &[SourceFile]) -> Result<Format, SourceError> {
    if let Some(format) = spec.format {
        return Ok(format);
    }
    let mut common: Option<(Format, &SourceFile)> = None;
    for file in files {
        let format =
            Format::of_path(&file.path).ok_or_else(|| SourceError::UnknownFormat { file: file.path.clone() })?;
        match common {
            None => common = Some((format, file)),
            Some((first, first_file)) if first != format => {
                return Err(SourceError::MixedFormats {
                    first_file: first_file.path.clone(),
                    other_file: file.path.clone(),
                });
            }
            Some(_) => {}
        }
    }
    Ok(common.expect("a location has at least one file").0)
}

fn parquet_schema(
    spec: &SourceSpec,
    objects: &Objects,
    files: &[SourceFile],
) -> Result<(SchemaRef, bool), SourceError> {
    let mut first: Option<SchemaRef> = None;
    let mut rows = 0;
    for file in files {
        let footer = Footer::read(objects, file)?;
        let schema = readable_schema(&file.path, footer.schema(), spec.columns.as_deref());
        rows += footer.rows();
        match &first {
            None => first = Some(schema?),
            Some(first) => {
                // A column that this file lacks is a disagreement of files, not a wrong name in the pipeline.
                if let Some(column) =
                    first.fields().iter().find(|field| footer.schema().field_with_name(field.name()).is_err())
                {
                    let cause = format!("{} has no such column", file.path);
                    return Err(disagreement(files, file, column.name().clone(), cause));
                }
                if let Some((column, cause)) = first_difference(first, &*schema?) {
                    return Err(disagreement(files, file, column, cause));
                }
            }
        }
    }
    Ok((first.expect("a location has at least one file"), rows > 0))
}

fn csv_schema(spec: &SourceSpec, objects: &Objects, files: &[SourceFile]) -> Result<(SchemaRef, bool), SourceError> {
    let mut merged: Option<Sample> = None;
    for file in files {
        let sample = Sample::read(objects, file)?;
        match &mut merged {
            None => merged = Some(sample),
            Some(merged) => {
                // Types may differ from file to file: they are widened. Names may not.
                let all_text = |sample: &Sample| {
                    let declared = sample.header.iter().map(|name| (name.clone(), CsvType::Text)).collect();
                    sample.schema(&declared)
                };
                if let Some((column, cause)) = first_difference(&all_text(merged), &all_text(&sample)) {
                    return Err(disagreement(files, file, column, cause));
                }
                merged.widen(&sample);
            }
        }
    }
    let merged = merged.expect("a location has at least one file");
    let stored = merged.schema(&spec.types);
    for column in spec.types.keys() {
        stored.index_of(column).map_err(|_| no_such_column(&files[0].path, &stored, column))?;
    }
    Ok((readable_schema(&files[0].path, &stored, spec.columns.as_deref())?, merged.rows > 0))
}

fn disagreement(files: &[SourceFile], other: &SourceFile, column: String, cause: String) -> SourceError {
    SourceError::FilesDisagree { first_file: files[0].path.clone(), other_file: other.path.clone(), column, cause }
}
