//! Several scorers combined by weights.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use paceline_core::{Rows, Scorer};

use crate::{ModelError, json};

const KIND: &str = "ensemble";
const VERSION: u32 = 1;

/// Makes the scores of different models comparable before they are added; monotone, so it changes no model's order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreTransform {
    /// The score itself.
    Identity,
    /// `ln(p / (1 - p))` of a probability, which is kept 1e-15 away from 0 and 1.
    Logit,
    /// `(score - mean) / deviation`.
    Standardize {
        /// Mean score on the tuning slice.
        mean: f64,
        /// Standard deviation there; above 0.
        deviation: f64,
    },
}

impl ScoreTransform {
    /// The transformed score.
    #[must_use]
    pub fn apply(self, score: f64) -> f64 {
        match self {
            ScoreTransform::Identity => score,
            ScoreTransform::Logit => {
                let p = score.clamp(1e-15, 1.0 - 1e-15);
                (p / (1.0 - p)).ln()
            }
            ScoreTransform::Standardize { mean, deviation } => (score - mean) / deviation,
        }
    }
}

/// What becomes of the weighted sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnsembleOutput {
    /// The sum itself.
    Identity,
    /// `1 / (1 + exp(-sum))`: a probability again, after [`ScoreTransform::Logit`].
    Sigmoid,
}

impl EnsembleOutput {
    /// The score for a weighted sum.
    #[must_use]
    pub fn apply(self, sum: f64) -> f64 {
        match self {
            EnsembleOutput::Identity => sum,
            EnsembleOutput::Sigmoid => 1.0 / (1.0 + (-sum).exp()),
        }
    }
}

/// One model of an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Name of its file, beside that of the ensemble.
    pub file: String,
    /// Its weight, finite.
    pub weight: f64,
    /// What is done to its score first.
    pub transform: ScoreTransform,
}

/// What an ensemble's file says: which models, how weighted. The models themselves are in their own files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleSpec {
    version: u32,
    /// The models, in the order of summation.
    pub members: Vec<Member>,
    /// What becomes of the weighted sum.
    pub output: EnsembleOutput,
}

impl EnsembleSpec {
    /// Of at least one member.
    ///
    /// # Errors
    /// [`ModelError::Inconsistent`] for no members, a file named twice or outside the ensemble's own folder, a weight
    /// that is not finite, all weights zero, or a deviation that is not above 0.
    pub fn new(members: Vec<Member>, output: EnsembleOutput) -> Result<Self, ModelError> {
        let spec = EnsembleSpec { version: VERSION, members, output };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), ModelError> {
        if self.members.iter().all(|member| member.weight == 0.0) {
            let found = format!("{} of {} weights", 0, self.members.len());
            return inconsistent("number of nonzero weights", found, "at least one");
        }
        for (at, member) in self.members.iter().enumerate() {
            if member.file.is_empty() || member.file.contains(['/', '\\']) || member.file.starts_with('.') {
                return inconsistent("name of a member's file", format!("{:?}", member.file), "a plain file name");
            }
            if self.members[..at].iter().any(|other| other.file == member.file) {
                return inconsistent("name of a member's file", format!("{:?} twice", member.file), "distinct");
            }
            if !member.weight.is_finite() {
                return inconsistent(&format!("weight of {}", member.file), member.weight.to_string(), "finite");
            }
            if let ScoreTransform::Standardize { mean, deviation } = member.transform
                && !(mean.is_finite() && deviation.is_finite() && deviation > 0.0)
            {
                let found = format!("{:?}", member.transform);
                return inconsistent(&format!("transform of {}", member.file), found, "finite, its deviation above 0");
            }
        }
        Ok(())
    }

    /// The file's bytes: JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a specification is plain data")
    }

    /// Reads what [`EnsembleSpec::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ModelError`] when the bytes are not such a file, of another version, or say what [`EnsembleSpec::new`] refuses.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let spec: EnsembleSpec = json::read(KIND, bytes, VERSION)?;
        spec.check()?;
        Ok(spec)
    }
}

/// A weighted sum of scorers that take the same columns.
#[derive(Clone)]
pub struct Ensemble {
    spec: EnsembleSpec,
    scorers: Vec<Arc<dyn Scorer>>,
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Ensemble {
    /// `scorers[i]` is the model of `spec.members[i]`.
    ///
    /// # Errors
    /// [`ModelError::Inconsistent`] when the members take different numbers of columns.
    ///
    /// # Panics
    /// When there is not one scorer per member.
    pub fn new(spec: EnsembleSpec, scorers: Vec<Arc<dyn Scorer>>) -> Result<Self, ModelError> {
        assert_eq!(spec.members.len(), scorers.len(), "one scorer per member");
        let columns = scorers[0].column_count();
        if let Some(at) = scorers.iter().position(|scorer| scorer.column_count() != columns) {
            let part = format!("number of columns of {}", spec.members[at].file);
            let must = format!("{columns}, as {} takes", spec.members[0].file);
            return inconsistent(&part, scorers[at].column_count().to_string(), &must);
        }
        Ok(Ensemble { spec, scorers })
    }

    /// What it is made of.
    #[must_use]
    pub fn spec(&self) -> &EnsembleSpec {
        &self.spec
    }
}

/// Members are added in order, each row by itself, so a batch and its rows give equal bits if the members' do.
impl Scorer for Ensemble {
    fn column_count(&self) -> usize {
        self.scorers[0].column_count()
    }

    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.len(), out.len(), "one score per row");
        out.fill(0.0);
        let mut scores = vec![0.0; out.len()];
        for (member, scorer) in self.spec.members.iter().zip(&self.scorers) {
            scorer.score(rows, &mut scores);
            for (sum, &score) in out.iter_mut().zip(&scores) {
                *sum += member.weight * member.transform.apply(score);
            }
        }
        out.iter_mut().for_each(|score| *score = self.spec.output.apply(*score));
    }
}

fn inconsistent<T>(part: &str, found: String, must: &str) -> Result<T, ModelError> {
    Err(ModelError::Inconsistent { kind: KIND, part: part.to_owned(), found, must: must.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores a row by one of its columns.
    struct Column {
        at: usize,
        count: usize,
    }

    impl Scorer for Column {
        fn column_count(&self) -> usize {
            self.count
        }

        fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
            rows.iter().zip(out).for_each(|(row, score)| *score = row[self.at]);
        }
    }

    fn member(file: &str, weight: f64, transform: ScoreTransform) -> Member {
        Member { file: file.to_owned(), weight, transform }
    }

    fn members() -> Vec<Member> {
        vec![
            member("forest.txt", 2.0, ScoreTransform::Identity),
            member("network.safetensors", 0.5, ScoreTransform::Standardize { mean: 1.0, deviation: 4.0 }),
        ]
    }

    fn ensemble(members: Vec<Member>, output: EnsembleOutput) -> Ensemble {
        let count = members.len();
        let scorers = (0..count).map(|at| Arc::new(Column { at, count }) as Arc<dyn Scorer>).collect();
        Ensemble::new(EnsembleSpec::new(members, output).expect("good"), scorers).expect("same columns")
    }

    #[test]
    fn scores_are_weighted_sums_of_transformed_scores() {
        let mut out = [f64::NAN; 2];
        ensemble(members(), EnsembleOutput::Identity).score(Rows::new(&[1.0, 9.0, -1.0, 1.0], 2), &mut out);
        assert_eq!(out, [2.0 + 0.5 * 2.0, -2.0]);
    }

    #[test]
    fn a_mean_of_logits_is_a_probability_again() {
        let halves = ["a", "b"].map(|file| member(file, 0.5, ScoreTransform::Logit)).to_vec();
        let mut out = [f64::NAN; 3];
        ensemble(halves, EnsembleOutput::Sigmoid).score(Rows::new(&[0.2, 0.2, 0.1, 0.9, 0.0, 0.0], 2), &mut out);
        assert!((out[0] - 0.2).abs() < 1e-12 && (out[1] - 0.5).abs() < 1e-12, "{out:?}");
        assert!(out[2] > 0.0 && out[2] < 1e-14, "{out:?}");
    }

    #[test]
    fn files_round_trip_and_say_what_is_wrong() {
        let spec = EnsembleSpec::new(members(), EnsembleOutput::Sigmoid).expect("good");
        assert_eq!(EnsembleSpec::from_bytes(&spec.to_bytes()).as_ref(), Ok(&spec));
        let text = String::from_utf8(spec.to_bytes()).expect("JSON");
        let check = |from: &str, to: &str, part: &str| {
            assert!(text.contains(from), "{from} in {text}");
            let error = EnsembleSpec::from_bytes(text.replace(from, to).as_bytes()).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        check("\"version\": 1", "\"version\": 2", "format version 2, this program reads version 1");
        check("forest.txt", "../forest.txt", "\"../forest.txt\", but must be a plain file name");
        check("network.safetensors", "forest.txt", "\"forest.txt\" twice");
        check("\"deviation\": 4.0", "\"deviation\": 0.0", "its deviation above 0");
        check("\"weight\"", "\"wait\"", "unknown field");
        assert!(EnsembleSpec::from_bytes(b"{").is_err());
        assert!(EnsembleSpec::new(vec![], EnsembleOutput::Identity).is_err());
        let nan = EnsembleSpec::new(vec![member("a", f64::NAN, ScoreTransform::Identity)], EnsembleOutput::Identity);
        assert!(nan.expect_err("NaN").to_string().contains("weight of a is NaN"));
    }

    #[test]
    fn members_of_different_width_are_refused() {
        let spec = EnsembleSpec::new(members(), EnsembleOutput::Identity).expect("good");
        let scorers = [2, 3].map(|count| Arc::new(Column { at: 0, count }) as Arc<dyn Scorer>).to_vec();
        let error = Ensemble::new(spec, scorers).expect_err("widths differ").to_string();
        assert!(error.contains("number of columns of network.safetensors is 3, but must be 2"), "{error}");
    }
}
