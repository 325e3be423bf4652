//! From a checked pipeline to a measured one.

mod findings;
pub mod recommend;
mod specs;
pub mod staleness;
pub mod tabular;
pub mod trials;

use anyhow::Result;

pub use recommend::Means;

use crate::pipeline::{Goal, Pipeline};
use crate::report::Report;

/// Runs the pipeline and reports what was found.
///
/// # Errors
/// When a source cannot be read, or there is too little to learn from or to judge by.
pub fn run(pipeline: &Pipeline, means: &Means<'_>) -> Result<Report> {
    match pipeline.model.as_ref().map(|model| &model.goal) {
        Some(Goal::Classify(_) | Goal::Regress(_) | Goal::Rank(_)) => tabular::run(pipeline, means),
        Some(Goal::Recommend(_)) | None => recommend::run(pipeline, means),
    }
}
