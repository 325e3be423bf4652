//! The rank stage: order scored candidates.

use paceline_kernels::top_k::TopK;

/// One ranked candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Index in the catalogue.
    pub item: u32,
    /// The scorer's output; comparable within one answer only.
    pub score: f64,
}

/// The `k` best of `candidates`, best first; equal scores by the smaller item index, NaN never.
///
/// `scores[i]` belongs to `candidates[i]`; candidates ascend.
///
/// # Panics
/// When the lengths differ: the caller's bug.
#[must_use]
pub fn rank(candidates: &[u32], scores: &[f64], k: usize) -> Vec<Ranked> {
    assert_eq!(candidates.len(), scores.len(), "one score per candidate");
    let mut best = TopK::default();
    best.of(scores.iter().copied().zip(candidates.iter().copied()), k, None);
    best.sorted().iter().map(|&(score, item)| Ranked { item, score }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_ties_by_item_nan_never() {
        let ranked = rank(&[2, 4, 5, 7, 9], &[0.5, 0.9, 0.1, f64::NAN, 0.5], 3);
        assert_eq!(ranked.iter().map(|r| r.item).collect::<Vec<_>>(), [4, 2, 9]);
        assert!(rank(&[1], &[1.0], 0).is_empty());
        assert_eq!(rank(&[1], &[1.0], 10).len(), 1);
    }
}
