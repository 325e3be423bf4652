//! The newest value of every feature, written to the online store.
//!
//! Each view has one table, `PIPELINE.VIEW`: the key is the entity's ([`EntityKey::to_bytes`]), the value the view's
//! features in the order of the pipeline ([`encode_values`]). An entity without a known row has none, which a reader
//! takes for the values of an unknown entity ([`unknown_values`]).
//!
//! [`EntityKey::to_bytes`]: paceline_core::EntityKey::to_bytes

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Context as _, bail};
use arrow::array::ArrayRef;
use paceline_core::online::{OnlineRow, OnlineStore};
use paceline_core::value::encode_values;
use paceline_core::{Timestamp, Value};
use paceline_features::partition::{EntityValues, PartitionOptions, PartitionedJoin};
use paceline_features::{Aggregate, FeatureView, Placement};
use paceline_serve::recommend::tables::view_table;
use serde::Serialize;

use crate::pipeline::Pipeline;
use crate::stores::publish;
use crate::training_set::values::{keys_of, value_at};
use crate::training_set::{JoinMeans, push_source};

/// What was written of one view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaterializedView {
    /// The view.
    pub view: String,
    /// Its table in the store.
    pub table: String,
    /// Entities written.
    pub rows: u64,
    /// As of when the values are.
    pub as_of: Timestamp,
    /// Wall time of sorting, computing and writing the view, in seconds; reading its source comes before that.
    pub seconds: f64,
}

/// The table of a view.
#[must_use]
pub fn table_of(pipeline: &Pipeline, view: &FeatureView) -> String {
    view_table(&pipeline.name, &view.name)
}

/// As of when a materialization at `until` computes a view: a scheduled one as of the last point of its schedule at or
/// before `until`, so that serving sees the values that training saw; any other as of `until`.
#[must_use]
pub fn as_of(view: &FeatureView, until: Timestamp) -> Timestamp {
    match (view.placement, view.schedule) {
        // A point of the schedule is the last one before the next microsecond.
        (Placement::Batch, Some(step)) => Timestamp(until.0.saturating_add(1)).last_scheduled_before(step),
        _ => None,
    }
    .unwrap_or(until)
}

/// The view computed exactly as of the asked time.
#[must_use]
pub fn exact(view: &FeatureView) -> FeatureView {
    FeatureView { schedule: None, ..view.clone() }
}

/// The values of an unknown entity: counts are 0, everything else is null.
#[must_use]
pub fn unknown_values(view: &FeatureView) -> Vec<Value> {
    let value = |aggregate| match aggregate {
        Aggregate::Count | Aggregate::CountDistinct => Value::Int(0),
        _ => Value::Null,
    };
    view.features.iter().map(|feature| value(feature.aggregate)).collect()
}

/// Writes the values of all views as of `until` (see [`as_of`]) for every entity with a row known by then. A view's
/// table is replaced whole or not at all; `on_rows` hears of source rows as they are read.
///
/// # Errors
/// When the store holds newer values of any view (nothing is written then), a source cannot be read, or the store
/// fails.
pub fn materialize(
    pipeline: &Pipeline,
    until: Timestamp,
    store: &dyn OnlineStore,
    means: &JoinMeans,
    on_rows: &mut dyn FnMut(u64),
) -> anyhow::Result<Vec<MaterializedView>> {
    check_has_views(pipeline)?;
    for view in &pipeline.views {
        refuse_older(pipeline, view, until, store)?;
    }
    let mut joins = joins(pipeline, means);
    for source in &pipeline.sources {
        let views = pipeline.views.iter().filter(|view| view.source == source.name);
        let of_source = joins.iter_mut().filter(|(view, _)| view.source == source.name);
        push_source(source, &pipeline.folder, views, of_source.map(|(_, join)| join).collect(), on_rows)?;
    }
    joins.into_iter().map(|(view, join)| write(pipeline, view, join, until, store)).collect()
}

/// That there is something to materialize.
///
/// # Errors
/// When there is not.
pub fn check_has_views(pipeline: &Pipeline) -> anyhow::Result<()> {
    if pipeline.views.is_empty() {
        bail!(
            "pipeline {} has no feature view, so there is nothing to materialize; add a [features.NAME]",
            pipeline.name
        );
    }
    Ok(())
}

fn refuse_older(
    pipeline: &Pipeline,
    view: &FeatureView,
    until: Timestamp,
    store: &dyn OnlineStore,
) -> anyhow::Result<()> {
    let (table, offered) = (table_of(pipeline, view), as_of(view, until));
    match store.as_of(&table)? {
        Some(current) if current > offered => bail!(
            "the online store holds [features.{}] as of {current}, newer than {offered}, so nothing was written; give a \
             later --until, or another store",
            view.name
        ),
        _ => Ok(()),
    }
}

fn joins<'p>(pipeline: &'p Pipeline, means: &JoinMeans) -> Vec<(&'p FeatureView, PartitionedJoin)> {
    let options = PartitionOptions {
        scratch: means.scratch.clone(),
        memory_bytes_max: means.memory_bytes_max / pipeline.views.len(),
        threads: means.threads,
    };
    pipeline.views.iter().map(|view| (view, PartitionedJoin::new(&[&exact(view)], options.clone()))).collect()
}

fn write(
    pipeline: &Pipeline,
    view: &FeatureView,
    join: PartitionedJoin,
    until: Timestamp,
    store: &dyn OnlineStore,
) -> anyhow::Result<MaterializedView> {
    let started = Instant::now();
    let (table, as_of) = (table_of(pipeline, view), as_of(view, until));
    let parts = join.finish_entities(as_of)?;
    let failure = RefCell::new(None);
    // A failed part becomes one failed row, at which the publish stops.
    let mut rows = parts.flat_map(|part| {
        let rows = part.map_err(anyhow::Error::from).and_then(|part| online_rows(view, &part));
        rows.unwrap_or_else(|error| {
            failure.replace(Some(error));
            Vec::new()
        })
        .into_iter()
        .map(Ok)
        .chain(failure.take().map(Err))
    });
    let rows = publish(store, &table, as_of, &mut rows).with_context(|| format!("[features.{}]", view.name))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(MaterializedView { view: view.name.clone(), table, rows, as_of, seconds })
}

fn online_rows(view: &FeatureView, part: &EntityValues) -> anyhow::Result<Vec<OnlineRow>> {
    let columns: &[ArrayRef] = part.features.columns();
    let mut values = Vec::with_capacity(columns.len());
    let row = |(row, key): (usize, Option<paceline_core::EntityKey>)| {
        values.clear();
        values.extend(columns.iter().map(|column| value_at(column, row)));
        let key = key.expect("an entity has no null key");
        (key.to_bytes(), encode_values(&values))
    };
    Ok(keys_of(&part.keys, &view.entity)?.into_iter().enumerate().map(row).collect())
}
