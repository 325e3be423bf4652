//! Writing result tables: a reader of the path sees the whole new table, or what was there before.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::csv::{Writer as CsvWriter, WriterBuilder as CsvWriterBuilder};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use thiserror::Error;

use super::Format;
use super::columns::first_difference;
use crate::durable::{rename_durably, temporary_beside};

/// Why a table was not written; what stood at the path before is untouched.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The file name says no format.
    #[error("{path}: the name must end in .parquet or .csv")]
    UnknownFormat {
        /// The path.
        path: PathBuf,
    },
    /// The disk or the directory failed.
    #[error("{path} cannot be written: {cause}")]
    Disk {
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The format cannot hold the batches, or they differ in their columns.
    #[error("{path} cannot be written: {cause}")]
    Encoding {
        /// The path.
        path: PathBuf,
        /// What the encoder said.
        cause: String,
    },
}

/// Writes a table batch by batch under a temporary name; [`TableWriter::finish`] puts it in place.
///
/// Dropped without that, it removes what it wrote. Same batches, same bytes.
pub struct TableWriter {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once it has been closed.
    encoder: Option<Encoder>,
    schema: SchemaRef,
    rows: u64,
}

enum Encoder {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Csv(Box<CsvWriter<BufWriter<File>>>),
}

impl TableWriter {
    /// Starts a table at `path`: Parquet (zstd) or CSV by the extension. In CSV null and empty text look the same.
    pub fn create(path: &Path, schema: &SchemaRef) -> Result<TableWriter, WriteError> {
        let format = Format::of_path(&path.to_string_lossy())
            .ok_or_else(|| WriteError::UnknownFormat { path: path.to_owned() })?;
        let temporary = temporary_beside(path);
        let file = File::create_new(&temporary).map_err(|cause| WriteError::Disk { path: path.to_owned(), cause })?;
        let mut writer =
            TableWriter { path: path.to_owned(), temporary, encoder: None, schema: schema.clone(), rows: 0 };
        let output = BufWriter::new(file);
        writer.encoder = Some(match format {
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
                let encoder = ArrowWriter::try_new(output, schema.clone(), Some(properties))
                    .map_err(|error| writer.encoding_error(&error))?;
                Encoder::Parquet(Box::new(encoder))
            }
            Format::Csv => {
                let mut encoder = CsvWriterBuilder::new().with_header(true).build(output);
                // The encoder writes the names with the first batch; a table without rows needs them too.
                encoder
                    .write(&RecordBatch::new_empty(schema.clone()))
                    .map_err(|error| writer.encoding_error(&error))?;
                Encoder::Csv(Box::new(encoder))
            }
        });
        Ok(writer)
    }

    /// Appends a batch, which must have the columns given to [`TableWriter::create`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        if let Some((column, cause)) = first_difference(&self.schema, batch.schema_ref()) {
            return Err(self.encoding_error(&format!("a batch differs from the others in column {column:?}: {cause}")));
        }
        let written = match self.encoder.as_mut().expect("only finish takes the encoder") {
            Encoder::Parquet(encoder) => encoder.write(batch).map_err(|error| error.to_string()),
            Encoder::Csv(encoder) => encoder.write(batch).map_err(|error| error.to_string()),
        };
        written.map_err(|cause| self.encoding_error(&cause))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Syncs the table and puts it in place; returns the number of rows.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        let output = match self.encoder.take().expect("only finish takes the encoder") {
            Encoder::Parquet(encoder) => encoder.into_inner().map_err(|error| self.encoding_error(&error))?,
            Encoder::Csv(encoder) => encoder.into_inner(),
        };
        let file = output.into_inner().map_err(|error| self.disk_error(error.into_error()))?;
        file.sync_all().map_err(|error| self.disk_error(error))?;
        rename_durably(&self.temporary, &self.path).map_err(|error| self.disk_error(error))?;
        Ok(self.rows)
    }

    fn encoding_error(&self, cause: &dyn std::fmt::Display) -> WriteError {
        WriteError::Encoding { path: self.path.clone(), cause: cause.to_string() }
    }

    fn disk_error(&self, cause: std::io::Error) -> WriteError {
        WriteError::Disk { path: self.path.clone(), cause }
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        // After a successful rename there is nothing under this name; a left-over is harmless.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Writes `batches` to `path` as one table; returns the number of rows. See [`TableWriter`].
pub fn write_table(path: &Path, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<u64, WriteError> {
    let mut writer = TableWriter::create(path, schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}
