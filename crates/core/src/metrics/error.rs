//! Why there is no number.

use std::fmt;

use thiserror::Error;

/// Why a metric has no value on some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undefined {
    /// There is no row, or no user.
    NoRows,
    /// All rows weigh nothing.
    NoWeight,
    /// All labels are of one class, so nothing can be told apart.
    OneClass,
    /// All labels are equal, so there is no variance to explain.
    ConstantLabels,
    /// A user, or all users, have no relevant item.
    NoRelevantItems,
    /// The catalogue is empty.
    NoItems,
    /// The divisor of a quotient is zero.
    ZeroDivisor,
}

impl fmt::Display for Undefined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Undefined::NoRows => "there are no rows",
            Undefined::NoWeight => "all weights are zero",
            Undefined::OneClass => "all labels are of one class",
            Undefined::ConstantLabels => "all labels are equal",
            Undefined::NoRelevantItems => "there is no relevant item",
            Undefined::NoItems => "the catalogue is empty",
            Undefined::ZeroDivisor => "the divisor is zero",
        })
    }
}

/// Why quality could not be measured or compared, grouped by what the caller can do.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum MetricError {
    /// The text names no metric.
    #[error(
        "{text:?} is not a metric: {why}; known are ndcg@K, recall@K, mrr@K, map@K, hit_rate@K, coverage@K (K at least \
         1), auc, average_precision, accuracy, log_loss, brier, rmse, mae, pinball@Q (0 < Q < 1) and r2"
    )]
    Unknown {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A score, label or weight is outside what the metric is defined for.
    #[error("{metric}: the {what} of row {row} is {value}; it must be {must}")]
    BadRow {
        /// The metric, or "rows" before a metric is known.
        metric: String,
        /// Which of score, label, weight.
        what: &'static str,
        /// The row, from 0.
        row: usize,
        /// What it was.
        value: f64,
        /// What is allowed.
        must: &'static str,
    },
    /// The metric has no value on these rows.
    #[error("{metric} is not defined here: {reason}")]
    Undefined {
        /// The metric.
        metric: String,
        /// Why.
        reason: Undefined,
    },
    /// There is nothing to resample: an interval needs at least two units.
    #[error("{metric} has {units} unit(s) to resample; an interval needs at least 2 (users, groups or rows)")]
    TooFewUnits {
        /// The metric.
        metric: String,
        /// How many there are.
        units: usize,
    },
    /// Too many resamples have no value for an interval to mean anything.
    #[error(
        "{metric}: {undefined} of {replicates} resamples have no value ({reason}); more units are needed, of the rarer \
         kind above all"
    )]
    UndefinedReplicates {
        /// The metric.
        metric: String,
        /// How many had none.
        undefined: usize,
        /// Of how many.
        replicates: usize,
        /// Why the first one had none.
        reason: Undefined,
    },
    /// Retention of this metric means nothing.
    #[error("there is no retention of {metric}: {why}")]
    NoRetention {
        /// The metric.
        metric: String,
        /// Why not.
        why: &'static str,
    },
    /// Candidate and reference were not measured on the same rows with the same metric.
    #[error("candidate and reference cannot be compared: {why}")]
    NotPaired {
        /// What differs.
        why: String,
    },
}
