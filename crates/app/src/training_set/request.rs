//! Request-time features over the rows of a spine and the features of their views.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use paceline_core::Timestamp;
use paceline_features::expression::{Program, Type};

use super::{TIME, beside, refuse_names_of_features};
use crate::pipeline::Pipeline;
use crate::tables::readable_columns;

/// The compiled request-time features of a pipeline, for spines of certain columns.
#[derive(Debug)]
pub struct RequestFeatures {
    programs: Vec<(FieldRef, Program)>,
    output: SchemaRef,
}

impl RequestFeatures {
    /// Compiles the request-time features over view features, columns of the spine, `time` and earlier ones. A view's
    /// feature comes before a column of the same name.
    ///
    /// # Errors
    /// All mistakes of the expressions, and columns of the spine that have the name of a feature.
    pub fn compile(pipeline: &Pipeline, features: &Schema, spine: &Schema) -> anyhow::Result<Self> {
        refuse_names_of_features(pipeline, spine, "the spine")?;
        let mut columns = readable_columns(features);
        let fields = readable_columns(spine).into_iter().filter(|(name, _)| name != TIME);
        columns.extend(fields.chain([(TIME.to_owned(), Type::Timestamp)]));
        let (mut programs, mut mistakes): (Vec<(FieldRef, Program)>, Vec<String>) = (Vec::new(), Vec::new());
        for feature in &pipeline.request_features {
            let name = format!("request.{}", feature.name);
            match Program::compile(&feature.expression, &columns) {
                Ok(program) => {
                    columns.insert(0, (name.clone(), program.output_type()));
                    let field = Arc::new(Field::new(name, arrow_type(program.output_type()), true));
                    programs.push((field, program));
                }
                Err(errors) => mistakes.extend(errors.iter().map(|error| format!("`{}`: {error}", feature.name))),
            }
        }
        if !mistakes.is_empty() {
            bail!("[features.request] does not fit the columns of the spine: {}", mistakes.join("; "));
        }
        let computed = programs.iter().map(|(field, _)| field);
        let fields = spine.fields().iter().chain(features.fields()).chain(computed).cloned();
        let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(RequestFeatures { programs, output })
    }

    /// The columns of [`RequestFeatures::append`].
    #[must_use]
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    /// The programs with their names, in order.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.programs.iter().map(|(field, program)| (field.name().as_str(), program))
    }

    /// `spine`, then `features`, then the request-time features. Without `time` it is null.
    ///
    /// # Errors
    /// When the columns are not those that the features were compiled for.
    ///
    /// # Panics
    /// When the rows, times and features differ in number: the caller's bug.
    pub fn append(
        &self,
        spine: &RecordBatch,
        time: Option<&[Timestamp]>,
        features: &RecordBatch,
    ) -> anyhow::Result<RecordBatch> {
        let count = spine.num_rows();
        assert!(features.num_rows() == count && time.is_none_or(|time| time.len() == count), "one of each per row");
        let mut computed: Vec<(FieldRef, ArrayRef)> = Vec::with_capacity(self.programs.len());
        if !self.programs.is_empty() {
            // The spine's own column of that name is replaced by what it means.
            let others: Vec<usize> =
                (0..spine.num_columns()).filter(|&column| spine.schema_ref().field(column).name() != TIME).collect();
            let at = (Arc::new(Field::new(TIME, time_type(), true)), times(time, count));
            let inputs = beside(&[features, &spine.project(&others)?], vec![at], count)?;
            for (field, program) in &self.programs {
                let seen = beside(&[&inputs], computed.clone(), count)?;
                let column = program.eval_block(&seen).map_err(|error| anyhow!("[features.request] {error}"))?;
                computed.push((field.clone(), column));
            }
        }
        let columns = spine.columns().iter().chain(features.columns()).chain(computed.iter().map(|(_, column)| column));
        let columns = columns.cloned().collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?)
    }
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn times(time: Option<&[Timestamp]>, count: usize) -> ArrayRef {
    match time {
        None => new_null_array(&time_type(), count),
        Some(time) => {
            let micros = TimestampMicrosecondArray::from_iter_values(time.iter().map(|time| time.0));
            Arc::new(micros.with_timezone("UTC"))
        }
    }
}

/// The type of a column of values of a type.
pub(crate) fn arrow_type(kind: Type) -> DataType {
    match kind {
        Type::Bool => DataType::Boolean,
        Type::Int => DataType::Int64,
        Type::Float => DataType::Float64,
        Type::Text => DataType::Utf8,
        Type::Timestamp => time_type(),
    }
}
