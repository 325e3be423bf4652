//! What is counted, as Prometheus reads it.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use paceline_core::event::Extent;

use crate::ladder::Answer;
use crate::request_log::LoggedRequests;
use crate::schedule::ScheduledRuns;

/// The content type of the text that [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: 100 us to 100 ms with about three per factor of ten, then what only trouble reaches.
const BUCKETS: [f64; 15] =
    [1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 1.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RungReason {
    rung: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceOutcome {
    source: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Table {
    table: String,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// All metrics of one server. Every label has a bounded set of values.
pub struct Metrics {
    registry: Registry,
    requests: Family<RouteStatus, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    rungs: Family<RungReason, Counter>,
    cache: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    pushed: Family<Outcome, Counter>,
    in_work: Gauge,
    store_up: Gauge,
    store_errors: Gauge,
    table_age: Family<Table, FloatGauge>,
    stream_rows: Family<SourceOutcome, Counter>,
    stream_entities: Family<Source, Gauge>,
    stream_bytes: Family<Source, Gauge>,
    event_log: EventLogMetrics,
}

/// What is known of the event log.
#[derive(Debug, Clone, Default)]
pub struct EventLogMetrics {
    dropped: Counter,
    bytes: Gauge,
    positions: Gauge,
}

impl EventLogMetrics {
    /// Counts events that were dropped for their age or the size of the log.
    pub fn dropped(&self, events: u64) {
        self.dropped.inc_by(events);
    }

    /// Sets what the log holds.
    pub fn observe(&self, extent: &Extent) {
        self.bytes.set(i64::try_from(extent.bytes).unwrap_or(i64::MAX));
        self.positions.set(i64::try_from(extent.next.0 - extent.first.0).unwrap_or(i64::MAX));
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// For a server of this pipeline and artifact.
    #[must_use]
    pub fn new(pipeline: &str, digest: &str) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram as fn() -> Histogram),
            rungs: Family::default(),
            cache: Family::default(),
            events: Family::default(),
            pushed: Family::default(),
            in_work: Gauge::default(),
            store_up: Gauge::default(),
            store_errors: Gauge::default(),
            table_age: Family::default(),
            stream_rows: Family::default(),
            stream_entities: Family::default(),
            stream_bytes: Family::default(),
            event_log: EventLogMetrics::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("serve_requests", "Requests by route and status", metrics.requests.clone());
        registry.register(
            "serve_request_duration_seconds",
            "From the request's head to its answer, in seconds",
            metrics.durations.clone(),
        );
        registry.register("serve_rungs", "Recommendations by the rung that answered", metrics.rungs.clone());
        registry.register("serve_prediction_cache", "Look-ups of the prediction cache", metrics.cache.clone());
        registry.register("serve_events", "Events by what became of them", metrics.events.clone());
        registry.register("serve_pushed_rows", "Pushed rows by what became of them", metrics.pushed.clone());
        registry.register(
            "serve_requests_in_work",
            "Admitted recommendations and predictions",
            metrics.in_work.clone(),
        );
        registry.register("serve_online_store_up", "1 while the online store answers", metrics.store_up.clone());
        registry.register(
            "serve_online_store_errors",
            "Failures of the online store since the start",
            metrics.store_errors.clone(),
        );
        registry.register(
            "serve_table_age_seconds",
            "Seconds since the time as of which a table is",
            metrics.table_age.clone(),
        );
        registry.register(
            "serve_stream_rows",
            "Events of sources whose features are kept current, by what became of them",
            metrics.stream_rows.clone(),
        );
        registry.register(
            "serve_stream_entities",
            "Entities whose features are kept current, spilled ones included",
            metrics.stream_entities.clone(),
        );
        registry.register("serve_stream_bytes", "Memory of streams, about", metrics.stream_bytes.clone());
        let log = metrics.event_log.clone();
        registry.register("serve_events_dropped", "Events dropped for their age or the log's size", log.dropped);
        registry.register("serve_event_log_bytes", "Bytes of the events in the log, as JSON", log.bytes);
        registry.register(
            "serve_event_log_positions",
            "Positions from the first event kept to the next one",
            log.positions,
        );
        let labels = vec![("pipeline".to_owned(), pipeline.to_owned()), ("digest".to_owned(), digest.to_owned())];
        registry.register("serve_model", "The artifact that is served", Info::new(labels));
        let started = FloatGauge::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        registry.register("process_start_time_seconds", "Start of the process, seconds since 1970", started);
        metrics
    }

    /// Shows what becomes of scheduled materializations, and of requests where they are logged.
    pub fn show(&mut self, runs: &ScheduledRuns, logged: Option<&LoggedRequests>) {
        runs.register(&mut self.registry);
        if let Some(logged) = logged {
            logged.register(&mut self.registry);
        }
    }

    /// Counts an answered request.
    pub fn request(&self, route: &str, status: u16, duration: Duration) {
        self.requests.get_or_create(&RouteStatus { route: route.to_owned(), status }).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(duration.as_secs_f64());
    }

    /// Counts a recommendation by its rung.
    pub fn answer(&self, answer: &Answer) {
        let reason = answer.reason.map_or("", |reason| reason.name());
        self.rungs.get_or_create(&RungReason { rung: answer.rung.name(), reason }).inc();
    }

    /// Counts a look-up of the prediction cache.
    pub fn cache(&self, hit: bool) {
        self.cache.get_or_create(&Outcome { outcome: if hit { "hit" } else { "miss" } }).inc();
    }

    /// Counts events.
    pub fn events(&self, outcome: &'static str, count: usize) {
        if count > 0 {
            self.events.get_or_create(&Outcome { outcome }).inc_by(count as u64);
        }
    }

    /// Counts events of a source whose features are kept current.
    pub fn stream_rows(&self, source: &str, outcome: &'static str, count: usize) {
        if count > 0 {
            self.stream_rows.get_or_create(&SourceOutcome { source: source.to_owned(), outcome }).inc_by(count as u64);
        }
    }

    /// Sets what the streams of a source hold.
    pub fn observe_stream(&self, source: &str, entities: usize, bytes: usize) {
        let set = |family: &Family<Source, Gauge>, value: usize| {
            let gauge = family.get_or_create(&Source { source: source.to_owned() });
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.stream_entities, entities);
        set(&self.stream_bytes, bytes);
    }

    /// Counts pushed rows.
    pub fn pushed(&self, outcome: &'static str, count: usize) {
        if count > 0 {
            self.pushed.get_or_create(&Outcome { outcome }).inc_by(count as u64);
        }
    }

    /// Those of the event log, to be kept by whoever looks at it.
    #[must_use]
    pub fn event_log(&self) -> EventLogMetrics {
        self.event_log.clone()
    }

    /// One more request is in work until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InWork {
        self.in_work.inc();
        InWork(self.in_work.clone())
    }

    /// Sets what is looked at rather than counted.
    pub fn observe_store(&self, up: bool, errors: u64, ages: impl Iterator<Item = (String, f64)>) {
        self.store_up.set(i64::from(up));
        self.store_errors.set(i64::try_from(errors).unwrap_or(i64::MAX));
        for (table, age) in ages {
            self.table_age.get_or_create(&Table { table }).set(age);
        }
    }

    /// The text of everything.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

/// See [`Metrics::enter`].
#[derive(Debug)]
pub struct InWork(Gauge);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.dec();
    }
}
