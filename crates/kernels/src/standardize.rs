//! Rows of numbers brought to a common scale, skewed columns through a logarithm.

use crate::cpu::multiversion;

/// What is done to one column, in slices of one entry per column.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Above 0: the value becomes `sign(x) ln(1 + |x| log_scale)` first. 0: it stays as it is.
    pub log_scales: &'a [f64],
    /// Subtracted next.
    pub means: &'a [f64],
    /// Multiplied last; 0 makes every value 0.
    pub scales: &'a [f64],
}

multiversion! {
    /// Standardises `row` into `into`, cut off at `-most` and `most`; NaN becomes 0. The logarithm is good to 2e-7.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn standardize(row: &[f64], columns: Columns<'_>, most: f64, into: &mut [f32]) {
        let count = row.len();
        let Columns { log_scales, means, scales } = columns;
        assert!(log_scales.len() == count && means.len() == count && scales.len() == count && into.len() == count);
        for at in 0..count {
            let value = row[at];
            let logarithm = ln_1p((value.abs() * log_scales[at]) as f32).copysign(value as f32);
            let known = if log_scales[at] > 0.0 { f64::from(logarithm) } else { value };
            let standardized = ((known - means[at]) * scales[at]).clamp(-most, most) as f32;
            // An infinite value in a column of scale 0 is NaN too, and ignored like any other value there.
            into[at] = if value.is_nan() || standardized.is_nan() { 0.0 } else { standardized };
        }
    }
}

/// `ln(1 + x)` for `x >= 0`, to 2e-7 absolute or relative, whichever is larger; without branches, so that it vectorises.
///
/// `1 + x = m 2^e` with `m` between `sqrt(1/2)` and `sqrt 2`, then `ln m = 2 atanh((m - 1) / (m + 1))` by its power series,
/// whose sixth term is below 2e-9.
#[inline(always)]
fn ln_1p(x: f32) -> f32 {
    const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
    let bits = (1.0 + x).to_bits() as i32;
    let exponent = (bits - SQRT_HALF_BITS) >> 23;
    let mantissa = f32::from_bits((bits - (exponent << 23)) as u32);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * (1.0 / 9.0))));
    2.0 * s * series + exponent as f32 * std::f32::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_equals_that_of_the_standard_library() {
        let mut x = 1e-6_f64;
        while x < 1e30 {
            let (fast, exact) = (f64::from(ln_1p(x as f32)), f64::from(x as f32).ln_1p());
            // Adding 1 rounds by 6e-8, and so do some of the last additions.
            assert!((fast - exact).abs() <= 2e-7 * exact.max(1.0), "{x}: {fast} against {exact}");
            x *= 1.013;
        }
        assert_eq!(ln_1p(0.0), 0.0);
        assert!(ln_1p(f32::INFINITY) > 88.0);
    }

    #[test]
    fn each_column_by_its_own_rule() {
        let mut into = [f32::NAN; 2];
        let mut check = |row: [f64; 2], log_scales: [f64; 2], expected: [f64; 2]| {
            let columns = Columns { log_scales: &log_scales, means: &[1.0, 1.0], scales: &[2.0, 2.0] };
            standardize(&row, columns, 5.0, &mut into);
            for (got, expected) in into.iter().zip(expected) {
                assert!((f64::from(*got) - expected).abs() < 1e-6, "{row:?} {log_scales:?}: {got} against {expected}");
            }
        };
        check([2.0, -2.0], [0.0, 0.5], [2.0, 2.0 * (-(2.0f64.ln()) - 1.0)]);
        check([1e9, -1e9], [0.0, 0.0], [5.0, -5.0]);
        check([f64::INFINITY, f64::NEG_INFINITY], [0.0, 1.0], [5.0, -5.0]);
        check([f64::NAN, f64::NAN], [0.0, 1.0], [0.0, 0.0]);
        let ignored = Columns { log_scales: &[0.0, 1.0], means: &[1.0, 1.0], scales: &[0.0, 0.0] };
        standardize(&[f64::INFINITY, 3.0], ignored, 5.0, &mut into);
        assert_eq!(into, [0.0, 0.0]);
    }

    #[test]
    fn every_width_gives_the_same_bits() {
        let row: Vec<f64> = (0..67).map(|i| (f64::from(i) * 0.37).sin() * 1000.0).collect();
        let (logs, means, scales) = (vec![0.01; 67], vec![0.3; 67], vec![0.7; 67]);
        let mut whole = vec![0.0; 67];
        standardize(&row, Columns { log_scales: &logs, means: &means, scales: &scales }, 5.0, &mut whole);
        for at in 0..67 {
            let one = Columns { log_scales: &logs[at..=at], means: &means[at..=at], scales: &scales[at..=at] };
            let mut single = [0.0];
            standardize(&row[at..=at], one, 5.0, &mut single);
            assert_eq!(single[0].to_bits(), whole[at].to_bits(), "{at}");
        }
    }
}
