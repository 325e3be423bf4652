//! The budget search: which measured steps are kept, and which of them is served.
//!
//! The search walks from the pipeline as written to cheaper ones, rung by rung. A rung is one idea, tried in one or
//! more ways (candidates in several numbers, students of several kinds): of the ways that hold the quality floor on the
//! tuning slice and were measured faster than the last kept step, the fastest is kept (of those that are as fast within
//! the noise of a shared machine the one whose retention reaches least far down); everything else is rejected with its
//! figures. The fastest kept step that holds the whole budget is chosen. Pure: latencies come in as numbers, so a
//! recorded trial table gives the same decision again.

use std::fmt;

use paceline_core::metrics::{Bootstrap, Estimate, Measured, MetricError};
use serde::{Deserialize, Serialize};

/// A step must be at least this factor faster at the median to be kept: below it, noise decides.
const FASTER_MIN: f64 = 1.03;

/// Ways of one rung whose medians lie within this factor of the fastest are as fast as it. Among many ways that just hold
/// the floor on tuning data the luckiest is often the fastest, so quality decides where speed does not.
const AS_FAST: f64 = 1.1;

/// Half-widths of the 95 % interval between the estimate here and what the lower end on another slice of the same size
/// exceeds with probability 90 %. The promise is about that lower end: it lies one half-width below its own estimate, which
/// differs from this one with a standard deviation of the square root of two standard errors, so
/// `1 + 1.2816 * sqrt(2) / 1.9600`.
const ANOTHER_SLICE: f64 = 1.925;

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

/// One bound of a budget that a step breaks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Break {
    /// The bound's key in `[optimize]`.
    pub bound: Bound,
    /// What is asked.
    pub required: f64,
    /// What was reached, in the bound's unit.
    pub reached: f64,
}

/// A bound of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// [`Budget::keep`].
    Keep,
    /// [`Budget::p99_ms`].
    #[serde(rename = "p99_ms")]
    P99Ms,
    /// [`Budget::bytes_max`].
    BytesMax,
    /// [`Budget::rps_min`].
    RpsMin,
}

impl Bound {
    /// The key in `[optimize]`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Bound::Keep => "keep",
            Bound::P99Ms => "p99_ms",
            Bound::BytesMax => "bytes_max",
            Bound::RpsMin => "rps_min",
        }
    }
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
    /// It holds the floor on the tuning slice by so little that it may well miss it on another, and a kept step does not.
    TooNarrow {
        /// Lower end of retention on the tuning slice.
        low: f64,
        /// What the lower end on another slice of the same size exceeds with probability 90 %.
        foreseen: f64,
        /// The floor.
        keep: f64,
    },
    /// It would do, but another way of the same rung is faster.
    Outrun {
        /// Median of the step in milliseconds.
        p50_ms: f64,
        /// The one that was kept.
        by: String,
        /// Its median in milliseconds.
        by_p50_ms: f64,
    },
    /// It would do, but another way of the same rung is as fast within the noise and keeps more.
    Outdone {
        /// Lower end of the step's retention.
        low: f64,
        /// The one that was kept.
        by: String,
        /// The lower end of its retention.
        by_low: f64,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::NotFaster { p50_ms, current_p50_ms } => {
                write!(f, "not faster: p50 {} against {}", Time(*p50_ms), Time(*current_p50_ms))
            }
            Rejection::BelowFloor { retention: Estimate { value, low, high }, keep } => write!(
                f,
                "keeps {:.2} % [{:.2}, {:.2}] on the tuning slice; the lower end must be at least {:.2} %",
                100.0 * value,
                // Downwards: just below the floor must not read as the floor.
                percent_down(*low),
                100.0 * high,
                100.0 * keep
            ),
            Rejection::TooNarrow { low, foreseen, keep } => write!(
                f,
                "holds the floor of {:.2} % on the tuning slice with a lower end of {:.2} %; on another slice it may \
                 be as low as {:.2} %",
                100.0 * keep,
                percent_down(*low),
                percent_down(*foreseen)
            ),
            Rejection::Outdone { low, by, by_low } => write!(
                f,
                "holds the floor, but {by} is as fast and keeps more: at least {:.2} % against {:.2} %",
                percent_down(*by_low),
                percent_down(*low)
            ),
            Rejection::Outrun { p50_ms, by, by_p50_ms } => {
                write!(f, "holds the floor, but {by} is faster: p50 {} against {}", Time(*by_p50_ms), Time(*p50_ms))
            }
        }
    }
}

/// In percent, rounded downwards to two decimals.
fn percent_down(share: f64) -> f64 {
    (10_000.0 * share).floor() / 100.0
}

/// Milliseconds in the unit that reads best.
struct Time(f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 100.0 => write!(f, "{ms:.0} ms"),
            ms if ms >= 1.0 => write!(f, "{ms:.2} ms"),
            ms if ms >= 0.01 => write!(f, "{:.0} us", ms * 1e3),
            ms => write!(f, "{:.2} us", ms * 1e3),
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
    /// What the lower end of retention on another slice of the same size exceeds with probability 90 %.
    #[must_use]
    pub fn foreseen_low(&self) -> f64 {
        self.retention.value - ANOTHER_SLICE * (self.retention.value - self.retention.low)
    }

    /// Whether it is likely to hold the floor on another slice too.
    fn is_sturdy(&self, budget: &Budget) -> bool {
        self.foreseen_low() >= budget.keep
    }

    /// Which bounds of the budget this step breaks; empty when it holds all of it.
    #[must_use]
    pub fn breaks(&self, budget: &Budget) -> Vec<Break> {
        let Trial { latency, bytes, .. } = &self.trial;
        let mut breaks = Vec::new();
        if self.retention.low < budget.keep {
            breaks.push(Break { bound: Bound::Keep, required: budget.keep, reached: self.retention.low });
        }
        if latency.p99 > budget.p99_ms {
            breaks.push(Break { bound: Bound::P99Ms, required: budget.p99_ms, reached: latency.p99 });
        }
        if let Some(most) = budget.bytes_max.filter(|most| bytes > most) {
            breaks.push(Break { bound: Bound::BytesMax, required: most as f64, reached: *bytes as f64 });
        }
        let rps = 1000.0 / latency.mean;
        if let Some(least) = budget.rps_min.filter(|&least| rps < least) {
            breaks.push(Break { bound: Bound::RpsMin, required: least, reached: rps });
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

    /// Whether a quality on the tuning slice holds the floor, so that its latency is worth measuring well.
    pub fn holds_floor(&self, tuning: &Measured) -> Result<bool, MetricError> {
        Ok(self.bootstrap.retention(tuning, &self.reference)?.low >= self.budget.keep)
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
        self.propose_any(vec![trial])
    }

    /// Keeps the fastest of several ways to replace the current step, of those that hold the floor and are faster than
    /// it, and rejects the others; true when one was kept. A way that holds the whole budget goes before one that does
    /// not, and one that is likely to hold the floor on another slice before one that holds it here by luck; the latter
    /// is rejected when a kept step holds the budget and is likely to go on so. Of those within 10 % of the fastest the
    /// one is kept that keeps most at its lower end, and of equal ones the first.
    pub fn propose_any(&mut self, trials: Vec<Trial>) -> Result<bool, MetricError> {
        let current_p50_ms = self.current().trial.latency.p50;
        let (budget, keep) = (self.budget, self.budget.keep);
        let is_sturdy = self.chosen().is_some_and(|step| step.is_sturdy(&budget));
        let mut able = Vec::new();
        for trial in trials {
            let judged = self.judge(trial)?;
            let p50_ms = judged.trial.latency.p50;
            if judged.retention.low < keep {
                let rejection = Rejection::BelowFloor { retention: judged.retention, keep };
                self.rejected.push((judged, rejection));
            } else if p50_ms * FASTER_MIN > current_p50_ms {
                self.rejected.push((judged, Rejection::NotFaster { p50_ms, current_p50_ms }));
            } else if is_sturdy && !judged.is_sturdy(&budget) {
                let (low, foreseen) = (judged.retention.low, judged.foreseen_low());
                self.rejected.push((judged, Rejection::TooNarrow { low, foreseen, keep }));
            } else {
                able.push(judged);
            }
        }
        let shortcomings = |judged: &Judged| (!judged.breaks(&budget).is_empty(), !judged.is_sturdy(&budget));
        // A stable sort: the least shortcomings first, each part in its order.
        able.sort_by_key(shortcomings);
        let eligible = able.partition_point(|judged| shortcomings(judged) == shortcomings(&able[0]));
        let p50 = |judged: &Judged| judged.trial.latency.p50;
        let fastest = able[..eligible].iter().map(p50).fold(f64::INFINITY, f64::min);
        let as_fast = (0..eligible).filter(|&at| p50(&able[at]) <= fastest * AS_FAST);
        // Of equal ones the first: a later one must keep more.
        let best = as_fast.reduce(|best, at| if able[at].retention.low > able[best].retention.low { at } else { best });
        let Some(best) = best else { return Ok(false) };
        let kept = able.remove(best);
        let (by, by_p50_ms, by_low) = (kept.trial.name.clone(), p50(&kept), kept.retention.low);
        self.rejected.extend(able.into_iter().map(|judged| {
            let (p50_ms, low) = (p50(&judged), judged.retention.low);
            let rejection = if p50_ms <= by_p50_ms {
                Rejection::Outdone { low, by: by.clone(), by_low }
            } else {
                Rejection::Outrun { p50_ms, by: by.clone(), by_p50_ms }
            };
            (judged, rejection)
        }));
        self.ladder.push(kept);
        Ok(true)
    }

    /// The kept step called `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Judged> {
        self.ladder.iter().find(|step| step.trial.name == name)
    }

    /// The fastest kept step that holds the whole budget, of those that are likely to hold the floor on another slice
    /// too if there is one; `None` when none holds the budget.
    #[must_use]
    pub fn chosen(&self) -> Option<&Judged> {
        let holding = self.ladder.iter().filter(|step| step.breaks(&self.budget).is_empty());
        holding.min_by(|a, b| {
            let narrow = |step: &Judged| !step.is_sturdy(&self.budget);
            narrow(a).cmp(&narrow(b)).then(a.trial.latency.p50.total_cmp(&b.trial.latency.p50))
        })
    }

    /// Steps that miss the budget in the fewest ways, the nearest to the floor first and then those with the least p99,
    /// each with what it breaks: what to read when nothing was chosen.
    #[must_use]
    pub fn nearest_misses(&self, most: usize) -> Vec<(&Judged, Vec<Break>)> {
        let all = self.ladder.iter().chain(self.rejected.iter().map(|(judged, _)| judged));
        let mut misses: Vec<_> =
            all.map(|step| (step, step.breaks(&self.budget))).filter(|(_, b)| !b.is_empty()).collect();
        misses.sort_by(|(a, a_breaks), (b, b_breaks)| {
            let floor = |judged: &Judged| judged.retention.low.min(self.budget.keep);
            let by_p99 = a.trial.latency.p99.total_cmp(&b.trial.latency.p99);
            a_breaks.len().cmp(&b_breaks.len()).then(floor(b).total_cmp(&floor(a))).then(by_p99)
        });
        misses.truncate(most);
        misses
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use paceline_core::metrics::{RankingKind, Units};

    use super::*;

    /// Every user has the same value, so retention is `value` over 0.5 without any spread.
    fn quality(value: f64) -> Measured {
        let metric = RankingKind::Ndcg.at(NonZeroUsize::new(10).expect("above 0"));
        Measured::ranking(metric, &[value; 40], &Units::each(40)).expect("40 users")
    }

    fn trial(name: &str, p50: f64, kept: f64) -> Trial {
        Trial {
            name: name.to_owned(),
            what: String::new(),
            latency: Latency { p50, p99: 2.0 * p50, mean: p50 },
            tuning: quality(0.5 * kept),
            bytes: 1_000,
        }
    }

    const BUDGET: Budget = Budget { keep: 0.97, p99_ms: 10.0, bytes_max: None, rps_min: None };

    fn search(budget: Budget) -> Search {
        let bootstrap = Bootstrap { replicates: 100, seed: 1 };
        Search::start(trial("as written", 100.0, 1.0), quality(0.5), bootstrap, budget).expect("measured")
    }

    fn names(search: &Search) -> (Vec<&str>, Vec<(&str, String)>) {
        let kept = search.ladder.iter().map(|step| step.trial.name.as_str()).collect();
        (kept, search.rejected.iter().map(|(step, why)| (step.trial.name.as_str(), why.to_string())).collect())
    }

    #[test]
    fn of_a_rung_the_fastest_that_holds_the_floor_is_kept() {
        let mut search = search(BUDGET);
        let rung = vec![
            trial("slower than now", 99.0, 1.0),
            trial("middle", 8.0, 1.0),
            trial("fast", 2.0, 0.98),
            trial("fastest but poor", 0.5, 0.96997),
        ];
        assert!(search.propose_any(rung).expect("measured"));
        let (kept, rejected) = names(&search);
        assert_eq!(kept, ["as written", "fast"]);
        let expected = [
            ("slower than now", "not faster: p50 99.00 ms against 100 ms"),
            (
                "fastest but poor",
                "keeps 97.00 % [96.99, 97.00] on the tuning slice; the lower end must be at least 97.00 %",
            ),
            ("middle", "holds the floor, but fast is faster: p50 2.00 ms against 8.00 ms"),
        ];
        assert_eq!(rejected, expected.map(|(name, why)| (name, why.to_owned())));
        assert_eq!(search.chosen().map(|step| step.trial.name.as_str()), Some("fast"));
    }

    #[test]
    fn where_speed_does_not_decide_quality_does() {
        let mut search = search(BUDGET);
        let rung = vec![
            trial("lucky", 2.0, 0.9701),
            trial("as fast", 2.15, 0.99),
            trial("as fast too", 2.19, 0.99),
            trial("slower", 2.25, 1.0),
        ];
        search.propose_any(rung).expect("measured");
        let (kept, rejected) = names(&search);
        assert_eq!(kept, ["as written", "as fast"]);
        let check = |at: usize, name: &str, why: &str| {
            assert!(rejected[at].0 == name && rejected[at].1.starts_with(why), "{:?}", rejected[at]);
        };
        check(0, "lucky", "holds the floor, but as fast is as fast and keeps more: at least 9");
        check(1, "as fast too", "holds the floor, but as fast is faster: p50 2.15 ms against 2.19 ms");
        check(2, "slower", "holds the floor, but as fast is faster: p50 2.15 ms against 2.25 ms");
    }

    /// Half of the users lose `spread`, the others gain it, so that the interval has a width.
    fn noisy(name: &str, p50: f64, kept: f64, spread: f64) -> Trial {
        let metric = RankingKind::Ndcg.at(NonZeroUsize::new(10).expect("above 0"));
        let values: Vec<f64> =
            (0..40).map(|user| 0.5 * (kept + if user % 2 == 0 { spread } else { -spread })).collect();
        let tuning = Measured::ranking(metric, &values, &Units::each(40)).expect("40 users");
        Trial { tuning, ..trial(name, p50, kept) }
    }

    #[test]
    fn what_holds_by_luck_gives_way_to_what_will_hold_again() {
        // A spread of 0.07 over 40 users is an interval of about 0.022 to each side, the lower end on another slice
        // about twice as far below.
        let narrow = || noisy("narrow", 1.0, 0.99, 0.07);
        let mut search_1 = search(BUDGET);
        search_1.propose_any(vec![narrow(), noisy("sturdy", 3.0, 0.999, 0.05)]).expect("measured");
        assert_eq!(names(&search_1).0, ["as written", "sturdy"]);
        search_1.propose(narrow()).expect("measured");
        let (step, why) = search_1.rejected.last().expect("rejected");
        let why = why.to_string();
        assert!(step.trial.name == "narrow" && why.contains("on another slice it may be as low as 95."), "{why}");

        // Where nothing else holds the latency, what holds the floor here must do.
        let mut search_2 = search(BUDGET);
        search_2.propose_any(vec![narrow(), trial("poor", 0.5, 0.9)]).expect("measured");
        assert_eq!(search_2.chosen().map(|step| step.trial.name.as_str()), Some("narrow"));
    }

    #[test]
    fn what_is_not_faster_or_nothing_changes_nothing() {
        let mut search = search(BUDGET);
        assert!(!search.propose(trial("as fast", 98.0, 1.0)).expect("measured"), "within the noise");
        assert!(!search.propose_any(Vec::new()).expect("nothing"));
        assert_eq!(search.current().trial.name, "as written");
    }

    #[test]
    fn a_way_that_holds_the_whole_budget_goes_first() {
        let mut search = search(Budget { bytes_max: Some(5_000), ..BUDGET });
        let large = Trial { bytes: 9_000, ..trial("large", 1.0, 1.0) };
        search.propose_any(vec![large, trial("small", 3.0, 1.0)]).expect("measured");
        assert_eq!(names(&search).0, ["as written", "small"]);
    }

    #[test]
    fn nothing_chosen_names_the_nearest_with_figures() {
        let mut search = search(Budget { p99_ms: 0.1, rps_min: Some(2_000.0), ..BUDGET });
        search.propose_any(vec![trial("poor", 0.01, 0.875), trial("good", 1.0, 0.99)]).expect("measured");
        assert!(search.chosen().is_none());
        let misses = search.nearest_misses(2);
        let found: Vec<_> = misses.iter().map(|(step, breaks)| (step.trial.name.as_str(), breaks.clone())).collect();
        let missed = |bound, required, reached| Break { bound, required, reached };
        assert_eq!(
            found,
            [
                ("poor", vec![missed(Bound::Keep, 0.97, 0.875)]),
                ("good", vec![missed(Bound::P99Ms, 0.1, 2.0), missed(Bound::RpsMin, 2_000.0, 1_000.0)]),
            ]
        );
        assert_eq!(Bound::P99Ms.key(), "p99_ms");
    }
}
