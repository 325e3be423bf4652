//! Where each feature should be computed: what it costs each way, what old values do to the metric, and a decision.
//!
//! Placement is that of a view, so its features share one decision; a view that the pipeline file places stays where it
//! is. Costs are CPU time on this machine. What old values do is measured by a model that learned from exact ones, asked
//! on the tuning slice with values of the last point of a schedule: a model that learns from values as old loses less,
//! so the figures are on the safe side.

mod cost;
mod decide;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use anyhow::Result;
use paceline_core::Period;
use paceline_core::metrics::Estimate;
use paceline_features::{FeatureView, Placement};
use serde::Serialize;

use crate::pipeline::Pipeline;
use crate::run::{Means, staleness};

pub use decide::{Decision, Facts};

/// Schedules that are tried when none are named.
pub const SCHEDULES: [Period; 4] =
    [Period::Micros(3_600_000_000), Period::Micros(6 * 3_600_000_000), Period::days(1), Period::days(7)];

/// What `plan` finds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlacementPlan {
    /// The pipeline.
    pub pipeline: String,
    /// By what the effects were measured: the model and its metric on the tuning slice; `None` without a model.
    pub judge: Option<Judge>,
    /// In the order of the file.
    pub views: Vec<PlannedView>,
    /// Features in the order of the file, those of requests last.
    pub features: Vec<PlannedFeature>,
    /// Retention with all views placed as decided; `None` without a model.
    pub together: Option<Interval>,
    /// The share of the metric that a view's placement must keep, at the lower end.
    pub keep_per_view: Option<f64>,
}

/// What judged old values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judge {
    /// The model.
    pub model: String,
    /// The metric's name.
    pub metric: String,
    /// Its value with exact features.
    pub exact: Interval,
}

/// An estimate as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
}

impl From<Estimate> for Interval {
    fn from(Estimate { value, low, high }: Estimate) -> Interval {
        Interval { value, ci: [low, high] }
    }
}

/// Where a view should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedView {
    /// Its name.
    pub view: String,
    /// Whether the pipeline file says so.
    pub pinned: bool,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// Retention by schedule, the shortest first; empty without a model.
    pub staleness: Vec<Staleness>,
    /// Entities of one request: more than one where a recommender ranks items.
    pub entities_per_request: u64,
}

/// What is left of the metric when a view is as old as a schedule makes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Staleness {
    /// The schedule.
    pub schedule: Period,
    /// Mean age of the values on the tuning slice, in seconds.
    pub mean_age_s: f64,
    /// Retention against exact values.
    pub retention: Interval,
}

/// What a feature costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedFeature {
    /// Full name.
    pub feature: String,
    /// Where it should be.
    pub placement: Placement,
    /// How often, in batch.
    pub schedule: Option<Period>,
    /// CPU microseconds in one request that computes it from raw rows; of a request-time feature, those of its
    /// expression.
    pub request_us: Option<f64>,
    /// CPU seconds of one materialization for all entities.
    pub batch_s: Option<f64>,
    /// CPU microseconds of one read from a stream; `None` where no stream can keep the view current.
    pub stream_read_us: Option<f64>,
    /// CPU microseconds of one event.
    pub stream_event_us: Option<f64>,
    /// Retention with the view as decided; `None` where it is exact, or without a model.
    pub retention: Option<Interval>,
    /// Why it is there.
    pub reason: String,
}

/// Measures and decides. `means` is needed where the pipeline has a model.
///
/// # Errors
/// When a source cannot be read, or there is too little to learn from or to judge by.
pub fn plan(pipeline: &Pipeline, means: Option<&Means<'_>>, schedules: &[Period]) -> Result<PlacementPlan> {
    let say = |text: &str| means.iter().for_each(|means| (means.say)(text));
    let exact =
        Pipeline { views: pipeline.views.iter().map(|view| exact(pipeline, view)).collect(), ..pipeline.clone() };
    let study = match (means, pipeline.model.is_some()) {
        (Some(means), true) => Some(staleness::study(&exact, means)?),
        _ => None,
    };
    let free = pipeline.views.iter().filter(|view| !is_pinned(pipeline, view)).count();
    // Losses of views that are old together about multiply.
    let keep_per_view =
        pipeline.optimize.as_ref().map(|optimize| optimize.keep.min(1.0).powf(1.0 / free.max(1) as f64));
    let mut views = Vec::with_capacity(pipeline.views.len());
    let mut features = Vec::new();
    for view in &pipeline.views {
        say(&format!("measuring [features.{}]", view.name));
        let per_request = entities_per_request(pipeline, view);
        let can_stream = can_stream(pipeline, view);
        let costs = cost::of_view(&exact, view, can_stream, per_request)?;
        let pinned = is_pinned(pipeline, view);
        let mut found = Vec::new();
        if let Some(study) = study.as_ref().filter(|_| !pinned) {
            for &schedule in schedules {
                let (retention, mean_age_s) = study.retention(&at_schedule(&exact, &view.name, schedule), view)?;
                found.push(Staleness { schedule, mean_age_s, retention: retention.into() });
            }
        }
        let facts = Facts {
            pinned: pinned.then_some((view.placement, view.schedule)),
            has_time: has_time(pipeline, view),
            can_stream,
            staleness: &found,
            keep: keep_per_view,
            stream_read_us: costs.iter().filter_map(|cost| cost.stream_read_us).sum(),
        };
        let decision = decide::decide(&facts);
        let retention =
            found.iter().find(|staleness| decision.schedule == Some(staleness.schedule)).map(|it| it.retention);
        for (feature, cost) in view.features.iter().zip(costs) {
            features.push(PlannedFeature {
                feature: format!("{}.{}", view.name, feature.name),
                placement: decision.placement,
                schedule: decision.schedule,
                request_us: Some(cost.request_us),
                batch_s: Some(cost.batch_s),
                stream_read_us: cost.stream_read_us,
                stream_event_us: cost.stream_event_us,
                retention,
                reason: decision.reason.clone(),
            });
        }
        let name = view.name.clone();
        views.push(PlannedView { view: name, pinned, decision, staleness: found, entities_per_request: per_request });
    }
    let costs = cost::of_expressions(&exact)?;
    for (named, cost) in pipeline.request_features.iter().zip(costs) {
        features.push(PlannedFeature {
            feature: format!("request.{}", named.name),
            placement: Placement::Request,
            schedule: None,
            request_us: cost,
            batch_s: None,
            stream_read_us: None,
            stream_event_us: None,
            retention: None,
            reason: "an expression over what a request brings".to_owned(),
        });
    }
    let decided = |view: &FeatureView, planned: &PlannedView| FeatureView {
        placement: planned.decision.placement,
        schedule: planned.decision.schedule,
        ..view.clone()
    };
    let placed = pipeline.views.iter().zip(&views).map(|(view, planned)| decided(view, planned)).collect();
    let together = Pipeline { views: placed, ..exact.clone() };
    let together = match (&study, pipeline.views.first()) {
        (Some(study), Some(first)) => Some(study.retention(&together, first)?.0.into()),
        _ => None,
    };
    let judge = study.as_ref().map(|study| study.judge()).transpose()?;
    Ok(PlacementPlan { pipeline: pipeline.name.clone(), judge, views, features, together, keep_per_view })
}

fn is_pinned(pipeline: &Pipeline, view: &FeatureView) -> bool {
    pipeline.pinned.contains(&view.name)
}

/// As the file says where it says anything, else exact.
fn exact(pipeline: &Pipeline, view: &FeatureView) -> FeatureView {
    match is_pinned(pipeline, view) {
        true => view.clone(),
        false => FeatureView { placement: Placement::Request, schedule: None, ..view.clone() },
    }
}

/// The pipeline with one view in batch.
fn at_schedule(pipeline: &Pipeline, name: &str, schedule: Period) -> Pipeline {
    let mut at = pipeline.clone();
    for view in at.views.iter_mut().filter(|view| view.name == name) {
        (view.placement, view.schedule) = (Placement::Batch, Some(schedule));
    }
    at
}

/// A recommender ranks many items a request, and reads them from memory.
fn entities_per_request(pipeline: &Pipeline, view: &FeatureView) -> u64 {
    let Some(goal) = pipeline.recommend().filter(|goal| view.entity == [goal.item.as_str()]) else { return 1 };
    let counts = &goal.candidates;
    let counts = [counts.als, counts.item_item, counts.last_basket, counts.similar_users, counts.popular];
    counts.into_iter().map(u64::from).sum()
}

fn can_stream(pipeline: &Pipeline, view: &FeatureView) -> bool {
    let is_item = pipeline.recommend().is_some_and(|goal| view.entity == [goal.item.as_str()]);
    !is_item && has_time(pipeline, view)
}

fn has_time(pipeline: &Pipeline, view: &FeatureView) -> bool {
    pipeline.source(&view.source).is_some_and(|source| source.event_time.is_some())
}

impl PlacementPlan {
    /// The table, and what to write into the pipeline file.
    #[must_use]
    pub fn shown(&self) -> String {
        const HEAD: [&str; 7] = ["feature", "placement", "request", "batch", "stream", "kept % [95 %]", "reason"];
        let row = |feature: &PlannedFeature| {
            let placement = match feature.schedule {
                Some(every) => format!("{}, {every}", feature.placement.name()),
                None => feature.placement.name().to_owned(),
            };
            let none = || "-".to_owned();
            [
                feature.feature.clone(),
                placement,
                feature.request_us.map_or_else(none, |us| format!("{} us", rounded(us))),
                feature.batch_s.map_or_else(none, |s| format!("{} s", rounded(s))),
                feature.stream_read_us.map_or_else(none, |us| format!("{} us", rounded(us))),
                feature.retention.map_or_else(none, kept),
                feature.reason.clone(),
            ]
        };
        let rows: Vec<[String; 7]> =
            std::iter::once(HEAD.map(str::to_owned)).chain(self.features.iter().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        text += "\nCPU on this machine: of one request that computes the feature from raw rows, of one materialization of \
                 all entities, of one read from a stream; of an expression, for one row.\n";
        for view in self.views.iter().filter(|view| view.entities_per_request > 1) {
            let _ = writeln!(text, "A request reads {} for {} candidates.", view.view, view.entities_per_request);
        }
        self.shown_staleness(&mut text);
        self.shown_file(&mut text);
        text
    }

    fn shown_staleness(&self, text: &mut String) {
        let Some(judge) = &self.judge else {
            *text += "There is no [model], so what old values do cannot be measured; views without a placement stay exact.\n";
            return;
        };
        let Judge { model, metric, exact } = judge;
        let _ = writeln!(
            text,
            "\nWhat is kept of {metric} on the tuning slice, {:.4} [{:.4}, {:.4}] with exact features by {model}:",
            exact.value, exact.ci[0], exact.ci[1]
        );
        for view in self.views.iter().filter(|view| !view.staleness.is_empty()) {
            let figures = view.staleness.iter().map(|it| {
                format!("every {} (mean age {:.1} h) {}", it.schedule, it.mean_age_s / 3_600.0, kept(it.retention))
            });
            let _ = writeln!(text, "  {}: {}", view.view, figures.collect::<Vec<_>>().join(", "));
        }
        if let (Some(together), Some(keep)) = (self.together, self.keep_per_view) {
            let _ = writeln!(
                text,
                "  all as decided: {}; each view must keep {:.2} % at the lower end",
                kept(together),
                100.0 * keep
            );
        }
    }

    fn shown_file(&self, text: &mut String) {
        let free: Vec<&PlannedView> = self.views.iter().filter(|view| !view.pinned).collect();
        if free.is_empty() {
            return;
        }
        *text += "\nTo pin this, write into the pipeline file:\n";
        for view in free {
            let line = match view.decision.schedule {
                Some(every) => format!("schedule = \"{every}\""),
                None => format!("placement = \"{}\"", view.decision.placement.name()),
            };
            let _ = writeln!(text, "  [features.{}]  {line}", view.view);
        }
    }
}

fn kept(Interval { value, ci: [low, high] }: Interval) -> String {
    format!("{:.1} [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high)
}

/// Three digits that count.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
