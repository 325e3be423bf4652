//! A spine file: entity keys, `time`, and any other columns.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use arrow::array::{Array as _, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use paceline_core::Timestamp;
use paceline_features::expression::Type;
use paceline_store::sources::CsvType;
use paceline_store::{SourceReader, SourceSpec};

use crate::pipeline::mistake::nearest;
use crate::pipeline::{Pipeline, TimeUnit};
use crate::tables::SourceRows;
use crate::tables::times::{self, Place};

/// The column of a spine that says for which time features are wanted.
pub const TIME: &str = "time";

/// Where a spine is.
#[derive(Debug, Clone)]
pub struct SpineSpec {
    /// File, directory or pattern, from the current folder.
    pub location: String,
    /// Unit of `time` where it is a column of whole numbers.
    pub time_unit: Option<TimeUnit>,
}

/// The rows of a spine, batch by batch.
#[derive(Debug)]
pub struct SpineFile {
    reader: SourceReader,
    location: String,
    time_unit: Option<TimeUnit>,
}

/// Some rows of a spine.
#[derive(Debug, Clone)]
pub struct SpineBatch {
    /// All columns of the file.
    pub rows: RecordBatch,
    /// The time of each row.
    pub time: Vec<Timestamp>,
}

impl SpineFile {
    /// Opens a spine for the views of a pipeline. In a CSV file, key columns are read as the sources have them: an
    /// identifier that happens to be written with digits only stays a text.
    ///
    /// # Errors
    /// When it cannot be read, or has no column `time` or not all key columns.
    pub fn open(spec: &SpineSpec, pipeline: &Pipeline) -> anyhow::Result<Self> {
        let location = &spec.location;
        let mut source = SourceSpec::new("the spine", location);
        let open = |source: &SourceSpec| {
            SourceReader::open(source, Path::new("")).with_context(|| format!("--spine {location}"))
        };
        let mut reader = open(&source)?;
        let is_csv = reader.files()[0].path.to_lowercase().ends_with(".csv");
        if is_csv {
            source.types = text_keys(pipeline)?;
            let schema = reader.schema();
            source
                .types
                .retain(|name, _| schema.field_with_name(name).is_ok_and(|field| !field.data_type().is_string()));
            if !source.types.is_empty() {
                reader = open(&source)?;
            }
        }
        let schema = reader.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        if !names.contains(&TIME) {
            let near = nearest(TIME, names.iter().copied()).map(|near| format!(" (is it {near:?}?)"));
            bail!(
                "--spine {location} has no column {TIME:?}, which says when each row's features are wanted{}; rename \
                 that column to {TIME:?}; it has {}",
                near.unwrap_or_default(),
                names.join(", ")
            );
        }
        for view in &pipeline.views {
            if let Some(key) = view.entity.iter().find(|key| !names.contains(&key.as_str())) {
                let near = nearest(key, names.iter().copied()).map(|near| format!("; did you mean {near:?}?"));
                bail!(
                    "--spine {location} has no column {key:?}, the entity of [features.{}]{}; it has {}",
                    view.name,
                    near.unwrap_or_default(),
                    names.join(", ")
                );
            }
        }
        Ok(SpineFile { reader, location: location.clone(), time_unit: spec.time_unit })
    }

    /// The columns of the file.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    /// As the user named it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.location
    }

    fn prepare(&self, rows: RecordBatch) -> anyhow::Result<SpineBatch> {
        let array = rows.column_by_name(TIME).expect("its presence was checked when the file was opened");
        if array.data_type().is_integer() && self.time_unit.is_none() {
            bail!(
                "--spine {}: column {TIME:?} holds whole numbers; say their unit with --time-unit s, ms, us or ns",
                self.location
            );
        }
        let place = Place { file: self.reader.place(), stays: None };
        let unit = self.time_unit.map(TimeUnit::to_arrow);
        let time = times::read(TIME, array, unit, place, "every row of a spine needs a time").context("--spine")?;
        Ok(SpineBatch { rows, time })
    }
}

impl Iterator for SpineFile {
    type Item = anyhow::Result<SpineBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.reader.next()?.with_context(|| format!("--spine {}", self.location));
        Some(rows.and_then(|rows| self.prepare(rows)))
    }
}

impl SpineBatch {
    /// The first `count` rows, and the others if there are any.
    #[must_use]
    pub fn split(mut self, count: usize) -> (SpineBatch, Option<SpineBatch>) {
        let more = self.rows.num_rows() - count;
        if more == 0 {
            return (self, None);
        }
        let time = self.time.split_off(count);
        let rest = SpineBatch { rows: self.rows.slice(count, more), time };
        (SpineBatch { rows: self.rows.slice(0, count), time: self.time }, Some(rest))
    }

    /// All rows of `parts`.
    ///
    /// # Errors
    /// When they differ in their columns.
    pub fn concat(schema: &SchemaRef, parts: &[SpineBatch]) -> anyhow::Result<SpineBatch> {
        if let [only] = parts {
            return Ok(only.clone());
        }
        let rows = concat_batches(schema, parts.iter().map(|part| &part.rows))?;
        Ok(SpineBatch { rows, time: parts.iter().flat_map(|part| part.time.iter().copied()).collect() })
    }
}

/// The key columns that a source has as texts.
fn text_keys(pipeline: &Pipeline) -> anyhow::Result<BTreeMap<String, CsvType>> {
    let mut texts = BTreeMap::new();
    for source in &pipeline.sources {
        let views: Vec<_> = pipeline.views.iter().filter(|view| view.source == source.name).collect();
        if views.is_empty() {
            continue;
        }
        let rows = SourceRows::open(source, &pipeline.folder)?;
        let is_text = |key: &String| rows.columns().iter().any(|(name, kind)| name == key && *kind == Type::Text);
        let keys = views.iter().flat_map(|view| &view.entity).filter(|key| is_text(key));
        texts.extend(keys.map(|key| (key.clone(), CsvType::Text)));
    }
    Ok(texts)
}
