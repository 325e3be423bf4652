//! Linear and logistic models: a weighted sum of standardised inputs.

use serde::{Deserialize, Serialize};

use paceline_core::{Rows, Scorer};

use crate::network::{NetworkOutput, Standardization};
use crate::{ModelError, json};

const KIND: &str = "linear model";
const VERSION: u32 = 1;

/// A trained linear model. Inputs are those of [`Standardization`]: one per column, then one per indicated column that
/// says whether its value is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    version: u32,
    output: NetworkOutput,
    standardization: Standardization,
    weights: Vec<f64>,
    bias: f64,
}

impl Linear {
    /// `weights` has one entry per input.
    ///
    /// # Errors
    /// [`ModelError::Inconsistent`] when sizes do not fit together or a number is not finite.
    pub fn new(
        standardization: Standardization,
        weights: Vec<f64>,
        bias: f64,
        output: NetworkOutput,
    ) -> Result<Self, ModelError> {
        let linear = Linear { version: VERSION, output, standardization, weights, bias };
        linear.check()?;
        Ok(linear)
    }

    /// How rows become inputs.
    #[must_use]
    pub fn standardization(&self) -> &Standardization {
        &self.standardization
    }

    /// One per input.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The sum where every input is 0: all columns at their means.
    #[must_use]
    pub fn bias(&self) -> f64 {
        self.bias
    }

    /// What becomes of the sum.
    #[must_use]
    pub fn output(&self) -> NetworkOutput {
        self.output
    }

    /// The file's bytes: JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a linear model is plain data")
    }

    /// Reads what [`Linear::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ModelError`] when the bytes are not such a file, of another version, or say what [`Linear::new`] refuses.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let linear: Linear = json::read(KIND, bytes, VERSION)?;
        linear.check()?;
        Ok(linear)
    }

    fn check(&self) -> Result<(), ModelError> {
        self.standardization.check()?;
        let inconsistent = |part: &str, found: String, must: String| {
            Err(ModelError::Inconsistent { kind: KIND, part: part.to_owned(), found, must })
        };
        let inputs = self.standardization.input_count();
        if self.weights.len() != inputs {
            return inconsistent(
                "number of weights",
                self.weights.len().to_string(),
                format!("{inputs}, one per input"),
            );
        }
        if let Some(at) = self.weights.iter().position(|weight| !weight.is_finite()) {
            return inconsistent(&format!("weight {at}"), self.weights[at].to_string(), "finite".to_owned());
        }
        if !self.bias.is_finite() {
            return inconsistent("bias", self.bias.to_string(), "finite".to_owned());
        }
        Ok(())
    }
}

impl Scorer for Linear {
    fn column_count(&self) -> usize {
        self.standardization.column_count()
    }

    /// Each row by itself, added in the order of the inputs, so a batch and its rows give equal bits.
    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.columns(), self.column_count(), "columns");
        assert_eq!(rows.len(), out.len(), "one score per row");
        let mut inputs = vec![0.0_f32; self.weights.len()];
        for (row, score) in rows.iter().zip(out) {
            self.standardization.apply(row, &mut inputs);
            let terms = self.weights.iter().zip(&inputs);
            let sum = terms.fold(self.bias, |sum, (weight, &input)| sum + weight * f64::from(input));
            *score = match self.output {
                NetworkOutput::Sigmoid => 1.0 / (1.0 + (-sum).exp()),
                NetworkOutput::Identity => sum,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns, the second sometimes missing; read from a file's form, whatever else that form gains.
    fn linear(output: NetworkOutput) -> Linear {
        let rows = [[1.0, 10.0], [3.0, f64::NAN]];
        let standardization = Standardization {
            log_scales: vec![0.0; 2],
            means: vec![2.0, 10.0],
            scales: vec![0.5, 0.25],
            indicated: vec![1],
        };
        assert_eq!(rows[0].len(), standardization.column_count());
        Linear::new(standardization, vec![2.0, -1.0, 0.5], 0.25, output).expect("sizes fit")
    }

    #[test]
    fn a_score_is_the_weighted_sum_and_missing_values_count_by_their_indicator() {
        let linear_scores = |output, rows: &[f64]| {
            let mut out = vec![0.0; rows.len() / 2];
            linear(output).score(Rows::new(rows, 2), &mut out);
            out
        };
        let rows = [3.0, 14.0, 2.0, f64::NAN];
        // (3 - 2) / 2 * 2 - (14 - 10) / 4 + 0.25; 0 + 0.5 + 0.25.
        assert_eq!(linear_scores(NetworkOutput::Identity, &rows), [0.25, 0.75]);
        let expected = [0.25, 0.75].map(|sum: f64| 1.0 / (1.0 + (-sum).exp()));
        assert_eq!(linear_scores(NetworkOutput::Sigmoid, &rows), expected);
        assert_eq!(linear_scores(NetworkOutput::Identity, &rows[2..]), [0.75], "one row as in a batch");
    }

    #[test]
    fn files_round_trip_and_damaged_ones_are_refused() {
        let linear = linear(NetworkOutput::Sigmoid);
        let bytes = linear.to_bytes();
        assert_eq!(Linear::from_bytes(&bytes), Ok(linear));
        let text = String::from_utf8(bytes).expect("JSON");
        let damaged = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Linear::from_bytes(text.replacen(from, to, 1).as_bytes()).expect_err(to).to_string()
        };
        assert!(damaged("\"version\": 1", "\"version\": 9").contains("version 9"));
        assert!(damaged("\"bias\": 0.25", "\"bias\": null").contains("damaged"));
        assert!(damaged("2.0,\n    -1.0", "2.0").contains("number of weights is 2, but must be 3"));
        assert!(damaged("\"weights\"", "\"wights\"").contains("damaged"));
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            assert!(Linear::from_bytes(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }
}
