//! One input as the score: how a candidate source alone would rank.

use paceline_core::{Rows, Scorer};

/// Scores a row by one of its columns; a missing value scores lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Which column.
    pub index: usize,
    /// Number of columns of a row.
    pub column_count: usize,
}

impl Scorer for Column {
    fn column_count(&self) -> usize {
        self.column_count
    }

    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.columns(), self.column_count, "columns");
        assert_eq!(rows.len(), out.len(), "rows");
        for (score, row) in out.iter_mut().zip(rows.iter()) {
            *score = if row[self.index].is_nan() { f64::MIN } else { row[self.index] };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_column() {
        let mut out = [0.0; 2];
        Column { index: 1, column_count: 2 }.score(Rows::new(&[1.0, 5.0, 2.0, f64::NAN], 2), &mut out);
        assert_eq!(out, [5.0, f64::MIN]);
    }
}
