//! What users with a similar history bought lately.

use paceline_core::Timestamp;

use super::HistoryItem;

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
/// The similarity of two users is the cosine of their vectors; the `nearest` most similar users of a user vote for the
/// items that they bought, newer purchases counting more.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimilarUsers {
    nearest: usize,
    half_life_days: f64,
    /// Per item the users with it in their vector, unit length.
    postings: Rows<f32>,
    /// Per user what they bought lately.
    recent: Rows<[f32; 2]>,
}

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
    touched: Vec<u32>,
}

impl SimilarUsers {
    /// From every user's part. `half_life_days` weighs the history of the user who asks, and should be that which the
    /// tastes were weighed by.
    ///
    /// # Panics
    /// When an item is not below `item_count`: the caller's bug.
    #[must_use]
    pub fn new(users: &[Neighbour], item_count: usize, nearest: usize, half_life_days: f64) -> Self {
        let mut by_item: Vec<Vec<(u32, f32)>> = vec![Vec::new(); item_count];
        let mut recent = Rows::default();
        for (user, neighbour) in (0u32..).zip(users) {
            let length = neighbour.taste.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
            for &(item, weight) in neighbour.taste.iter().filter(|_| length > 0.0) {
                by_item[item as usize].push((user, weight / length));
            }
            assert!(neighbour.recent.iter().all(|&(item, _)| (item as usize) < item_count));
            recent.push(neighbour.recent.iter().copied());
        }
        let mut postings = Rows::default();
        by_item.into_iter().for_each(|users| postings.push(users));
        SimilarUsers { nearest, half_life_days, postings, recent }
    }

    /// Adds the votes of the nearest users to `fast` and `slow` (one value per item) and returns the sum of their
    /// similarities. `myself` is the asking user's own number, who does not vote.
    pub fn score(
        &self,
        history: &[HistoryItem],
        now: Timestamp,
        myself: Option<u32>,
        scratch: &mut SimilarUsersScratch,
        fast: &mut [f32],
        slow: &mut [f32],
    ) -> f32 {
        let SimilarUsersScratch { similarity, touched } = scratch;
        similarity.resize(self.recent.len(), 0.0);
        touched.clear();
        let mut squares = 0.0f32;
        for bought in history.iter().filter(|bought| (bought.item as usize) < self.postings.len()) {
            let age_days = now.seconds_since(bought.last).max(0.0) / 86_400.0;
            let weight = (-age_days / self.half_life_days).exp2() as f32;
            squares += weight * weight;
            for &(user, other) in self.postings.row(bought.item) {
                let sum = &mut similarity[user as usize];
                if *sum == 0.0 {
                    touched.push(user);
                }
                *sum += weight * other;
            }
        }
        if let Some(myself) = myself {
            touched.retain(|&user| user != myself);
            if let Some(sum) = similarity.get_mut(myself as usize) {
                *sum = 0.0;
            }
        }
        let nearer = |a: &u32, b: &u32| similarity[*b as usize].total_cmp(&similarity[*a as usize]).then(a.cmp(b));
        if touched.len() > self.nearest && self.nearest > 0 {
            touched.select_nth_unstable_by(self.nearest - 1, nearer);
        }
        let voters = touched.len().min(self.nearest);
        // A fixed order of additions, so that equal requests give equal bits.
        touched[..voters].sort_unstable();
        let length = squares.sqrt().max(f32::MIN_POSITIVE);
        let mut total = 0.0;
        for &user in &touched[..voters] {
            let vote = similarity[user as usize] / length;
            total += vote;
            for &(item, [fast_weight, slow_weight]) in self.recent.row(user) {
                fast[item as usize] += vote * fast_weight;
                slow[item as usize] += vote * slow_weight;
            }
        }
        for &user in touched.iter() {
            similarity[user as usize] = 0.0;
        }
        total
    }

    /// Users who can vote.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.recent.len()
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

    fn score(nearest: usize, myself: Option<u32>, history: &[(u32, i64)]) -> (f32, Vec<f32>, Vec<f32>) {
        let table = SimilarUsers::new(&users(), 4, nearest, 10.0);
        let history: Vec<HistoryItem> =
            history.iter().map(|&(item, at)| HistoryItem { item, count: 1, last: day(at) }).collect();
        let (mut fast, mut slow) = (vec![0.0; 4], vec![0.0; 4]);
        let mut scratch = SimilarUsersScratch::default();
        let first = table.score(&history, day(100), myself, &mut scratch, &mut fast, &mut slow);
        let (mut again_fast, mut again_slow) = (vec![0.0; 4], vec![0.0; 4]);
        let again = table.score(&history, day(100), myself, &mut scratch, &mut again_fast, &mut again_slow);
        assert_eq!((first, &fast, &slow), (again, &again_fast, &again_slow), "a used scratch changes nothing");
        (first, fast, slow)
    }

    #[test]
    fn votes_are_cosines_times_decayed_purchases() {
        // Item 0 bought now: cosine with user 0 is 1/sqrt 2, with user 1 it is 3/5.
        let (total, fast, slow) = score(10, None, &[(0, 100)]);
        assert!((total - (0.5f32.sqrt() + 0.6)).abs() < 1e-6);
        assert!((fast[1] - 0.5f32.sqrt()).abs() < 1e-6 && (fast[2] - 0.3).abs() < 1e-6);
        assert!((slow[2] - 0.48).abs() < 1e-6);
        assert_eq!((fast[0], fast[3]), (0.0, 0.0));
    }

    #[test]
    fn only_the_nearest_vote_and_never_oneself() {
        let (_, fast, _) = score(1, None, &[(0, 100)]);
        assert!(fast[1] > 0.0 && fast[2] == 0.0);
        let (_, fast, _) = score(1, Some(0), &[(0, 100)]);
        assert!(fast[1] == 0.0 && fast[2] > 0.0);
        assert_eq!(score(10, Some(9), &[]).0, 0.0);
    }

    #[test]
    fn an_older_purchase_weighs_less_in_the_cosine() {
        // Items 0 (now) and 3 (one half-life ago): weights 1 and 1/2.
        let (_, fast, _) = score(10, None, &[(0, 100), (3, 90)]);
        assert!((fast[3] - 0.5 / 1.25f32.sqrt()).abs() < 1e-6, "{fast:?}");
    }
}
