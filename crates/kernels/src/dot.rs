//! Dot products.

use crate::cpu::multiversion;

/// Partial sums kept at a time: fixed, so that the result does not depend on the processor.
const LANES: usize = 16;

multiversion! {
    /// The dot product of two vectors: 16 partial sums, then their sum, then the rest in order. The same bits on every
    /// processor; NaN and infinities follow IEEE 754.
    ///
    /// # Panics
    /// When the lengths differ.
    #[must_use]
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        in_lanes(a, b)
    }
}

multiversion! {
    /// `out[i]` is the [`dot`] product of `vector` and row `i` of `rows`, which follow each other.
    ///
    /// # Panics
    /// When `rows` does not hold one row as long as `vector` for each of `out`.
    pub fn dots(rows: &[f32], vector: &[f32], out: &mut [f32]) {
        assert_eq!(rows.len(), vector.len() * out.len(), "{} rows of {}", out.len(), vector.len());
        if !vector.is_empty() {
            for (product, row) in out.iter_mut().zip(rows.chunks_exact(vector.len())) {
                *product = in_lanes(row, vector);
            }
        } else {
            out.fill(0.0);
        }
    }
}

/// The body of [`dot`], for loops that are compiled for an instruction set as a whole.
#[inline(always)]
pub(crate) fn in_lanes(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths of the vectors");
    let mut sums = [0.0_f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (a, b)| sum + a * b);
    halve(sums) + rest
}

/// The sum of the lanes: halves are added until one is left.
#[inline(always)]
fn halve(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lengths_equal_a_sum_in_double_precision() {
        for len in [0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 257] {
            let a: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..len).map(|i| (i as f32 * 1.3).cos()).collect();
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            // Each product and each of at most len additions rounds once, relative to sums of at most len.
            let bound = len as f64 * f64::from(f32::EPSILON) * 2.0;
            assert!((f64::from(dot(&a, &b)) - exact).abs() <= bound, "{len}");
        }
    }

    #[test]
    fn nan_and_infinities_come_through() {
        let mut a = vec![1.0; 40];
        let b = vec![2.0; 40];
        for place in [0, 17, 39] {
            a[place] = f32::NAN;
            assert!(dot(&a, &b).is_nan());
            a[place] = f32::INFINITY;
            assert_eq!(dot(&a, &b), f32::INFINITY);
            a[place] = 1.0;
        }
        assert_eq!(dot(&a, &b), 80.0);
    }

    #[test]
    #[should_panic(expected = "lengths of the vectors")]
    fn lengths_must_agree() {
        let _ = dot(&[1.0], &[]);
    }

    #[test]
    fn rows_at_once_are_dots_of_each() {
        for len in [0, 1, 16, 37] {
            let rows: Vec<f32> = (0..3 * len).map(|i| (i as f32).sin()).collect();
            let vector: Vec<f32> = (0..len).map(|i| (i as f32).cos()).collect();
            let mut out = [f32::NAN; 3];
            dots(&rows, &vector, &mut out);
            for (row, product) in out.iter().enumerate() {
                assert_eq!(*product, dot(&rows[row * len..(row + 1) * len], &vector), "{len}");
            }
        }
    }
}
