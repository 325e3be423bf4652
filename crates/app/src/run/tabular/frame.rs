//! All rows of the model's source with everything that training, evaluation and requests read of them.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};

use paceline_core::{Digest, EntityKey, Timestamp, Value};
use paceline_features::SourceTable;
use paceline_features::expression::{Input, Program, Type};
use paceline_features::point_in_time::{Index, Spine};
use paceline_serve::predict::{PredictError, RowInputs, RowTask, ViewFeatures, Workspace};

use super::needs::{Needs, TIME};
use super::plan::Plan;
use crate::pipeline::Source;
use crate::report::SourceData;
use crate::run::findings::source_data;
use crate::tables::typed::{TypedColumn, TypedColumns, entity_key, key_columns, owned};
use crate::tables::{self, Reading};

/// Rows in memory.
pub struct Frame {
    /// Which columns are read, computed and seen.
    pub needs: Needs,
    /// Views whose features are among them.
    pub views: Vec<ViewFeatures>,
    /// The label of each row.
    pub labels: Vec<f32>,
    /// Event time and when the row was known, where the source has times.
    pub times: Option<Times>,
    /// List of each row, for ranking.
    pub lists: Option<Vec<u32>>,
    /// The source after `where`.
    pub table: SourceTable,
    /// What was read of each source, with the digest of its content.
    pub sources: Vec<(SourceData, Digest)>,
    values: TypedColumns,
    arrays: HashMap<String, ArrayRef>,
    indexes: Vec<ViewIndex>,
}

/// Times of the rows.
#[derive(Debug, Clone)]
pub struct Times {
    /// When each row happened.
    pub event: Vec<Timestamp>,
    /// When each row, its label included, was known: never before it happened.
    pub known: Vec<Timestamp>,
}

/// A view that can be computed for a single row, and the keys of all rows.
struct ViewIndex {
    index: Index,
    keys: Vec<TypedColumn>,
}

impl Frame {
    /// Loads the sources, joins the views as known at each row's time, and resolves the model's columns.
    ///
    /// # Errors
    /// When a source cannot be read, a row has no label, or the label does not suit the task.
    pub fn load(plan: &Plan<'_>, threads: usize, say: &dyn Fn(&str)) -> Result<Frame> {
        let mut sources = Vec::new();
        let source_of = |name: &str| plan.pipeline.source(name).with_context(|| format!("no [sources.{name}]"));
        let mut note = |source: &Source, (table, reading): (SourceTable, Reading)| {
            if !sources.iter().any(|(known, _): &(SourceData, Digest)| known.name == source.name) {
                sources.push((source_data(source.place(), &table, reading), reading.digest));
            }
            table
        };
        let row_source = source_of(&plan.rows.source)?;
        let table = note(row_source, tables::load_kept(row_source, &plan.pipeline.folder)?);
        // Features read rows that `where` refuses too where an event id lets them replace others.
        let is_whole = row_source.event_id.is_none();
        let mut others: HashMap<&str, SourceTable> = HashMap::new();
        for view in &plan.pipeline.views {
            let is_there = view.source == plan.rows.source && is_whole || others.contains_key(view.source.as_str());
            if !is_there {
                let source = source_of(&view.source)?;
                others.insert(&view.source, note(source, tables::load_described(source, &plan.pipeline.folder)?));
            }
        }
        let mut indexes = Vec::new();
        let (mut views, mut features) = (Vec::new(), Vec::new());
        for view in &plan.pipeline.views {
            let time = table.event_time.as_ref().with_context(|| {
                format!(
                    "[features.{}] is joined as known at each row's time, but [sources.{}] has no `event_time`",
                    view.name, table.name
                )
            })?;
            let source = others.get(view.source.as_str()).unwrap_or(&table);
            let index = Index::build(&[view], source).with_context(|| format!("[features.{}]", view.name))?;
            let joined = index.join(&Spine { keys: &table.rows, time }, threads)?;
            features.extend(
                joined
                    .schema_ref()
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .zip(joined.columns().iter().cloned()),
            );
            let keys = key_columns(&table.rows, &view.entity)?;
            indexes.push(ViewIndex { index, keys });
            views.push(ViewFeatures {
                name: view.name.clone(),
                entity: view.entity.clone(),
                features: view.features.iter().map(|feature| feature.name.clone()).collect(),
            });
        }
        let feature_types = features
            .iter()
            .map(|(name, array)| {
                let kind = Type::of_arrow(array.data_type()).context("features have types that expressions read")?;
                Ok((name.clone(), kind))
            })
            .collect::<Result<Vec<_>>>()?;
        let needs = Needs::of(plan, table.rows.schema_ref(), &feature_types, say)?;
        let times = table.event_time.clone().map(|event| {
            let known = match &table.available_time {
                Some(available) => available.iter().zip(&event).map(|(a, e)| *a.max(e)).collect(),
                None => event.clone(),
            };
            Times { event, known }
        });
        let labels = labels(plan, &table)?;
        let lists = plan.rows.group.as_ref().map(|group| lists(&table.rows, group)).transpose()?;
        let arrays = arrays(&needs, &table, features)?;
        let read = |column: &paceline_serve::predict::RequestColumn| {
            TypedColumn::read(&column.name, &arrays[&column.name], column.kind)
        };
        let values = TypedColumns::of(needs.columns.iter().map(read).collect::<Result<_>>()?);
        Ok(Frame { needs, views, labels, times, lists, table, sources, values, arrays, indexes })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// A column that the model sees, before it is encoded.
    pub fn array(&self, input: &str) -> &ArrayRef {
        &self.arrays[input]
    }

    /// The values of the request's columns in one row.
    pub fn request(&self, row: usize) -> Vec<Input<'_>> {
        let mut values = Vec::with_capacity(self.needs.columns.len());
        self.values.push_row(row, &mut values);
        values
    }

    /// The model's inputs of `rows`, row-major, by the program that answers requests.
    ///
    /// # Errors
    /// A value that cannot be an input, such as an infinite number.
    pub fn matrix(&self, layout: &RowInputs, rows: &[usize]) -> Result<Vec<f64>> {
        let width = layout.names().len();
        let mut matrix = vec![0.0; rows.len() * width];
        let mut workspace = Workspace::default();
        let mut values = Vec::with_capacity(self.needs.columns.len());
        for (&row, out) in rows.iter().zip(matrix.chunks_exact_mut(width)) {
            values.clear();
            self.values.push_row(row, &mut values);
            let filled: Result<(), PredictError> = layout.fill(&values, row, &mut workspace, out);
            filled.with_context(|| format!("[sources.{}]", self.table.name))?;
        }
        Ok(matrix)
    }

    /// The labels of `rows`.
    pub fn labels_of(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().map(|&row| self.labels[row]).collect()
    }

    /// The key of a row in each view; `None` where it has none.
    pub fn keys(&self, row: usize) -> Vec<Option<EntityKey>> {
        self.indexes.iter().map(|view| entity_key(&view.keys, row)).collect()
    }

    /// The features of all views for one row, computed from raw rows: what a pipeline as written does on request.
    ///
    /// # Errors
    /// When the keys do not fit.
    pub fn compute_features(&self, keys: &[Option<EntityKey>], row: usize) -> Result<Vec<Value>> {
        let at = self.times.as_ref().map_or(Timestamp::MAX, |times| times.event[row]);
        let mut values = Vec::new();
        for (view, key) in self.indexes.iter().zip(keys) {
            match key {
                Some(key) => values.extend(view.index.compute(key, at)?),
                None => values.extend(std::iter::repeat_n(Value::Null, view.index.names().count())),
            }
        }
        Ok(values)
    }

    /// The features of all views for one row, as they were joined.
    pub fn joined_features(&self, row: usize) -> Vec<Value> {
        let count: usize = self.views.iter().map(|view| view.features.len()).sum();
        let values = self.request(row);
        values[values.len() - count..].iter().map(|value| owned(*value)).collect()
    }
}

/// Every column that is read or seen, by name.
fn arrays(needs: &Needs, table: &SourceTable, features: Vec<(String, ArrayRef)>) -> Result<HashMap<String, ArrayRef>> {
    let mut arrays: HashMap<String, ArrayRef> = features.into_iter().collect();
    let reads_time = needs.columns.iter().any(|column| column.name == TIME && column.kind == Type::Timestamp);
    if let (true, Some(times)) = (reads_time, &table.event_time) {
        let micros = TimestampMicrosecondArray::from_iter_values(times.iter().map(|at| at.0));
        arrays.insert(TIME.to_owned(), Arc::new(micros.with_timezone("UTC")));
    }
    for (field, column) in table.rows.schema_ref().fields().iter().zip(table.rows.columns()) {
        arrays.entry(field.name().clone()).or_insert_with(|| column.clone());
    }
    for expression in needs.expressions.iter().filter(|expression| expression.name.starts_with("request.")) {
        let (fields, columns): (Vec<_>, Vec<_>) = arrays
            .iter()
            .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array.clone()))
            .unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(table.rows.num_rows()));
        let all = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        let known = tables::readable_columns(all.schema_ref());
        let program = Program::compile(&expression.expression, &known)
            .ok()
            .with_context(|| format!("{}: it was compiled before", expression.name))?;
        arrays.insert(expression.name.clone(), program.eval_block(&all)?);
    }
    Ok(arrays)
}

fn labels(plan: &Plan<'_>, table: &SourceTable) -> Result<Vec<f32>> {
    let name = &plan.rows.label;
    let array = table
        .rows
        .column_by_name(name)
        .with_context(|| format!("[sources.{}] has no column {name:?}, the label", table.name))?;
    let nulls = array.logical_null_count();
    if nulls > 0 {
        bail!(
            "[model] {nulls} of {} rows have no {name:?}; drop them with where = \"{name} is not null\" in [sources.{}]",
            array.len(),
            table.name
        );
    }
    let kind = Type::of_arrow(array.data_type()).filter(|kind| matches!(kind, Type::Bool | Type::Int | Type::Float));
    let kind = kind.with_context(|| format!("[model] label {name:?} is {}, not a number", array.data_type()))?;
    let column = TypedColumn::read(name, array, kind)?;
    let label = |row: usize| {
        let value = owned(column.get(row)).to_model_input();
        let suits = match plan.task {
            RowTask::Classify => value == 0.0 || value == 1.0,
            RowTask::Regress => value.is_finite(),
            RowTask::Rank => value.is_finite() && value >= 0.0,
        };
        if !suits {
            let must = match plan.task {
                RowTask::Classify => "0 or 1, or true or false",
                RowTask::Regress => "a finite number",
                RowTask::Rank => "a grade of at least 0, above 0 for a relevant row",
            };
            bail!(
                "[model] label {name:?} is {value} in row {} of the rows that `where` keeps; it must be {must}",
                row + 1
            );
        }
        Ok(value as f32)
    };
    (0..array.len()).map(label).collect()
}

fn lists(rows: &RecordBatch, group: &String) -> Result<Vec<u32>> {
    let keys = key_columns(rows, std::slice::from_ref(group))?;
    let mut numbers: HashMap<EntityKey, u32> = HashMap::new();
    let number = |row: usize| {
        let key = entity_key(&keys, row).with_context(|| {
            format!("[model] row {row} has no {group:?}; drop it with where = \"{group} is not null\"")
        })?;
        let next = numbers.len() as u32;
        Ok(*numbers.entry(key).or_insert(next))
    };
    (0..rows.num_rows()).map(number).collect()
}
