//! Logged requests that name an entity, taken out of their files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use paceline_core::Value;
use paceline_store::{SourceReader, SourceSpec, write_table};
use serde_json::{Map, Value as Json};

use super::{Counts, Entity};
use crate::serving::{FIELDS, REQUESTS_FOLDER};
use crate::training_set::values::value_at;

/// Removes the rows of an entity and reads the files again. A file is replaced whole; one without rows is deleted.
pub(super) fn forget(data_folder: &Path, entity: &Entity) -> Result<Counts> {
    let mut counts = Counts::default();
    for path in files(data_folder)? {
        let (kept, removed) = without(&path, entity)?;
        if removed == 0 {
            continue;
        }
        counts.removed += removed;
        let first = kept.first().filter(|_| kept.iter().any(|batch| batch.num_rows() > 0));
        match first {
            Some(first) => _ = write_table(&path, &first.schema(), &kept)?,
            None => std::fs::remove_file(&path).with_context(|| path.display().to_string())?,
        }
    }
    for path in files(data_folder)? {
        counts.left += without(&path, entity)?.1;
    }
    Ok(counts)
}

fn files(data_folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = data_folder.join(REQUESTS_FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The rows of a file that do not name the entity, and how many do.
fn without(path: &Path, entity: &Entity) -> Result<(Vec<RecordBatch>, u64)> {
    let reader = SourceReader::open(&SourceSpec::new("requests", path.to_string_lossy()), Path::new("."))?;
    let (mut kept, mut removed) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch?;
        let stays: BooleanArray =
            (0..batch.num_rows()).map(|row| Some(!entity.is_within(&fields(&batch, row)))).collect();
        removed += (batch.num_rows() - stays.true_count()) as u64;
        kept.push(filter_record_batch(&batch, &stays)?);
    }
    Ok((kept, removed))
}

/// What a request named in a row: its other fields, and columns of whole numbers and texts, among which are the keys.
fn fields(batch: &RecordBatch, row: usize) -> Json {
    let text = batch.column_by_name(FIELDS).and_then(|column| column.as_string_opt::<i32>());
    let text = text.filter(|column| column.is_valid(row)).map(|column| column.value(row));
    let mut fields: Map<String, Json> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !matches!(column.data_type(), DataType::Int64 | DataType::Utf8) || field.name() == FIELDS {
            continue;
        }
        match value_at(column, row) {
            Value::Int(value) => _ = fields.insert(field.name().clone(), value.into()),
            Value::Text(value) => _ = fields.insert(field.name().clone(), value.as_ref().into()),
            Value::Null | Value::Bool(_) | Value::Float(_) => {}
        }
    }
    Json::Object(fields)
}
