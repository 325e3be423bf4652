//! One global time cut: what was known before it and what happened after it.

use std::collections::{BTreeMap, BTreeSet};

use paceline_core::{Period, Timestamp};

use super::Shop;

/// A user that the cut can judge.
#[derive(Debug, Clone, PartialEq)]
pub struct CutUser {
    /// As in the table.
    pub id: i32,
    /// Items bought before the cut, as known then, by position in [`super::Truth::items`].
    pub owned: BTreeSet<usize>,
    /// Items first bought between the cut and its end; never empty.
    pub bought_new: BTreeSet<usize>,
}

/// Users with enough history and something new in the month after the cut. An obvious, slow reference for evaluations.
#[derive(Debug, Clone)]
pub struct Cut {
    from: Timestamp,
    users: Vec<CutUser>,
    /// Identified purchases known at the cut: user, item, event time.
    known: Vec<(i32, usize, Timestamp)>,
    item_count: usize,
}

impl Cut {
    /// Cuts at `from`; labels are what users bought for the first time in `[from, until)`. Only users who own at least
    /// `owned_min` items at the cut count. A purchase is a product line with a user, a quantity and a price above zero.
    #[must_use]
    pub fn new(shop: &Shop, from: Timestamp, until: Timestamp, owned_min: usize) -> Self {
        let mut known = Vec::new();
        let mut owned: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
        let mut owned_late: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
        let mut bought: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
        for line in shop.lines().iter().filter(|line| line.quantity > 0 && line.price > 0.0) {
            let (Some(user), Some(item)) = (line.user_id, shop.truth().item_index(&line.code)) else { continue };
            let at = Timestamp::from_seconds(line.timestamp_s);
            if at < from && Timestamp::from_seconds(line.loaded_at_s) < from {
                known.push((user, item, at));
                owned.entry(user).or_default().insert(item);
            } else if at < from {
                // Not known at the cut, but not new either.
                owned_late.entry(user).or_default().insert(item);
            } else if at < until {
                bought.entry(user).or_default().insert(item);
            }
        }
        let users = bought
            .into_iter()
            .filter_map(|(id, bought)| {
                let owned = owned.remove(&id)?;
                let late = owned_late.remove(&id).unwrap_or_default();
                let bought_new: BTreeSet<usize> =
                    bought.into_iter().filter(|item| !owned.contains(item) && !late.contains(item)).collect();
                (owned.len() >= owned_min && !bought_new.is_empty()).then_some(CutUser { id, owned, bought_new })
            })
            .collect();
        Cut { from, users, known, item_count: shop.truth().items().len() }
    }

    /// Whom the cut judges, by id.
    #[must_use]
    pub fn users(&self) -> &[CutUser] {
        &self.users
    }

    /// Identified purchases known at the cut: user id, item, event time, in order of event time.
    #[must_use]
    pub fn known(&self) -> &[(i32, usize, Timestamp)] {
        &self.known
    }

    /// Identified purchases of each item in the last `window` before the cut, as known then.
    #[must_use]
    pub fn popularity(&self, window: Period) -> Vec<f64> {
        let mut counts = vec![0.0; self.item_count];
        for (_, item, _) in self.known.iter().filter(|(_, _, at)| *at >= self.from - window) {
            counts[*item] += 1.0;
        }
        counts
    }

    /// Mean over the users of NDCG@`k` (binary gain, discount `1 / log2(rank + 1)`; Järvelin and Kekäläinen 2002) of the
    /// items that the user does not own, ranked by `score`, ties by position. Zero when there are no users.
    ///
    /// `score` returns a value for each item.
    pub fn ndcg(&self, k: usize, mut score: impl FnMut(&CutUser) -> Vec<f64>) -> f64 {
        let mut sum = 0.0;
        for user in &self.users {
            let scores = score(user);
            assert_eq!(scores.len(), self.item_count, "one score per item");
            let mut ranked: Vec<usize> = (0..self.item_count).filter(|item| !user.owned.contains(item)).collect();
            ranked.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let discount = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
            let gain: f64 = ranked
                .iter()
                .take(k)
                .enumerate()
                .filter(|(_, item)| user.bought_new.contains(item))
                .map(|(rank, _)| discount(rank))
                .sum();
            let best: f64 = (0..k.min(user.bought_new.len())).map(discount).sum();
            sum += gain / best;
        }
        if self.users.is_empty() { 0.0 } else { sum / self.users.len() as f64 }
    }

    /// NDCG@`k` of the best possible ranking short of knowing the draws: items by their true probability.
    #[must_use]
    pub fn oracle_ndcg(&self, shop: &Shop, until: Timestamp, k: usize) -> f64 {
        self.ndcg(k, |user| {
            shop.truth()
                .choice(user.id, self.from, until)
                .expect("a label month has open days and its users are the shop's")
        })
    }
}
