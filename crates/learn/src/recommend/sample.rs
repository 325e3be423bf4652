//! Which (user, item) pairs a ranker learns from.

use rand::RngExt;

use paceline_core::random;

use super::{Outcomes, Purchases};

/// How pairs are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleSpec {
    /// Uniform negatives per user.
    pub negatives_per_user: usize,
    /// At most so many users per cut, drawn without replacement; `usize::MAX` takes all.
    pub users_max: usize,
    /// Whether items the user owns are left out of the negatives.
    pub new_only: bool,
    /// Seed; the draw of one user does not depend on the others.
    pub seed: u64,
}

/// A pair to learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelledPair {
    /// Index of the user.
    pub user: u32,
    /// Index of the item.
    pub item: u32,
    /// Whether the user bought it in the label window.
    pub bought: bool,
}

/// All positives and, per user, uniform negatives from the items known at the cut that the user may still be shown.
///
/// Uniform on purpose: hard negatives that are not weighted back teach the ranker a world that it never serves.
/// Pairs come by user, then item.
#[must_use]
pub fn sample_pairs(purchases: &Purchases, outcomes: &Outcomes, spec: &SampleSpec) -> Vec<LabelledPair> {
    let known_items: Vec<u32> = (0u32..)
        .zip(purchases.items_known_at(outcomes.cut))
        .filter(|(_, known)| *known)
        .map(|(item, _)| item)
        .collect();
    let mut users: Vec<usize> = (0..outcomes.users.len()).collect();
    if users.len() > spec.users_max {
        let mut random = random::stream(spec.seed, &format!("users at {}", outcomes.cut));
        for i in 0..spec.users_max {
            let j = random.random_range(i..users.len());
            users.swap(i, j);
        }
        users.truncate(spec.users_max);
        users.sort_unstable();
    }
    let mut pairs = Vec::new();
    for outcome in users.into_iter().map(|index| &outcomes.users[index]) {
        let start = pairs.len();
        let pair = |item, bought| LabelledPair { user: outcome.user, item, bought };
        pairs.extend(
            outcome
                .relevant
                .iter()
                .filter(|&&item| known_items.binary_search(&item).is_ok())
                .map(|&item| pair(item, true)),
        );
        let owned: Vec<u32> = if spec.new_only {
            purchases.state_at(outcome.user, outcomes.cut).history.iter().map(|item| item.item).collect()
        } else {
            Vec::new()
        };
        let mut random = random::stream(spec.seed, &format!("negatives of {} at {}", outcome.user, outcomes.cut));
        let mut drawn: Vec<u32> = Vec::with_capacity(spec.negatives_per_user);
        // Owned and bought items are redrawn; the bound matters only to a user who owns nearly everything.
        for _ in 0..4 * spec.negatives_per_user {
            if drawn.len() == spec.negatives_per_user || known_items.is_empty() {
                break;
            }
            let item = known_items[random.random_range(0..known_items.len())];
            if owned.binary_search(&item).is_err() && outcome.relevant.binary_search(&item).is_err() {
                drawn.push(item);
            }
        }
        pairs.extend(drawn.into_iter().map(|item| pair(item, false)));
        pairs[start..].sort_unstable_by_key(|pair| (pair.item, pair.bought));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::Purchase;
    use paceline_core::Timestamp;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400)
    }

    /// 20 users; each owns items u % 10 and 10, buys item 11 in the window; items 12 to 14 appear only later.
    fn purchases() -> Purchases {
        let mut rows = Vec::new();
        for user in 0..20 {
            for (item, time) in [(user % 10, 1), (10, 2), (11, 5), (12 + user % 3, 20)] {
                rows.push(Purchase { user, item, time: day(time), known: day(time) });
            }
        }
        rows.push(Purchase { user: 0, item: 11, time: day(1), known: day(1) });
        Purchases::new(rows, 20, 15)
    }

    fn sample(users_max: usize) -> Vec<LabelledPair> {
        let purchases = purchases();
        let outcomes = Outcomes::at(&purchases, day(4), day(10), 1, true);
        let spec = SampleSpec { negatives_per_user: 30, users_max, new_only: true, seed: 7 };
        sample_pairs(&purchases, &outcomes, &spec)
    }

    #[test]
    fn negatives_are_uniform_over_what_could_be_shown() {
        let pairs = sample(usize::MAX);
        let mut drawn = [0usize; 15];
        for pair in pairs.iter().filter(|pair| !pair.bought) {
            assert!(pair.item != 10 && pair.item != pair.user % 10, "owned: {pair:?}");
            assert!(pair.item != 11, "bought: {pair:?}");
            drawn[pair.item as usize] += 1;
        }
        assert_eq!(drawn[12..], [0, 0, 0], "items of the future");
        // 19 users, 30 draws each, 9 items: an item is allowed for about 17 users, so about 63 times; the standard
        // deviation is about 7.5, five of them on both sides.
        assert!(drawn[..10].iter().all(|&count| (25..=101).contains(&count)), "{drawn:?}");
        assert_eq!(pairs.iter().filter(|pair| pair.bought).count(), 19, "user 0 owns item 11 already");
    }

    #[test]
    fn a_users_draw_does_not_depend_on_the_others() {
        let all = sample(usize::MAX);
        let some = sample(5);
        let mut users: Vec<u32> = some.iter().map(|pair| pair.user).collect();
        users.dedup();
        assert_eq!(users.len(), 5);
        let same: Vec<_> = all.into_iter().filter(|pair| users.contains(&pair.user)).collect();
        assert_eq!(some, same);
    }
}
