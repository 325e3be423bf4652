//! What requests share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paceline_core::{Digest, EventLog, KeyPart, OnlineStore, Timestamp};
use tokio::sync::Semaphore;

use crate::cache::AnswerCache;
use crate::ladder::Ladder;
use crate::metrics::Metrics;
use crate::recommend::artifact::PublishedRecommender;
use crate::refresh::Refresher;
use crate::workers::Workers;

/// Appends that may wait for the disk at once; they share its syncs.
const APPENDS_MAX: usize = 64;

/// How a server answers; see `[serve]` in `docs/pipeline.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Time for a whole answer; past it a lower rung answers.
    pub deadline: Duration,
    /// Recommendations in work at once; more are refused.
    pub requests_max: usize,
    /// Entries of the prediction cache; 0 switches it off.
    pub cache_entries: usize,
    /// Oldest answer that the prediction cache gives.
    pub cache_ttl: Duration,
    /// Items in an answer when the request names no number.
    pub items: usize,
    /// Threads that answer.
    pub threads: usize,
    /// How long a stop waits for requests in work.
    pub drain: Duration,
}

/// A source whose rows are taken as events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSource {
    /// Its name.
    pub name: String,
    /// The column of its event time.
    pub event_time: Option<String>,
    /// Whether that column holds whole numbers, not texts.
    pub time_is_number: bool,
}

/// What a server of a recommender is made of.
pub struct Parts {
    /// The pipeline's name, with which the tables' names begin.
    pub pipeline: String,
    /// The artifact's digest.
    pub digest: Digest,
    /// The artifact's content.
    pub model: PublishedRecommender,
    /// The tables.
    pub store: Arc<dyn OnlineStore>,
    /// Where events go.
    pub log: Arc<dyn EventLog>,
    /// Sources whose rows are taken as events.
    pub event_sources: Vec<EventSource>,
    /// The field of events that names a user.
    pub user_column: String,
    /// How it answers.
    pub options: Options,
}

/// Shared by all requests of one server.
pub(crate) struct Service {
    pub(crate) ladder: Arc<Ladder>,
    pub(crate) refresher: Refresher,
    pub(crate) workers: Workers,
    pub(crate) cache: Option<AnswerCache>,
    pub(crate) metrics: Metrics,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) event_sources: Vec<EventSource>,
    pub(crate) user_column: String,
    pub(crate) options: Options,
    pub(crate) admission: Semaphore,
    pub(crate) appends: Arc<Semaphore>,
    pub(crate) digest: String,
    pub(crate) stopping: AtomicBool,
    items_are_numbers: bool,
}

impl Service {
    /// Looks at the tables once and starts the threads.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Service> {
        let Parts { pipeline, digest, model, store, log, event_sources, user_column, options } = parts;
        let items_are_numbers = matches!(model.catalogue.items().first(), Some(KeyPart::Int(_)));
        let metrics = Metrics::new(&pipeline, &digest.to_string());
        let ladder = Arc::new(Ladder::new(pipeline, digest, model, store));
        let cache = (options.cache_entries > 0).then(|| AnswerCache::new(options.cache_entries, options.cache_ttl));
        Ok(Service {
            refresher: Refresher::start(Arc::clone(&ladder))?,
            workers: Workers::start(options.threads, options.requests_max)?,
            ladder,
            cache,
            metrics,
            log,
            event_sources,
            user_column,
            admission: Semaphore::new(options.requests_max.clamp(1, Semaphore::MAX_PERMITS)),
            appends: Arc::new(Semaphore::new(APPENDS_MAX)),
            digest: digest.to_string(),
            stopping: AtomicBool::new(false),
            options,
            items_are_numbers,
        })
    }

    /// The catalogue's index of an item named in a request; `None` for one that it does not hold.
    pub(crate) fn item(&self, name: &str) -> Option<u32> {
        let key = if self.items_are_numbers { KeyPart::Int(name.parse().ok()?) } else { KeyPart::from(name) };
        self.ladder.model.catalogue.index_of(&key)
    }

    /// Sets the metrics that are looked at rather than counted.
    pub(crate) fn observe(&self) {
        let health = &self.ladder.health;
        let now = now();
        let ages = self.refresher.tables().as_of.into_iter();
        let ages = ages.filter_map(|(table, as_of)| Some((table, now.seconds_since(as_of?))));
        self.metrics.observe_store(!health.is_down(), health.errors(), ages);
    }
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
