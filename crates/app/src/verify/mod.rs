//! Whether serving would have answered what training sees: a replay that counts unequal values.
//!
//! Every value of the batch join is compared, to the last bit, with
//! - what a request would compute from the raw rows of the entity ([`Index::compute`]),
//! - what the last scheduled materialization before the row's time would have written, read back from its stored form,
//! - what a stream holds that got every row as it became available, up to the row's time;
//! - for request-time features: the same program over the single row.
//!
//! With a store, the values that it holds are compared with those that the sources give as of the same time.
//!
//! [`verify_requests`] does the same for what requests were answered with.

mod requests;
mod stream;

use std::collections::{BTreeMap, HashSet};

use anyhow::Context as _;
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use paceline_core::online::OnlineStore;
use paceline_core::value::{decode_values, encode_values};
use paceline_core::{EntityKey, Timestamp, Value};
use paceline_features::expression::{Input, Program, Scratch};
use paceline_features::point_in_time::{self, Index};
use paceline_features::{FeatureView, Placement, SourceTable};
use serde::Serialize;

use crate::materialize::{exact, table_of, unknown_values};
use crate::parallel;
use crate::pipeline::Pipeline;
use crate::tables::load_for_features;
use crate::training_set::values::{keys_of, value_at};
use crate::training_set::{JoinMeans, SpineSpec, TIME, build, wanted_columns};

pub use requests::verify_requests;

/// Differences that are described; all are counted.
pub const DESCRIBED_MAX: usize = 20;
/// Source rows that explain one difference, the newest ones.
const EXPLAINING_ROWS_MAX: usize = 5;

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verification {
    /// Spine rows replayed.
    pub rows: u64,
    /// Values compared.
    pub values: u64,
    /// How many of them were unequal.
    pub unequal: u64,
    /// As of when the store holds each view; empty without a store. A view that it does not hold is absent.
    pub store_as_of: BTreeMap<String, Timestamp>,
    /// Views that the store does not hold; empty without a store.
    pub not_in_store: Vec<String>,
    /// How many of the unequal values have which cause; of logged requests alone.
    pub causes: BTreeMap<Cause, u64>,
    /// Views and features of the pipeline that logged requests do not have; empty for a spine.
    pub not_logged: Vec<String>,
    /// Rows of each source that a stream refuses, because they became available further behind newer ones than
    /// `max_lateness`.
    pub late_for_stream: BTreeMap<String, u64>,
    /// The first [`DESCRIBED_MAX`] differences.
    pub differences: Vec<Difference>,
}

/// Two values that should be one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// `view.feature`.
    pub feature: String,
    /// The entity's key, parts separated by `/`; of a request-time feature `COLUMN=VALUE` of every key column.
    pub entity: String,
    /// As of when the values are.
    pub time: Timestamp,
    /// Which online path gave the other value.
    pub path: OnlinePath,
    /// The value of the batch join.
    pub batch: Value,
    /// The other one.
    pub online: Value,
    /// The newest rows of the entity that were known then.
    pub rows: Vec<ExplainingRow>,
    /// What a request-time feature reads, with the values of the batch join.
    pub inputs: BTreeMap<String, Value>,
    /// As of when the table was that a request was answered from.
    pub table_as_of: Option<Timestamp>,
    /// What the sources give as of that time now.
    pub recomputed: Option<Value>,
    /// Why a request was answered with another value.
    pub cause: Option<Cause>,
}

impl Difference {
    /// Without anything that explains it.
    fn of(feature: String, entity: String, time: Timestamp, path: OnlinePath, (batch, online): (Value, Value)) -> Self {
        Difference {
            feature,
            entity,
            time,
            path,
            batch,
            online,
            rows: Vec::new(),
            inputs: BTreeMap::new(),
            table_as_of: None,
            recomputed: None,
            cause: None,
        }
    }
}

/// Why a request was answered with another value than training sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The value was right as of the table's time, but the table was not as of the time that training takes: it was not
    /// refreshed yet, or the view has no schedule.
    StaleTable,
    /// The sources now say something else of the table's time: rows came late or were changed since, or the view was
    /// declared otherwise.
    SourceChanged,
    /// Features that a request-time feature reads differ.
    InputsDiffer,
    /// They do not: the expression was another.
    ExpressionChanged,
}

impl Verification {
    fn count(&mut self, cause: Cause) {
        self.unequal += 1;
        *self.causes.entry(cause).or_default() += 1;
    }
}

/// How a value is made for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlinePath {
    /// Computed from raw rows, or by an expression over one row.
    Computed,
    /// Written by the last materialization of its schedule.
    Materialized,
    /// Kept current by rows as they became available.
    Stream,
    /// Found in the online store.
    Store,
    /// What a logged request was answered with.
    Logged,
}

/// A source row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainingRow {
    /// When it happened; `None` in a static source.
    pub event_time: Option<Timestamp>,
    /// When it was known, if that was later.
    pub available_time: Option<Timestamp>,
    /// The aggregated column; null where the feature has none.
    pub value: Value,
}

/// Replays the rows of a spine. The sources are held in memory.
///
/// # Errors
/// When the sources or the spine cannot be read, or the store fails.
pub fn verify(
    pipeline: &Pipeline,
    spine: &SpineSpec,
    store: Option<&dyn OnlineStore>,
    means: &JoinMeans,
    on_rows: &mut dyn FnMut(u64),
) -> anyhow::Result<Verification> {
    let sources = sources(pipeline)?;
    let views = pipeline.views.iter().map(|view| Replay::new(view, &sources[view.source.as_str()]));
    let views: Vec<Replay<'_>> = views.collect::<anyhow::Result<_>>()?;
    let arrivals = stream::arrivals(pipeline, &sources)?;
    let mut found = Verification::default();
    let mut rows = build(pipeline, spine, means, on_rows)?;
    // A key of the spine is compared with the store once, however many of its rows have it.
    let mut compared: Vec<HashSet<EntityKey>> = vec![Default::default(); views.len()];
    let programs: Vec<(String, Program)> =
        rows.request().programs().map(|(name, program)| (name.to_owned(), program.clone())).collect();
    while let Some(batch) = rows.next_timed() {
        let (batch, time) = batch?;
        found.rows += batch.num_rows() as u64;
        for (replay, compared) in views.iter().zip(&mut compared) {
            replay.rows(&batch, &time, means.threads, &mut found)?;
            if let Some(arrivals) = arrivals.get(replay.view.source.as_str()) {
                replay.stream(arrivals, &batch, &time, &mut found)?;
            }
            if let Some(store) = store {
                replay.store(pipeline, &batch, store, compared, &mut found)?;
            }
        }
        let keys: Vec<&str> = pipeline.views.iter().flat_map(|view| &view.entity).map(String::as_str).collect();
        request_rows(&programs, &keys, &batch, &time, &mut found)?;
    }
    Ok(found)
}

/// Every source that a view reads.
fn sources(pipeline: &Pipeline) -> anyhow::Result<BTreeMap<&str, SourceTable>> {
    let mut sources = BTreeMap::new();
    for source in &pipeline.sources {
        let mut views = pipeline.views.iter().filter(|view| view.source == source.name).peekable();
        if views.peek().is_some() {
            let wanted = wanted_columns(views);
            sources.insert(source.name.as_str(), load_for_features(source, &pipeline.folder, &wanted)?);
        }
    }
    Ok(sources)
}

/// One view with its source, ready to be asked.
struct Replay<'a> {
    view: &'a FeatureView,
    source: &'a SourceTable,
    /// As a request computes it.
    declared: Index,
    /// As a materialization computes it; `None` without a schedule, when it is the same.
    exact: Option<Index>,
}

impl<'a> Replay<'a> {
    fn new(view: &'a FeatureView, source: &'a SourceTable) -> anyhow::Result<Self> {
        let declared = Index::build(&[view], source)?;
        let is_scheduled = view.schedule.is_some();
        let exact = is_scheduled.then(|| Index::build(&[&exact(view)], source)).transpose()?;
        Ok(Replay { view, source, declared, exact })
    }

    fn exact(&self) -> &Index {
        self.exact.as_ref().unwrap_or(&self.declared)
    }

    fn name(&self, feature: usize) -> String {
        format!("{}.{}", self.view.name, self.view.features[feature].name)
    }

    /// Compares the rows of a batch with both online paths.
    fn rows(
        &self,
        batch: &RecordBatch,
        time: &[Timestamp],
        threads: usize,
        found: &mut Verification,
    ) -> anyhow::Result<()> {
        let keys = keys_of(batch, &self.view.entity)?;
        let columns: Vec<&ArrayRef> = (0..self.view.features.len()).map(|i| &batch[self.name(i).as_str()]).collect();
        let materialized_at: Vec<Timestamp> = time.iter().map(|&t| last_materialization(self.view, t)).collect();
        let written = self.exact().join(&point_in_time::Spine { keys: batch, time: &materialized_at }, threads)?;
        let computed = self.compute(&keys, time, threads)?;
        for (row, key) in keys.iter().enumerate() {
            let stored: Vec<Value> = written.columns().iter().map(|column| value_at(column, row)).collect();
            let stored = decode_values(&encode_values(&stored))?;
            for (feature, column) in columns.iter().enumerate() {
                let batch = value_at(column, row);
                for (path, online) in
                    [(OnlinePath::Computed, &computed[row][feature]), (OnlinePath::Materialized, &stored[feature])]
                {
                    found.values += 1;
                    if !batch.bit_equal(online) {
                        self.note(found, key.as_ref(), feature, materialized_at[row], path, (&batch, online));
                    }
                }
            }
        }
        Ok(())
    }

    /// What a request would compute for each row.
    fn compute(
        &self,
        keys: &[Option<EntityKey>],
        time: &[Timestamp],
        threads: usize,
    ) -> anyhow::Result<Vec<Vec<Value>>> {
        let one = |(): &mut (), at: usize| match &keys[at] {
            Some(key) => Ok(self.declared.compute(key, time[at])?),
            None => Ok(unknown_values(self.view)),
        };
        parallel::map(keys.len(), threads, one).into_iter().collect()
    }

    /// Compares what the store holds of the batch's entities with what the sources give as of the same time.
    fn store(
        &self,
        pipeline: &Pipeline,
        batch: &RecordBatch,
        store: &dyn OnlineStore,
        compared: &mut HashSet<EntityKey>,
        found: &mut Verification,
    ) -> anyhow::Result<()> {
        let keys: Vec<EntityKey> = keys_of(batch, &self.view.entity)?.into_iter().flatten().collect();
        let keys: Vec<EntityKey> = keys.into_iter().filter(|key| compared.insert(key.clone())).collect();
        let bytes: Vec<Vec<u8>> = keys.iter().map(EntityKey::to_bytes).collect();
        for (keys, bytes) in keys.chunks(1_000).zip(bytes.chunks(1_000)) {
            let asked: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
            let snapshot = store.get(&table_of(pipeline, self.view), &asked)?;
            let Some(as_of) = snapshot.as_of else {
                if !found.not_in_store.contains(&self.view.name) {
                    found.not_in_store.push(self.view.name.clone());
                }
                return Ok(());
            };
            found.store_as_of.insert(self.view.name.clone(), as_of);
            let values = snapshot.values.iter().zip(&snapshot.pushed);
            for (key, (stored, pushed)) in keys.iter().zip(values) {
                // What was pushed from outside no source has to give.
                if pushed.is_some() {
                    continue;
                }
                let stored = match stored {
                    Some(bytes) => decode_values(bytes).with_context(|| format!("{} of the store", self.view.name))?,
                    None => unknown_values(self.view),
                };
                let expected = self.exact().compute(key, as_of)?;
                for (feature, expected) in expected.iter().enumerate() {
                    found.values += 1;
                    let stored = stored.get(feature).unwrap_or(&Value::Null);
                    if !expected.bit_equal(stored) {
                        self.note(found, Some(key), feature, as_of, OnlinePath::Store, (expected, stored));
                    }
                }
            }
        }
        Ok(())
    }

    fn note(
        &self,
        found: &mut Verification,
        key: Option<&EntityKey>,
        feature: usize,
        time: Timestamp,
        path: OnlinePath,
        (batch, online): (&Value, &Value),
    ) {
        found.unequal += 1;
        if found.differences.len() == DESCRIBED_MAX {
            return;
        }
        let entity = key.map_or_else(|| "null".to_owned(), ToString::to_string);
        found.differences.push(Difference {
            rows: key.map_or_else(Vec::new, |key| self.explain(key, feature, time)),
            ..Difference::of(self.name(feature), entity, time, path, (batch.clone(), online.clone()))
        });
    }

    /// The newest rows of an entity that are known at `time`, within the feature's window.
    fn explain(&self, key: &EntityKey, feature: usize, time: Timestamp) -> Vec<ExplainingRow> {
        let Ok(keys) = keys_of(&self.source.rows, &self.view.entity) else { return Vec::new() };
        let feature = &self.view.features[feature];
        let event = |row: usize| self.source.event_time.as_ref().map(|times| times[row]);
        let available = |row: usize| self.source.available_time.as_ref().map(|times| times[row]);
        let is_known = |row: &usize| {
            let in_window = event(*row).is_none_or(|at| at < time && at >= time - feature.window);
            keys[*row].as_ref() == Some(key) && in_window && available(*row).is_none_or(|at| at < time)
        };
        let mut rows: Vec<usize> = (0..keys.len()).filter(is_known).collect();
        rows.sort_by_key(|&row| (event(row), available(row), row));
        let column = feature.of.as_ref().and_then(|of| self.source.rows.column_by_name(of));
        let column = column.and_then(|column| plain(column).ok());
        let describe = |&row: &usize| ExplainingRow {
            event_time: event(row),
            available_time: available(row),
            value: column.as_ref().map_or(Value::Null, |column| value_at(column, row)),
        };
        rows.iter().rev().take(EXPLAINING_ROWS_MAX).map(describe).collect()
    }
}

/// As of when the values are that serving has at `t`.
#[must_use]
pub fn last_materialization(view: &FeatureView, t: Timestamp) -> Timestamp {
    match (view.placement, view.schedule) {
        (Placement::Batch, Some(step)) => t.last_scheduled_before(step).unwrap_or(Timestamp::MIN),
        _ => t,
    }
}

/// Compares request-time features of a batch with the same programs over single rows.
fn request_rows(
    programs: &[(String, Program)],
    keys: &[&str],
    batch: &RecordBatch,
    time: &[Timestamp],
    found: &mut Verification,
) -> anyhow::Result<()> {
    for (name, program) in programs {
        let mut scratch = Scratch::default();
        let read = |(column, _): (&str, _)| match batch.column_by_name(column).filter(|_| column != TIME) {
            Some(array) => plain(array),
            // `time` is given row by row.
            None => Ok(new_null_array(&DataType::Null, batch.num_rows())),
        };
        let is_time: Vec<bool> = program.columns().map(|(column, _)| column == TIME).collect();
        let columns: Vec<ArrayRef> = program.columns().map(read).collect::<Result<_, _>>()?;
        let expected = &batch[name.as_str()];
        for (row, &at) in time.iter().enumerate() {
            let values: Vec<Value> = columns.iter().map(|column| value_at(column, row)).collect();
            let inputs = is_time.iter().zip(&values);
            let inputs: Vec<Input<'_>> =
                inputs.map(|(is_time, value)| if *is_time { Input::Timestamp(at) } else { value.into() }).collect();
            let online = program.eval_row(&inputs, &mut scratch)?;
            let expected = value_at(expected, row);
            found.values += 1;
            if !expected.bit_equal(&online) {
                found.unequal += 1;
                if found.differences.len() < DESCRIBED_MAX {
                    let names = program.columns().map(|(column, _)| column.to_owned());
                    let entity = entity_of(batch, keys, row)?;
                    found.differences.push(Difference {
                        inputs: names.zip(values).collect(),
                        ..Difference::of(name.clone(), entity, at, OnlinePath::Computed, (expected, online))
                    });
                }
            }
        }
    }
    Ok(())
}

/// The keys of a row, `COLUMN=VALUE` each.
fn entity_of(rows: &RecordBatch, keys: &[&str], row: usize) -> anyhow::Result<String> {
    let mut parts: Vec<String> = Vec::new();
    for key in keys {
        let Some(column) = rows.column_by_name(key) else { continue };
        let text = match value_at(&plain(&column.slice(row, 1))?, 0) {
            Value::Int(value) => format!("{key}={value}"),
            Value::Text(text) => format!("{key}={text}"),
            _ => continue,
        };
        if !parts.contains(&text) {
            parts.push(text);
        }
    }
    Ok(parts.join("/"))
}

/// A column of any readable type in one of the types that [`value_at`] reads.
fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match column.data_type() {
        DataType::Null => return Ok(column.clone()),
        integer if integer.is_integer() => DataType::Int64,
        float if float.is_floating() => DataType::Float64,
        text if text.is_string() => DataType::Utf8,
        DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => DataType::Boolean,
    };
    cast(column, &to)
}
