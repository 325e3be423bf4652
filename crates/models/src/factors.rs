//! Matrix factors: users and items as vectors whose dot product is a preference.
//!
//! The model is that of Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets" (2008): an
//! interaction of weight `r > 0` is a preference of 1 held with confidence `1 + alpha r`, everything else a preference
//! of 0 held with confidence 1. Given the items' vectors `Y`, a user's vector is the minimum of
//!
//! ```text
//! sum over all items i of c_i (p_i - x . y_i)^2 + regularization |x|^2
//! ```
//!
//! which solves `(Y'Y + regularization I + sum over the user's items of alpha r_i y_i y_i') x = sum (1 + alpha r_i) y_i`.
//! [`RowSolver`] does so by conjugate gradients (Takács, Pilászy and Tikk, "Applications of the conjugate gradient method
//! for implicit feedback collaborative filtering", 2011); training and [`Factors::fold_in`] share it.

use serde::{Deserialize, Serialize};

use paceline_core::{Rows, Scorer};
use paceline_kernels::conjugate_gradient::{self, LowRankSystem, Stop, Workspace};

use crate::ModelError;
use crate::tensors::{self, TensorFile, Values};

const KIND: &str = "factors";
const VERSION: u32 = 1;

/// Steps and precision at which a vector counts as solved: 64 unknowns take some 15 steps.
const SOLVED: Stop = Stop { steps_max: 200, tolerance: 1e-5 };

/// How interactions become confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Confidence gained per unit of interaction weight; above 0.
    pub alpha: f32,
    /// Penalty on the squared length of every vector; above 0, so that every system has one solution.
    pub regularization: f32,
}

/// `Y'Y + regularization I` of one side's vectors: what every system of the other side has in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    dimensions: usize,
    values: Vec<f32>,
}

impl Gram {
    /// Of `rows`, row-major, `dimensions` values each. Sums of 512 rows are taken in f32 and added up in f64, always in
    /// the order of rows.
    ///
    /// # Panics
    /// When `dimensions` is 0 or does not divide the number of values.
    #[must_use]
    pub fn of(rows: &[f32], dimensions: usize, regularization: f32) -> Self {
        assert!(dimensions > 0 && rows.len().is_multiple_of(dimensions), "{} values by {dimensions}", rows.len());
        let mut total = vec![0.0_f64; dimensions * dimensions];
        let mut block = vec![0.0_f32; dimensions * dimensions];
        for rows in rows.chunks(512 * dimensions) {
            block.fill(0.0);
            for row in rows.chunks_exact(dimensions) {
                for (at, &scale) in row.iter().enumerate() {
                    let upper = &mut block[at * dimensions + at..(at + 1) * dimensions];
                    upper.iter_mut().zip(&row[at..]).for_each(|(sum, &value)| *sum += scale * value);
                }
            }
            total.iter_mut().zip(&block).for_each(|(total, &sum)| *total += f64::from(sum));
        }
        let mut values = vec![0.0; dimensions * dimensions];
        for row in 0..dimensions {
            for column in row..dimensions {
                let ridge = if row == column { f64::from(regularization) } else { 0.0 };
                let value = (total[row * dimensions + column] + ridge) as f32;
                values[row * dimensions + column] = value;
                values[column * dimensions + row] = value;
            }
        }
        Gram { dimensions, values }
    }
}

/// Solves for vectors of one side (a user's, or in training an item's) while the vectors of the other side stand still.
#[derive(Debug, Clone, Copy)]
pub struct RowSolver<'a> {
    /// Vectors of the other side, row-major.
    pub other_side: &'a [f32],
    /// [`Gram::of`] these vectors.
    pub gram: &'a Gram,
    /// [`Confidence::alpha`].
    pub alpha: f32,
}

/// Buffers of one caller of [`RowSolver`].
#[derive(Debug)]
pub struct RowScratch {
    right: Vec<f32>,
    extra_confidence: Vec<f32>,
    workspace: Workspace,
}

impl RowScratch {
    /// For vectors of `dimensions` values.
    #[must_use]
    pub fn new(dimensions: usize) -> Self {
        RowScratch { right: vec![0.0; dimensions], extra_confidence: Vec::new(), workspace: Workspace::new(dimensions) }
    }
}

impl RowSolver<'_> {
    /// Moves `row` towards the minimum for a row that interacted with the other side's rows `picks`, with `weights`, by
    /// `steps` conjugate gradient steps.
    ///
    /// # Panics
    /// When a pick is outside the other side, or lengths differ.
    pub fn improve(&self, picks: &[u32], weights: &[f32], row: &mut [f32], steps: usize, scratch: &mut RowScratch) {
        self.run(picks, weights, row, Stop { steps_max: steps, tolerance: SOLVED.tolerance }, scratch);
    }

    /// Solves for the minimum from zero, so that equal interactions give equal bits.
    ///
    /// # Panics
    /// As [`RowSolver::improve`].
    pub fn solve(&self, picks: &[u32], weights: &[f32], row: &mut [f32], scratch: &mut RowScratch) {
        row.fill(0.0);
        self.run(picks, weights, row, SOLVED, scratch);
    }

    fn run(&self, picks: &[u32], weights: &[f32], row: &mut [f32], stop: Stop, scratch: &mut RowScratch) {
        let dimensions = self.gram.dimensions;
        assert_eq!(row.len(), dimensions, "dimensions of the row");
        scratch.right.fill(0.0);
        scratch.extra_confidence.clear();
        for (&pick, &weight) in picks.iter().zip(weights) {
            let extra = self.alpha * weight;
            scratch.extra_confidence.push(extra);
            let other = &self.other_side[pick as usize * dimensions..][..dimensions];
            scratch.right.iter_mut().zip(other).for_each(|(sum, &value)| *sum += (1.0 + extra) * value);
        }
        let system = LowRankSystem {
            base: &self.gram.values,
            vectors: self.other_side,
            picks,
            weights: &scratch.extra_confidence,
        };
        conjugate_gradient::solve(system, &scratch.right, row, stop, &mut scratch.workspace);
    }
}

/// Trained vectors of users and items.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    dimensions: usize,
    users: Vec<f32>,
    items: Vec<f32>,
    confidence: Confidence,
    gram: Gram,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    confidence: Confidence,
}

impl Factors {
    /// Of row-major vectors of `dimensions` values each; users and items are numbered by position.
    ///
    /// # Panics
    /// When `dimensions` is 0 or does not divide the numbers of values, or `confidence` is not above 0.
    #[must_use]
    pub fn new(users: Vec<f32>, items: Vec<f32>, dimensions: usize, confidence: Confidence) -> Self {
        assert!(dimensions > 0 && users.len().is_multiple_of(dimensions), "{} values by {dimensions}", users.len());
        assert!(confidence.alpha > 0.0 && confidence.regularization > 0.0, "{confidence:?}");
        let gram = Gram::of(&items, dimensions, confidence.regularization);
        Factors { dimensions, users, items, confidence, gram }
    }

    /// Values in a vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of users.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.users.len() / self.dimensions
    }

    /// Number of items.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.items.len() / self.dimensions
    }

    /// All item vectors, row-major.
    #[must_use]
    pub fn items(&self) -> &[f32] {
        &self.items
    }

    /// The vector of one user, as trained.
    ///
    /// # Panics
    /// When there is no such user.
    #[must_use]
    pub fn user(&self, user: u32) -> &[f32] {
        &self.users[user as usize * self.dimensions..][..self.dimensions]
    }

    /// The vector of one item.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn item(&self, item: u32) -> &[f32] {
        &self.items[item as usize * self.dimensions..][..self.dimensions]
    }

    /// How interactions were read in training, and are by [`Factors::fold_in`].
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// The vector of a user, known or new, from her interactions (item, weight): what training would give her beside
    /// these item vectors. Nothing known gives the zero vector. Items that training did not see are left out; an item
    /// should appear once, with its weights summed.
    ///
    /// # Panics
    /// When a weight is not finite and above 0.
    #[must_use]
    pub fn fold_in(&self, interactions: &[(u32, f32)]) -> Vec<f32> {
        let known = interactions.iter().filter(|(item, _)| (*item as usize) < self.item_count());
        let (picks, weights): (Vec<u32>, Vec<f32>) = known.copied().unzip();
        assert!(weights.iter().all(|weight| weight.is_finite() && *weight > 0.0), "weights above 0, not {weights:?}");
        let mut row = vec![0.0; self.dimensions];
        let solver = RowSolver { other_side: &self.items, gram: &self.gram, alpha: self.confidence.alpha };
        solver.solve(&picks, &weights, &mut row, &mut RowScratch::new(self.dimensions));
        row
    }

    /// The file's bytes: safetensors with `users` and `items` (f32, one row each).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header { version: VERSION, confidence: self.confidence };
        let shape = |count| vec![count, self.dimensions];
        let tensors = [
            ("users".to_owned(), shape(self.user_count()), Values::F32(&self.users)),
            ("items".to_owned(), shape(self.item_count()), Values::F32(&self.items)),
        ];
        tensors::write(&header, &tensors)
    }

    /// Reads what [`Factors::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ModelError`] when the bytes are damaged, of another version, hold a number that is not finite, or their parts
    /// do not fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let file = TensorFile::open(KIND, bytes, VERSION)?;
        let Header { version: _, confidence } = file.header()?;
        let inconsistent = |part: &str, found: String, must: &str| {
            Err(ModelError::Inconsistent { kind: KIND, part: part.to_owned(), found, must: must.to_owned() })
        };
        let above_zero = |value: f32| value.is_finite() && value > 0.0;
        if !above_zero(confidence.alpha) || !above_zero(confidence.regularization) {
            return inconsistent("confidence", format!("{confidence:?}"), "finite and above 0");
        }
        let (users, items) = (file.shape("users")?, file.shape("items")?);
        match (users.as_slice(), items.as_slice()) {
            (&[user_count, dimensions], &[item_count, same]) if dimensions == same && dimensions > 0 => {
                Ok(Factors::new(
                    file.values("users", &[user_count, dimensions])?,
                    file.values("items", &[item_count, dimensions])?,
                    dimensions,
                    confidence,
                ))
            }
            _ => inconsistent("shapes", format!("{users:?} and {items:?}"), "two matrices of equal, nonzero width"),
        }
    }
}

/// Scores rows of two columns, user number and item number, by the dot product of their vectors. A number that is
/// missing or unknown has the zero vector, as [`Factors::fold_in`] gives to whom nothing is known of, so it scores 0.
impl Scorer for Factors {
    fn column_count(&self) -> usize {
        2
    }

    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.columns(), 2, "columns are user and item");
        assert_eq!(rows.len(), out.len(), "one score per row");
        for (row, score) in rows.iter().zip(out) {
            let user = vector_of(&self.users, row[0], self.dimensions);
            *score = match (user, vector_of(&self.items, row[1], self.dimensions)) {
                (Some(user), Some(item)) => user.iter().zip(item).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum(),
                _ => 0.0,
            };
        }
    }
}

/// The vector numbered `number`, `None` unless it is the whole number of a row of `side`.
fn vector_of(side: &[f32], number: f64, dimensions: usize) -> Option<&[f32]> {
    // The cast saturates and turns NaN to 0; comparing back refuses all that was not such a number.
    let row = number as usize;
    if row as f64 == number { side.chunks_exact(dimensions).nth(row) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIDENCE: Confidence = Confidence { alpha: 2.0, regularization: 0.5 };

    fn factors() -> Factors {
        let items = vec![1.0, 0.0, 0.5, 0.5, 0.0, 1.0, -0.5, 0.25];
        Factors::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], items, 2, CONFIDENCE)
    }

    /// The objective of the module's documentation for one user, in f64.
    fn objective(factors: &Factors, interactions: &[(u32, f32)], x: &[f64]) -> f64 {
        let all = (0..factors.item_count() as u32).map(|item| {
            let weight =
                interactions.iter().find(|(known, _)| *known == item).map_or(0.0, |(_, weight)| f64::from(*weight));
            let confidence = 1.0 + f64::from(CONFIDENCE.alpha) * weight;
            let preference = if weight > 0.0 { 1.0 } else { 0.0 };
            let score: f64 = factors.item(item).iter().zip(x).map(|(&y, x)| f64::from(y) * x).sum();
            confidence * (preference - score).powi(2)
        });
        all.sum::<f64>() + f64::from(CONFIDENCE.regularization) * x.iter().map(|x| x * x).sum::<f64>()
    }

    #[test]
    fn folding_in_minimises_the_documented_objective() {
        let factors = factors();
        let interactions = [(0, 1.0), (3, 2.5)];
        let x: Vec<f64> = factors.fold_in(&interactions).iter().map(|&x| f64::from(x)).collect();
        let least = objective(&factors, &interactions, &x);
        for (axis, step) in [(0, 0.01), (0, -0.01), (1, 0.01), (1, -0.01)] {
            let mut moved = x.clone();
            moved[axis] += step;
            // A quadratic with curvature of at least 2 * regularization rises by at least 0.5 * 0.01^2.
            assert!(objective(&factors, &interactions, &moved) > least + 4e-5, "axis {axis}, step {step}");
        }
    }

    #[test]
    fn nothing_known_is_the_zero_vector_and_unseen_items_are_left_out() {
        assert_eq!(factors().fold_in(&[]), [0.0, 0.0]);
        assert_eq!(factors().fold_in(&[(99, 1.0)]), [0.0, 0.0]);
        assert_eq!(factors().fold_in(&[(0, 1.0), (99, 1.0)]), factors().fold_in(&[(0, 1.0)]));
    }

    #[test]
    fn gram_is_the_sum_of_products_over_several_blocks() {
        let rows: Vec<f32> = (0..1_500 * 3).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let gram = Gram::of(&rows, 3, 0.25);
        for (a, b) in [(0, 0), (0, 1), (2, 1), (2, 2)] {
            let products = rows.chunks_exact(3).map(|row| f64::from(row[a]) * f64::from(row[b])).sum::<f64>();
            let expected = products + if a == b { 0.25 } else { 0.0 };
            let got = f64::from(gram.values[a * 3 + b]);
            // 512 f32 additions of values up to 1 keep about 1e-5 of some 500.
            assert!((got - expected).abs() < 5e-3, "{a} {b}: {got} against {expected}");
        }
    }

    #[test]
    fn scores_are_dot_products_and_unknown_is_zero() {
        let factors = factors();
        let cells = [0.0, 1.0, 2.0, 3.0, 0.0, 9.0, f64::NAN, 1.0, 0.5, 1.0, -1.0, 0.0, f64::INFINITY, 0.0];
        let rows = Rows::new(&cells, 2);
        let mut out = [f64::NAN; 7];
        factors.score(rows, &mut out);
        assert_eq!(out, [1.5, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn files_round_trip_and_equal_models_have_equal_bytes() {
        let bytes = factors().to_bytes();
        assert_eq!(Factors::from_bytes(&bytes), Ok(factors()));
        assert_eq!(bytes, factors().to_bytes());
        let none = Factors::new(vec![], vec![], 2, CONFIDENCE);
        assert_eq!(Factors::from_bytes(&none.to_bytes()), Ok(none));
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = factors().to_bytes();
        for length in 0..bytes.len() {
            assert!(Factors::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
        }
        let message = |from: &str, to: &str| {
            let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
            let start = 8 + text.find(from).unwrap_or_else(|| panic!("{from} in {text}"));
            let mut changed = bytes.clone();
            changed[start..start + from.len()].copy_from_slice(to.as_bytes());
            Factors::from_bytes(&changed).expect_err(to).to_string()
        };
        assert!(message("[4,2]", "[2,4]").contains("two matrices of equal, nonzero width"));
        assert!(message("ion\\\":1", "ion\\\":2").contains("format version 2"));
        assert!(message("alpha\\\":2.0", "alpha\\\":0.0").contains("above 0"));
        assert!(message("users", "uzers").contains("users"));
        let mut nan = bytes.clone();
        let end = nan.len();
        nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Factors::from_bytes(&nan).expect_err("NaN").to_string().contains("NaN"));
    }
}
