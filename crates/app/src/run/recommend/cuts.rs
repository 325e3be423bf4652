//! From a split by time to cuts: where label windows begin.

use paceline_core::{Period, Timestamp};

use crate::pipeline::{Cuts, TimeSplit};

/// The cuts of each part, oldest first. A label window is `[cut, cut + horizon)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Their labels train.
    pub train: Vec<Timestamp>,
    /// Their labels choose.
    pub tune: Vec<Timestamp>,
    /// Their labels are looked at once, at the end.
    pub report: Vec<Timestamp>,
}

/// Lays windows of `horizon` so that the last one of a part ends where the part ends; a window that would begin before
/// its part (or before `data_begins`, for training) is left out. Report windows begin where tuning ends; the last one
/// may be cut short by no more than the end of the split.
#[must_use]
pub fn plan(split: &TimeSplit, cuts: &Cuts, horizon: Period, data_begins: Timestamp) -> Plan {
    let backwards = |until: Timestamp, count: u32, earliest: Timestamp| {
        let mut begins = Vec::new();
        let mut end = until;
        for _ in 0..count {
            let begin = end - horizon;
            if begin < earliest {
                break;
            }
            begins.push(begin);
            end = end - cuts.every;
        }
        begins.reverse();
        begins
    };
    let mut report = Vec::new();
    let mut begin = split.tune_until;
    while begin + horizon <= split.report_until {
        report.push(begin);
        begin = begin + cuts.every;
    }
    Plan {
        train: backwards(split.train_until, cuts.train, data_begins),
        tune: backwards(split.tune_until, cuts.tune, split.train_until),
        report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn windows_end_where_their_part_ends() {
        let split = TimeSplit {
            train_until: at("2011-07-01"),
            tune_until: at("2011-10-01"),
            report_until: at("2011-12-10"),
            cuts: None,
        };
        let cuts = Cuts { every: Period::Months(1), train: 3, tune: 5 };
        let plan = plan(&split, &cuts, Period::Months(1), at("2009-12-01"));
        assert_eq!(plan.train, [at("2011-04-01"), at("2011-05-01"), at("2011-06-01")]);
        assert_eq!(plan.tune, [at("2011-07-01"), at("2011-08-01"), at("2011-09-01")], "none begins before train_until");
        assert_eq!(plan.report, [at("2011-10-01"), at("2011-11-01")], "December is not complete");
    }

    #[test]
    fn training_windows_begin_after_the_data() {
        let split = TimeSplit {
            train_until: at("2011-03-01"),
            tune_until: at("2011-04-01"),
            report_until: at("2011-05-01"),
            cuts: None,
        };
        let cuts = Cuts { every: Period::Months(1), train: 9, tune: 1 };
        let plan = plan(&split, &cuts, Period::Months(1), at("2011-01-15"));
        assert_eq!(plan.train, [at("2011-02-01")]);
    }
}
