//! Quality: of a ranking, a classifier, a regressor; with bootstrap intervals and retention.
//!
//! - [`Metric`] is the name that a pipeline file writes: `ndcg@10`, `auc`, `rmse`, `pinball@0.9`, ...
//! - [`ranking`] gives one value per user from a ranked list; a ranking metric is the mean of these values.
//! - [`Measured`] holds what one scorer achieved on one slice, in a form that can be resampled quickly.
//! - [`Bootstrap`] turns it into a 95 % interval, and two of them into a paired [`Bootstrap::retention`].
//!
//! A value that does not exist (one class only, no rows, constant labels) is a [`MetricError`] with its reason, never
//! a number.
//!
//! ```
//! use paceline_core::metrics::{Bootstrap, Measured, RowMetric, ScoredRows, Units};
//!
//! let labels = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
//! let scores: Vec<f64> = labels.iter().enumerate().map(|(row, &y)| f64::from(y) + (row % 7) as f64 / 4.0).collect();
//! let rows = ScoredRows::new(&scores, &labels, None)?;
//! let measured = Measured::rows(RowMetric::Auc, rows, &Units::each(rows.len()))?;
//! let auc = Bootstrap::default().interval(&measured)?;
//! assert!(auc.low <= auc.value && auc.value <= auc.high);
//! # Ok::<(), paceline_core::metrics::MetricError>(())
//! ```

mod bootstrap;
mod error;
mod measured;
mod name;
pub mod ranking;
mod rows;

pub use bootstrap::{Bootstrap, Estimate};
pub use error::{MetricError, Undefined};
pub use measured::{Measured, Units};
pub use name::{Metric, Quantile, RankingKind, RankingMetric, RowMetric};
pub use rows::ScoredRows;
