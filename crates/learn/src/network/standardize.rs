//! Which columns are skewed; means and deviations of the training rows.

use paceline_core::Rows;
use paceline_models::network::Standardization;

/// A column whose largest magnitude is more than so many times its median one goes through a logarithm. Counts, sums
/// and prices do; shares, years and coordinates stay as they are.
const SKEWED_ABOVE: f64 = 10.0;

/// Log scale, mean and standard deviation of each column over its values that are not missing, every row counting the
/// same, in two passes. The log scale of a skewed column is one divided by the median magnitude of its values that
/// are not 0. A column that is constant or always missing is ignored (scale 0); a column that is sometimes missing
/// gets an indicator.
#[must_use]
pub fn fit_standardization(rows: Rows<'_>) -> Standardization {
    let columns = rows.columns();
    let log_scales: Vec<f64> = (0..columns).map(|column| log_scale(rows, column)).collect();
    let transform = |column: usize, value: f64| match log_scales[column] {
        0.0 => value,
        log_scale => (value.abs() * log_scale).ln_1p().copysign(value),
    };
    let mut counts = vec![0_usize; columns];
    let mut means = vec![0.0; columns];
    for row in rows.iter() {
        for (column, &value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            counts[column] += 1;
            means[column] += transform(column, value);
        }
    }
    means.iter_mut().zip(&counts).for_each(|(mean, &count)| *mean /= count.max(1) as f64);
    let mut squares = vec![0.0; columns];
    for row in rows.iter() {
        for (column, &value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            squares[column] += (transform(column, value) - means[column]).powi(2);
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
        log_scales,
    }
}

/// 0 unless the column is skewed.
fn log_scale(rows: Rows<'_>, column: usize) -> f64 {
    let mut sizes: Vec<f64> =
        rows.iter().map(|row| row[column].abs()).filter(|&size| size > 0.0 && size.is_finite()).collect();
    if sizes.is_empty() {
        return 0.0;
    }
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let middle = sizes.len() / 2;
    let (_, median, _) = sizes.select_nth_unstable_by(middle, f64::total_cmp);
    let scale = 1.0 / *median;
    if largest > SKEWED_ABOVE * *median && scale.is_finite() { scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_standardised_by_what_is_known() {
        let nan = f64::NAN;
        let rows = [
            [1.0, nan, 0.1, nan, 1e9], //
            [3.0, 5.0, 0.1, nan, 1e9 + 1.0],
            [5.0, 7.0, 0.1, nan, 1e9 + 2.0],
        ];
        let cells = rows.concat();
        let fitted = fit_standardization(Rows::new(&cells, 5));
        assert_eq!(fitted.means[..2], [3.0, 6.0]);
        assert_eq!(fitted.scales[1], 1.0);
        assert!((fitted.scales[0] - (3.0_f64 / 8.0).sqrt()).abs() < 1e-15);
        assert_eq!(fitted.scales[2..4], [0.0, 0.0], "constant or never known");
        assert!((fitted.scales[4] - 1.5_f64.sqrt()).abs() < 1e-9, "a small spread on a large mean is a spread");
        assert_eq!(fitted.indicated, [1]);
        assert_eq!(fitted.log_scales, [0.0; 5]);
        assert!(fitted.means.iter().all(|mean| mean.is_finite()));
    }

    #[test]
    fn skewed_columns_go_through_a_logarithm() {
        // The median magnitude of -40, 2, 4 (0 does not count) is 4 in the first column, of 1, 2, 10 it is 2 in the second.
        let cells = [0.0, 1.0, 2.0, 2.0, -40.1, 10.0, 4.0, 2.0];
        let fitted = fit_standardization(Rows::new(&cells, 2));
        assert_eq!(fitted.log_scales, [0.25, 0.0]);
        let values = [0.0, 0.5_f64.ln_1p(), -(10.025_f64.ln_1p()), 1.0_f64.ln_1p()];
        let mean = values.iter().sum::<f64>() / 4.0;
        assert!((fitted.means[0] - mean).abs() < 1e-12);
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 4.0;
        assert!((fitted.scales[0] - variance.sqrt().recip()).abs() < 1e-12);
    }
}
