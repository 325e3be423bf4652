//! Means and deviations of the training rows.

use paceline_core::Rows;
use paceline_models::network::Standardization;

/// Mean and standard deviation of each column over its values that are not missing, every row counting the same, in
/// two passes. A column that is constant or always missing is ignored (scale 0); a column that is sometimes missing
/// gets an indicator.
#[must_use]
pub fn fit_standardization(rows: Rows<'_>) -> Standardization {
    let columns = rows.columns();
    let mut counts = vec![0_usize; columns];
    let mut means = vec![0.0; columns];
    for row in rows.iter() {
        for (column, &value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            counts[column] += 1;
            means[column] += value;
        }
    }
    means.iter_mut().zip(&counts).for_each(|(mean, &count)| *mean /= count.max(1) as f64);
    let mut squares = vec![0.0; columns];
    for row in rows.iter() {
        for (column, &value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            squares[column] += (value - means[column]) * (value - means[column]);
        }
    }
    let scale = |column: usize| {
        let deviation = (squares[column] / counts[column].max(1) as f64).sqrt();
        // A constant column leaves a rounding residue of its own size times 1e-16.
        if deviation > 1e-12 * means[column].abs() && deviation.is_finite() { 1.0 / deviation } else { 0.0 }
    };
    let sometimes_missing = |&column: &usize| counts[column] > 0 && counts[column] < rows.len();
    Standardization {
        scales: (0..columns).map(scale).map(|scale: f64| if scale.is_finite() { scale } else { 0.0 }).collect(),
        indicated: (0..columns).filter(sometimes_missing).collect(),
        means,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_standardised_by_what_is_known() {
        let nan = f64::NAN;
        let cells = [
            1.0,
            nan,
            0.1,
            nan,
            1e9, //
            3.0,
            5.0,
            0.1,
            nan,
            1e9 + 1.0, //
            5.0,
            7.0,
            0.1,
            nan,
            1e9 + 2.0,
        ];
        let fitted = fit_standardization(Rows::new(&cells, 5));
        assert_eq!(fitted.means[..2], [3.0, 6.0]);
        assert_eq!(fitted.scales[1], 1.0);
        assert!((fitted.scales[0] - (3.0_f64 / 8.0).sqrt()).abs() < 1e-15);
        assert_eq!(fitted.scales[2..4], [0.0, 0.0], "constant or never known");
        assert!((fitted.scales[4] - 1.5_f64.sqrt()).abs() < 1e-9, "a small spread on a large mean is a spread");
        assert_eq!(fitted.indicated, [1]);
        assert!(fitted.means.iter().all(|mean| mean.is_finite()));
    }
}
