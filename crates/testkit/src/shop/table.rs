//! The lines as an Arrow table and as the Parquet file of the public data set's layout.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, LargeStringArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, Datelike};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::Shop;

/// Name of the file that [`Shop::write`] writes.
pub const FILE_NAME: &str = "transactions.parquet";

/// The public table's columns, then `loaded_at` (available time, seconds since 1970).
#[must_use]
pub fn transactions_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("invoice", DataType::LargeUtf8, false),
        field("item_id", DataType::LargeUtf8, false),
        field("description", DataType::LargeUtf8, true),
        field("quantity", DataType::Int32, false),
        field("timestamp", DataType::Int64, false),
        field("price", DataType::Float32, false),
        field("user_id", DataType::Int32, true),
        field("country", DataType::LargeUtf8, false),
        field("sheet", DataType::LargeUtf8, false),
        field("loaded_at", DataType::Int64, false),
    ]))
}

impl Shop {
    /// All lines in the layout of [`transactions_schema`], in order of event time.
    #[must_use]
    pub fn transactions(&self) -> RecordBatch {
        let lines = self.lines();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(LargeStringArray::from_iter_values(lines.iter().map(|line| &line.invoice))),
            Arc::new(LargeStringArray::from_iter_values(lines.iter().map(|line| &line.code))),
            Arc::new(lines.iter().map(|line| line.description.as_deref()).collect::<LargeStringArray>()),
            Arc::new(Int32Array::from_iter_values(lines.iter().map(|line| line.quantity))),
            Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.timestamp_s))),
            Arc::new(Float32Array::from_iter_values(lines.iter().map(|line| line.price))),
            Arc::new(lines.iter().map(|line| line.user_id).collect::<Int32Array>()),
            Arc::new(LargeStringArray::from_iter_values(lines.iter().map(|line| line.country))),
            Arc::new(LargeStringArray::from_iter_values(lines.iter().map(|line| sheet(line.timestamp_s)))),
            Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.loaded_at_s))),
        ];
        RecordBatch::try_new(transactions_schema(), columns).expect("columns made for this schema")
    }

    /// Writes [`FILE_NAME`] into `directory`, which is made if missing, and returns its path. An existing file is replaced
    /// only when the new one is complete. Equal specs give equal bytes.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        let path = directory.join(FILE_NAME);
        let unfinished = directory.join(format!("{FILE_NAME}.unfinished"));
        let written = fs::create_dir_all(directory)
            .and_then(|()| File::create(&unfinished))
            .and_then(|file| write_parquet(&self.transactions(), file).map_err(io::Error::other))
            .and_then(|()| fs::rename(&unfinished, &path));
        match written {
            Ok(()) => Ok(path),
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))),
        }
    }
}

fn write_parquet(batch: &RecordBatch, file: File) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}

/// The business year, from December on; the last days of the table stay on the last full sheet, as in the public table.
fn sheet(timestamp_s: i64) -> String {
    let date = DateTime::from_timestamp(timestamp_s, 0).expect("a time of the calendar");
    let begins = if date.month() == 12 { date.year() } else { date.year() - 1 }.min(2010);
    format!("{begins}-{}", begins + 1)
}
