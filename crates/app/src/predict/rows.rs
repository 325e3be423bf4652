//! Tables scored by a published row model, batch by batch.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use paceline_core::Timestamp;
use paceline_features::SourceTable;
use paceline_features::expression::Type;
use paceline_features::point_in_time::{Index, Spine};
use paceline_serve::predict::{Predictor, ROWS_MAX, Workspace};
use paceline_store::sources::CsvType;
use paceline_store::{SourceReader, SourceSpec, TableWriter, to_timestamps};

use crate::pipeline::{Goal, Pipeline, TimeUnit};
use crate::tables::{self, typed::TypedColumns};

/// Name of the column that is added.
pub const PREDICTION: &str = "prediction";
/// Name of a spine's time.
const TIME: &str = "time";

/// A predictor with what it needs to fill its request columns from a table.
pub struct SpineScorer {
    predictor: Predictor,
    indexes: Vec<Index>,
    /// Where the time of a row is read, the first that is there.
    time_columns: Vec<String>,
    time_unit: Option<TimeUnit>,
    threads: usize,
}

impl SpineScorer {
    /// Loads the sources of the pipeline's views, if the model reads any. A time of whole numbers is read in `time_unit`,
    /// by default that of the model's source.
    ///
    /// # Errors
    /// When a source cannot be read, or the pipeline's views are not those of the model.
    pub fn new(
        pipeline: &Pipeline,
        predictor: Predictor,
        time_unit: Option<TimeUnit>,
        threads: usize,
    ) -> anyhow::Result<SpineScorer> {
        let mut sources: HashMap<&str, SourceTable> = HashMap::new();
        let mut indexes = Vec::new();
        for wanted in &predictor.spec().views {
            let view = pipeline.views.iter().find(|view| view.name == wanted.name).with_context(|| {
                format!(
                    "the published model reads [features.{}], which the pipeline no longer has; run it again",
                    wanted.name
                )
            })?;
            let features: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
            if features != wanted.features {
                bail!(
                    "[features.{}] has changed since the model was published ({features:?}, then {:?}); run the pipeline \
                     again",
                    view.name,
                    wanted.features
                );
            }
            if !sources.contains_key(view.source.as_str()) {
                let source = pipeline.source(&view.source).with_context(|| format!("no [sources.{}]", view.source))?;
                sources.insert(&view.source, tables::load(source, &pipeline.folder)?);
            }
            let index = Index::build(&[view], &sources[view.source.as_str()]);
            indexes.push(index.with_context(|| format!("[features.{}]", view.name))?);
        }
        let rows = match pipeline.model.as_ref().map(|model| &model.goal) {
            Some(Goal::Classify(rows) | Goal::Regress(rows) | Goal::Rank(rows)) => Some(rows),
            Some(Goal::Recommend(_)) | None => None,
        };
        let source = rows.and_then(|rows| pipeline.source(&rows.source));
        let event_time = source.and_then(|source| source.event_time.clone());
        let mut time_columns = vec![TIME.to_owned()];
        time_columns.extend(event_time.filter(|name| name != TIME));
        let time_unit = time_unit.or(source.and_then(|source| source.time_unit));
        Ok(SpineScorer { predictor, indexes, time_columns, time_unit, threads })
    }

    /// How a CSV spine's columns are to be read: as the model reads them, whatever their first rows look like.
    fn csv_types(&self) -> impl Iterator<Item = (String, CsvType)> + '_ {
        self.predictor.spec().columns.iter().filter_map(|column| {
            let kind = match column.kind {
                Type::Float => CsvType::Float,
                Type::Text => CsvType::Text,
                Type::Bool => CsvType::Boolean,
                // Whole numbers are often written as 3.0, and times are texts or numbers.
                Type::Int | Type::Timestamp => return None,
            };
            Some((column.name.clone(), kind))
        })
    }

    /// The predictions of a batch's rows.
    ///
    /// # Errors
    /// A column that is missing or of another type, or a value that does not fit the model.
    pub fn score(&self, batch: &RecordBatch) -> anyhow::Result<Vec<f64>> {
        let request = self.request_columns(batch)?;
        let columns = self.predictor.spec().columns.iter().map(|column| (column.name.as_str(), column.kind));
        let typed = TypedColumns::new(&request, columns)?;
        let mut workspace = Workspace::default();
        let mut scores = Vec::with_capacity(batch.num_rows());
        for start in (0..batch.num_rows()).step_by(ROWS_MAX) {
            let end = (start + ROWS_MAX).min(batch.num_rows());
            let mut values = Vec::with_capacity((end - start) * self.predictor.spec().columns.len());
            (start..end).for_each(|row| typed.push_row(row, &mut values));
            scores.extend(self.predictor.predict_values(&values, &mut workspace)?);
        }
        Ok(scores)
    }

    /// The batch with the time under its own name and the features of views as of it.
    fn request_columns(&self, batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
        let wants_time = |name: &str, kind: Type| name == TIME && kind == Type::Timestamp;
        let columns = &self.predictor.spec().columns;
        let reads_time = columns.iter().any(|column| wants_time(&column.name, column.kind));
        if self.indexes.is_empty() && !reads_time {
            return Ok(batch.clone());
        }
        let times = self.times(batch)?;
        let mut named: Vec<(String, ArrayRef)> = Vec::new();
        if reads_time {
            let micros = TimestampMicrosecondArray::from_iter_values(times.iter().map(|at| at.0));
            named.push((TIME.to_owned(), Arc::new(micros.with_timezone("UTC"))));
        }
        for index in &self.indexes {
            let joined = index.join(&Spine { keys: batch, time: &times }, self.threads)?;
            let fields = joined.schema_ref().fields().iter().map(|field| field.name().clone());
            named.extend(fields.zip(joined.columns().iter().cloned()));
        }
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if !named.iter().any(|(name, _)| name == field.name()) {
                named.push((field.name().clone(), column.clone()));
            }
        }
        let fields: Vec<Field> =
            named.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
        let arrays = named.into_iter().map(|(_, array)| array).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    fn times(&self, batch: &RecordBatch) -> anyhow::Result<Vec<Timestamp>> {
        let found = self.time_columns.iter().find_map(|name| Some((name, batch.column_by_name(name)?)));
        let (name, array) = found.with_context(|| {
            format!("the model reads values as of a time, and there is no column {}", self.time_columns.join(" or "))
        })?;
        Ok(to_timestamps(name, array, self.time_unit.map(TimeUnit::to_arrow))?)
    }
}

/// Scores the table at `spine` into `out` with the column [`PREDICTION`] added, holding one batch at a time; returns the
/// number of rows. `on_rows` hears of each batch.
///
/// # Errors
/// When the spine cannot be read or scored, has such a column already, or the table cannot be written; then nothing is.
pub fn score_file(scorer: &SpineScorer, spine: &str, out: &Path, mut on_rows: impl FnMut(u64)) -> anyhow::Result<u64> {
    let mut spec = SourceSpec::new("spine", spine);
    spec.allow_empty = true;
    let known = SourceReader::open(&spec, Path::new(""))?.schema();
    let is_there = |name: &String| known.field_with_name(name).is_ok();
    spec.types = scorer.csv_types().filter(|(name, _)| is_there(name)).collect();
    let reader = SourceReader::open(&spec, Path::new(""))?;
    let schema = with_prediction(&reader.schema()).with_context(|| spine.to_owned())?;
    let mut writer = TableWriter::create(out, &schema)?;
    let mut rows = 0;
    for batch in reader {
        let batch = batch?;
        let scores =
            scorer.score(&batch).with_context(|| format!("{spine}, rows counted from row {rows} of the table"))?;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Float64Array::from(scores)));
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        rows += batch.num_rows();
        on_rows(batch.num_rows() as u64);
    }
    Ok(writer.finish()?)
}

fn with_prediction(schema: &SchemaRef) -> anyhow::Result<SchemaRef> {
    if schema.field_with_name(PREDICTION).is_ok() {
        bail!("there is a column {PREDICTION:?} already; rename it");
    }
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(PREDICTION, DataType::Float64, false)));
    Ok(Arc::new(Schema::new(fields)))
}
