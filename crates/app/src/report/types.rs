//! `report.json`: what was measured, what was chosen, what was rejected. The format is fixed by its schema version.

use std::collections::BTreeMap;

use paceline_core::Timestamp;
use paceline_core::metrics::Estimate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the report's layout. A field may be added within a version; a removed or changed one raises it.
pub const REPORT_SCHEMA: u32 = 1;

/// One run of the budget search: the ladder from the pipeline as written to the pipeline that is served.
///
/// Latencies are wall times in milliseconds of one request on one thread in process, from decoded request to answer. Shares
/// and retention are fractions of 1. Intervals are 95 % intervals. All numbers are finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this layout.
    pub schema: u32,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The task: recommend, rank, classify or regress.
    pub task: String,
    /// When the report was written.
    #[schemars(with = "String")]
    pub written_at: Timestamp,
    /// What was read.
    pub data: Data,
    /// Which part of the data fitted, tuned and reported.
    pub split: Split,
    /// What had to be held.
    pub budget: Budget,
    /// Whether the chosen step held the whole budget. `false` also when no step was chosen.
    pub held: bool,
    /// When not held: what came closest, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest_misses: Vec<Miss>,
    /// Which part of the data the quality figures of `teacher`, `reference`, `baseline`, `ladder`, `metrics` and
    /// `precomputed` come from: `report`; or `tune` when the report slice stayed closed (`--no-report`), in which case
    /// they flatter what was chosen on the same data.
    #[serde(default = "report_slice")]
    pub judged_on: SliceRole,
    /// The model that sets the quality, on the report slice.
    pub teacher: Teacher,
    /// What retention is measured against: the better of the teacher and the best single model on tuning data.
    pub reference: Reference,
    /// A baseline that needs no model, such as recent popularity: where the scale of retention really begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The kept steps in the order applied; the first is the pipeline as written.
    pub ladder: Vec<Step>,
    /// Name of the fastest live step that holds floor and budget on tuning data; `null` when none does.
    pub chosen: Option<String>,
    /// Precomputed lists: a different promise from a live step, each at the age it has just before the next refresh.
    pub precomputed: Vec<Precomputed>,
    /// What was tried and not kept.
    pub rejected: Vec<Rejected>,
    /// Where features are computed.
    pub features: Features,
    /// Where it was measured.
    pub machine: Machine,
    /// Versions of the product and of what it loads, by name.
    pub versions: BTreeMap<String, String>,
    /// Decides every random draw.
    pub seed: u64,
    /// How often this report slice (the same sources and split, whatever the model) has been opened by runs into this
    /// folder, this time included; 0 when it never was.
    pub report_slice_opened: u32,
    /// Latency of the chosen step over HTTP on this machine, from the client's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_latency_ms: Option<Latency>,
    /// Other metrics beside the pipeline's own, of the teacher and of the chosen step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricRow>,
    /// Quality on single slices: the tuning cuts, and each report slice where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceResult>,
    /// Commands that reproduce the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

fn report_slice() -> SliceRole {
    SliceRole::Report
}

/// A 95 % interval, written as `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
#[schemars(with = "[f64; 2]")]
pub struct Interval {
    /// 2.5 % point.
    pub low: f64,
    /// 97.5 % point.
    pub high: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Interval { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.low, interval.high]
    }
}

impl From<Estimate> for Interval {
    fn from(estimate: Estimate) -> Self {
        Interval { low: estimate.low, high: estimate.high }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Data {
    /// Each source by its name in the pipeline file.
    pub sources: Vec<SourceData>,
    /// Number of distinct entities by key column, after the sources' filters.
    pub entities: BTreeMap<String, u64>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceData {
    /// As in the pipeline file.
    pub name: String,
    /// As in the pipeline file; no password.
    pub path: String,
    /// Digest of the content.
    pub digest: String,
    /// Rows read.
    pub rows: u64,
    /// Rows left by the source's `where`.
    pub rows_used: u64,
    /// Earliest event time; `null` for a static source.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub first: Option<Timestamp>,
    /// Latest event time; `null` for a static source.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub last: Option<Timestamp>,
}

/// Which part of the data fitted, tuned and reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Split {
    /// How the parts were cut.
    pub by: SplitBy,
    /// What is judged: `users` or `rows`.
    pub unit: String,
    /// The parts, in order of time where they have one.
    pub parts: Vec<SplitPart>,
}

/// How parts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// Everything of a part lies after everything of the part before it.
    Time,
    /// A column names the part.
    Column,
    /// By a seeded draw, whole groups together.
    Random,
}

/// What a part of the data was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SliceRole {
    /// Models were fitted on it.
    Fit,
    /// Everything was chosen on it.
    Tune,
    /// Neither fitting nor tuning saw it.
    Report,
}

/// One part of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SplitPart {
    /// What it was used for.
    pub role: SliceRole,
    /// Where it begins; `null` when not cut by time or open.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
    /// Where it ends, exclusive; `null` when not cut by time.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Number of units in it.
    pub units: u64,
}

/// What had to be held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// Quality floor: least lower end of retention's interval.
    pub keep: f64,
    /// Greatest p99 in milliseconds.
    pub p99_ms: f64,
    /// Greatest memory of the serving process in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb_max: Option<f64>,
    /// Least requests per second on one thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps_min: Option<f64>,
    /// Greatest size of the published models in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
}

/// How far a candidate was from one bound of the budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Miss {
    /// Which candidate or step.
    pub candidate: String,
    /// Which bound, by its name in the budget: `keep`, `p99_ms`, `memory_mb_max`, `rps_min` or `bytes_max`.
    pub bound: String,
    /// The bound.
    pub required: f64,
    /// What was reached, in the bound's unit; for `keep` the lower end of retention's interval.
    pub reached: f64,
}

/// The model that sets the quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Teacher {
    /// Name of the metric, such as `ndcg@10`.
    pub metric: String,
    /// Its value on the report slice.
    pub value: f64,
    /// Interval of the value.
    pub ci: Interval,
    /// What the teacher is made of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// A model that others are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Which model.
    pub name: String,
    /// The metric's value on the report slice.
    pub value: f64,
    /// Interval of the value.
    pub ci: Interval,
}

/// What no model at all reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// Which.
    pub name: String,
    /// The metric's value on the report slice.
    pub value: f64,
    /// Interval of the value.
    pub ci: Interval,
    /// Its retention: metric divided by the reference's, turned round for losses.
    pub retention: f64,
}

/// One metric of the teacher and of the chosen step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricRow {
    /// Name of the metric, such as `recall@10`. `coverage@10` is the share of the available items that are in any list.
    pub metric: String,
    /// Of the teacher.
    pub teacher: Figure,
    /// Of the chosen step; `null` when none was chosen.
    #[serde(default)]
    pub chosen: Option<Figure>,
}

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// The value.
    pub value: f64,
    /// Its interval.
    pub ci: Interval,
}

impl From<Estimate> for Figure {
    fn from(estimate: Estimate) -> Self {
        Figure { value: estimate.value, ci: estimate.into() }
    }
}

/// Wall time of one request in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Mean.
    pub mean: f64,
}

/// One kept step of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Name, unique in the ladder.
    pub step: String,
    /// What it does differently from the step before, in a sentence.
    pub what: String,
    /// Wall time of one request.
    pub latency_ms: Latency,
    /// Requests per second on one thread.
    pub rps: f64,
    /// The metric's value on the report slice.
    pub metric: f64,
    /// Interval of the metric.
    pub ci: Interval,
    /// Metric divided by the reference's, on the same units.
    pub retention: f64,
    /// Interval of retention, by a paired bootstrap.
    pub retention_ci: Interval,
    /// Size of its model files in bytes; the candidate stage is the same for every step and not counted.
    pub bytes: u64,
}

/// Lists computed ahead, answered by a look-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Precomputed {
    /// Age of the lists in seconds.
    pub age_s: u64,
    /// Where they lie: `in process`, `embedded`, `redis`.
    #[serde(default = "in_process", rename = "store")]
    pub place: String,
    /// Wall time of one look-up.
    pub latency_ms: Latency,
    /// The metric's value on the report slice at this age.
    pub metric: f64,
    /// Interval of the metric.
    pub ci: Interval,
    /// Metric divided by the reference's.
    pub retention: f64,
    /// Interval of retention.
    pub retention_ci: Interval,
}

fn in_process() -> String {
    "in process".to_owned()
}

/// Something that was tried and not kept, with what was measured of it. Quality is that of the tuning data.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// What was tried.
    pub candidate: String,
    /// Why it was not kept, with the deciding figure.
    pub reason: String,
    /// Why it was not kept, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<RejectedBecause>,
    /// Wall time of one request, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
    /// The metric's value on tuning data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<f64>,
    /// Interval of the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<Interval>,
    /// Metric divided by the reference's on tuning data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<f64>,
    /// Interval of retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ci: Option<Interval>,
    /// Size of what it would serve from, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Why something was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectedBecause {
    /// The lower end of retention is below the floor.
    BelowFloor,
    /// Not faster than what it would replace.
    NotFaster,
    /// It holds the floor on tuning data by so little that it may well miss it on another slice.
    TooNarrow,
    /// It would do, but another way of the same idea is faster.
    Outrun,
    /// It would do, but another way of the same idea is as fast within the noise and keeps more.
    Outdone,
    /// It would pay, but this version cannot serve it.
    NotServed,
}

impl RejectedBecause {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            RejectedBecause::BelowFloor => "below floor",
            RejectedBecause::NotFaster => "not faster",
            RejectedBecause::TooNarrow => "too narrow",
            RejectedBecause::Outrun => "outrun",
            RejectedBecause::Outdone => "outdone",
            RejectedBecause::NotServed => "not served",
        }
    }
}

/// Where features are computed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Features {
    /// Number of features; the sum of the three placements.
    pub total: u64,
    /// Materialised on a schedule.
    pub batch: u64,
    /// Kept current by events.
    pub stream: u64,
    /// Computed within the request.
    pub request: u64,
    /// Share of the CPU time of features that a request no longer pays.
    pub share_of_compute_moved_to_batch: f64,
    /// CPU time of all features of one request as written, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms_as_written: Option<f64>,
    /// CPU time of the features of one request as served, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms_as_served: Option<f64>,
}

/// Where it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and its version.
    pub os: String,
}

/// Quality of the steps on one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SliceResult {
    /// For people, such as `2011-10`.
    pub name: String,
    /// Whether it tuned or reported.
    pub role: SliceRole,
    /// Number of units judged.
    pub units: u64,
    /// The reference's value on this slice.
    pub reference: f64,
    /// The steps that were judged on it.
    pub steps: Vec<SliceStep>,
}

/// Quality of one step on one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SliceStep {
    /// Name of a step of the ladder, or of a rejected candidate.
    pub step: String,
    /// The metric's value.
    pub metric: f64,
    /// Interval of the metric.
    pub ci: Interval,
    /// Metric divided by the reference's on this slice.
    pub retention: f64,
    /// Interval of retention.
    pub retention_ci: Interval,
}

impl Report {
    /// The chosen step; `None` when none was chosen.
    #[must_use]
    pub fn chosen_step(&self) -> Option<&Step> {
        let chosen = self.chosen.as_deref()?;
        self.ladder.iter().find(|step| step.step == chosen)
    }

    /// How many times faster `step` is than the pipeline as written, by median latency.
    #[must_use]
    pub fn times_faster(&self, latency: &Latency) -> f64 {
        self.ladder.first().map_or(1.0, |first| first.latency_ms.p50 / latency.p50)
    }
}

impl Budget {
    /// The bounds that figures of a ladder step can break, each with what was reached; empty when all hold.
    ///
    /// `memory_mb_max` is not among them: memory belongs to the serving process, not to a step.
    #[must_use]
    pub fn misses(&self, step: &Step) -> Vec<Miss> {
        let miss = |bound: &str, required: f64, reached: f64| Miss {
            candidate: step.step.clone(),
            bound: bound.to_owned(),
            required,
            reached,
        };
        let mut misses = Vec::new();
        if step.retention_ci.low < self.keep {
            misses.push(miss("keep", self.keep, step.retention_ci.low));
        }
        if step.latency_ms.p99 > self.p99_ms {
            misses.push(miss("p99_ms", self.p99_ms, step.latency_ms.p99));
        }
        if let Some(rps_min) = self.rps_min.filter(|&rps_min| step.rps < rps_min) {
            misses.push(miss("rps_min", rps_min, step.rps));
        }
        if let Some(bytes_max) = self.bytes_max.filter(|&bytes_max| step.bytes > bytes_max) {
            misses.push(miss("bytes_max", bytes_max as f64, step.bytes as f64));
        }
        misses
    }
}
