//! The best of many scores.

/// A floating-point score: `f32` or `f64`.
pub trait Score: Copy + Default + PartialOrd + private::Sealed {}

impl Score for f32 {}
impl Score for f64 {}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Indices of the `k` largest scores, best first. Equal scores (0.0 and -0.0 are equal) come in the order of their indices,
/// NaN is never chosen; so the result has fewer than `k` indices when there are fewer numbers.
#[must_use]
pub fn top_k<S: Score>(scores: &[S], k: usize) -> Vec<usize> {
    let mut best = TopK::default();
    best.of(scores.iter().copied().zip(0..), k, None);
    best.sorted().iter().map(|&(_, index)| index as usize).collect()
}

/// The best of many scores in a buffer that the next selection reuses.
#[derive(Debug, Clone, Default)]
pub struct TopK<S> {
    kept: Vec<(S, u32)>,
}

impl<S: Score> TopK<S> {
    /// The `k` largest scores above `floor` with their indices, in no particular order; indices ascend in `scores`. Ties
    /// and NaN as in [`top_k`].
    ///
    /// One pass with a buffer of about `2 k` scores, cut back to `k` by selection whenever it is full: linear in the
    /// number of scores.
    pub fn of(&mut self, scores: impl IntoIterator<Item = (S, u32)>, k: usize, floor: Option<S>) -> &[(S, u32)] {
        let kept = &mut self.kept;
        kept.clear();
        if k == 0 {
            return kept;
        }
        let capacity = k.saturating_mul(2).max(64);
        // The k-th best so far, once there are k. A later score that equals it has a larger index, so it is worse.
        let mut bar = floor;
        for (score, index) in scores {
            // The second comparison is false for NaN alone.
            #[allow(clippy::eq_op)]
            let enters = bar.map_or(score == score, |bar| score > bar);
            if enters {
                kept.push((score, index));
                if kept.len() == capacity && capacity > k {
                    kept.select_nth_unstable_by(k - 1, better_first);
                    kept.truncate(k);
                    bar = Some(kept[k - 1].0);
                }
            }
        }
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, better_first);
            kept.truncate(k);
        }
        kept
    }

    /// What [`TopK::of`] found, best first.
    pub fn sorted(&mut self) -> &[(S, u32)] {
        self.kept.sort_unstable_by(better_first);
        &self.kept
    }
}

fn better_first<S: Score>(a: &(S, u32), b: &(S, u32)) -> std::cmp::Ordering {
    b.0.partial_cmp(&a.0).expect("NaN does not enter").then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    fn reference<S: Score>(scores: &[S], k: usize) -> Vec<usize> {
        #[allow(clippy::eq_op)]
        let mut order: Vec<usize> = (0..scores.len()).filter(|&index| scores[index] == scores[index]).collect();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
        order.truncate(k);
        order
    }

    #[test]
    fn ties_nan_and_sizes() {
        let nan = f64::NAN;
        assert_eq!(top_k(&[1.0, nan, 2.0, 2.0, f64::INFINITY], 3), [4, 2, 3]);
        assert_eq!(top_k(&[-0.0, 0.0, f64::NEG_INFINITY, nan], 9), [0, 1, 2]);
        assert_eq!(top_k(&[nan, nan], 1), [0_usize; 0]);
        assert_eq!(top_k::<f32>(&[], 3), [0_usize; 0]);
        assert_eq!(top_k(&[1.0_f32], 0), [0_usize; 0]);
        assert_eq!(top_k(&[5.0; 1000], usize::MAX).len(), 1000);
    }

    #[test]
    fn equals_a_stable_sort() {
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e-310];
        for seed in 0..300 {
            let mut draw = Draw(seed);
            let (len, k, distinct) = (draw.below(900), draw.below(200), 1 + draw.below(2000));
            let scores: Vec<f64> = (0..len)
                .map(|_| if draw.below(8) == 0 { special[draw.below(6)] } else { draw.below(distinct) as f64 - 20.0 })
                .collect();
            assert_eq!(top_k(&scores, k), reference(&scores, k), "seed {seed}");
            let narrow: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
            assert_eq!(top_k(&narrow, k), reference(&narrow, k), "seed {seed}");
        }
    }
}
