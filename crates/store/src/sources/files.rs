//! The files of a location as one table.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use paceline_core::Digest;

use super::columns::{first_difference, no_such_column, readable_schema};
use super::csv::{CsvBatches, CsvType, Sample};
use super::location::{Located, SourceFile, locate};
use super::objects::Objects;
use super::parquet::{Footer, ParquetBatches};
use super::{Format, SourceError, SourceSpec};

/// A digest reads so much at a time.
const DIGEST_BYTES: u64 = 8 << 20;

/// The rows of files, one after the other in the order of their paths.
pub(super) struct FileTable {
    objects: Objects,
    files: Vec<SourceFile>,
    format: Format,
    next_file: usize,
    current: Option<FileBatches>,
    /// Rows of the current file in the batches given so far, and those before the last batch.
    rows_given: u64,
    rows_before: u64,
}

enum FileBatches {
    Parquet(Box<ParquetBatches>),
    Csv(Box<CsvBatches>),
}

impl FileTable {
    /// Finds the files, checks that they agree, and decides the columns' types.
    pub(super) fn open(
        spec: &SourceSpec,
        location: &str,
        base_dir: &Path,
    ) -> Result<(FileTable, SchemaRef), SourceError> {
        let Located { objects, files } = locate(location, base_dir)?;
        let format = common_format(spec, &files)?;
        let (schema, has_rows) = match format {
            Format::Parquet => parquet_schema(spec, &objects, &files)?,
            Format::Csv => csv_schema(spec, &objects, &files)?,
        };
        if !has_rows && !spec.allow_empty {
            return Err(SourceError::Empty { location: location.to_owned() });
        }
        let table = FileTable { objects, files, format, next_file: 0, current: None, rows_given: 0, rows_before: 0 };
        Ok((table, schema))
    }

    /// The next rows, in the columns of `schema`.
    pub(super) fn next_batch(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(file) = self.files.get(self.next_file) else { return Ok(None) };
                self.current = Some(open_file(&self.objects, file, self.format, schema)?);
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
                    return Ok(Some(batch));
                }
            }
        }
    }

    /// Whether a file has been opened to read its rows.
    pub(super) fn is_started(&self) -> bool {
        self.next_file > 0
    }

    /// The file of the last batch, and how many of its rows come before.
    pub(super) fn place(&self) -> (&str, u64) {
        (&self.files[self.next_file - 1].path, self.rows_before)
    }

    /// In reading order.
    pub(super) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// That the last batch is not what the format says.
    pub(super) fn damaged(&self, cause: String) -> SourceError {
        SourceError::Damaged { file: self.place().0.to_owned(), format: self.format.name(), cause }
    }

    /// That of the file, or of the digests of several files.
    pub(super) fn digest(&self) -> Result<Digest, SourceError> {
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
}

impl std::fmt::Debug for FileTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileTable")
            .field("files", &self.files)
            .field("format", &self.format)
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
