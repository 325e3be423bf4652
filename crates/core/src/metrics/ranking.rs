//! One value per user from a ranked list; a ranking metric is the mean of these values over users.
//!
//! Gains are binary: an item is relevant or not. With `rel(i)` 1 where the item at rank `i` (from 1) is relevant and
//! `R` the number of relevant items of the user, whether listed or not:
//!
//! | metric | value of one user |
//! |---|---|
//! | ndcg@K | `sum(i <= K) rel(i) / log2(i + 1)` divided by the same sum of an ideal list, `sum(i <= min(K, R)) 1 / log2(i + 1)` |
//! | recall@K | `sum(i <= K) rel(i) / R`; at most `K / R` where a user has more than K relevant items |
//! | mrr@K | `1 / rank` of the first relevant item, 0 where none is among the first K |
//! | map@K | `sum(i <= K) rel(i) * precision(i) / min(K, R)`, `precision(i)` the share of relevant items among the first i |
//! | hit_rate@K | 1 where any of the first K is relevant, else 0 |
//!
//! A list shorter than K is scored as it is: what is missing is not relevant.
//!
//! Sources: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), with the discount
//! `log2(i + 1)` that is usual since Burges et al. (2005); Manning, Raghavan and Schütze, "Introduction to Information
//! Retrieval" (2008), chapter 8. Dividing map by `min(K, R)` lets a perfect list reach 1.

use std::collections::HashSet;
use std::hash::Hash;

use super::{MetricError, RankingKind, RankingMetric, Undefined};

/// The value of one user. `relevant` holds the ranked list from the top, `true` where the item is relevant; what
/// follows position K is ignored. `relevant_count` is the number of the user's relevant items, listed or not.
///
/// # Errors
/// [`Undefined::NoRelevantItems`] when `relevant_count` is 0: such a user belongs to no ranking metric.
///
/// # Panics
/// When more items are flagged than are relevant: the list repeats an item, or the count is wrong.
pub fn user_value(metric: RankingMetric, relevant: &[bool], relevant_count: usize) -> Result<f64, MetricError> {
    if relevant_count == 0 {
        return Err(MetricError::Undefined { metric: metric.to_string(), reason: Undefined::NoRelevantItems });
    }
    let k = metric.k.get();
    let list = &relevant[..relevant.len().min(k)];
    let hits = list.iter().filter(|&&hit| hit).count();
    assert!(hits <= relevant_count, "{hits} relevant items are listed, but there are only {relevant_count}");
    let reachable = relevant_count.min(k);
    Ok(match metric.kind {
        RankingKind::Ndcg => {
            let gain: f64 = ranks_of_hits(list).map(discount).sum();
            gain / (1..=reachable).map(discount).sum::<f64>()
        }
        RankingKind::Recall => hits as f64 / relevant_count as f64,
        RankingKind::Mrr => ranks_of_hits(list).next().map_or(0.0, |rank| 1.0 / rank as f64),
        RankingKind::Map => {
            let precisions = ranks_of_hits(list).enumerate().map(|(before, rank)| (before + 1) as f64 / rank as f64);
            precisions.sum::<f64>() / reachable as f64
        }
        RankingKind::HitRate => f64::from(u8::from(hits > 0)),
    })
}

/// Share of the catalogue that appears at least once among the first `k` of all lists.
///
/// # Errors
/// [`Undefined::NoItems`] for an empty catalogue, [`Undefined::NoRows`] when there is no list.
///
/// # Panics
/// When the lists hold more distinct items than the catalogue.
pub fn coverage<'a, I: Hash + Eq + 'a>(
    lists: impl IntoIterator<Item = &'a [I]>,
    k: usize,
    catalogue_size: usize,
) -> Result<f64, MetricError> {
    let undefined = |reason| MetricError::Undefined { metric: format!("coverage@{k}"), reason };
    if catalogue_size == 0 {
        return Err(undefined(Undefined::NoItems));
    }
    let mut seen = HashSet::new();
    let mut list_count = 0_usize;
    for list in lists {
        list_count += 1;
        seen.extend(list.iter().take(k));
    }
    if list_count == 0 {
        return Err(undefined(Undefined::NoRows));
    }
    assert!(seen.len() <= catalogue_size, "{} distinct items listed of a catalogue of {catalogue_size}", seen.len());
    Ok(seen.len() as f64 / catalogue_size as f64)
}

fn ranks_of_hits(list: &[bool]) -> impl Iterator<Item = usize> + '_ {
    list.iter().enumerate().filter(|(_, hit)| **hit).map(|(position, _)| position + 1)
}

fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 1) as f64).log2()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use rand::RngExt;

    use super::*;
    use crate::random;

    fn metric(kind: RankingKind, k: usize) -> RankingMetric {
        kind.at(NonZeroUsize::new(k).expect("above 0"))
    }

    fn value(kind: RankingKind, k: usize, list: &[u8], relevant_count: usize) -> f64 {
        let flags: Vec<bool> = list.iter().map(|&flag| flag == 1).collect();
        user_value(metric(kind, k), &flags, relevant_count).expect("relevant items")
    }

    /// The five metrics by the book: loops over ranks and prefixes, nothing shared with the code above.
    fn slow(kind: RankingKind, k: usize, list: &[bool], relevant_count: usize) -> f64 {
        let rel = |rank: usize| f64::from(u8::from(rank <= list.len() && rank <= k && list[rank - 1]));
        let precision = |rank: usize| (1..=rank).map(rel).sum::<f64>() / rank as f64;
        match kind {
            RankingKind::Ndcg => {
                let mut ideal = vec![false; relevant_count.max(k)];
                ideal[..relevant_count].fill(true);
                let dcg =
                    |gain: &dyn Fn(usize) -> f64| (1..=k).map(|i| gain(i) * 2_f64.ln() / (i as f64 + 1.0).ln()).sum();
                let best: f64 = dcg(&|rank| f64::from(u8::from(ideal[rank - 1])));
                let got: f64 = dcg(&rel);
                got / best
            }
            RankingKind::Recall => (1..=k).map(rel).sum::<f64>() / relevant_count as f64,
            RankingKind::Mrr => (1..=k).map(|rank| rel(rank) / rank as f64).fold(0.0, f64::max),
            RankingKind::Map => {
                (1..=k).map(|rank| rel(rank) * precision(rank)).sum::<f64>() / relevant_count.min(k) as f64
            }
            RankingKind::HitRate => (1..=k).map(rel).fold(0.0, f64::max),
        }
    }

    #[test]
    fn textbook_values() {
        // Relevant at ranks 1 and 3 of 4 relevant items.
        let list = [1, 0, 1, 0, 0];
        let ideal = 1.0 + 1.0 / 3_f64.log2() + 0.5 + 1.0 / 5_f64.log2();
        assert!((value(RankingKind::Ndcg, 5, &list, 4) - 1.5 / ideal).abs() < 1e-12);
        assert_eq!(value(RankingKind::Recall, 5, &list, 4), 0.5);
        assert_eq!(value(RankingKind::Mrr, 5, &[0, 0, 1], 1), 1.0 / 3.0);
        assert!((value(RankingKind::Map, 5, &list, 4) - (1.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        assert_eq!(value(RankingKind::HitRate, 5, &list, 4), 1.0);
        for kind in RankingKind::ALL {
            assert_eq!(value(kind, 2, &[0, 0, 1], 1), 0.0, "{kind:?}: the hit is below the cut");
            assert_eq!(value(kind, 3, &[], 2), 0.0, "{kind:?}: an empty list finds nothing");
        }
    }

    #[test]
    fn a_perfect_list_is_one_except_for_recall_beyond_k() {
        for kind in RankingKind::ALL {
            let expected = if kind == RankingKind::Recall { 3.0 / 7.0 } else { 1.0 };
            assert!((value(kind, 3, &[1, 1, 1], 7) - expected).abs() < 1e-12, "{kind:?}");
        }
    }

    #[test]
    fn random_lists_equal_the_slow_reference() {
        let mut random = random::stream(1, "ranking");
        for case in 0..500 {
            let length = random.random_range(0..30);
            let list: Vec<bool> = (0..length).map(|_| random.random_bool(0.2)).collect();
            let listed = list.iter().filter(|&&hit| hit).count();
            let relevant_count = (listed + random.random_range(0..4)).max(1);
            let k = random.random_range(1..25);
            for kind in RankingKind::ALL {
                let fast = user_value(metric(kind, k), &list, relevant_count).expect("relevant items");
                let slow = slow(kind, k, &list, relevant_count);
                assert!((fast - slow).abs() < 1e-12, "case {case}, {kind:?}@{k}: {fast} against {slow}");
            }
        }
    }

    #[test]
    fn users_without_relevant_items_have_no_value() {
        let error = user_value(metric(RankingKind::Ndcg, 10), &[false], 0).expect_err("no relevant item");
        assert_eq!(error.to_string(), "ndcg@10 is not defined here: there is no relevant item");
    }

    #[test]
    fn coverage_counts_distinct_items_of_the_first_k() {
        let lists: [&[u32]; 3] = [&[1, 2, 3], &[2, 1, 4], &[1]];
        assert_eq!(coverage(lists, 2, 8), Ok(2.0 / 8.0));
        assert_eq!(coverage(lists, 3, 8), Ok(4.0 / 8.0));
        assert!(coverage(lists, 3, 0).is_err());
        assert!(coverage(std::iter::empty::<&[u32]>(), 3, 8).is_err());
    }
}
