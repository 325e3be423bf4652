//! Whether what requests were answered with is what training sees for them.
//!
//! Every logged value is compared, to the last bit, with that of the batch join for the same keys and time. Where they
//! differ, the value as of the table's own time tells why ([`Cause`]).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use paceline_core::{EntityKey, Timestamp, Value};
use paceline_features::expression::{Input, Program, Scratch, Type};
use paceline_features::point_in_time;

use super::{
    Cause, DESCRIBED_MAX, Difference, OnlinePath, Replay, Verification, entity_of, last_materialization, plain, sources,
};
use crate::lookup::{source_columns, view_types};
use crate::pipeline::{NamedExpression, Pipeline};
use crate::serving::{COMPUTED, FIELDS, as_of_column};
use crate::training_set::values::{keys_of, value_at};
use crate::training_set::{JoinMeans, SpineFile, SpineSpec, TIME};

/// Replays logged requests: the files of `spec`, which `serve` wrote. The sources are held in memory.
///
/// # Errors
/// When the sources or the files cannot be read, or the files hold no view of the pipeline.
pub fn verify_requests(
    pipeline: &Pipeline,
    spec: &SpineSpec,
    means: &JoinMeans,
    on_rows: &mut dyn FnMut(u64),
) -> anyhow::Result<Verification> {
    if !Path::new(&spec.location).exists() {
        bail!("--requests {}: no such folder; `serve` writes it with [serve] log_requests = true", spec.location);
    }
    let requests = SpineFile::open(spec, pipeline).context("--requests")?;
    let schema = requests.schema();
    let is_there = |name: &str| schema.field_with_name(name).is_ok();
    if !pipeline.views.iter().any(|view| is_there(&as_of_column(&view.name))) {
        bail!(
            "{}: no column {:?}, so these are no logged requests of this pipeline; `serve` writes them with \
             [serve] log_requests = true",
            spec.location,
            as_of_column(pipeline.views.first().map_or("VIEW", |view| &view.name))
        );
    }
    let sources = sources(pipeline)?;
    let mut views = Vec::with_capacity(pipeline.views.len());
    let columns = source_columns(pipeline)?;
    for view in &pipeline.views {
        let types = view_types(view, &columns[view.source.as_str()])?;
        views.push(View { replay: Replay::new(view, &sources[view.source.as_str()])?, types: types.features });
    }
    let mut expressions: Vec<Expression<'_>> = pipeline.request_features.iter().map(Expression::new).collect();
    let mut found = Verification::default();
    for batch in requests {
        let batch = batch?;
        on_rows(batch.rows.num_rows() as u64);
        found.rows += batch.rows.num_rows() as u64;
        let expected: Vec<Option<Expected>> = views
            .iter()
            .map(|view| view.compare(&batch.rows, &batch.time, means, &mut found))
            .collect::<Result<_, _>>()?;
        compare_computed(&mut expressions, &views, &expected, &batch.rows, &batch.time, &mut found)?;
    }
    Ok(found)
}

struct View<'a> {
    replay: Replay<'a>,
    /// Of its features.
    types: Vec<Type>,
}

/// What the batch join gives for a batch of requests.
struct Expected {
    /// For each row of the batch its row among the values; `None` where the view was not read.
    row_of: Vec<Option<usize>>,
    values: RecordBatch,
    /// Rows of the batch with an unequal value.
    unequal: Vec<bool>,
}

impl View<'_> {
    /// Compares the values of the rows that read the view; `None` when the files do not hold it.
    fn compare(
        &self,
        rows: &RecordBatch,
        time: &[Timestamp],
        means: &JoinMeans,
        found: &mut Verification,
    ) -> anyhow::Result<Option<Expected>> {
        let view = self.replay.view;
        let Some(as_of) = rows.column_by_name(&as_of_column(&view.name)) else {
            if !found.not_logged.contains(&view.name) {
                found.not_logged.push(view.name.clone());
            }
            return Ok(None);
        };
        let as_of = plain(as_of)?;
        let as_of = as_of
            .as_primitive_opt::<TimestampMicrosecondType>()
            .with_context(|| format!("column {:?} holds no times", as_of_column(&view.name)))?;
        let mut row_of = vec![None; time.len()];
        let read: Vec<u32> = (0..time.len() as u32).filter(|&row| as_of.is_valid(row as usize)).collect();
        for (at, &row) in read.iter().enumerate() {
            row_of[row as usize] = Some(at);
        }
        let asked = take_record_batch(rows, &UInt32Array::from(read.clone()))?;
        let asked_at: Vec<Timestamp> = read.iter().map(|&row| time[row as usize]).collect();
        let spine = point_in_time::Spine { keys: &asked, time: &asked_at };
        let values = self.replay.declared.join(&spine, means.threads)?;
        let keys = keys_of(&asked, &view.entity)?;
        let mut unequal = vec![false; time.len()];
        for feature in 0..view.features.len() {
            let Some(logged) = asked.column_by_name(&self.replay.name(feature)) else {
                if !found.not_logged.contains(&self.replay.name(feature)) {
                    found.not_logged.push(self.replay.name(feature));
                }
                continue;
            };
            let logged = plain(logged)?;
            for (at, &row) in read.iter().enumerate() {
                let (batch, online) = (value_at(values.column(feature), at), value_at(&logged, at));
                found.values += 1;
                if is_same(&batch, &online) {
                    continue;
                }
                unequal[row as usize] = true;
                let answer =
                    Answer { feature, time: asked_at[at], as_of: Timestamp(as_of.value(row as usize)), batch, online };
                self.note(found, keys[at].as_ref(), answer)?;
            }
        }
        Ok(Some(Expected { row_of, values, unequal }))
    }

    fn note(&self, found: &mut Verification, key: Option<&EntityKey>, answer: Answer) -> anyhow::Result<()> {
        let Answer { feature, time, as_of, batch, online } = answer;
        let expected_as_of = last_materialization(self.replay.view, time);
        let recomputed = match key {
            Some(key) => self.replay.exact().compute(key, as_of)?.swap_remove(feature),
            None => batch.clone(),
        };
        let cause = if is_same(&recomputed, &online) { Cause::StaleTable } else { Cause::SourceChanged };
        found.count(cause);
        if found.differences.len() < DESCRIBED_MAX {
            found.differences.push(Difference {
                table_as_of: Some(as_of),
                cause: Some(cause),
                recomputed: Some(recomputed),
                rows: key.map_or_else(Vec::new, |key| self.replay.explain(key, feature, expected_as_of)),
                ..Difference::of(
                    self.replay.name(feature),
                    key.map_or_else(|| "null".to_owned(), ToString::to_string),
                    expected_as_of,
                    OnlinePath::Logged,
                    (batch, online),
                )
            });
        }
        Ok(())
    }
}

/// A logged value beside that of the batch join.
struct Answer {
    feature: usize,
    time: Timestamp,
    /// As of when the table was.
    as_of: Timestamp,
    batch: Value,
    online: Value,
}

/// Equal to the last bit; a whole number may have been logged as a number.
fn is_same(batch: &Value, logged: &Value) -> bool {
    match (batch, logged) {
        (Value::Int(batch), Value::Float(logged)) => (*batch as f64).to_bits() == logged.to_bits(),
        (batch, logged) => batch.bit_equal(logged),
    }
}

/// A request-time feature with its program for columns of certain types.
struct Expression<'a> {
    feature: &'a NamedExpression,
    compiled: Option<Compiled>,
    scratch: Scratch,
}

/// A program and the columns that it was compiled for; `None` where it does not fit them.
struct Compiled {
    columns: Vec<(String, Type)>,
    program: Option<Program>,
}

impl<'a> Expression<'a> {
    fn new(feature: &'a NamedExpression) -> Self {
        Expression { feature, compiled: None, scratch: Scratch::default() }
    }

    /// Its value; `None` where it does not fit the columns, as at the server then.
    fn value(&mut self, known: &[(String, Type, Value)], time: Timestamp) -> Option<(Type, Value, Vec<String>)> {
        let is_compiled = self.compiled.as_ref().is_some_and(|compiled| {
            compiled
                .columns
                .iter()
                .map(|(name, kind)| (name, kind))
                .eq(known.iter().map(|(name, kind, _)| (name, kind)))
        });
        if !is_compiled {
            let columns: Vec<(String, Type)> = known.iter().map(|(name, kind, _)| (name.clone(), *kind)).collect();
            let program = Program::compile(&self.feature.expression, &columns).ok();
            self.compiled = Some(Compiled { columns, program });
        }
        let program = self.compiled.as_ref()?.program.as_ref()?;
        let of = |name: &str| known.iter().find(|(known, ..)| known == name);
        let input = |name: &str| match of(name) {
            Some((_, Type::Timestamp, _)) if name == TIME => Input::Timestamp(time),
            Some((_, _, value)) => value.into(),
            None => Input::Null,
        };
        let inputs: Vec<Input<'_>> = program.columns().map(|(name, _)| input(name)).collect();
        let value = program.eval_row(&inputs, &mut self.scratch).ok()?;
        Some((program.output_type(), value, program.columns().map(|(name, _)| name.to_owned()).collect()))
    }
}

/// Compares the request-time features that were computed with the same programs over the values of the batch join.
fn compare_computed(
    expressions: &mut [Expression<'_>],
    views: &[View<'_>],
    expected: &[Option<Expected>],
    rows: &RecordBatch,
    time: &[Timestamp],
    found: &mut Verification,
) -> anyhow::Result<()> {
    let (Some(computed), Some(fields)) = (rows.column_by_name(COMPUTED), rows.column_by_name(FIELDS)) else {
        return Ok(());
    };
    let (computed, fields) = (plain(computed)?, plain(fields)?);
    let keys = key_columns(views, rows)?;
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let mut seen: BTreeMap<String, Type> = BTreeMap::new();
    for (row, &time) in time.iter().enumerate() {
        let Value::Text(logged) = value_at(&computed, row) else { continue };
        let logged: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&logged).with_context(|| format!("{COMPUTED:?} of a logged request"))?;
        let mut known = fields_of(&fields, &keys, row, &mut seen)?;
        known.push((TIME.to_owned(), Type::Timestamp, Value::Int(time.0)));
        let mut inputs_differ = false;
        for (view, expected) in views.iter().zip(expected) {
            let Some((expected, at)) = expected.as_ref().and_then(|expected| Some((expected, expected.row_of[row]?)))
            else {
                continue;
            };
            inputs_differ |= expected.unequal[row];
            for (feature, kind) in view.types.iter().enumerate() {
                known.push((view.replay.name(feature), *kind, value_at(expected.values.column(feature), at)));
            }
        }
        for expression in &mut *expressions {
            let Some((kind, batch, read)) = expression.value(&known, time) else { continue };
            let name = format!("request.{}", expression.feature.name);
            if let Some(online) = logged.get(&expression.feature.name) {
                found.values += 1;
                // Of two floats the texts, their shortest digits, are equal exactly when their bits are.
                if serde_json::to_string(&batch)? != serde_json::to_string(online)? {
                    let cause = if inputs_differ { Cause::InputsDiffer } else { Cause::ExpressionChanged };
                    found.count(cause);
                    if found.differences.len() < DESCRIBED_MAX {
                        let is_read = |(name, ..): &&(String, Type, Value)| read.contains(name);
                        let inputs = known.iter().filter(is_read).map(|(name, _, value)| (name.clone(), value.clone()));
                        let online = serde_json::from_value(online.clone()).unwrap_or_default();
                        found.differences.push(Difference {
                            cause: Some(cause),
                            inputs: inputs.collect(),
                            ..Difference::of(
                                name.clone(),
                                entity_of(rows, &names, row)?,
                                time,
                                OnlinePath::Logged,
                                (batch.clone(), online),
                            )
                        });
                    }
                }
            }
            known.push((name, kind, batch));
        }
    }
    Ok(())
}

/// The key columns of all views, each once.
fn key_columns(views: &[View<'_>], rows: &RecordBatch) -> anyhow::Result<Vec<(String, ArrayRef)>> {
    let mut keys: Vec<(String, ArrayRef)> = Vec::new();
    for name in views.iter().flat_map(|view| &view.replay.view.entity) {
        if !keys.iter().any(|(known, _)| known == name) {
            keys.push((name.clone(), plain(&rows[name.as_str()])?));
        }
    }
    Ok(keys)
}

/// The fields of a logged request, keys among them, with the types that the server saw; that of a null was decided by
/// other rows of its request, so it is the one `seen` last.
fn fields_of(
    fields: &ArrayRef,
    keys: &[(String, ArrayRef)],
    row: usize,
    seen: &mut BTreeMap<String, Type>,
) -> anyhow::Result<Vec<(String, Type, Value)>> {
    let mut known: Vec<(String, Type, Value)> = Vec::new();
    for (name, column) in keys {
        let kind = if column.data_type().is_integer() { Type::Int } else { Type::Text };
        known.push((name.clone(), kind, value_at(column, row)));
    }
    if let Value::Text(text) = value_at(fields, row) {
        let others: BTreeMap<String, Value> =
            serde_json::from_str(&text).with_context(|| format!("{FIELDS:?} of a logged request"))?;
        for (name, value) in others {
            let kind = match kind_of(&value) {
                Some(kind) => {
                    seen.insert(name.clone(), kind);
                    kind
                }
                // Nulls alone are floats, as at the server.
                None => seen.get(&name).copied().unwrap_or(Type::Float),
            };
            known.push((name, kind, value));
        }
    }
    Ok(known)
}

fn kind_of(value: &Value) -> Option<Type> {
    match value {
        Value::Bool(_) => Some(Type::Bool),
        Value::Int(_) => Some(Type::Int),
        Value::Float(_) => Some(Type::Float),
        Value::Text(_) => Some(Type::Text),
        Value::Null => None,
    }
}
