//! The names of metrics.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MetricError;

/// A metric as a pipeline file names it; written and read as text (`ndcg@10`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A mean over users of a value per ranked list.
    Ranking(RankingMetric),
    /// Share of the catalogue that appears in at least one user's first K: a figure of the catalogue, not of users,
    /// so it has no bootstrap interval (a resample of users always covers less).
    Coverage {
        /// Length of the lists.
        k: NonZeroUsize,
    },
    /// A value over rows of score and label.
    Row(RowMetric),
}

/// A ranking metric cut at the first `k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankingMetric {
    /// What is measured.
    pub kind: RankingKind,
    /// How many items of the list count.
    pub k: NonZeroUsize,
}

/// What a ranking metric measures; formulas in [`super::ranking`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RankingKind {
    /// Normalised discounted cumulative gain.
    Ndcg,
    /// Share of the relevant items that were listed.
    Recall,
    /// Reciprocal rank of the first relevant item.
    Mrr,
    /// Average precision.
    Map,
    /// Whether any relevant item was listed.
    HitRate,
}

/// A metric over rows of score and label; formulas in [`super::Measured::rows`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowMetric {
    /// Area under the receiver operating characteristic.
    Auc,
    /// Area under the precision-recall steps.
    AveragePrecision,
    /// Share of rows on the right side of 0.5.
    Accuracy,
    /// Binary cross-entropy in nats.
    LogLoss,
    /// Mean squared error of a probability.
    Brier,
    /// Root of the mean squared error.
    Rmse,
    /// Mean absolute error.
    Mae,
    /// Quantile loss.
    Pinball {
        /// Which quantile the score claims to be.
        quantile: Quantile,
    },
    /// Share of the labels' variance that is explained.
    R2,
}

/// A number strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile(f64);

impl Quantile {
    /// `None` unless `0 < quantile < 1`.
    #[must_use]
    pub fn new(quantile: f64) -> Option<Self> {
        (quantile > 0.0 && quantile < 1.0).then_some(Quantile(quantile))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Metric {
    /// Whether a larger value is better; losses are the other way round.
    #[must_use]
    pub fn higher_is_better(&self) -> bool {
        match self {
            Metric::Ranking(_) | Metric::Coverage { .. } => true,
            Metric::Row(row) => row.higher_is_better(),
        }
    }

    /// Whether ordinary models reach zero or below, so that a quotient of two values means nothing: only r2. Retention
    /// of such a metric is refused. (Any metric may be zero on degenerate data; that is found when it happens.)
    #[must_use]
    pub fn may_be_zero_or_negative(&self) -> bool {
        matches!(self, Metric::Row(RowMetric::R2))
    }
}

impl RowMetric {
    /// Whether a larger value is better.
    #[must_use]
    pub fn higher_is_better(self) -> bool {
        match self {
            RowMetric::Auc | RowMetric::AveragePrecision | RowMetric::Accuracy | RowMetric::R2 => true,
            RowMetric::LogLoss | RowMetric::Brier | RowMetric::Rmse | RowMetric::Mae | RowMetric::Pinball { .. } => {
                false
            }
        }
    }
}

impl RankingKind {
    /// All of them, in the order of reports.
    pub const ALL: [RankingKind; 5] =
        [RankingKind::Ndcg, RankingKind::Recall, RankingKind::Mrr, RankingKind::Map, RankingKind::HitRate];

    fn name(self) -> &'static str {
        match self {
            RankingKind::Ndcg => "ndcg",
            RankingKind::Recall => "recall",
            RankingKind::Mrr => "mrr",
            RankingKind::Map => "map",
            RankingKind::HitRate => "hit_rate",
        }
    }

    /// This kind cut at `k`.
    #[must_use]
    pub fn at(self, k: NonZeroUsize) -> RankingMetric {
        RankingMetric { kind: self, k }
    }
}

impl From<RankingMetric> for Metric {
    fn from(metric: RankingMetric) -> Self {
        Metric::Ranking(metric)
    }
}

impl From<RowMetric> for Metric {
    fn from(metric: RowMetric) -> Self {
        Metric::Row(metric)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Ranking(metric) => metric.fmt(f),
            Metric::Coverage { k } => write!(f, "coverage@{k}"),
            Metric::Row(metric) => metric.fmt(f),
        }
    }
}

impl fmt::Display for RankingMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.kind.name(), self.k)
    }
}

impl fmt::Display for RowMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowMetric::Auc => "auc",
            RowMetric::AveragePrecision => "average_precision",
            RowMetric::Accuracy => "accuracy",
            RowMetric::LogLoss => "log_loss",
            RowMetric::Brier => "brier",
            RowMetric::Rmse => "rmse",
            RowMetric::Mae => "mae",
            RowMetric::Pinball { quantile } => return write!(f, "pinball@{}", quantile.0),
            RowMetric::R2 => "r2",
        })
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, MetricError> {
        let unknown = |why| MetricError::Unknown { text: text.to_owned(), why };
        let (name, parameter) = match text.split_once('@') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let k = || {
            let digits = parameter.ok_or_else(|| unknown("the length of the list is missing, as in ndcg@10"))?;
            digits.parse::<NonZeroUsize>().map_err(|_| unknown("what follows @ is not a whole number above 0"))
        };
        let ranking = |kind: RankingKind| Ok(Metric::Ranking(kind.at(k()?)));
        let row = |metric: RowMetric| match parameter {
            None => Ok(Metric::Row(metric)),
            Some(_) => Err(unknown("this metric takes no @")),
        };
        match name {
            "ndcg" => ranking(RankingKind::Ndcg),
            "recall" => ranking(RankingKind::Recall),
            "mrr" => ranking(RankingKind::Mrr),
            "map" => ranking(RankingKind::Map),
            "hit_rate" => ranking(RankingKind::HitRate),
            "coverage" => Ok(Metric::Coverage { k: k()? }),
            "auc" => row(RowMetric::Auc),
            "average_precision" => row(RowMetric::AveragePrecision),
            "accuracy" => row(RowMetric::Accuracy),
            "log_loss" => row(RowMetric::LogLoss),
            "brier" => row(RowMetric::Brier),
            "rmse" => row(RowMetric::Rmse),
            "mae" => row(RowMetric::Mae),
            "pinball" => {
                let number = parameter.ok_or_else(|| unknown("the quantile is missing, as in pinball@0.9"))?;
                let quantile = number.parse().ok().and_then(Quantile::new);
                let quantile = quantile.ok_or_else(|| unknown("the quantile is not between 0 and 1"))?;
                Ok(Metric::Row(RowMetric::Pinball { quantile }))
            }
            "r2" => row(RowMetric::R2),
            _ => Err(unknown("no metric has this name")),
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in [
            "ndcg@10",
            "recall@20",
            "mrr@1",
            "map@5",
            "hit_rate@10",
            "coverage@10",
            "auc",
            "average_precision",
            "accuracy",
            "log_loss",
            "brier",
            "rmse",
            "mae",
            "pinball@0.9",
            "r2",
        ] {
            let metric: Metric = text.parse().expect(text);
            assert_eq!(metric.to_string(), text);
            let json = serde_json::to_string(&metric).expect("text");
            assert_eq!(serde_json::from_str::<Metric>(&json).expect("text"), metric);
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        for (text, part) in [
            ("ndcg", "length of the list"),
            ("ndcg@0", "above 0"),
            ("ndcg@ten", "above 0"),
            ("auc@10", "takes no @"),
            ("pinball", "quantile is missing"),
            ("pinball@1", "between 0 and 1"),
            ("pinball@NaN", "between 0 and 1"),
            ("NDCG@10", "no metric has this name"),
        ] {
            let message = text.parse::<Metric>().expect_err(text).to_string();
            assert!(message.contains(part) && message.contains(text), "{message}");
        }
    }

    #[test]
    fn losses_are_lower_and_only_r2_has_no_retention() {
        let lower = ["log_loss", "brier", "rmse", "mae", "pinball@0.5"];
        for text in ["ndcg@10", "coverage@3", "auc", "average_precision", "accuracy", "r2"].iter().chain(&lower) {
            let metric: Metric = text.parse().expect("a metric");
            assert_eq!(metric.higher_is_better(), !lower.contains(text), "{text}");
            assert_eq!(metric.may_be_zero_or_negative(), *text == "r2", "{text}");
        }
    }
}
