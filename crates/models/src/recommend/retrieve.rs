//! The candidate stage: score every item by each source, then pick.

use serde::{Deserialize, Serialize};

use paceline_core::Timestamp;
use paceline_kernels::dot::dots;
use paceline_kernels::top_k::TopK;

use super::similar_users::{SimilarUsersScratch, Votes};
use super::{ItemItem, SimilarUsers};

/// A score that the candidate stage gives every item. The order is that of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateScore {
    /// Dot product of the user's and the item's factors.
    Als,
    /// How often buyers of what the user bought went on to buy it lately; newer purchases of the user count more.
    ItemItem,
    /// How often it lies in one basket with what the user bought; newer purchases count more.
    Together,
    /// How often it lies in one basket with the items of the user's newest basket.
    LastBasket,
    /// The largest similarity to an item that the user bought: how much the buyers of both are the same.
    AlsoBought,
    /// What many users with a similar history bought in the last days.
    SimilarUsers,
    /// The same of the most similar users alone.
    ClosestUsers,
    /// What the most similar users bought over the last months.
    ClosestUsersSlow,
    /// How much the user bought of the item's own group; newer purchases count more.
    Group,
    /// Popularity in a recent window.
    Popular,
    /// How many users bought it for the first time lately.
    FirstBuyers,
}

impl CandidateScore {
    /// All scores, in column order.
    pub const ALL: [CandidateScore; 11] = [
        CandidateScore::Als,
        CandidateScore::ItemItem,
        CandidateScore::Together,
        CandidateScore::LastBasket,
        CandidateScore::AlsoBought,
        CandidateScore::SimilarUsers,
        CandidateScore::ClosestUsers,
        CandidateScore::ClosestUsersSlow,
        CandidateScore::Group,
        CandidateScore::Popular,
        CandidateScore::FirstBuyers,
    ];

    /// The name as a feature: `candidate.als`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CandidateScore::Als => "als",
            CandidateScore::ItemItem => "item_item",
            CandidateScore::Together => "together",
            CandidateScore::LastBasket => "last_basket",
            CandidateScore::AlsoBought => "also_bought",
            CandidateScore::SimilarUsers => "similar_users",
            CandidateScore::ClosestUsers => "closest_users",
            CandidateScore::ClosestUsersSlow => "closest_users_slow",
            CandidateScore::Group => "group",
            CandidateScore::Popular => "popular",
            CandidateScore::FirstBuyers => "first_buyers",
        }
    }
}

/// How many candidates each source may name; 0 leaves a source out. The union is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateCounts {
    /// From matrix factors.
    pub als: usize,
    /// From item-item similarities to the whole history.
    pub item_item: usize,
    /// From baskets like the last one.
    pub last_basket: usize,
    /// From users with a similar history.
    pub similar_users: usize,
    /// From recent popularity.
    pub popular: usize,
}

impl CandidateCounts {
    /// Each source's count with the score that it picks by.
    fn sources(&self) -> [(CandidateScore, usize); 5] {
        [
            (CandidateScore::Als, self.als),
            (CandidateScore::ItemItem, self.item_item),
            (CandidateScore::LastBasket, self.last_basket),
            (CandidateScore::SimilarUsers, self.similar_users),
            (CandidateScore::Popular, self.popular),
        ]
    }

    /// Every count times `factor`, rounded up.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> CandidateCounts {
        let scale = |count: usize| (count as f64 * factor).ceil() as usize;
        CandidateCounts {
            als: scale(self.als),
            item_item: scale(self.item_item),
            last_basket: scale(self.last_basket),
            similar_users: scale(self.similar_users),
            popular: scale(self.popular),
        }
    }
}

/// A purchase that weighs less is no cause: four half-lives. Older ones cost time and make [`CandidateScore::AlsoBought`]
/// worse.
const CAUSE_WEIGHT_MIN: f32 = 1.0 / 16.0;

/// Of a longer history only the newest so many items are causes, and make the user similar to others: it bounds the time
/// of one request, and what a customer bought lately says more.
const CAUSES_MAX: usize = 100;

/// The newest [`CAUSES_MAX`] items, ordered by item; of equally new ones those with the smaller numbers.
fn newest(history: &[HistoryItem], causes: &mut Vec<HistoryItem>) {
    causes.clear();
    causes.extend_from_slice(history);
    if causes.len() > CAUSES_MAX {
        causes.select_nth_unstable_by_key(CAUSES_MAX - 1, |bought| (std::cmp::Reverse(bought.last), bought.item));
        causes.truncate(CAUSES_MAX);
        causes.sort_unstable_by_key(|bought| bought.item);
    }
}

/// One item of a user's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryItem {
    /// Index in the catalogue.
    pub item: u32,
    /// How often it was bought.
    pub count: u32,
    /// When it was last bought.
    pub last: Timestamp,
}

/// What is known of a user at the time of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserState {
    /// Factors of the user; empty for a user whom the factors do not know.
    pub factors: Vec<f32>,
    /// Items bought so far, one entry per item, ordered by item.
    pub history: Vec<HistoryItem>,
    /// The items of the newest basket.
    pub last_basket: Vec<u32>,
    /// The user's number among [`SimilarUsers`], whose own vote does not count.
    pub number: Option<u32>,
}

/// Everything the candidate stage knows of items, as of one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Retriever {
    /// Item factors, row-major, `items x dimensions`.
    pub item_factors: Vec<f32>,
    /// Width of a factor row.
    pub dimensions: usize,
    /// What buyers of an item went on to buy.
    pub bought_next: ItemItem,
    /// What lies in one basket with an item.
    pub bought_together: ItemItem,
    /// Items with the same buyers.
    pub also_bought: ItemItem,
    /// What similar users bought.
    pub similar_users: SimilarUsers,
    /// The group of each item, numbered from 0 without gaps; empty when items have no groups.
    pub groups: Vec<u32>,
    /// Distinct buyers of each item in the recent window.
    pub popularity: Vec<f32>,
    /// Users who bought the item for the first time lately.
    pub first_buyers: Vec<f32>,
    /// Items that may be answered at all: those known at the time that this describes.
    pub available: Vec<bool>,
    /// After this many days a purchase counts half as a cause ([`CandidateScore::ItemItem`], [`CandidateScore::Together`]).
    pub half_life_days: f64,
    /// After this many days a purchase counts half as a taste ([`CandidateScore::Group`]).
    pub taste_half_life_days: f64,
}

/// Buffers of one request, reused by the next on the same thread.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    scores: [Vec<f32>; CandidateScore::ALL.len()],
    users: SimilarUsersScratch,
    groups: Vec<f32>,
    causes: Vec<HistoryItem>,
    /// Weight of the user's history: what [`CandidateScore::ItemItem`] and [`CandidateScore::Together`] grow with.
    pub history_weight: f32,
    /// Sum of the similarities of the most similar users: what their votes grow with.
    pub neighbour_weight: f32,
    blocked: Vec<bool>,
    chosen: Vec<bool>,
    best: TopK<f32>,
}

impl Scratch {
    /// Scores of all items by one source, valid after [`Retriever::score`].
    #[must_use]
    pub fn scores(&self, score: CandidateScore) -> &[f32] {
        &self.scores[score as usize]
    }

    /// Whether an item is kept out of the answer, valid after [`Retriever::score`].
    #[must_use]
    pub fn is_blocked(&self, item: u32) -> bool {
        self.blocked[item as usize]
    }
}

impl Retriever {
    /// Number of items.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.popularity.len()
    }

    /// Scores every item for `user` as of `now` by every source, and blocks the items that may not be answered: those not
    /// available, `excluded`, and the user's own history when `new_only`.
    pub fn score(&self, user: &UserState, now: Timestamp, new_only: bool, excluded: &[u32], scratch: &mut Scratch) {
        let items = self.item_count();
        for scores in &mut scratch.scores {
            scores.clear();
            scores.resize(items, 0.0);
        }
        let [
            als,
            item_item,
            together,
            last_basket,
            also_bought,
            similar,
            closest,
            closest_slow,
            group,
            popular,
            first_buyers,
        ] = &mut scratch.scores;
        if user.factors.len() == self.dimensions && self.dimensions > 0 {
            dots(&self.item_factors, &user.factors, als);
        }
        scratch.history_weight = 0.0;
        scratch.groups.clear();
        // There are at most as many groups as items.
        scratch.groups.resize(self.groups.len(), 0.0);
        for bought in &user.history {
            let age_days = now.seconds_since(bought.last).max(0.0) / 86_400.0;
            let weight = (-age_days / self.half_life_days).exp2() as f32;
            scratch.history_weight += weight;
            if let Some(&group) = self.groups.get(bought.item as usize) {
                scratch.groups[group as usize] += (-age_days / self.taste_half_life_days).exp2() as f32;
            }
        }
        newest(&user.history, &mut scratch.causes);
        for bought in &scratch.causes {
            let age_days = now.seconds_since(bought.last).max(0.0) / 86_400.0;
            let weight = (-age_days / self.half_life_days).exp2() as f32;
            if weight < CAUSE_WEIGHT_MIN {
                continue;
            }
            for (neighbour, similarity) in self.also_bought.neighbours(bought.item) {
                let largest = &mut also_bought[neighbour as usize];
                *largest = largest.max(similarity);
            }
            for (neighbour, similarity) in self.bought_next.neighbours(bought.item) {
                item_item[neighbour as usize] += weight * similarity;
            }
            for (neighbour, similarity) in self.bought_together.neighbours(bought.item) {
                together[neighbour as usize] += weight * similarity;
            }
        }
        for &bought in &user.last_basket {
            for (neighbour, similarity) in self.bought_together.neighbours(bought) {
                last_basket[neighbour as usize] += similarity;
            }
        }
        let votes = Votes { wide: similar, close: closest, close_slow: closest_slow };
        scratch.neighbour_weight =
            self.similar_users.score(&scratch.causes, now, user.number, &mut scratch.users, votes);
        for (score, &number) in group.iter_mut().zip(&self.groups) {
            *score = scratch.groups[number as usize];
        }
        popular.copy_from_slice(&self.popularity);
        first_buyers.copy_from_slice(&self.first_buyers);

        scratch.blocked.clear();
        scratch.blocked.extend(self.available.iter().map(|available| !available));
        let owned = user.history.iter().filter(|_| new_only).map(|bought| bought.item);
        for item in owned.chain(excluded.iter().copied()).filter(|&item| (item as usize) < items) {
            scratch.blocked[item as usize] = true;
        }
    }

    /// The union of each source's best items that are not blocked, ordered by item. A source that gives an item 0 does
    /// not name it. Needs [`Retriever::score`] before.
    pub fn candidates(&self, counts: &CandidateCounts, scratch: &mut Scratch, into: &mut Vec<u32>) {
        let items = self.item_count();
        scratch.chosen.clear();
        scratch.chosen.resize(items, false);
        for (source, count) in counts.sources() {
            let scores = scratch.scores[source as usize].iter().zip(&scratch.blocked).zip(0..);
            let open = scores.map(|((&score, &blocked), item)| (if blocked { 0.0 } else { score }, item));
            for &(_, item) in scratch.best.of(open, count, Some(0.0)) {
                scratch.chosen[item as usize] = true;
            }
        }
        into.clear();
        into.extend((0..items as u32).filter(|&item| scratch.chosen[item as usize]));
    }

    /// Every item that is not blocked, ordered by item. Needs [`Retriever::score`] before.
    pub fn whole_catalogue(&self, scratch: &Scratch, into: &mut Vec<u32>) {
        into.clear();
        into.extend((0..self.item_count() as u32).filter(|&item| !scratch.blocked[item as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::{Circles, Neighbour};

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400)
    }

    /// Five items; item 0 is near 1 and 2, item 3 near 4.
    fn retriever() -> Retriever {
        Retriever {
            item_factors: vec![1.0, 0.0, 0.9, 0.1, 0.5, 0.5, 0.0, 1.0, 0.1, 0.9],
            dimensions: 2,
            bought_next: ItemItem::new(&[
                vec![(1, 0.8), (2, 0.4)],
                vec![(0, 0.8)],
                vec![(0, 0.4)],
                vec![(4, 0.6)],
                vec![(3, 0.6)],
            ]),
            bought_together: ItemItem::new(&[vec![(2, 0.5)], vec![], vec![], vec![(4, 0.25)], vec![]]),
            also_bought: ItemItem::new(&[vec![(1, 0.3), (2, 0.6)], vec![], vec![], vec![(2, 0.5)], vec![]]),
            similar_users: SimilarUsers::new(
                &[
                    Neighbour { taste: vec![(0, 1.0)], recent: vec![(0, [1.0, 1.0])] },
                    Neighbour { taste: vec![(3, 1.0)], recent: vec![(2, [0.5, 0.75])] },
                ],
                5,
                Circles { wide: 10, close: 10 },
                1e12,
            ),
            groups: vec![0, 0, 1, 1, 2],
            popularity: vec![0.1, 0.2, 0.3, 0.4, 0.5],
            first_buyers: vec![5.0, 4.0, 3.0, 2.0, 1.0],
            available: vec![true; 5],
            half_life_days: 10.0,
            taste_half_life_days: 5.0,
        }
    }

    fn user() -> UserState {
        UserState {
            factors: vec![1.0, 0.0],
            history: vec![
                HistoryItem { item: 0, count: 2, last: day(90) },
                HistoryItem { item: 3, count: 1, last: day(100) },
            ],
            last_basket: vec![3],
            number: Some(0),
        }
    }

    #[test]
    fn each_source_scores_by_its_rule() {
        let mut scratch = Scratch::default();
        retriever().score(&user(), day(100), true, &[], &mut scratch);
        assert_eq!(scratch.scores(CandidateScore::Als), [1.0, 0.9, 0.5, 0.0, 0.1]);
        // The purchase of item 0 is one half-life old.
        assert_eq!(scratch.scores(CandidateScore::ItemItem), [0.0, 0.4, 0.2, 0.0, 0.6]);
        assert_eq!(scratch.scores(CandidateScore::Together), [0.0, 0.0, 0.25, 0.0, 0.25]);
        assert_eq!(scratch.scores(CandidateScore::LastBasket), [0.0, 0.0, 0.0, 0.0, 0.25]);
        assert_eq!(scratch.scores(CandidateScore::AlsoBought), [0.0, 0.3, 0.6, 0.0, 0.0]);
        // Item 0 was bought two of these half-lives ago, item 3 now; item 1 shares the group of 0, item 2 that of 3.
        assert_eq!(scratch.scores(CandidateScore::Group), [0.25, 0.25, 1.0, 1.0, 0.0]);
        assert_eq!(scratch.scores(CandidateScore::Popular), [0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(scratch.scores(CandidateScore::FirstBuyers), [5.0, 4.0, 3.0, 2.0, 1.0]);
        assert_eq!(scratch.history_weight, 1.5);
        // User 0 is oneself; user 1 shares one of two equally heavy items.
        assert!((scratch.neighbour_weight - 0.5f32.sqrt()).abs() < 1e-6);
        assert!((scratch.scores(CandidateScore::SimilarUsers)[2] - 0.5 * 0.5f32.sqrt()).abs() < 1e-6);
        assert!((scratch.scores(CandidateScore::ClosestUsersSlow)[2] - 0.75 * 0.5f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn candidates_are_the_union_without_blocked_items() {
        let (retriever, mut scratch, mut into) = (retriever(), Scratch::default(), Vec::new());
        let mut check = |counts: CandidateCounts, new_only: bool, excluded: &[u32], expected: &[u32]| {
            retriever.score(&user(), day(100), new_only, excluded, &mut scratch);
            retriever.candidates(&counts, &mut scratch, &mut into);
            assert_eq!(into, expected, "{counts:?} {new_only} {excluded:?}");
        };
        let none = CandidateCounts { als: 0, item_item: 0, last_basket: 0, similar_users: 0, popular: 0 };
        check(none, true, &[], &[]);
        check(CandidateCounts { als: 1, ..none }, true, &[], &[1]);
        check(CandidateCounts { als: 1, ..none }, false, &[], &[0]);
        check(CandidateCounts { als: 1, last_basket: 3, ..none }, true, &[], &[1, 4]);
        check(CandidateCounts { als: 1, last_basket: 3, ..none }, true, &[4, 99], &[1]);
        check(CandidateCounts { popular: 9, ..none }, true, &[], &[1, 2, 4]);
    }

    #[test]
    fn an_unknown_user_still_gets_popular_items() {
        let (retriever, mut scratch, mut into) = (retriever(), Scratch::default(), Vec::new());
        retriever.score(&UserState::default(), day(100), true, &[], &mut scratch);
        retriever.candidates(
            &CandidateCounts { als: 5, item_item: 5, last_basket: 5, similar_users: 5, popular: 2 },
            &mut scratch,
            &mut into,
        );
        assert_eq!(into, [3, 4]);
        retriever.whole_catalogue(&scratch, &mut into);
        assert_eq!(into, [0, 1, 2, 3, 4]);
        let retriever = Retriever { available: vec![false, true, true, false, true], ..retriever };
        retriever.score(&UserState::default(), day(100), true, &[], &mut scratch);
        retriever.whole_catalogue(&scratch, &mut into);
        assert_eq!(into, [1, 2, 4]);
    }

    #[test]
    fn only_the_newest_items_are_causes() {
        let bought = |item: u32, at: i64| HistoryItem { item, count: 1, last: day(at) };
        let mut causes = Vec::new();
        newest(&[bought(1, 5), bought(2, 4)], &mut causes);
        assert_eq!(causes, [bought(1, 5), bought(2, 4)]);
        // Of equally old ones those with the smaller numbers stay.
        let history: Vec<_> = (0..102).map(|item| bought(item, if item > 99 { 50 } else { 49 })).collect();
        newest(&history, &mut causes);
        let items: Vec<u32> = causes.iter().map(|bought| bought.item).collect();
        assert_eq!(items, (0..98).chain([100, 101]).collect::<Vec<_>>());
    }
}
