//! Vectors in 8 bits, and a scan over all of them.

use crate::cpu::multiversion;
use crate::top_k::top_k;

/// Dimensions are padded to a multiple of this with zeros, so that the loop over a vector has no rest.
const LANES: usize = 32;

/// Largest dimension: a sum of this many products of two bytes still fits 32 bits.
const DIMENSION_MAX: usize = (i32::MAX as usize) / (127 * 127);

/// Vectors with 8-bit components, each with its own scale (symmetric quantisation: component = round(value / scale), scale =
/// largest magnitude / 127).
#[derive(Debug, Clone)]
pub struct Int8Vectors {
    dimension: usize,
    stride: usize,
    components: Vec<i8>,
    scales: Vec<f32>,
}

/// One found vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Its row.
    pub index: usize,
    /// The dot product of the quantised vectors, scaled back.
    pub score: f32,
}

impl Int8Vectors {
    /// Quantises row-major `vectors`. A component's error is at most half a scale.
    ///
    /// # Panics
    /// When `dimension` is 0 or above 133,144, does not divide the number of values, or a value is not finite: the
    /// caller's bug.
    #[must_use]
    pub fn quantize(vectors: &[f32], dimension: usize) -> Self {
        assert!((1..=DIMENSION_MAX).contains(&dimension), "dimension {dimension}");
        assert!(vectors.len().is_multiple_of(dimension), "{} values of dimension {dimension}", vectors.len());
        let stride = dimension.next_multiple_of(LANES);
        let count = vectors.len() / dimension;
        let mut components = vec![0; count * stride];
        let scales = vectors
            .chunks_exact(dimension)
            .zip(components.chunks_exact_mut(stride))
            .map(|(vector, components)| quantize_into(vector, components))
            .collect();
        Int8Vectors { dimension, stride, components, scales }
    }

    /// Number of vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there is no vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Components of a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.components) + size_of_val(&*self.scales)
    }

    /// The `n` vectors with the largest dot product with `query`, best first, ties by row. Every vector is looked at; the
    /// query is quantised too, the sums are exact integers, so the result is the same on every processor.
    ///
    /// # Panics
    /// When `query` has another dimension or is not finite.
    #[must_use]
    pub fn nearest(&self, query: &[f32], n: usize) -> Vec<Neighbor> {
        let mut scores = vec![0.0; self.len()];
        self.scores(query, &mut scores);
        top_k(&scores, n).into_iter().map(|index| Neighbor { index, score: scores[index] }).collect()
    }

    /// Writes the scaled-back dot product of `query` with vector `i` to `out[i]`.
    ///
    /// # Panics
    /// When `query` has another dimension or is not finite, or `out` another length than [`Int8Vectors::len`].
    pub fn scores(&self, query: &[f32], out: &mut [f32]) {
        assert_eq!(query.len(), self.dimension, "dimension of the query");
        assert_eq!(out.len(), self.len(), "scores");
        let mut components = vec![0; self.stride];
        let scale = quantize_into(query, &mut components);
        dots(&self.components, &components, &self.scales, scale, out);
    }
}

multiversion! {
    fn dots(vectors: &[i8], query: &[i8], scales: &[f32], query_scale: f32, out: &mut [f32]) {
        let (query, _) = query.as_chunks::<LANES>();
        for ((vector, scale), out) in vectors.chunks_exact(query.len() * LANES).zip(scales).zip(out) {
            let (vector, _) = vector.as_chunks::<LANES>();
            let mut sum = 0;
            for (a, b) in vector.iter().zip(query) {
                for lane in 0..LANES {
                    sum += i32::from(a[lane]) * i32::from(b[lane]);
                }
            }
            *out = sum as f32 * (scale * query_scale);
        }
    }
}

/// Writes the components and returns the scale; a zero vector has scale 0.
fn quantize_into(vector: &[f32], components: &mut [i8]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, value| {
        assert!(value.is_finite(), "a component is {value}");
        largest.max(value.abs())
    });
    if largest == 0.0 {
        return 0.0;
    }
    for (component, value) in components.iter_mut().zip(vector) {
        // In f64 the quotient of the largest value is exactly 127, also where the scale would be subnormal in f32.
        *component = (f64::from(*value) / f64::from(largest) * 127.0).round() as i8;
    }
    largest / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::dot;

    fn vectors(count: usize, dimension: usize) -> Vec<f32> {
        (0..count * dimension).map(|i| ((i * i % 9_973) as f32 * 0.61).sin() * (1.0 + (i % 7) as f32)).collect()
    }

    #[test]
    fn scores_are_exact_integer_dots_scaled_back() {
        for dimension in [1, 2, 31, 32, 33, 64, 100] {
            let values = vectors(37, dimension);
            let index = Int8Vectors::quantize(&values, dimension);
            let query = &values[..dimension];
            let mut scores = vec![f32::NAN; 37];
            index.scores(query, &mut scores);
            let stride = index.stride;
            for (row, score) in scores.iter().enumerate() {
                let sum: i64 = (0..dimension)
                    .map(|d| i64::from(index.components[row * stride + d]) * i64::from(index.components[d]))
                    .sum();
                assert_eq!(*score, sum as f32 * (index.scales[row] * index.scales[0]), "{dimension} {row}");
                // Each component is off by at most half a scale, in both vectors.
                let exact = dot(query, &values[row * dimension..(row + 1) * dimension]);
                let (a, b) = (index.scales[row], index.scales[0]);
                let bound = dimension as f32 * (127.0 * a * b + a * b);
                assert!((score - exact).abs() <= bound, "{dimension} {row}: {score} against {exact}");
            }
        }
    }

    #[test]
    fn the_nearest_are_nearly_those_of_full_precision() {
        let (count, dimension) = (500, 48);
        let values = vectors(count, dimension);
        let index = Int8Vectors::quantize(&values, dimension);
        let mut found = 0;
        for query in values.chunks_exact(dimension).take(50) {
            let exact: Vec<f32> = values.chunks_exact(dimension).map(|vector| dot(query, vector)).collect();
            let best = top_k(&exact, 10);
            found += index.nearest(query, 10).iter().filter(|neighbor| best.contains(&neighbor.index)).count();
        }
        assert!(found >= 475, "{found} of 500");
    }

    #[test]
    fn extremes_and_zero() {
        let big = [f32::MAX, f32::MIN, 1.0, f32::MIN_POSITIVE];
        let index = Int8Vectors::quantize(&[big, [0.0; 4], [1e-40, 0.0, 0.0, -1e-40]].concat(), 4);
        assert_eq!(index.components[..4], [127, -127, 0, 0]);
        assert_eq!(index.components[2 * LANES..2 * LANES + 4], [127, 0, 0, -127]);
        let neighbors = index.nearest(&[1.0, 0.0, 0.0, 0.0], 5);
        assert_eq!(neighbors.len(), 3);
        assert_eq!((neighbors[0].index, neighbors[2].score), (0, 0.0));
        assert!(Int8Vectors::quantize(&[], 4).nearest(&[1.0; 4], 3).is_empty());
    }
}
