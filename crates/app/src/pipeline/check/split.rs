//! `[split]`.

use paceline_core::{Period, Timestamp};

use super::Checker;
use crate::pipeline::checked::{ColumnSplit, Cuts, RandomSplit, Split, TimeSplit, TunePart};
use crate::pipeline::raw::{RawColumnSplit, RawRandomSplit, RawSplit, RawSplitColumn, Task};

/// More label windows than this are a typo; a century of months is 1,200.
const CUTS_MAX: u32 = 2_000;

const TRAIN_CUTS: u32 = 6;

/// What the split must know of the model.
pub(super) struct Labels {
    pub task: Task,
    /// The label's horizon, for `recommend`.
    pub horizon: Option<Period>,
    /// Whether the rows have an event time.
    pub timed: bool,
}

impl Checker<'_> {
    pub(super) fn split(&mut self, labels: &Labels) -> Option<Split> {
        let Some(raw) = &self.raw.split else {
            if self.tree.get("split").is_none() {
                self.mistake_in_key(
                    &["model"],
                    "[model] needs a [split]: which rows train, tune and report".to_owned(),
                    "add one by time (train_until, tune_until, report_until), by `column`, or `random`",
                );
            }
            return None;
        };
        let said = |key: &str| self.tree.nearest(&["split"]).get(key).is_some();
        let by_time = ["train_until", "tune_until", "report_until"].into_iter().any(said);
        let ways = [(by_time, "train_until"), (said("column"), "column"), (said("random"), "random")];
        let said_ways: Vec<&str> = ways.iter().filter(|(said, _)| *said).map(|(_, way)| *way).collect();
        if said_ways.len() != 1 {
            let message = match said_ways.as_slice() {
                [] => "[split] says neither `train_until` nor `column` nor `random`".to_owned(),
                several => format!("[split] has `{}`, of which it takes one", several.join("` and `")),
            };
            self.mistake_in_key(&["split"], message, "split by time, by a column, or by a seeded draw");
            return None;
        }
        self.cuts_suit(labels, by_time);
        match (by_time, &raw.column, &raw.random) {
            (true, _, _) => self.time_split(raw, labels).map(Split::Time),
            (false, Some(column), _) => self.column_split(column).map(Split::Column),
            (false, None, Some(random)) => self.random_split(random).map(Split::Random),
            (false, None, None) => None,
        }
    }

    fn cuts_suit(&mut self, labels: &Labels, by_time: bool) {
        if labels.task == Task::Recommend {
            if !by_time {
                self.mistake_in_key(
                    &["split"],
                    "a recommender's labels are what comes later, so its [split] must be by time".to_owned(),
                    "give train_until, tune_until and report_until",
                );
            }
            return;
        }
        for key in ["cuts", "train_cuts", "tune_cuts"] {
            if self.tree.nearest(&["split"]).get(key).is_some() {
                self.mistake_in_key(
                    &["split", key],
                    format!("`{key}` has no meaning for task {:?}", labels.task.name()),
                    "it places the label windows of a recommender; leave it out",
                );
            }
        }
    }

    fn time_split(&mut self, raw: &RawSplit, labels: &Labels) -> Option<TimeSplit> {
        for key in ["train_until", "tune_until", "report_until"] {
            if self.tree.nearest(&["split"]).get(key).is_none() {
                self.mistake_in_key(
                    &["split"],
                    format!("[split] lacks `{key}`"),
                    "a split by time needs train_until, tune_until and report_until",
                );
            }
        }
        if !labels.timed {
            self.mistake_in_key(
                &["split"],
                "[split] is by time, but the rows of the model's source have no event time".to_owned(),
                "name the source's `event_time`, or split by `column` or `random`",
            );
        }
        self.in_order(("train_until", raw.train_until), ("tune_until", raw.tune_until));
        self.in_order(("tune_until", raw.tune_until), ("report_until", raw.report_until));
        let (train_until, tune_until, report_until) = (raw.train_until?, raw.tune_until?, raw.report_until?);
        let ordered = train_until < tune_until && tune_until < report_until;
        let cuts = match labels.horizon {
            Some(horizon) if ordered => Some(self.cuts(raw, horizon, [train_until, tune_until, report_until])),
            _ => None,
        };
        Some(TimeSplit { train_until, tune_until, report_until, cuts })
    }

    fn in_order(&mut self, (first, earlier): (&str, Option<Timestamp>), (second, later): (&str, Option<Timestamp>)) {
        if let (Some(earlier), Some(later)) = (earlier, later)
            && later <= earlier
        {
            self.mistake(
                &["split", second],
                format!("`{second}` is {later}, which is not after `{first}`, {earlier}"),
                "the order is train_until, tune_until, report_until",
            );
        }
    }

    fn cuts(&mut self, raw: &RawSplit, horizon: Period, [train, tune, report]: [Timestamp; 3]) -> Cuts {
        let every = raw.cuts.unwrap_or(horizon);
        for (key, from, until) in [("tune_until", train, tune), ("report_until", tune, report)] {
            if until - horizon < from {
                self.mistake(
                    &["split", key],
                    format!("no label window of {horizon} fits between {from} and {until}"),
                    "move the dates apart, or shorten the label's `horizon`",
                );
            }
        }
        let fitting = windows_that_fit(train, tune, horizon, every).max(1);
        if let Some(asked) = raw.tune_cuts
            && asked > fitting
        {
            self.mistake(
                &["split", "tune_cuts"],
                format!("`tune_cuts` is {asked}, but {fitting} label windows fit between train_until and tune_until"),
                "windows before train_until train, so they cannot also tune: move train_until back",
            );
        }
        Cuts { every, train: raw.train_cuts.unwrap_or(TRAIN_CUTS), tune: raw.tune_cuts.unwrap_or(fitting) }
    }

    fn column_split(&mut self, raw: &RawSplitColumn) -> Option<ColumnSplit> {
        let words = |word: &str| vec![word.to_owned()];
        match raw {
            RawSplitColumn::Name(column) => Some(ColumnSplit {
                column: column.clone(),
                train: words("train"),
                tune: TunePart::Values(words("tune")),
                report: words("report"),
            }),
            RawSplitColumn::Values(raw) => {
                self.values_are_distinct(raw);
                let tune = match (&raw.tune, raw.tune_fraction) {
                    (Some(values), Some(_)) => {
                        self.mistake_in_key(
                            &["split", "column", "tune_fraction"],
                            "`tune_fraction` has no meaning beside `tune`".to_owned(),
                            "leave out one of them",
                        );
                        TunePart::Values(values.clone())
                    }
                    (Some(values), None) => TunePart::Values(values.clone()),
                    (None, fraction) => TunePart::FractionOfTrain(fraction.unwrap_or(0.25)),
                };
                Some(ColumnSplit {
                    column: raw.name.clone()?,
                    train: raw.train.clone()?,
                    tune,
                    report: raw.report.clone()?,
                })
            }
        }
    }

    fn values_are_distinct(&mut self, raw: &RawColumnSplit) {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (part, values) in [("train", &raw.train), ("tune", &raw.tune), ("report", &raw.report)] {
            for (index, value) in values.iter().flatten().enumerate() {
                if let Some((_, earlier)) = seen.iter().find(|(known, _)| known == value) {
                    let message = format!("{value:?} means both `{earlier}` and `{part}`");
                    self.mistake(&["split", "column", part, &index.to_string()], message, "a row has one part");
                }
                seen.push((value, part));
            }
        }
    }

    fn random_split(&mut self, raw: &RawRandomSplit) -> Option<RandomSplit> {
        let [train, tune, report] = raw.fractions.as_slice() else { return None };
        let sum = train + tune + report;
        if [train, tune, report].iter().any(|fraction| **fraction <= 0.0) || (sum - 1.0).abs() > 1e-9 {
            self.mistake(
                &["split", "random", "fractions"],
                format!("`fractions` is [{train}, {tune}, {report}]; the three must be above 0 and sum to 1"),
                "write train, tune and report, such as [0.6, 0.2, 0.2]",
            );
        }
        Some(RandomSplit {
            group: raw.group.clone(),
            seed: raw.seed.unwrap_or(self.raw.seed()),
            train: *train,
            tune: *tune,
            report: *report,
        })
    }
}

/// How many windows of length `horizon`, the last ending at `until` and each `every` before the next, begin at or
/// after `from`.
fn windows_that_fit(from: Timestamp, until: Timestamp, horizon: Period, every: Period) -> u32 {
    let mut end = until;
    let mut count = 0;
    while count < CUTS_MAX && end - horizon >= from {
        count += 1;
        end = end - every;
    }
    count
}
