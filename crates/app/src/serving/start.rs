//! Artifact, store and log as a server wants them.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::{Digest, EventLog, OnlineStore, Period};
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::{EventSource, Options, Parts};

use crate::pipeline::{Pipeline, Recommend, Source};

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
#[must_use]
pub fn parts(
    pipeline: &Pipeline,
    goal: &Recommend,
    (digest, model): (Digest, PublishedRecommender),
    store: Arc<dyn OnlineStore>,
    log: Arc<dyn EventLog>,
    options: Options,
) -> Parts {
    Parts {
        pipeline: pipeline.name.clone(),
        digest,
        model,
        store,
        log,
        event_sources: pipeline.sources.iter().map(event_source).collect(),
        user_column: goal.user.clone(),
        options,
    }
}

fn event_source(source: &Source) -> EventSource {
    EventSource {
        name: source.name.clone(),
        event_time: source.event_time.clone(),
        time_is_number: source.time_unit.is_some(),
    }
}
