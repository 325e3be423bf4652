//! What users with a similar history bought lately.

use serde::{Deserialize, Serialize};

use paceline_core::Timestamp;
use paceline_kernels::top_k::TopK;

use super::HistoryItem;
use super::item_item::check_offsets;
use crate::ModelError;
use crate::tensors::{Tensor, TensorFile, Values};

/// Fast votes below this weight do not count: seven half-lives of an item's last purchase. It spares the walk through
/// everything that a neighbour ever bought.
const FAST_VOTE_MIN: f32 = 0.01;

/// One user's part of [`SimilarUsers::new`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Neighbour {
    /// Items with their weights in the similarity; any positive scale.
    pub taste: Vec<(u32, f32)>,
    /// Items with what a neighbour's purchase counts, by a fast and by a slow decay.
    pub recent: Vec<(u32, [f32; 2])>,
}

/// Users as sparse vectors over items, and what they bought lately, as of one time.
///
/// The similarity of two users is the cosine of their vectors. The most similar users of a user vote for the items that
/// they bought, newer purchases counting more: many users in the wide circle, a quarter or so of them in the close one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimilarUsers {
    circles: Circles,
    half_life_days: f64,
    /// Per item the users with it in their vector, unit length.
    postings: Rows<f32>,
    /// Per user what they bought lately, by falling fast vote.
    recent: Rows<[f32; 2]>,
    /// Per user how many of these still count in the fast vote.
    fast_counts: Vec<u32>,
}

/// How many nearest users vote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circles {
    /// In the wide circle.
    pub wide: usize,
    /// In the close circle, at most as many.
    pub close: usize,
}

/// What similar users vote for, one value per item; all zero before.
#[derive(Debug)]
pub struct Votes<'a> {
    /// The wide circle's votes by the fast decay.
    pub wide: &'a mut [f32],
    /// The close circle's by the fast decay.
    pub close: &'a mut [f32],
    /// The close circle's by the slow decay.
    pub close_slow: &'a mut [f32],
}

/// An item with what it counts as a vote, by the fast and the slow decay.
type RecentItem = (u32, [f32; 2]);

/// Rows of (index, value) pairs, one after the other.
#[derive(Debug, Clone, PartialEq)]
struct Rows<T> {
    offsets: Vec<u32>,
    entries: Vec<(u32, T)>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows { offsets: vec![0], entries: Vec::new() }
    }
}

impl<T: Copy> Rows<T> {
    fn push(&mut self, row: impl IntoIterator<Item = (u32, T)>) {
        self.entries.extend(row);
        self.offsets.push(u32::try_from(self.entries.len()).expect("fewer than 2^32 entries"));
    }

    fn row(&self, index: u32) -> &[(u32, T)] {
        &self.entries[self.offsets[index as usize] as usize..self.offsets[index as usize + 1] as usize]
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// Buffers of one request.
#[derive(Debug, Clone, Default)]
pub struct SimilarUsersScratch {
    similarity: Vec<f32>,
    nearest: TopK<f32>,
}

impl SimilarUsers {
    /// From every user's part. `half_life_days` weighs the history of the user who asks, and should be that which the
    /// tastes were weighed by.
    ///
    /// # Panics
    /// When an item is not below `item_count`, or the close circle is wider than the wide one: the caller's bug.
    #[must_use]
    pub fn new(users: &[Neighbour], item_count: usize, circles: Circles, half_life_days: f64) -> Self {
        assert!(circles.close <= circles.wide, "{circles:?}");
        let mut by_item: Vec<Vec<(u32, f32)>> = vec![Vec::new(); item_count];
        let mut recent = Rows::default();
        for (user, neighbour) in (0u32..).zip(users) {
            let length = neighbour.taste.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
            for &(item, weight) in neighbour.taste.iter().filter(|_| length > 0.0) {
                by_item[item as usize].push((user, weight / length));
            }
            assert!(neighbour.recent.iter().all(|&(item, _)| (item as usize) < item_count));
            let mut bought = neighbour.recent.clone();
            bought.sort_by(|(a, [a_fast, _]), (b, [b_fast, _])| b_fast.total_cmp(a_fast).then(a.cmp(b)));
            recent.push(bought);
        }
        let mut postings = Rows::default();
        by_item.into_iter().for_each(|users| postings.push(users));
        SimilarUsers { circles, half_life_days, postings, fast_counts: fast_counts(&recent), recent }
    }

    /// Adds the votes of the nearest users and returns the sum of similarities in the close circle. `myself` is the
    /// asking user's own number, who does not vote.
    pub fn score(
        &self,
        history: &[HistoryItem],
        now: Timestamp,
        myself: Option<u32>,
        scratch: &mut SimilarUsersScratch,
        votes: Votes<'_>,
    ) -> f32 {
        let SimilarUsersScratch { similarity, nearest } = scratch;
        similarity.clear();
        similarity.resize(self.recent.len(), 0.0);
        let mut squares = 0.0f32;
        for bought in history.iter().filter(|bought| (bought.item as usize) < self.postings.len()) {
            let age_days = now.seconds_since(bought.last).max(0.0) / 86_400.0;
            let weight = (-age_days / self.half_life_days).exp2() as f32;
            squares += weight * weight;
            for &(user, other) in self.postings.row(bought.item) {
                similarity[user as usize] += weight * other;
            }
        }
        if let Some(myself) = myself.and_then(|myself| similarity.get_mut(myself as usize)) {
            *myself = 0.0;
        }
        let length = squares.sqrt().max(f32::MIN_POSITIVE);
        nearest.of(similarity.iter().copied().zip(0..), self.circles.wide, Some(0.0));
        // Nearest first: a fixed order of additions, so that equal requests give equal bits.
        let nearest = nearest.sorted();
        let (close, others) = nearest.split_at(nearest.len().min(self.circles.close));
        let mut total = 0.0;
        for &(similarity, user) in close {
            let vote = similarity / length;
            total += vote;
            let (lately, earlier) = self.recent_of(user);
            for &(item, [fast, slow]) in lately {
                votes.close[item as usize] += vote * fast;
                votes.close_slow[item as usize] += vote * slow;
            }
            for &(item, [_, slow]) in earlier {
                votes.close_slow[item as usize] += vote * slow;
            }
        }
        // The close circle is part of the wide one.
        votes.wide.copy_from_slice(votes.close);
        for &(similarity, user) in others {
            let vote = similarity / length;
            for &(item, [fast, _]) in self.recent_of(user).0 {
                votes.wide[item as usize] += vote * fast;
            }
        }
        total
    }

    /// What a user bought lately, newest first: where the fast vote counts, and what is older.
    fn recent_of(&self, user: u32) -> (&[RecentItem], &[RecentItem]) {
        self.recent.row(user).split_at(self.fast_counts[user as usize] as usize)
    }

    /// The arrays of its file.
    pub(crate) fn arrays(&self) -> Arrays {
        let (posting_users, posting_weights) = self.postings.entries.iter().copied().unzip();
        let recent = &self.recent.entries;
        Arrays {
            posting_offsets: self.postings.offsets.clone(),
            posting_users,
            posting_weights,
            recent_offsets: self.recent.offsets.clone(),
            recent_items: recent.iter().map(|entry| entry.0).collect(),
            recent_fast: recent.iter().map(|entry| entry.1[0]).collect(),
            recent_slow: recent.iter().map(|entry| entry.1[1]).collect(),
        }
    }

    /// From the arrays of `file`, named as in [`Arrays::tensors`]; everything is checked.
    pub(crate) fn read(
        file: &TensorFile<'_>,
        items: usize,
        circles: Circles,
        half_life_days: f64,
    ) -> Result<Self, ModelError> {
        let count = |name: &str| file.len(&format!("similar_users.{name}"));
        let positions = |name: &str, len: usize| file.positions(&format!("similar_users.{name}"), &[len]);
        let values = |name: &str, len: usize| file.values(&format!("similar_users.{name}"), &[len]);
        let (posting_count, recent_count) = (count("posting_users")?, count("recent_items")?);
        let posting_offsets = positions("posting_offsets", items + 1)?;
        let recent_offsets = positions("recent_offsets", count("recent_offsets")?)?;
        check_offsets(file, "similar_users.postings", &posting_offsets, posting_count)?;
        check_offsets(file, "similar_users.recent", &recent_offsets, recent_count)?;
        let users = recent_offsets.len() - 1;
        let below = |what: &str, places: &[u32], bound: usize| match places.iter().find(|&&at| at as usize >= bound) {
            Some(at) => {
                file.inconsistent(format!("a {what} in similar_users"), at.to_string(), format!("below {bound}"))
            }
            None => Ok(()),
        };
        let posting_users = positions("posting_users", posting_count)?;
        let recent_items = positions("recent_items", recent_count)?;
        below("user", &posting_users, users)?;
        below("item", &recent_items, items)?;
        let posting_weights = values("posting_weights", posting_count)?;
        let fast = values("recent_fast", recent_count)?;
        let falls = |row: &[u32]| fast[row[0] as usize..row[1] as usize].is_sorted_by(|a, b| a >= b);
        if !recent_offsets.windows(2).all(falls) {
            let must = "falling within each user".to_owned();
            return file.inconsistent("similar_users.recent_fast".to_owned(), "not in order".into(), must);
        }
        let votes = fast.iter().copied().zip(values("recent_slow", recent_count)?);
        let recent = Rows {
            offsets: recent_offsets,
            entries: recent_items.into_iter().zip(votes.map(|(fast, slow)| [fast, slow])).collect(),
        };
        Ok(SimilarUsers {
            circles,
            half_life_days,
            fast_counts: fast_counts(&recent),
            recent,
            postings: Rows {
                offsets: posting_offsets,
                entries: posting_users.into_iter().zip(posting_weights).collect(),
            },
        })
    }

    /// How many users vote.
    pub(crate) fn circles(&self) -> Circles {
        self.circles
    }

    /// After this many days a purchase of the asking user counts half.
    pub(crate) fn half_life_days(&self) -> f64 {
        self.half_life_days
    }

    /// Users who can vote.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.recent.len()
    }
}

fn fast_counts(recent: &Rows<[f32; 2]>) -> Vec<u32> {
    let count = |row: &[RecentItem]| row.partition_point(|(_, [fast, _])| *fast >= FAST_VOTE_MIN) as u32;
    (0..recent.len() as u32).map(|user| count(recent.row(user))).collect()
}

/// [`SimilarUsers`] as flat arrays.
pub(crate) struct Arrays {
    posting_offsets: Vec<u32>,
    posting_users: Vec<u32>,
    posting_weights: Vec<f32>,
    recent_offsets: Vec<u32>,
    recent_items: Vec<u32>,
    recent_fast: Vec<f32>,
    recent_slow: Vec<f32>,
}

impl Arrays {
    /// Each array under `similar_users.NAME`.
    pub(crate) fn tensors(&self) -> [Tensor<'_>; 7] {
        [
            ("posting_offsets", Values::U32(&self.posting_offsets)),
            ("posting_users", Values::U32(&self.posting_users)),
            ("posting_weights", Values::F32(&self.posting_weights)),
            ("recent_offsets", Values::U32(&self.recent_offsets)),
            ("recent_items", Values::U32(&self.recent_items)),
            ("recent_fast", Values::F32(&self.recent_fast)),
            ("recent_slow", Values::F32(&self.recent_slow)),
        ]
        .map(|(name, values)| (format!("similar_users.{name}"), vec![values.len()], values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400)
    }

    fn users() -> Vec<Neighbour> {
        let neighbour = |taste: &[(u32, f32)], recent: &[(u32, [f32; 2])]| Neighbour {
            taste: taste.to_vec(),
            recent: recent.to_vec(),
        };
        vec![
            neighbour(&[(0, 1.0), (1, 1.0)], &[(1, [1.0, 1.0])]),
            neighbour(&[(0, 3.0), (2, 4.0)], &[(2, [0.5, 0.8])]),
            neighbour(&[(3, 1.0)], &[(3, [1.0, 1.0])]),
            neighbour(&[], &[]),
        ]
    }

    struct Scored {
        total: f32,
        wide: Vec<f32>,
        close: Vec<f32>,
        close_slow: Vec<f32>,
    }

    fn score(circles: (usize, usize), myself: Option<u32>, history: &[(u32, i64)]) -> Scored {
        let table = SimilarUsers::new(&users(), 4, Circles { wide: circles.0, close: circles.1 }, 10.0);
        let history: Vec<HistoryItem> =
            history.iter().map(|&(item, at)| HistoryItem { item, count: 1, last: day(at) }).collect();
        let mut scratch = SimilarUsersScratch::default();
        let mut once = || {
            let (mut wide, mut close, mut close_slow) = (vec![0.0; 4], vec![0.0; 4], vec![0.0; 4]);
            let votes = Votes { wide: &mut wide, close: &mut close, close_slow: &mut close_slow };
            let total = table.score(&history, day(100), myself, &mut scratch, votes);
            (total, wide, close, close_slow)
        };
        let first = once();
        assert_eq!(first, once(), "a used scratch changes nothing");
        let (total, wide, close, close_slow) = first;
        Scored { total, wide, close, close_slow }
    }

    #[test]
    fn votes_are_cosines_times_decayed_purchases() {
        // Item 0 bought now: cosine with user 0 is 1/sqrt 2, with user 1 it is 3/5.
        let Scored { total, wide, close, close_slow } = score((10, 10), None, &[(0, 100)]);
        assert!((total - (0.5f32.sqrt() + 0.6)).abs() < 1e-6);
        assert!((wide[1] - 0.5f32.sqrt()).abs() < 1e-6 && (wide[2] - 0.3).abs() < 1e-6);
        assert!((close_slow[2] - 0.48).abs() < 1e-6);
        assert_eq!((wide[0], wide[3]), (0.0, 0.0));
        assert_eq!(wide, close);
    }

    #[test]
    fn only_the_nearest_vote_and_never_oneself() {
        let Scored { total, wide, close, close_slow } = score((2, 1), None, &[(0, 100)]);
        assert!((total - 0.5f32.sqrt()).abs() < 1e-6, "the close circle alone");
        assert!(wide[1] > 0.0 && wide[2] > 0.0 && close[1] > 0.0 && close[2] == 0.0 && close_slow[2] == 0.0);
        let wide = score((1, 1), Some(0), &[(0, 100)]).wide;
        assert!(wide[1] == 0.0 && wide[2] > 0.0);
        assert_eq!(score((10, 10), Some(9), &[]).total, 0.0);
        assert_eq!(score((0, 0), None, &[(0, 100)]).wide, [0.0; 4]);
    }

    #[test]
    fn an_older_purchase_weighs_less_in_the_cosine() {
        // Items 0 (now) and 3 (one half-life ago): weights 1 and 1/2.
        let wide = score((10, 10), None, &[(0, 100), (3, 90)]).wide;
        assert!((wide[3] - 0.5 / 1.25f32.sqrt()).abs() < 1e-6, "{wide:?}");
    }
}
