//! What requests share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use paceline_core::{Digest, EventLog, KeyPart, OnlineStore, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout_at;

use crate::background::Background;
use crate::cache::AnswerCache;
use crate::health::StoreHealth;
use crate::http::Problem;
use crate::ladder::Ladder;
use crate::metrics::Metrics;
use crate::online_features::{FeatureSet, OnlineFeatures};
use crate::predict::Predictor;
use crate::recommend::artifact::PublishedRecommender;
use crate::recommend::tables::ViewColumns;
use crate::refresh::{self, Refresher, look_at_views};
use crate::request_log::RequestLog;
use crate::retention::{self, EventRetention};
use crate::row_model::RowModel;
use crate::schedule::ScheduledRuns;
use crate::streams::{StreamedSource, Streams, follower};
use crate::views::Views;
use crate::workers::{Workers, Workspace};

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
    /// How long events stay in the log.
    pub retention: EventRetention,
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

/// What a server is made of.
pub struct Parts {
    /// The pipeline's name, with which the tables' names begin.
    pub pipeline: String,
    /// The artifact's digest.
    pub digest: Digest,
    /// The artifact's content.
    pub subject: Subject,
    /// The features that may be looked up; `None` switches that off.
    pub features: Option<FeatureSet>,
    /// The tables.
    pub store: Arc<dyn OnlineStore>,
    /// Where events go.
    pub log: Arc<dyn EventLog>,
    /// Sources whose rows are taken as events.
    pub event_sources: Vec<EventSource>,
    /// Those of them whose events keep features current.
    pub streams: Vec<StreamedSource>,
    /// What becomes of scheduled materializations.
    pub scheduled: ScheduledRuns,
    /// Takes the features that answers were made from; `None` where requests are not logged.
    pub request_log: Option<RequestLog>,
    /// How it answers.
    pub options: Options,
}

/// What is served.
pub enum Subject {
    /// Users get items.
    Recommender {
        /// The artifact's content.
        model: Box<PublishedRecommender>,
        /// The field of events that names a user.
        user_column: String,
    },
    /// Rows get scores.
    Rows {
        /// The artifact's content.
        predictor: Predictor,
        /// The views whose features rows may leave to the server, with their key columns; in the order of
        /// [`crate::predict::ModelSpec::views`].
        views: Vec<(ViewColumns, Vec<String>)>,
    },
    /// Features are looked up; there is no model.
    Features,
}

/// Shared by all requests of one server.
pub(crate) struct Service {
    pub(crate) role: Role,
    pub(crate) features: Option<Arc<OnlineFeatures>>,
    pub(crate) refresher: Refresher,
    pub(crate) workers: Workers,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Arc<Streams>,
    /// Ends, and saves what streams hold, when the service is dropped.
    _follower: Option<Background>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) event_sources: Vec<EventSource>,
    pub(crate) request_log: Option<RequestLog>,
    pub(crate) options: Options,
    pub(crate) admission: Semaphore,
    pub(crate) appends: Arc<Semaphore>,
    pub(crate) digest: String,
    pub(crate) stopping: AtomicBool,
    /// Only kept, so that it ends with the service.
    _retention: Background,
}

/// What it answers.
pub(crate) enum Role {
    Recommender(Arc<Recommending>),
    Rows(Arc<RowModel>),
    Features(Arc<StoreHealth>),
}

/// Why a worker gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The queue is full, or the deadline passed.
    Late,
    /// It panicked.
    Bug,
}

/// What recommendations share.
pub(crate) struct Recommending {
    pub(crate) ladder: Ladder,
    pub(crate) cache: Option<AnswerCache>,
    pub(crate) user_column: String,
    items_are_numbers: bool,
}

impl Recommending {
    /// The catalogue's index of an item named in a request; `None` for one that it does not hold.
    pub(crate) fn item(&self, name: &str) -> Option<u32> {
        let key = if self.items_are_numbers { KeyPart::Int(name.parse().ok()?) } else { KeyPart::from(name) };
        self.ladder.model.catalogue.index_of(&key)
    }
}

impl Service {
    /// Looks at the tables once and starts the threads.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Service> {
        let Parts {
            pipeline,
            digest,
            subject,
            features,
            store,
            log,
            event_sources,
            streams,
            scheduled,
            request_log,
            options,
        } = parts;
        let mut metrics = Metrics::new(&pipeline, &digest.to_string());
        metrics.show(&scheduled, request_log.as_ref().map(RequestLog::counts));
        let metrics = Arc::new(metrics);
        let streams = Streams::start(streams, Arc::clone(&log), Arc::clone(&metrics)).map_err(std::io::Error::other)?;
        let streams = Arc::new(streams);
        let read = Views::of_store(&pipeline, Arc::clone(&store)).with_streams(Arc::clone(&streams));
        let features = features.map(|set| Arc::new(OnlineFeatures::new(pipeline.clone(), set, read.clone())));
        let (role, refresher) = match subject {
            Subject::Recommender { model, user_column } => {
                let items_are_numbers = matches!(model.catalogue.items().first(), Some(KeyPart::Int(_)));
                let ladder = Ladder::with_views(pipeline, digest, *model, store, read);
                let cache =
                    (options.cache_entries > 0).then(|| AnswerCache::new(options.cache_entries, options.cache_ttl));
                let role = Arc::new(Recommending { ladder, cache, user_column, items_are_numbers });
                let (watched, looked) = (Arc::clone(&role), Arc::clone(&role));
                let is_down = move || watched.ladder.health.is_down();
                let refresher = Refresher::start(is_down, move |before| refresh::look(&looked.ladder, before))?;
                (Role::Recommender(role), refresher)
            }
            Subject::Rows { predictor, views } => {
                let role = Arc::new(RowModel::new(pipeline, predictor, views, store, read));
                let (watched, looked) = (Arc::clone(&role), Arc::clone(&role));
                let is_down = move || watched.health.is_down();
                (Role::Rows(role), Refresher::start(is_down, move |before| looked.look(before))?)
            }
            Subject::Features => {
                let health = Arc::new(StoreHealth::default());
                let (watched, noted) = (Arc::clone(&health), Arc::clone(&health));
                let views = features.iter().flat_map(|features| &features.set().views);
                let tables = read.tables(views.filter(|view| !view.is_pushed).map(|view| &view.columns));
                let look = move |before: &_| look_at_views(&*store, tables.iter().cloned(), &noted, before);
                (Role::Features(health), Refresher::start(move || watched.is_down(), look)?)
            }
        };
        let saved = Arc::clone(&streams);
        let needed_from = move || saved.saved_until();
        let retention = retention::start(Arc::clone(&log), options.retention, metrics.event_log(), needed_from)?;
        Ok(Service {
            role,
            features,
            refresher,
            workers: Workers::start(options.threads, options.requests_max)?,
            metrics,
            _follower: follower(Arc::clone(&streams))?,
            streams,
            log,
            event_sources,
            request_log,
            admission: Semaphore::new(options.requests_max.clamp(1, Semaphore::MAX_PERMITS)),
            appends: Arc::new(Semaphore::new(APPENDS_MAX)),
            digest: digest.to_string(),
            stopping: AtomicBool::new(false),
            _retention: retention,
            options,
        })
    }

    /// Whether the online store answers.
    pub(crate) fn health(&self) -> &StoreHealth {
        match &self.role {
            Role::Recommender(role) => &role.ladder.health,
            Role::Rows(role) => &role.health,
            Role::Features(health) => health,
        }
    }

    /// What `work` gives on one of the threads that compute, by `deadline`.
    pub(crate) async fn work_by<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut Workspace) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (sender, receiver) = oneshot::channel();
        let submitted = self.workers.submit(move |workspace| {
            // Nobody waits any more: a cancelled request costs nothing.
            if !sender.is_closed() {
                let _ = sender.send(work(workspace));
            }
        });
        submitted.map_err(|_| Unanswered::Late)?;
        match timeout_at(deadline.into(), receiver).await {
            Ok(done) => done.map_err(|_| Unanswered::Bug),
            Err(_) => Err(Unanswered::Late),
        }
    }

    /// The same within the deadline of a whole answer, for requests that have no lower rung.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workspace) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let deadline = Instant::now() + self.options.deadline;
        self.work_by(deadline, work).await.map_err(|unanswered| match unanswered {
            Unanswered::Bug => Problem::bug(),
            Unanswered::Late => {
                let most = self.options.deadline.as_millis();
                let problem = format!("no answer within {most} ms, `[serve] deadline_ms`; send fewer rows at once");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, problem).retry_after(1)
            }
        })
    }

    /// What keeps the best answers from being given.
    pub(crate) fn problem(&self) -> Option<String> {
        self.health().cause().or_else(|| self.refresher.tables().problem)
    }

    /// Lets a request in, or refuses it.
    pub(crate) fn admit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.admission.try_acquire().map_err(|_| {
            let most = self.options.requests_max;
            let problem = format!("{most} requests are in work, as many as `[serve] requests_max` allows");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, problem).retry_after(1)
        })
    }

    /// Sets the metrics that are looked at rather than counted.
    pub(crate) fn observe(&self) {
        let health = self.health();
        let now = now();
        let ages = self.refresher.tables().as_of.into_iter();
        let ages = ages.filter_map(|(table, as_of)| Some((table, now.seconds_since(as_of?))));
        self.metrics.observe_store(!health.is_down(), health.errors(), ages);
        self.streams.observe();
    }
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
