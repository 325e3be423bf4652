//! `[optimize]`, `[serve]`, `[monitor]`, `[experiment]`, `[retrain]`.

use std::net::SocketAddr;

use indexmap::IndexMap;
use paceline_core::Period;
use paceline_core::metrics::Metric;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::text::{MetricText, PeriodText};

/// The budget: a quality floor and bounds on what an answer may cost.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawOptimize {
    /// The metric of quality. By default `ndcg@10` for recommend and rank, `auc` for classify, `rmse` for regress.
    #[schemars(with = "Option<MetricText>")]
    pub metric: Option<Metric>,
    /// Quality floor: lower end of the 95 % interval of retention, as a share of the reference. By default 0.97.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 2))]
    pub keep: Option<f64>,
    /// Latency bound: 99th percentile of one request on one thread in process, in milliseconds.
    #[schemars(required, extend("exclusiveMinimum" = 0))]
    pub p99_ms: Option<f64>,
    /// Memory of the served pipeline at most, in MiB.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub memory_mb_max: Option<f64>,
    /// Requests per second on one thread, at least.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub rps_min: Option<f64>,
    /// Size of the published model files at most, in bytes.
    #[schemars(range(min = 1))]
    pub bytes_max: Option<u64>,
}

/// How the server answers. Addresses can be overridden by flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Serve {
    /// Public HTTP address.
    #[schemars(with = "String", extend("format" = "address"))]
    pub http: SocketAddr,
    /// Dashboard, metrics and control. Keep it off public networks.
    #[schemars(with = "String", extend("format" = "address"))]
    pub admin: SocketAddr,
    /// Time for a whole answer, in milliseconds; past it a lower rung of the ladder answers.
    #[schemars(range(min = 1, max = 600_000))]
    pub deadline_ms: u32,
    /// Requests in work at once; more are refused with 429.
    #[schemars(range(min = 1))]
    pub requests_max: u32,
    /// Entries of the prediction cache; 0 switches it off.
    pub prediction_cache_entries: u32,
    /// Oldest answer that the prediction cache gives.
    #[schemars(with = "PeriodText")]
    pub prediction_cache_ttl: Period,
    /// Items in an answer when the request names no number.
    #[schemars(range(min = 1, max = 1_000))]
    pub items: u32,
    /// Memory of the rows that stream-placed views hold, in MiB; past it, entities that were untouched for longest go to
    /// the data folder.
    #[schemars(range(min = 1))]
    pub stream_memory_mb: u32,
    /// How often precomputed lists are renewed.
    #[schemars(with = "PeriodText")]
    pub lists_schedule: Period,
    /// Whether the features that answers were made from are written to disk, for `features verify --requests` and as
    /// training data.
    pub log_requests: bool,
    /// Size of the logged requests on disk at most, in MiB; the oldest are deleted.
    #[schemars(range(min = 1))]
    pub log_requests_mb: u32,
    /// How long events stay in the log after they were received, such as 90d. By default for ever.
    #[schemars(with = "Option<PeriodText>")]
    pub events_keep: Option<Period>,
    /// Bytes of events, as JSON, that the log may hold; the oldest are dropped above that. By default any number.
    #[schemars(range(min = 1))]
    pub events_bytes_max: Option<u64>,
}

impl Default for Serve {
    fn default() -> Self {
        Serve {
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9090)),
            deadline_ms: 100,
            requests_max: 256,
            prediction_cache_entries: 65_536,
            prediction_cache_ttl: Period::Micros(60_000_000),
            items: 10,
            stream_memory_mb: 1024,
            lists_schedule: Period::days(1),
            log_requests: false,
            log_requests_mb: 1_024,
            events_keep: None,
            events_bytes_max: None,
        }
    }
}

/// What is watched: recent traffic against the data that the model was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Monitor {
    /// Length of the window that is compared with the reference.
    #[schemars(with = "PeriodText")]
    pub window: Period,
    /// Length of the reference, which ends where training data ends.
    #[schemars(with = "PeriodText")]
    pub reference: Period,
    /// Chance of a false alarm per column and comparison.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub false_alarm: f64,
}

impl Default for Monitor {
    fn default() -> Self {
        Monitor { window: Period::days(1), reference: Period::days(28), false_alarm: 0.01 }
    }
}

/// A split of traffic into variants.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["name", "metric", "variants"]))]
pub struct RawExperiment {
    /// Name of the experiment; with the unit's id it decides the variant.
    #[schemars(required)]
    pub name: Option<String>,
    /// Column that identifies what is assigned. By default the model's user.
    pub unit: Option<String>,
    /// Variant to its share of traffic; the shares sum to 1.
    #[serde(default)]
    pub variants: IndexMap<String, f64>,
    /// The metric that decides.
    #[schemars(required)]
    pub metric: Option<String>,
    /// Metrics that must not get worse.
    #[serde(default)]
    pub guardrails: Vec<String>,
}

/// [`RawExperiment`], checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// Name of the experiment.
    pub name: String,
    /// Column that identifies what is assigned.
    pub unit: String,
    /// Variant to its share of traffic.
    pub variants: IndexMap<String, f64>,
    /// The metric that decides.
    pub metric: String,
    /// Metrics that must not get worse.
    pub guardrails: Vec<String>,
}

/// When a new run starts by itself. Its result is served only after it has won in shadow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Retrain {
    /// How often. Without it only drift starts a run.
    #[schemars(with = "Option<PeriodText>")]
    pub schedule: Option<Period>,
    /// Whether drift found by `[monitor]` starts a run.
    pub on_drift: bool,
    /// New labelled rows at least.
    pub rows_min: u64,
    /// How long the new artifact runs in shadow before it may be promoted.
    #[schemars(with = "PeriodText")]
    pub shadow: Period,
}

impl Default for Retrain {
    fn default() -> Self {
        Retrain { schedule: None, on_drift: true, rows_min: 1000, shadow: Period::days(1) }
    }
}
