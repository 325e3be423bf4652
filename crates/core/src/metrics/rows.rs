//! Rows of score, label and weight.

use super::MetricError;

/// Scores of a model beside the labels, checked: every score and label is a finite number, every weight finite and
/// not below zero.
#[derive(Debug, Clone, Copy)]
pub struct ScoredRows<'a> {
    scores: &'a [f64],
    labels: &'a [f32],
    weights: Option<&'a [f32]>,
}

impl<'a> ScoredRows<'a> {
    /// Rows of equal weight when `weights` is `None`.
    ///
    /// # Errors
    /// [`MetricError::BadRow`] for a score or label that is NaN or infinite, or a weight that is not a finite number of
    /// at least 0. An infinite score ranks, but no loss is defined for it, so it is refused for all metrics alike.
    ///
    /// # Panics
    /// When the lengths differ: the caller's bug.
    pub fn new(scores: &'a [f64], labels: &'a [f32], weights: Option<&'a [f32]>) -> Result<Self, MetricError> {
        assert_eq!(scores.len(), labels.len(), "scores and labels");
        assert!(weights.is_none_or(|weights| weights.len() == labels.len()), "weights and labels");
        let bad = |what, row, value, must| MetricError::BadRow { metric: "rows".to_owned(), what, row, value, must };
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            return Err(bad("score", row, scores[row], "a finite number"));
        }
        if let Some(row) = labels.iter().position(|label| !label.is_finite()) {
            return Err(bad("label", row, f64::from(labels[row]), "a finite number"));
        }
        if let Some(weights) = weights
            && let Some(row) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0))
        {
            return Err(bad("weight", row, f64::from(weights[row]), "a finite number of at least 0"));
        }
        Ok(ScoredRows { scores, labels, weights })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Score of one row.
    #[must_use]
    pub fn score(&self, row: usize) -> f64 {
        self.scores[row]
    }

    /// Label of one row.
    #[must_use]
    pub fn label(&self, row: usize) -> f64 {
        f64::from(self.labels[row])
    }

    /// Weight of one row, 1 without weights.
    #[must_use]
    pub fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| f64::from(weights[row]))
    }
}
