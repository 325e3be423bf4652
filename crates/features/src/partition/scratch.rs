//! Rows on disk while a join runs.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::PARTITIONS;
use crate::FeatureError;

/// A directory that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new directory inside `parent`.
    pub(super) fn create_in(parent: &Path) -> Result<Scratch, FeatureError> {
        let mut number = 0;
        loop {
            let path = parent.join(format!("paceline-scratch-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch(path)),
                // Another join, or one that crashed, has it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(failed(&path, error)),
            }
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and what is left is named as scratch.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What went wrong with a scratch file.
pub(super) fn failed(path: &Path, cause: impl ToString) -> FeatureError {
    FeatureError::Scratch { path: path.to_owned(), cause: cause.to_string() }
}

/// A file of record batches that is being written.
pub(super) struct BatchFile {
    path: PathBuf,
    writer: StreamWriter<BufWriter<File>>,
}

impl BatchFile {
    pub(super) fn create(path: PathBuf, schema: &Schema) -> Result<Self, FeatureError> {
        let file = File::create_new(&path).map_err(|error| failed(&path, error))?;
        // The stream format: one pass, no footer.
        match StreamWriter::try_new(BufWriter::new(file), schema) {
            Ok(writer) => Ok(BatchFile { path, writer }),
            Err(error) => Err(failed(&path, error)),
        }
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), FeatureError> {
        self.writer.write(rows).map_err(|error| failed(&self.path, error))
    }

    /// Ends the file and returns its path.
    pub(super) fn close(mut self) -> Result<PathBuf, FeatureError> {
        let flushed = self.writer.finish().and_then(|()| self.writer.get_mut().flush().map_err(ArrowError::from));
        flushed.map_err(|error| failed(&self.path, error)).map(|()| self.path)
    }
}

impl fmt::Debug for BatchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchFile({})", self.path.display())
    }
}

/// Reads the batches of a file one by one.
pub(super) struct BatchReader {
    path: PathBuf,
    reader: StreamReader<BufReader<File>>,
}

impl BatchReader {
    pub(super) fn open(path: &Path) -> Result<Self, FeatureError> {
        let file = File::open(path).map_err(|error| failed(path, error))?;
        let reader = StreamReader::try_new_buffered(file, None).map_err(|error| failed(path, error))?;
        Ok(BatchReader { path: path.to_owned(), reader })
    }
}

impl fmt::Debug for BatchReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchReader({})", self.path.display())
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch, FeatureError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(|error| failed(&self.path, error)))
    }
}

/// Rows that are buffered, and written to one file per part when they are flushed.
#[derive(Debug)]
pub(super) struct Spill {
    name: &'static str,
    buffered: Vec<RecordBatch>,
    buffered_bytes: usize,
    rows: usize,
    writers: Vec<Option<BatchFile>>,
    files: Vec<Option<PathBuf>>,
    bytes: Vec<usize>,
}

impl Spill {
    pub(super) fn new(name: &'static str) -> Self {
        let (writers, files) = ((0..PARTITIONS).map(|_| None).collect(), vec![None; PARTITIONS]);
        Spill { name, buffered: Vec::new(), buffered_bytes: 0, rows: 0, writers, files, bytes: vec![0; PARTITIONS] }
    }

    /// Buffers rows.
    pub(super) fn push(&mut self, rows: RecordBatch) {
        self.buffered_bytes += bytes_of(&rows);
        self.rows += rows.num_rows();
        self.buffered.push(rows);
    }

    /// Size of the buffered rows.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// Number of all rows pushed.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes the buffered rows out.
    pub(super) fn take_buffered(&mut self) -> Vec<RecordBatch> {
        self.buffered_bytes = 0;
        std::mem::take(&mut self.buffered)
    }

    /// Writes the buffered rows, each to the file of its part; rows of one part keep their order.
    pub(super) fn flush(
        &mut self,
        scratch: &Scratch,
        part_of: impl Fn(&RecordBatch) -> Result<Vec<usize>, FeatureError>,
    ) -> Result<(), FeatureError> {
        let batches = self.take_buffered();
        let mut rows_of: Vec<Vec<(usize, usize)>> = vec![Vec::new(); PARTITIONS];
        for (i, batch) in batches.iter().enumerate() {
            for (row, part) in part_of(batch)?.into_iter().enumerate() {
                rows_of[part].push((i, row));
            }
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        for (part, rows) in rows_of.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let rows = interleave_record_batch(&batches, rows)
                .map_err(FeatureError::arrow(format!("a part of {}", self.name)))?;
            self.bytes[part] += bytes_of(&rows);
            let writer = match &mut self.writers[part] {
                Some(writer) => writer,
                none => none.insert(BatchFile::create(scratch.file(&format!("{}-{part}", self.name)), &rows.schema())?),
            };
            writer.write(&rows)?;
        }
        Ok(())
    }

    /// Ends all files.
    pub(super) fn close(&mut self) -> Result<(), FeatureError> {
        for (writer, file) in self.writers.iter_mut().zip(&mut self.files) {
            if let Some(writer) = writer.take() {
                *file = Some(writer.close()?);
            }
        }
        Ok(())
    }

    /// Size in memory of a part.
    pub(super) fn bytes(&self, part: usize) -> usize {
        self.bytes[part]
    }

    /// All rows of a part, in the order they were pushed.
    pub(super) fn read(&self, part: usize) -> Result<Vec<RecordBatch>, FeatureError> {
        self.files[part].as_ref().map_or(Ok(Vec::new()), |path| BatchReader::open(path)?.collect())
    }
}

/// Size of the rows themselves, whatever buffers they are a slice of.
fn bytes_of(rows: &RecordBatch) -> usize {
    let size = |column: &dyn Array| column.to_data().get_slice_memory_size();
    // A type whose size Arrow cannot tell is taken at the size of its buffers.
    rows.columns().iter().map(|column| size(column).unwrap_or_else(|_| column.get_array_memory_size())).sum()
}
