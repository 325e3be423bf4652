//! The trait that every model at serving time implements.

use crate::Rows;

/// Turns rows of features into scores. Implemented by compiled forests, dense networks and factor models.
///
/// Scoring a batch and scoring its rows one by one give bit-equal results; the conformance suite in testkit checks it.
pub trait Scorer: Send + Sync {
    /// Number of values a row must have.
    fn column_count(&self) -> usize;

    /// Writes the score of row `i` to `out[i]`, in the model's output space (probability, value, or ranking score;
    /// higher ranks first).
    ///
    /// # Panics
    /// When `rows.columns() != self.column_count()` or `out.len() != rows.len()`: the caller's bug.
    fn score(&self, rows: Rows<'_>, out: &mut [f64]);
}
