//! What must be true of every report, and reading one back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::types::{Interval, Latency, REPORT_SCHEMA, Report, SliceRole};

/// Why a report cannot be used.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The file could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Not JSON, or not a report.
    #[error("not a report: {0}")]
    NotAReport(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("report has schema version {found}, this program knows {REPORT_SCHEMA}; read it with a newer paceline")]
    Newer {
        /// The version in the file.
        found: u32,
    },
    /// Figures contradict each other; each text names the field, the value and the rule.
    #[error("the report contradicts itself: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

impl Report {
    /// Checks every invariant and returns all that are broken.
    ///
    /// 1. Step names are unique and the ladder has at least the pipeline as written.
    /// 2. `chosen` names a step of the ladder; `held` implies a chosen step whose figures hold the budget, and not held
    ///    with candidates tried names the nearest misses.
    /// 3. Every number is finite; every interval contains its value and is ordered; `0 < p50 <= p99`.
    /// 4. Figures of the report slice need an opened one.
    /// 5. Shares lie in 0 to 1, retention is not negative, the features' placements add up.
    ///
    /// # Errors
    /// [`ReportError::Invalid`].
    pub fn validate(&self) -> Result<(), ReportError> {
        let mut check = Check::default();
        self.check_ladder(&mut check);
        self.check_verdict(&mut check);
        self.check_rest(&mut check);
        if check.broken.is_empty() { Ok(()) } else { Err(ReportError::Invalid(check.broken)) }
    }

    fn check_ladder(&self, check: &mut Check) {
        check.that(!self.ladder.is_empty(), || "ladder is empty; its first step is the pipeline as written".into());
        let mut names = BTreeSet::new();
        for step in &self.ladder {
            let at = format!("ladder step {:?}", step.step);
            check.that(!step.step.is_empty() && names.insert(&step.step), || {
                format!("{at}: the name is empty or used twice")
            });
            check.latency(&at, &step.latency_ms);
            check.number(&at, "rps", step.rps, 0.0, f64::MAX);
            check.within(&at, "metric", step.metric, step.ci);
            check.number(&at, "retention", step.retention, 0.0, f64::MAX);
            check.within(&at, "retention", step.retention, step.retention_ci);
        }
    }

    fn check_verdict(&self, check: &mut Check) {
        let budget = &self.budget;
        check.number("budget", "keep", budget.keep, 0.0, f64::MAX);
        check.number("budget", "p99_ms", budget.p99_ms, f64::MIN_POSITIVE, f64::MAX);
        let chosen = self.chosen_step();
        check.that(self.chosen.is_none() || chosen.is_some(), || {
            format!("chosen {:?} is no step of the ladder", self.chosen.as_deref().unwrap_or_default())
        });
        check.that(!self.held || chosen.is_some(), || "held is true but nothing is chosen".into());
        if let Some(step) = chosen.filter(|_| self.held) {
            for miss in budget.misses(step) {
                check.broken.push(format!(
                    "held is true but chosen {:?} reaches {} of {} {}",
                    step.step, miss.reached, miss.bound, miss.required
                ));
            }
        }
        let anything_tried = self.ladder.len() + self.rejected.len() > 1;
        check.that(self.held || !anything_tried || !self.nearest_misses.is_empty(), || {
            "held is false but nearest_misses is empty".into()
        });
        for miss in &self.nearest_misses {
            let at = format!("nearest miss {:?}", miss.candidate);
            check.number(&at, &miss.bound, miss.required, 0.0, f64::MAX);
            check.number(&at, &miss.bound, miss.reached, 0.0, f64::MAX);
        }
    }

    fn check_rest(&self, check: &mut Check) {
        check.within("teacher", "value", self.teacher.value, self.teacher.ci);
        check.within("reference", "value", self.reference.value, self.reference.ci);
        if let Some(baseline) = &self.baseline {
            check.within("baseline", "value", baseline.value, baseline.ci);
            check.number("baseline", "retention", baseline.retention, 0.0, f64::MAX);
        }
        for list in &self.precomputed {
            let at = format!("precomputed at {} s from {:?}", list.age_s, list.place);
            check.latency(&at, &list.latency_ms);
            check.within(&at, "metric", list.metric, list.ci);
            check.number(&at, "retention", list.retention, 0.0, f64::MAX);
            check.within(&at, "retention", list.retention, list.retention_ci);
        }
        for rejected in &self.rejected {
            let at = format!("rejected {:?}", rejected.candidate);
            check.that(!rejected.reason.trim().is_empty(), || format!("{at}: no reason"));
            if let Some(latency) = &rejected.latency_ms {
                check.latency(&at, latency);
            }
            check.optional_within(&at, "metric", rejected.metric, rejected.ci);
            check.optional_within(&at, "retention", rejected.retention, rejected.retention_ci);
        }
        for row in &self.metrics {
            check.within(&format!("teacher's {}", row.metric), "value", row.teacher.value, row.teacher.ci);
            if let Some(chosen) = &row.chosen {
                check.within(&format!("chosen's {}", row.metric), "value", chosen.value, chosen.ci);
            }
        }
        check.that(self.judged_on != SliceRole::Fit, || "judged_on is fit; nothing is judged where it learned".into());
        check.that(self.judged_on != SliceRole::Report || self.report_slice_opened > 0, || {
            "judged_on is report but report_slice_opened is 0".into()
        });
        let features = &self.features;
        let share = features.share_of_compute_moved_to_batch;
        check.number("features", "share_of_compute_moved_to_batch", share, 0.0, 1.0);
        check.that(features.batch + features.stream + features.request == features.total, || {
            format!(
                "features: batch {} + stream {} + request {} is not total {}",
                features.batch, features.stream, features.request, features.total
            )
        });
        if let Some(latency) = &self.http_latency_ms {
            check.latency("http_latency_ms", latency);
        }
        for slice in &self.slices {
            for step in &slice.steps {
                let at = format!("slice {:?}, step {:?}", slice.name, step.step);
                check.within(&at, "metric", step.metric, step.ci);
                check.within(&at, "retention", step.retention, step.retention_ci);
            }
        }
        for part in &self.split.parts {
            check.that(!matches!((part.from, part.until), (Some(from), Some(until)) if from >= until), || {
                format!("split part {:?} ends before it begins", part.role)
            });
        }
    }

    /// Pretty JSON with a final newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a report is plain data with text keys");
        json.push('\n');
        json
    }

    /// Reads and validates a report.
    ///
    /// # Errors
    /// [`ReportError::NotAReport`], [`ReportError::Newer`] and [`ReportError::Invalid`].
    pub fn from_json(json: &str) -> Result<Self, ReportError> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            schema: u32,
        }
        // The version first: a later layout may lack fields that this one needs.
        let Versioned { schema } = serde_json::from_str(json)?;
        if schema > REPORT_SCHEMA {
            return Err(ReportError::Newer { found: schema });
        }
        let report: Report = serde_json::from_str(json)?;
        report.validate()?;
        Ok(report)
    }

    /// Validates, then writes `report.json` and `report.html` into `directory`, which is made if missing.
    ///
    /// # Errors
    /// [`ReportError::Invalid`] before anything is written; [`ReportError::File`].
    pub fn write(&self, directory: &Path) -> Result<(), ReportError> {
        self.validate()?;
        fs::create_dir_all(directory).map_err(|cause| ReportError::File { path: directory.to_owned(), cause })?;
        for (name, content) in [("report.json", self.to_json()), ("report.html", super::html::render(self))] {
            let path = directory.join(name);
            let unfinished = directory.join(format!("{name}.unfinished"));
            fs::write(&unfinished, content)
                .and_then(|()| fs::rename(&unfinished, &path))
                .map_err(|cause| ReportError::File { path, cause })?;
        }
        Ok(())
    }
}

/// Collects every broken rule.
#[derive(Default)]
struct Check {
    broken: Vec<String>,
}

impl Check {
    fn that(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(message());
        }
    }

    /// NaN and infinities fail, since no comparison with them holds.
    fn number(&mut self, at: &str, name: &str, value: f64, least: f64, greatest: f64) {
        let inside = value >= least && value <= greatest;
        self.that(inside, || format!("{at}: {name} {value} is not between {least} and {greatest}"));
    }

    fn within(&mut self, at: &str, name: &str, value: f64, interval: Interval) {
        let Interval { low, high } = interval;
        // Resamples add the same numbers in another order than the value did.
        let slack = 1e-9 * (1.0 + value.abs());
        let finite = value.is_finite() && low.is_finite() && high.is_finite();
        let inside = finite && low <= high && low - slack <= value && value <= high + slack;
        self.that(inside, || format!("{at}: {name} {value} is not within its interval [{low}, {high}]"));
    }

    fn optional_within(&mut self, at: &str, name: &str, value: Option<f64>, interval: Option<Interval>) {
        match (value, interval) {
            (Some(value), Some(interval)) => self.within(at, name, value, interval),
            (Some(value), None) => self.that(value.is_finite(), || format!("{at}: {name} {value} is not finite")),
            (None, Some(_)) => self.that(false, || format!("{at}: {name} has an interval but no value")),
            (None, None) => {}
        }
    }

    fn latency(&mut self, at: &str, latency: &Latency) {
        let Latency { p50, p99, mean } = *latency;
        let ordered = p50 > 0.0 && p50 <= p99 && p99.is_finite() && mean > 0.0 && mean.is_finite();
        self.that(ordered, || {
            format!("{at}: latency p50 {p50}, p99 {p99}, mean {mean} ms: needs 0 < p50 <= p99 and 0 < mean")
        });
    }
}
