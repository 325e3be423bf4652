//! Tables scored by what was published.
//!
//! - [`score_file`]: rows by a row model, each with its prediction.
//! - [`recommend_file`]: users by a recommender, each with her list.

mod lists;
mod rows;

pub use lists::{Lists, Recommended, recommend_file};
pub use rows::{PREDICTION, SpineScorer, score_file};
