//! A spine file: entity keys, `time`, and any other columns.

use std::path::Path;

use anyhow::{anyhow, bail};
use arrow::array::{Array as _, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use paceline_core::Timestamp;
use paceline_features::expression::Type;
use paceline_store::sources::CsvType;
use paceline_store::{Format, SourceError, SourceReader, SourceSpec};

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
    /// The time of rows without a column for it; `None` where there is one.
    without_time: Option<Timestamp>,
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
        Self::open_with(spec, &Key::of(pipeline)?, None)
    }

    /// Opens a spine of users alone, whose key is `column` as [sources.`source`] has it, of type `kind`. Without a column
    /// `time` each row's is `without_time`.
    ///
    /// # Errors
    /// As [`SpineFile::open`].
    pub fn open_users(
        spec: &SpineSpec,
        (column, source, kind): (&str, &str, Type),
        without_time: Timestamp,
    ) -> anyhow::Result<Self> {
        let key = Key { column, meaning: "the users of [model]".to_owned(), source, kind: Some(kind) };
        Self::open_with(spec, &[key], Some(without_time))
    }

    fn open_with(spec: &SpineSpec, keys: &[Key<'_>], without_time: Option<Timestamp>) -> anyhow::Result<Self> {
        let location = &spec.location;
        let mut source = SourceSpec::new("the spine", location);
        // A table of columns without rows is a spine without rows.
        source.allow_empty = without_time.is_some();
        let open =
            |source: &SourceSpec| SourceReader::open(source, Path::new("")).map_err(|error| said_by(location, error));
        let mut reader = open(&source)?;
        let without_time = without_time.filter(|_| reader.schema().field_with_name(TIME).is_err());
        check_columns(location, &reader.schema(), keys, without_time.is_none())?;
        if Format::of_path(&reader.files()[0].path) == Some(Format::Csv) {
            let typed = |key: &Key<'_>| Some((key.column.to_owned(), key.csv_type()?));
            source.types = keys.iter().filter_map(typed).collect();
            reader = open(&source)?;
        } else {
            keys.iter().try_for_each(|key| key.check_type(location, &reader.schema()))?;
        }
        Ok(SpineFile { reader, location: location.clone(), time_unit: spec.time_unit, without_time })
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

    /// Whether rows have no time of their own.
    #[must_use]
    pub fn has_no_time(&self) -> bool {
        self.without_time.is_some()
    }

    fn prepare(&self, rows: RecordBatch) -> anyhow::Result<SpineBatch> {
        if let Some(at) = self.without_time {
            let time = vec![at; rows.num_rows()];
            return Ok(SpineBatch { rows, time });
        }
        let array = rows.column_by_name(TIME).expect("its presence was checked when the file was opened");
        if array.data_type().is_integer() && self.time_unit.is_none() {
            bail!(
                "--spine {}: column {TIME:?} holds whole numbers; say their unit with --time-unit s, ms, us or ns",
                self.location
            );
        }
        let place = Place { file: self.reader.place(), stays: None };
        let unit = self.time_unit.map(TimeUnit::to_arrow);
        let time = times::read(TIME, array, unit, place, "every row of a spine needs a time")
            .map_err(|error| anyhow!("--spine {error}"))?;
        Ok(SpineBatch { rows, time })
    }
}

impl Iterator for SpineFile {
    type Item = anyhow::Result<SpineBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.reader.next()?.map_err(|error| said_by(&self.location, error));
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

/// A key column, as its source has it.
struct Key<'a> {
    column: &'a str,
    /// Of what.
    meaning: String,
    source: &'a str,
    kind: Option<Type>,
}

impl<'a> Key<'a> {
    /// The key columns of all views.
    fn of(pipeline: &'a Pipeline) -> anyhow::Result<Vec<Key<'a>>> {
        let mut keys: Vec<Key<'_>> = Vec::new();
        for source in &pipeline.sources {
            let mut views = pipeline.views.iter().filter(|view| view.source == source.name).peekable();
            if views.peek().is_none() {
                continue;
            }
            let rows = SourceRows::open(source, &pipeline.folder)?;
            let kind_of = |column: &str| rows.columns().iter().find(|(name, _)| name == column).map(|(_, kind)| *kind);
            keys.extend(views.flat_map(|view| {
                let meaning = format!("the entity of [features.{}]", view.name);
                let key = |column: &'a String| Key {
                    column,
                    meaning: meaning.clone(),
                    source: &source.name,
                    kind: kind_of(column),
                };
                view.entity.iter().map(key).collect::<Vec<_>>()
            }));
        }
        Ok(keys)
    }

    fn csv_type(&self) -> Option<CsvType> {
        match self.kind? {
            Type::Int => Some(CsvType::Integer),
            Type::Text => Some(CsvType::Text),
            Type::Bool | Type::Float | Type::Timestamp => None,
        }
    }

    fn check_type(&self, location: &str, schema: &Schema) -> anyhow::Result<()> {
        let Ok(field) = schema.field_with_name(self.column) else { return Ok(()) };
        match (Type::of_arrow(field.data_type()), self.kind) {
            (Some(found), Some(expected)) if found != expected => bail!(
                "--spine {location}: column {:?} holds {}, but in [sources.{}] it is {expected}; write it with the same \
                 type",
                self.column,
                field.data_type(),
                self.source
            ),
            _ => Ok(()),
        }
    }
}

fn check_columns(location: &str, schema: &Schema, keys: &[Key<'_>], needs_time: bool) -> anyhow::Result<()> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let has = names.join(", ");
    if needs_time && !names.contains(&TIME) {
        let near = nearest(TIME, names.iter().copied()).map(|near| format!(" (is it {near:?}?)")).unwrap_or_default();
        bail!(
            "--spine {location} has no column {TIME:?}, which says when each row's features are wanted{near}; rename \
             that column to {TIME:?}; it has {has}"
        );
    }
    if let Some(Key { column, meaning, .. }) = keys.iter().find(|key| !names.contains(&key.column)) {
        let near = nearest(column, names.iter().copied()).map(|near| format!("; did you mean {near:?}?"));
        bail!("--spine {location} has no column {column:?}, {meaning}{}; it has {has}", near.unwrap_or_default());
    }
    Ok(())
}

/// What a reader says about a spine; most of its messages begin with the file.
fn said_by(location: &str, error: SourceError) -> anyhow::Error {
    match error {
        SourceError::NotFound { near, .. } if near.is_empty() => anyhow!("--spine {location}: no such file"),
        SourceError::UnknownFormat { file } => {
            anyhow!("--spine {file}: neither .parquet nor .csv; a spine is written in one of these formats")
        }
        SourceError::BadCell { file, row, column, value, expected } => anyhow!(
            "--spine {file}, row {row}: column {column:?} holds {value:?}, but {expected} is expected there; correct the \
             value"
        ),
        other => match other.to_string() {
            said if said.starts_with(location) => anyhow!("--spine {said}"),
            said => anyhow!("--spine {location}: {said}"),
        },
    }
}
