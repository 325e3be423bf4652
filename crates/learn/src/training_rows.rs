//! What a supervised model learns from.

use paceline_core::Rows;

use crate::LearnError;

const DATA: &str = "training rows";

/// Rows of features (NaN is missing) with a target and optionally a weight each, checked: targets are finite, weights
/// finite and at least 0 with some above it, and no feature is infinite.
#[derive(Debug, Clone, Copy)]
pub struct TrainingRows<'a> {
    rows: Rows<'a>,
    targets: &'a [f32],
    weights: Option<&'a [f32]>,
}

impl<'a> TrainingRows<'a> {
    /// Rows of equal weight when `weights` is `None`.
    ///
    /// # Errors
    /// [`LearnError::BadRow`] for a value outside what is stated above, [`LearnError::TooFewRows`] when there is no row
    /// or no weight above 0.
    ///
    /// # Panics
    /// When the lengths differ: the caller's bug.
    pub fn new(rows: Rows<'a>, targets: &'a [f32], weights: Option<&'a [f32]>) -> Result<Self, LearnError> {
        assert_eq!(rows.len(), targets.len(), "rows and targets");
        assert!(weights.is_none_or(|weights| weights.len() == targets.len()), "weights and targets");
        let bad = |what, row, value, must| Err(LearnError::BadRow { data: DATA, what, row, value, must });
        if let Some(at) = rows.values().iter().position(|value| value.is_infinite()) {
            return bad("feature", at / rows.columns(), rows.values()[at], "finite or missing");
        }
        if let Some(row) = targets.iter().position(|target| !target.is_finite()) {
            return bad("target", row, f64::from(targets[row]), "finite");
        }
        if let Some(weights) = weights
            && let Some(row) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0))
        {
            return bad("weight", row, f64::from(weights[row]), "finite and at least 0");
        }
        if rows.is_empty() || weights.is_some_and(|weights| weights.iter().all(|&weight| weight == 0.0)) {
            let cause = "there is none with a weight above 0".to_owned();
            return Err(LearnError::TooFewRows { data: DATA, cause });
        }
        Ok(TrainingRows { rows, targets, weights })
    }

    /// The features.
    #[must_use]
    pub fn rows(&self) -> Rows<'a> {
        self.rows
    }

    /// The targets.
    #[must_use]
    pub fn targets(&self) -> &'a [f32] {
        self.targets
    }

    /// Weight of one row, 1 without weights.
    #[must_use]
    pub fn weight(&self, row: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[row])
    }

    /// Mean weight, above 0.
    #[must_use]
    pub fn mean_weight(&self) -> f64 {
        (0..self.targets.len()).map(|row| f64::from(self.weight(row))).sum::<f64>() / self.targets.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_are_named() {
        let check = |features: [f64; 2], target: f32, weight: f32, part: &str| {
            let error =
                TrainingRows::new(Rows::new(&features, 1), &[0.0, target], Some(&[0.0, weight])).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
        };
        check([0.0, f64::INFINITY], 0.0, 1.0, "the feature of row 1 is inf");
        check([0.0, 1.0], f32::NAN, 1.0, "the target of row 1 is NaN");
        check([0.0, 1.0], 1.0, -1.0, "the weight of row 1 is -1");
        check([0.0, 1.0], 1.0, 0.0, "there is none with a weight above 0");
        assert!(TrainingRows::new(Rows::new(&[0.0, f64::NAN], 1), &[0.0, 1.0], None).is_ok());
    }
}
