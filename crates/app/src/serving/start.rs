//! Artifact, store and log as a server wants them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use paceline_core::{Digest, EventLog, OnlineStore, Period};
use paceline_serve::predict::{Predictor, ViewFeatures};
use paceline_serve::recommend::NamedType;
use paceline_serve::recommend::tables::ViewColumns;
use paceline_serve::{EventSource, Options, Parts, Subject};

use super::publish::{Artifact, columns_of, goal_of};
use crate::pipeline::{Pipeline, Source};

/// The embedded event log within the data folder.
pub const EVENTS_FOLDER: &str = "events";
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
    }
}

/// What a server of `pipeline` is made of.
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
    let subject = match artifact {
        Artifact::Recommender(model) => Subject::Recommender { model, user_column: goal_of(pipeline)?.user.clone() },
        Artifact::Rows(predictor) => Subject::Rows { views: views_of(pipeline, &predictor)?, predictor },
    };
    Ok(Parts {
        pipeline: pipeline.name.clone(),
        digest,
        subject,
        store,
        log,
        event_sources: pipeline.sources.iter().map(event_source).collect(),
        options,
    })
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
