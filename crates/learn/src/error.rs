//! Why a model could not be trained.

use thiserror::Error;

/// What stands in the way of training, grouped by what the caller can do.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LearnError {
    /// A row of the training data cannot be used: change or drop it.
    #[error("{data}: the {what} of row {row} is {value}; it must be {must}")]
    BadRow {
        /// Which data: "training rows", "interactions", ...
        data: &'static str,
        /// Which part of the row.
        what: &'static str,
        /// The row, from 0.
        row: usize,
        /// What it was.
        value: f64,
        /// What is allowed.
        must: &'static str,
    },
    /// There is too little to learn from: bring more rows.
    #[error("{data}: {cause}")]
    TooFewRows {
        /// Which data.
        data: &'static str,
        /// What is missing.
        cause: String,
    },
    /// An option makes no sense: change it.
    #[error("{option} is {value}; it must be {must}")]
    BadOption {
        /// Its name.
        option: &'static str,
        /// What it was.
        value: String,
        /// What is allowed.
        must: &'static str,
    },
    /// Training ran away from every solution: lower the learning rate.
    #[error("training diverged in epoch {epoch}: the loss is {loss}; lower learning_rate (now {learning_rate})")]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The loss.
        loss: f64,
        /// The option to change.
        learning_rate: f32,
    },
    /// The metric that guides a search has no value.
    #[error(transparent)]
    Metric(#[from] paceline_core::metrics::MetricError),
}
