//! Who interacted with what, and how much.

use crate::LearnError;

/// A sparse matrix of users by items; an entry is the weight of an interaction, finite and above 0. Within a user the
/// items ascend and are distinct.
#[derive(Debug, Clone, PartialEq)]
pub struct Interactions {
    item_count: usize,
    /// Entries of user `u` are at `offsets[u]..offsets[u + 1]`.
    offsets: Vec<usize>,
    items: Vec<u32>,
    weights: Vec<f32>,
}

/// One interaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interaction {
    /// The user, below the number of users.
    pub user: u32,
    /// The item, below the number of items.
    pub item: u32,
    /// How much; finite and above 0.
    pub weight: f32,
}

impl Interactions {
    /// Collects entries in any order; weights of the same user and item are summed in the given order.
    ///
    /// # Errors
    /// [`LearnError::BadRow`] for a user or item out of range, or a weight that is not finite and above 0.
    pub fn new(user_count: usize, item_count: usize, entries: &[Interaction]) -> Result<Self, LearnError> {
        let bad = |what, row, value, must| Err(LearnError::BadRow { data: "interactions", what, row, value, must });
        for (row, entry) in entries.iter().enumerate() {
            if entry.user as usize >= user_count {
                return bad("user", row, f64::from(entry.user), "below the number of users");
            }
            if entry.item as usize >= item_count {
                return bad("item", row, f64::from(entry.item), "below the number of items");
            }
            if !(entry.weight.is_finite() && entry.weight > 0.0) {
                return bad("weight", row, f64::from(entry.weight), "finite and above 0");
            }
        }
        // Sorting by item first and placing by user then leaves the items of each user in order; both keep ties.
        let mut by_item: Vec<Interaction> = entries.to_vec();
        by_item.sort_by_key(|entry| entry.item);
        Ok(Self::placed(user_count, item_count, || by_item.iter().copied()))
    }

    /// The same entries with users and items exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let entries = || {
            (0..self.user_count() as u32).flat_map(|user| {
                let (items, weights) = self.of_user(user);
                items.iter().zip(weights).map(move |(&item, &weight)| Interaction { user: item, item: user, weight })
            })
        };
        Self::placed(self.item_count, self.user_count(), entries)
    }

    /// Places entries, ordered by item, in the rows of their users (a counting sort), and sums repeated ones.
    fn placed<I: Iterator<Item = Interaction>>(user_count: usize, item_count: usize, entries: impl Fn() -> I) -> Self {
        let mut ends = vec![0_usize; user_count + 1];
        let mut last_item = vec![None; user_count];
        for entry in entries() {
            let last = &mut last_item[entry.user as usize];
            if *last != Some(entry.item) {
                *last = Some(entry.item);
                ends[entry.user as usize + 1] += 1;
            }
        }
        for user in 0..user_count {
            ends[user + 1] += ends[user];
        }
        let offsets = ends.clone();
        let mut next = ends;
        let (mut items, mut weights) = (vec![0; offsets[user_count]], vec![0.0; offsets[user_count]]);
        for entry in entries() {
            let user = entry.user as usize;
            if next[user] > offsets[user] && items[next[user] - 1] == entry.item {
                weights[next[user] - 1] += entry.weight;
            } else {
                items[next[user]] = entry.item;
                weights[next[user]] = entry.weight;
                next[user] += 1;
            }
        }
        Interactions { item_count, offsets, items, weights }
    }

    /// Number of users, those without an interaction included.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of items, those without an interaction included.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.item_count
    }

    /// Number of distinct (user, item) pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The user's items, ascending, and their weights.
    ///
    /// # Panics
    /// When there is no such user.
    #[must_use]
    pub fn of_user(&self, user: u32) -> (&[u32], &[f32]) {
        let range = self.offsets[user as usize]..self.offsets[user as usize + 1];
        (&self.items[range.clone()], &self.weights[range])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::RngExt;

    use super::*;

    fn entry(user: u32, item: u32, weight: f32) -> Interaction {
        Interaction { user, item, weight }
    }

    fn all(interactions: &Interactions) -> Vec<(u32, u32, f32)> {
        let users = 0..interactions.user_count() as u32;
        let of = |user| {
            let (items, weights) = interactions.of_user(user);
            items.iter().zip(weights).map(move |(&item, &weight)| (user, item, weight)).collect::<Vec<_>>()
        };
        users.flat_map(of).collect()
    }

    #[test]
    fn entries_equal_a_map_of_sums_and_transposing_twice_changes_nothing() {
        let mut random = paceline_core::random::stream(3, "interactions");
        for _ in 0..50 {
            // Halves add exactly, so the order of sums does not show.
            let entries: Vec<Interaction> = (0..random.random_range(0..80))
                .map(|_| {
                    entry(random.random_range(0..7), random.random_range(0..9), random.random_range(1..5) as f32 / 2.0)
                })
                .collect();
            let mut sums: BTreeMap<(u32, u32), f32> = BTreeMap::new();
            for entry in &entries {
                *sums.entry((entry.user, entry.item)).or_default() += entry.weight;
            }
            let interactions = Interactions::new(7, 9, &entries).expect("in range");
            let expected: Vec<_> = sums.iter().map(|(&(user, item), &weight)| (user, item, weight)).collect();
            assert_eq!(all(&interactions), expected);
            let mut exchanged: Vec<_> = expected.iter().map(|&(user, item, weight)| (item, user, weight)).collect();
            exchanged.sort_by_key(|&(item, user, _)| (item, user));
            assert_eq!(all(&interactions.transposed()), exchanged);
            assert_eq!(interactions.transposed().transposed(), interactions);
        }
    }

    #[test]
    fn bad_entries_are_named() {
        let check = |bad: Interaction, part: &str| {
            let message = Interactions::new(2, 3, &[entry(0, 0, 1.0), bad]).expect_err("bad").to_string();
            assert!(message.contains(part) && message.contains("row 1"), "{message}");
        };
        check(entry(2, 0, 1.0), "the user of row 1 is 2");
        check(entry(0, 3, 1.0), "the item of row 1 is 3");
        check(entry(0, 0, 0.0), "the weight of row 1 is 0");
        check(entry(0, 0, f32::NAN), "the weight of row 1 is NaN");
    }
}
