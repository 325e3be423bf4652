//! Pipeline files, good and bad.

mod bad_files;
mod examples;
mod good_files;
mod references;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::{PipelineFile, Schemas};

/// The columns of every source of the test files.
fn columns() -> Arc<Schema> {
    let columns = [
        ("user_id", DataType::Int64),
        ("item_id", DataType::Utf8),
        ("invoice", DataType::LargeUtf8),
        ("country", DataType::Utf8View),
        ("quantity", DataType::Int32),
        ("price", DataType::Float64),
        ("timestamp", DataType::Int64),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("flag", DataType::Boolean),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

/// The columns above for each source that `file` names.
fn schemas_of(file: &PipelineFile) -> Schemas {
    file.source_places().into_iter().map(|place| (place.name, columns())).collect()
}

/// A file of this crate's repository.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares a generated file with what it should be, or writes it when `PACELINE_WRITE_DOCS` is set.
fn check_generated(path: &Path, content: &str) {
    if std::env::var_os("PACELINE_WRITE_DOCS").is_some() {
        std::fs::write(path, content).expect("a generated file can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == content,
        "{} is not what it should be; if the change is meant, write it with PACELINE_WRITE_DOCS=1. It should be:\n{content}",
        path.display()
    );
}
