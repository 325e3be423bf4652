//! One input as the score: how a candidate source alone would rank.

use serde::{Deserialize, Serialize};

use paceline_core::{Rows, Scorer};

use crate::ModelError;

const KIND: &str = "column";

/// Scores a row by one of its columns; a missing value scores lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Which column.
    pub index: usize,
    /// Number of columns of a row.
    pub column_count: usize,
}

impl Column {
    /// The file's bytes: JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two numbers")
    }

    /// Reads what [`Column::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ModelError`] when the bytes are damaged or the column is not one of the row's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let column: Column = serde_json::from_slice(bytes)
            .map_err(|error| ModelError::Malformed { kind: KIND, cause: error.to_string() })?;
        if column.index >= column.column_count {
            let (found, must) = (column.index.to_string(), format!("below {}", column.column_count));
            return Err(ModelError::Inconsistent { kind: KIND, part: "index".into(), found, must });
        }
        Ok(column)
    }
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

    #[test]
    fn files_round_trip_and_a_column_outside_the_row_is_refused() {
        let column = Column { index: 1, column_count: 2 };
        assert_eq!(Column::from_bytes(&column.to_bytes()), Ok(column));
        let outside = Column::from_bytes(&Column { index: 2, column_count: 2 }.to_bytes()).expect_err("outside");
        assert!(outside.to_string().contains("index is 2, but must be below 2"), "{outside}");
        assert!(Column::from_bytes(b"{").is_err());
    }
}
