//! The rank stage: order scored candidates.

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
/// `scores[i]` belongs to `candidates[i]`.
///
/// # Panics
/// When the lengths differ: the caller's bug.
#[must_use]
pub fn rank(candidates: &[u32], scores: &[f64], k: usize) -> Vec<Ranked> {
    assert_eq!(candidates.len(), scores.len(), "one score per candidate");
    let mut ranked: Vec<Ranked> = candidates
        .iter()
        .zip(scores)
        .filter(|(_, score)| !score.is_nan())
        .map(|(&item, &score)| Ranked { item, score })
        .collect();
    let better = |a: &Ranked, b: &Ranked| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item));
    if k < ranked.len() {
        if k == 0 {
            return Vec::new();
        }
        ranked.select_nth_unstable_by(k - 1, better);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(better);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_ties_by_item_nan_never() {
        let ranked = rank(&[9, 4, 7, 2, 5], &[0.5, 0.9, f64::NAN, 0.5, 0.1], 3);
        assert_eq!(ranked.iter().map(|r| r.item).collect::<Vec<_>>(), [4, 2, 9]);
        assert!(rank(&[1], &[1.0], 0).is_empty());
        assert_eq!(rank(&[1], &[1.0], 10).len(), 1);
    }
}
