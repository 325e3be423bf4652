//! Artifact, store and log as a server wants them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use paceline_core::{Digest, EventLog, OnlineStore, Period, Timestamp, Value};
use paceline_features::expression::Type;
use paceline_features::{Feature, FeatureView};
use paceline_serve::online_features::{FeatureSet, KeyColumn, ServedView};
use paceline_serve::predict::{Predictor, ViewFeatures};
use paceline_serve::recommend::NamedType;
use paceline_serve::recommend::artifact::RequestFeature;
use paceline_serve::recommend::tables::{ViewColumn, ViewColumns, view_table};
use paceline_serve::schedule::ScheduledRuns;
use paceline_serve::{EventRetention, EventSource, Options, Parts, Subject};

use super::publish::{Artifact, columns_of, goal_of};
use crate::catalog::{catalog, columns_read};
use crate::lookup::{ViewTypes, source_columns, view_types};
use crate::pipeline::{Pipeline, PushedView, Source};

/// How long a stop waits for requests in work.
const DRAIN: Duration = Duration::from_secs(10);
/// Answers wait for a store as well as compute, so there are more threads than cores; Redis gives no more connections
/// than the larger number.
const ANSWER_THREADS: (usize, usize) = (4, 32);

/// `[serve]` as the server wants it, on a machine with this many cores.
#[must_use]
pub fn options(pipeline: &Pipeline, cores: usize) -> Options {
    let serve = &pipeline.serve;
    // A calendar month is no exact length; as the life of a cached answer 30 days are near enough.
    let seconds = |period: Period| period.seconds().unwrap_or(30.0 * 86_400.0).max(0.0);
    Options {
        deadline: Duration::from_millis(u64::from(serve.deadline_ms)),
        requests_max: serve.requests_max as usize,
        cache_entries: serve.prediction_cache_entries as usize,
        cache_ttl: Duration::from_secs_f64(seconds(serve.prediction_cache_ttl)),
        items: serve.items as usize,
        threads: (2 * cores).clamp(ANSWER_THREADS.0, ANSWER_THREADS.1),
        drain: DRAIN,
        retention: EventRetention { keep: serve.events_keep, bytes_max: serve.events_bytes_max },
    }
}

/// What a server of `pipeline` is made of, all views read from the store.
///
/// # Errors
/// When the artifact is of another kind than the pipeline, or reads a view that the pipeline does not have.
pub fn parts(
    pipeline: &Pipeline,
    (digest, artifact): (Digest, Artifact),
    store: Arc<dyn OnlineStore>,
    log: Arc<dyn EventLog>,
    options: Options,
) -> Result<Parts> {
    let model_columns = columns_read(&artifact);
    let subject = match artifact {
        Artifact::Recommender(model) => Subject::Recommender { model, user_column: goal_of(pipeline)?.user.clone() },
        Artifact::Rows(predictor) => Subject::Rows { views: views_of(pipeline, &predictor)?, predictor },
        Artifact::Features => Subject::Features,
    };
    let features = match feature_set(pipeline, &model_columns) {
        Ok(set) => Some(set).filter(|set| !set.views.is_empty()),
        // A model is served where its sources need not be.
        Err(error) if !matches!(subject, Subject::Features) => {
            tracing::warn!(error = format!("{error:#}"), "features cannot be looked up");
            None
        }
        Err(error) => return Err(error),
    };
    Ok(Parts {
        pipeline: pipeline.name.clone(),
        digest,
        subject,
        features,
        store,
        log,
        event_sources: pipeline.sources.iter().map(event_source).collect(),
        streams: Vec::new(),
        scheduled: ScheduledRuns::default(),
        request_log: None,
        options,
    })
}

/// What may be looked up: the views and request-time features of the pipeline.
fn feature_set(pipeline: &Pipeline, model_columns: &[String]) -> Result<FeatureSet> {
    let columns = source_columns(pipeline)?;
    let view = |view: &FeatureView| {
        let ViewTypes { keys, features } = view_types(view, &columns[view.source.as_str()])?;
        let name = |feature: &Feature| format!("{}.{}", view.name, feature.name);
        let types: Vec<NamedType> = view.features.iter().map(name).zip(features).collect();
        let key = |(name, kind): (&String, Type)| KeyColumn { name: name.clone(), is_number: kind == Type::Int };
        let entity = view.entity.iter().zip(keys).map(key).collect();
        Ok(ServedView { columns: columns_of(view, &types)?, entity, is_pushed: false })
    };
    let request_features = pipeline.request_features.iter();
    Ok(FeatureSet {
        views: pipeline
            .views
            .iter()
            .map(view)
            .chain(pipeline.pushed.iter().map(|view| Ok(pushed_view(view))))
            .collect::<Result<_>>()?,
        request_features: request_features
            .map(|named| RequestFeature { name: named.name.clone(), expression: named.expression.clone() })
            .collect(),
        catalog: catalog(pipeline, &columns, model_columns)?,
    })
}

fn pushed_view(view: &PushedView) -> ServedView {
    let column = |(name, kind): &(String, Type)| ViewColumn { name: name.clone(), kind: *kind, missing: Value::Null };
    let key = |(name, kind): &(String, Type)| KeyColumn { name: name.clone(), is_number: *kind == Type::Int };
    ServedView {
        columns: ViewColumns { name: view.name.clone(), columns: view.features.iter().map(column).collect() },
        entity: view.entity.iter().map(key).collect(),
        is_pushed: true,
    }
}

/// Makes the tables of views whose values only come from outside, empty as of 1970, so that they can be read before the
/// first row comes.
///
/// # Errors
/// The store's.
pub fn make_pushed_tables(pipeline: &Pipeline, store: &dyn OnlineStore) -> Result<()> {
    for view in &pipeline.pushed {
        let table = view_table(&pipeline.name, &view.name);
        if store.version(&table)?.is_none() {
            store.publish(&table, Timestamp(0), &mut std::iter::empty())?;
        }
    }
    Ok(())
}

/// The views that a row model reads, with their key columns.
fn views_of(pipeline: &Pipeline, predictor: &Predictor) -> Result<Vec<(ViewColumns, Vec<String>)>> {
    let spec = predictor.spec();
    let types: Vec<NamedType> = spec.columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
    let view_of = |wanted: &ViewFeatures| {
        let found = pipeline.views.iter().find(|view| {
            let features: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
            view.name == wanted.name && view.entity == wanted.entity && features == wanted.features
        });
        let view = found.with_context(|| {
            format!(
                "the published model reads [features.{}] as it was when the pipeline ran; run the pipeline again",
                wanted.name
            )
        })?;
        Ok((columns_of(view, &types)?, view.entity.clone()))
    };
    spec.views.iter().map(view_of).collect()
}

fn event_source(source: &Source) -> EventSource {
    EventSource {
        name: source.name.clone(),
        event_time: source.event_time.clone(),
        time_is_number: source.time_unit.is_some(),
    }
}
