//! What is left of the metric when features are older than the model learned them.
//!
//! One model learns from the pipeline as it is given, with the training slice alone. It is asked on the tuning slice,
//! again and again with other values of the same features. The report slice stays closed.

use anyhow::Result;
use paceline_core::Timestamp;
use paceline_core::metrics::{Bootstrap, Estimate};
use paceline_features::FeatureView;

use super::{Means, recommend, tabular};
use crate::pipeline::{Goal, Pipeline};
use crate::plan::Judge;
use crate::verify::last_materialization;

/// A model that can be asked with other features.
pub trait Study {
    /// What `variant`, the same pipeline with other placements, keeps of the metric, and the mean age of one of its
    /// views on the tuning slice in seconds.
    ///
    /// # Errors
    /// When a source cannot be read, or the metric has no value.
    fn retention(&self, variant: &Pipeline, view: &FeatureView) -> Result<(Estimate, f64)>;

    /// The model and its metric with the features that it learned from.
    ///
    /// # Errors
    /// When there are too few units for an interval.
    fn judge(&self) -> Result<Judge>;
}

/// Trains on the training slice of `pipeline`.
///
/// # Errors
/// When a source cannot be read, or there is too little to learn from or to judge by.
pub fn study<'a>(pipeline: &'a Pipeline, means: &'a Means<'a>) -> Result<Box<dyn Study + 'a>> {
    Ok(match pipeline.model.as_ref().map(|model| &model.goal) {
        Some(Goal::Classify(_) | Goal::Regress(_) | Goal::Rank(_)) => {
            Box::new(tabular::RowStudy::new(pipeline, means)?)
        }
        Some(Goal::Recommend(_)) | None => Box::new(recommend::CutStudy::new(pipeline, means)?),
    })
}

/// The mean age of a view as `variant` places it, at the times of the tuning slice.
pub(super) fn mean_age_s(variant: &Pipeline, view: &FeatureView, times: impl Iterator<Item = Timestamp>) -> f64 {
    let Some(placed) = variant.views.iter().find(|placed| placed.name == view.name) else { return 0.0 };
    let (mut sum, mut count) = (0.0, 0_u64);
    for time in times {
        sum += time.seconds_since(last_materialization(placed, time));
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / count as f64 }
}

pub(super) fn bootstrap(pipeline: &Pipeline) -> Bootstrap {
    Bootstrap { seed: pipeline.seed, ..Bootstrap::default() }
}
