//! The budget search: which measured steps are kept, and which of them is served.
//!
//! The search walks from the pipeline as written to cheaper ones. A step is kept when it was measured faster than the
//! last kept step and the lower end of its retention on the tuning slice holds the floor; everything else is rejected
//! with its figures. The fastest kept step that also holds the latency bound is chosen. Pure: latencies come in as
//! numbers, so a recorded trial table gives the same decision again.

use std::fmt;

use paceline_core::metrics::{Bootstrap, Estimate, Measured, MetricError};
use serde::{Deserialize, Serialize};

/// A step must be at least this factor faster at the median to be kept: below it, noise decides.
const FASTER_MIN: f64 = 1.03;

/// Wall time of one request on one thread in process, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Mean.
    pub mean: f64,
}

/// What the chosen step must hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The floor: retention's lower end, a fraction.
    pub keep: f64,
    /// Bound on the 99th percentile of latency in milliseconds.
    pub p99_ms: f64,
    /// Bound on the bytes of the model files; `None` for none.
    pub bytes_max: Option<u64>,
    /// Requests per second that one thread must reach; `None` for none.
    pub rps_min: Option<f64>,
}

/// The figures of one measured step.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Unique name.
    pub name: String,
    /// One sentence for people.
    pub what: String,
    /// Measured here.
    pub latency: Latency,
    /// Quality on the tuning slice.
    pub tuning: Measured,
    /// Bytes of the model files.
    pub bytes: u64,
}

/// Why a step was not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rejection {
    /// Not faster than what it would replace.
    NotFaster {
        /// Median of the step in milliseconds.
        p50_ms: f64,
        /// Median of the last kept step in milliseconds.
        current_p50_ms: f64,
    },
    /// The lower end of retention is below the floor.
    BelowFloor {
        /// Retention on the tuning slice.
        retention: Estimate,
        /// The floor.
        keep: f64,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::NotFaster { p50_ms, current_p50_ms } => {
                write!(f, "not faster: p50 {p50_ms:.4} ms against {current_p50_ms:.4} ms")
            }
            Rejection::BelowFloor { retention: Estimate { value, low, high }, keep } => write!(
                f,
                "keeps {:.1} % [{:.1}, {:.1}] on the tuning slice; the lower end must be at least {:.1} %",
                100.0 * value,
                100.0 * low,
                100.0 * high,
                100.0 * keep
            ),
        }
    }
}

/// A trial with its retention.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The figures.
    pub trial: Trial,
    /// Retention on the tuning slice.
    pub retention: Estimate,
}

impl Judged {
    /// Which parts of the budget this step breaks; empty when it holds all of it.
    #[must_use]
    pub fn breaks(&self, budget: &Budget) -> Vec<String> {
        let mut breaks = Vec::new();
        if self.retention.low < budget.keep {
            breaks.push(format!("retention {:.4} at its lower end, floor {:.4}", self.retention.low, budget.keep));
        }
        if self.trial.latency.p99 > budget.p99_ms {
            breaks.push(format!("p99 {:.3} ms, bound {:.3} ms", self.trial.latency.p99, budget.p99_ms));
        }
        if let Some(most) = budget.bytes_max.filter(|&most| self.trial.bytes > most) {
            breaks.push(format!("{} bytes, bound {most}", self.trial.bytes));
        }
        let rps = 1000.0 / self.trial.latency.mean;
        if let Some(least) = budget.rps_min.filter(|&least| rps < least) {
            breaks.push(format!("{rps:.0} requests/s on one thread, bound {least:.0}"));
        }
        breaks
    }
}

/// The state of a search.
#[derive(Debug)]
pub struct Search {
    reference: Measured,
    bootstrap: Bootstrap,
    budget: Budget,
    /// Kept steps in the order applied; the first is the pipeline as written.
    pub ladder: Vec<Judged>,
    /// Steps that were not kept.
    pub rejected: Vec<(Judged, Rejection)>,
}

impl Search {
    /// Starts from the pipeline as written, which is on the ladder whatever it keeps.
    ///
    /// `reference` is the quality of the better of the teacher and the best single model on the tuning slice.
    pub fn start(
        as_written: Trial,
        reference: Measured,
        bootstrap: Bootstrap,
        budget: Budget,
    ) -> Result<Search, MetricError> {
        let mut search = Search { reference, bootstrap, budget, ladder: Vec::new(), rejected: Vec::new() };
        let first = search.judge(as_written)?;
        search.ladder.push(first);
        Ok(search)
    }

    fn judge(&self, trial: Trial) -> Result<Judged, MetricError> {
        let retention = self.bootstrap.retention(&trial.tuning, &self.reference)?;
        Ok(Judged { trial, retention })
    }

    /// The last kept step.
    ///
    /// # Panics
    /// Never: a search starts with one.
    #[must_use]
    pub fn current(&self) -> &Judged {
        self.ladder.last().expect("a search starts with a step")
    }

    /// Keeps or rejects a step that would replace the current one; true when it was kept.
    pub fn propose(&mut self, trial: Trial) -> Result<bool, MetricError> {
        let judged = self.judge(trial)?;
        let (p50_ms, current_p50_ms) = (judged.trial.latency.p50, self.current().trial.latency.p50);
        let rejection = if judged.retention.low < self.budget.keep {
            Some(Rejection::BelowFloor { retention: judged.retention, keep: self.budget.keep })
        } else if p50_ms * FASTER_MIN > current_p50_ms {
            Some(Rejection::NotFaster { p50_ms, current_p50_ms })
        } else {
            None
        };
        match rejection {
            Some(rejection) => {
                self.rejected.push((judged, rejection));
                Ok(false)
            }
            None => {
                self.ladder.push(judged);
                Ok(true)
            }
        }
    }

    /// The fastest kept step that holds the whole budget, `None` when none does.
    #[must_use]
    pub fn chosen(&self) -> Option<&Judged> {
        let holding = self.ladder.iter().filter(|step| step.breaks(&self.budget).is_empty());
        holding.min_by(|a, b| a.trial.latency.p50.total_cmp(&b.trial.latency.p50))
    }

    /// Steps that miss the budget in the fewest ways, fastest first, each with what it breaks: what to read when
    /// nothing was chosen.
    #[must_use]
    pub fn nearest_misses(&self, most: usize) -> Vec<(&Judged, Vec<String>)> {
        let all = self.ladder.iter().chain(self.rejected.iter().map(|(judged, _)| judged));
        let mut misses: Vec<_> =
            all.map(|step| (step, step.breaks(&self.budget))).filter(|(_, b)| !b.is_empty()).collect();
        misses.sort_by(|(a, a_breaks), (b, b_breaks)| {
            let by_floor = (b.retention.low.min(self.budget.keep)).total_cmp(&a.retention.low.min(self.budget.keep));
            a_breaks.len().cmp(&b_breaks.len()).then(by_floor)
        });
        misses.truncate(most);
        misses
    }
}
