//! What features cost here: CPU time of one feature alone, each way of computing it.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use paceline_core::{EntityKey, Period, Timestamp, Value};
use paceline_features::expression::{Input, Program, Scratch, Type};
use paceline_features::partition::{PartitionOptions, PartitionedJoin};
use paceline_features::point_in_time::Index;
use paceline_features::{FeatureView, SourceTable, Stream, StreamOptions};
use rand::RngExt as _;

use crate::lookup::{source_columns, view_types};
use crate::materialize;
use crate::measure::thread_cpu_seconds;
use crate::pipeline::{Goal, Pipeline};
use crate::tables;
use crate::tables::typed::{TypedColumns, owned};
use crate::training_set::values::keys_of;
use crate::training_set::{TIME, wanted_columns};

/// Entities that are asked, drawn among the rows of the source: the busy ones more often, as in traffic.
const ENTITIES: usize = 500;
/// Rows that a stream is fed, the newest.
const EVENTS_MAX: usize = 100_000;
/// Rows of an expression that are timed.
const EXPRESSION_ROWS: usize = 2_000;

/// Of one feature alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub request_us: f64,
    pub batch_s: f64,
    pub stream_read_us: Option<f64>,
    pub stream_event_us: Option<f64>,
}

/// CPU seconds of some work on this thread, and its result.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = thread_cpu_seconds();
    let done = work()?;
    Ok((thread_cpu_seconds() - start, done))
}

/// The costs of a view's features, each computed alone, at the end of the data.
pub(super) fn of_view(
    pipeline: &Pipeline,
    view: &FeatureView,
    can_stream: bool,
    entities_per_request: u64,
) -> Result<Vec<Cost>> {
    let source = pipeline.source(&view.source).context("a checked view names a source")?;
    let wanted = wanted_columns(std::iter::once(view));
    let table = tables::load_for_features(source, &pipeline.folder, &wanted)?;
    let known = |rows: &Option<Vec<Timestamp>>| rows.iter().flatten().copied().max();
    let newest = known(&table.event_time).max(known(&table.available_time));
    let at = newest.map_or(Timestamp::MAX, |newest| Timestamp(newest.0.saturating_add(1)));
    let keys = sample(&table, view, pipeline.seed)?;
    let newest = can_stream.then(|| newest_rows(&table)).transpose()?;
    let cost = |feature: &paceline_features::Feature| {
        let alone = FeatureView { features: vec![feature.clone()], ..materialize::exact(view) };
        let index = Index::build(&[&alone], &table)?;
        let (request_s, ()) = timed(|| {
            for key in &keys {
                black_box(index.compute(key, at)?);
            }
            Ok(())
        })?;
        let (batch_s, ()) = timed(|| {
            let options = PartitionOptions { scratch: std::env::temp_dir(), memory_bytes_max: usize::MAX, threads: 1 };
            let mut join = PartitionedJoin::new(&[&alone], options);
            join.push_source(&table)?;
            for part in join.finish_entities(at)? {
                black_box(part?);
            }
            Ok(())
        })?;
        let stream = newest.as_ref().map(|rows| stream_cost(&alone, rows, &keys, at)).transpose()?;
        Ok(Cost {
            request_us: 1e6 * request_s / keys.len() as f64 * entities_per_request as f64,
            batch_s,
            stream_read_us: stream.map(|(read, _)| read),
            stream_event_us: stream.map(|(_, event)| event),
        })
    };
    let costs = view.features.iter().map(cost).collect::<Result<_>>();
    costs.with_context(|| format!("[features.{}]", view.name))
}

/// Microseconds of a read and of an event.
fn stream_cost(view: &FeatureView, rows: &SourceTable, keys: &[EntityKey], at: Timestamp) -> Result<(f64, f64)> {
    let options = StreamOptions { max_lateness: Period::days(36_500), memory_bytes_max: usize::MAX };
    let mut stream = Stream::new(&[view], rows, options)?;
    let positions: Vec<u64> = (0..rows.rows.num_rows() as u64).collect();
    let (event_s, _) = timed(|| Ok(stream.apply(rows, &positions)?))?;
    let (read_s, ()) = timed(|| {
        for key in keys {
            black_box(stream.read(key, at.max(stream.earliest()))?);
        }
        Ok(())
    })?;
    Ok((1e6 * read_s / keys.len() as f64, 1e6 * event_s / positions.len().max(1) as f64))
}

fn sample(table: &SourceTable, view: &FeatureView, seed: u64) -> Result<Vec<EntityKey>> {
    let mut random = paceline_core::random::stream(seed, "plan");
    let rows = table.rows.num_rows();
    let drawn: UInt32Array = (0..4 * ENTITIES).map(|_| random.random_range(0..rows) as u32).collect();
    let keys = keys_of(&take_record_batch(&table.rows, &drawn)?, &view.entity)?;
    let keys: Vec<EntityKey> = keys.into_iter().flatten().take(ENTITIES).collect();
    if keys.is_empty() {
        anyhow::bail!("[features.{}] none of {} rows has a key; are the key columns null?", view.name, 4 * ENTITIES);
    }
    Ok(keys)
}

/// The newest rows in the order in which they became available.
fn newest_rows(table: &SourceTable) -> Result<SourceTable> {
    let count = table.rows.num_rows();
    Ok(table.by_availability()?.slice(count.saturating_sub(EVENTS_MAX), count))
}

/// CPU microseconds of each request-time feature for one row; `None` for one that reads what is only known when a
/// request comes.
pub(super) fn of_expressions(pipeline: &Pipeline) -> Result<Vec<Option<f64>>> {
    if pipeline.request_features.is_empty() {
        return Ok(Vec::new());
    }
    let known = Known::read(pipeline)?;
    let mut types = known.types.clone();
    let mut rows = known.rows;
    let mut costs = Vec::new();
    for named in &pipeline.request_features {
        let Ok(program) = Program::compile(&named.expression, &types) else {
            costs.push(None);
            continue;
        };
        let places: Vec<usize> = program
            .columns()
            .map(|(name, _)| types.iter().position(|(known, _)| known == name).expect("compiled against them"))
            .collect();
        let mut scratch = Scratch::default();
        let mut results = Vec::with_capacity(rows.len());
        let (seconds, ()) = timed(|| {
            let mut inputs = Vec::with_capacity(places.len());
            for row in &rows {
                inputs.clear();
                inputs.extend(places.iter().map(|place| Input::from(&row[*place])));
                results.push(program.eval_row(&inputs, &mut scratch)?);
            }
            Ok(())
        })?;
        costs.push(Some(1e6 * seconds / rows.len().max(1) as f64));
        types.push((format!("request.{}", named.name), program.output_type()));
        rows.iter_mut().zip(results).for_each(|(row, result)| row.push(result));
    }
    Ok(costs)
}

/// Values that expressions read: features of entities drawn one by one, columns of rows drawn one by one.
struct Known {
    types: Vec<(String, Type)>,
    rows: Vec<Vec<Value>>,
}

impl Known {
    fn read(pipeline: &Pipeline) -> Result<Known> {
        let mut types: Vec<(String, Type)> = Vec::new();
        let mut columns: Vec<Vec<Value>> = Vec::new();
        let mut latest = Timestamp(0);
        let source_columns = source_columns(pipeline)?;
        for view in &pipeline.views {
            let source = pipeline.source(&view.source).context("a checked view names a source")?;
            let table = tables::load_for_features(source, &pipeline.folder, &wanted_columns(std::iter::once(view)))?;
            let at = table.event_time.iter().flatten().copied().max().unwrap_or(Timestamp(0));
            latest = latest.max(at);
            let keys = sample(&table, view, pipeline.seed)?;
            let index = Index::build(&[view], &table)?;
            let rows = keys.iter().map(|key| index.compute(key, at)).collect::<Result<Vec<_>, _>>()?;
            let kinds = view_types(view, &source_columns[view.source.as_str()])?;
            for (at, (feature, kind)) in view.features.iter().zip(kinds.features).enumerate() {
                types.push((format!("{}.{}", view.name, feature.name), kind));
                columns.push(rows.iter().map(|row| row[at].clone()).collect());
            }
            for (at, (name, kind)) in view.entity.iter().zip(kinds.keys).enumerate() {
                if types.iter().any(|(known, _)| known == name) {
                    continue;
                }
                let part = |key: &EntityKey| match &key.0[at] {
                    paceline_core::KeyPart::Int(value) => Value::Int(*value),
                    paceline_core::KeyPart::Text(value) => Value::Text(value.as_str().into()),
                };
                types.push((name.clone(), kind));
                columns.push(keys.iter().map(part).collect());
            }
        }
        let goal = pipeline.model.as_ref().map(|model| &model.goal);
        if let Some(Goal::Classify(rows) | Goal::Regress(rows) | Goal::Rank(rows)) = goal {
            let source = pipeline.source(&rows.source).context("a checked model names a source")?;
            let table = tables::load(source, &pipeline.folder)?;
            let first = table.rows.slice(0, table.rows.num_rows().min(ENTITIES));
            let readable: Vec<(String, Type)> = tables::readable_columns(first.schema_ref())
                .into_iter()
                .filter(|(name, _)| types.iter().all(|(known, _)| known != name))
                .collect();
            let read = TypedColumns::new(&first, readable.iter().map(|(name, kind)| (name.as_str(), *kind)))?;
            let mut values = vec![Vec::with_capacity(first.num_rows()); readable.len()];
            let mut row_values = Vec::new();
            for row in 0..first.num_rows() {
                row_values.clear();
                read.push_row(row, &mut row_values);
                let row = row_values.iter().map(|value| owned(*value));
                values.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
            types.extend(readable);
            columns.extend(values);
        }
        types.push((TIME.to_owned(), Type::Timestamp));
        columns.push(vec![Value::Int(latest.0)]);
        let row = |row: usize| columns.iter().map(|column| column[row % column.len()].clone()).collect();
        Ok(Known { types, rows: (0..EXPRESSION_ROWS).map(row).collect() })
    }
}
