//! Who bought what when, and what was known of it at a time.

use std::collections::BTreeMap;
use std::ops::Range;

use paceline_core::{Period, Timestamp};
use paceline_models::recommend::{HistoryItem, UserState};

/// Lines of one visit lie within this length before the newest line; they are the last basket.
const BASKET: Period = Period::days(1);

/// One row of the label source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    /// Index of the user.
    pub user: u32,
    /// Index of the item in the catalogue.
    pub item: u32,
    /// When it happened.
    pub time: Timestamp,
    /// When it could first have been known; at or after `time`.
    pub known: Timestamp,
}

/// All purchases, by user and time.
#[derive(Debug, Clone)]
pub struct Purchases {
    rows: Vec<Purchase>,
    ranges: Vec<Range<usize>>,
    item_count: usize,
}

impl Purchases {
    /// Orders `rows` by user and time (equal times keep the given order).
    ///
    /// # Panics
    /// When a row's user or item is out of range: the caller's bug.
    #[must_use]
    pub fn new(mut rows: Vec<Purchase>, user_count: usize, item_count: usize) -> Self {
        rows.sort_by_key(|row| (row.user, row.time));
        assert!(rows.iter().all(|row| (row.item as usize) < item_count), "items are numbered below {item_count}");
        assert!(
            rows.last().is_none_or(|row| (row.user as usize) < user_count),
            "users are numbered below {user_count}"
        );
        let mut ranges = Vec::with_capacity(user_count);
        let mut start = 0;
        for user in 0..user_count as u32 {
            let end = start + rows[start..].partition_point(|row| row.user == user);
            ranges.push(start..end);
            start = end;
        }
        Purchases { rows, ranges, item_count }
    }

    /// Number of users, those without a purchase included.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.ranges.len()
    }

    /// Number of items.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.item_count
    }

    /// One user's purchases, oldest first.
    #[must_use]
    pub fn of_user(&self, user: u32) -> &[Purchase] {
        &self.rows[self.ranges[user as usize].clone()]
    }

    /// The user's purchases that were known before `t`, oldest first.
    pub fn known(&self, user: u32, t: Timestamp) -> impl Iterator<Item = &Purchase> + '_ {
        let rows = self.of_user(user);
        rows[..rows.partition_point(|row| row.time < t)].iter().filter(move |row| row.known < t)
    }

    /// History and last basket of a user as known before `t`; the user's number is `user`, factors are left empty.
    #[must_use]
    pub fn state_at(&self, user: u32, t: Timestamp) -> UserState {
        let mut history: BTreeMap<u32, HistoryItem> = BTreeMap::new();
        let mut newest = Timestamp::MIN;
        for row in self.known(user, t) {
            let entry = history.entry(row.item).or_insert(HistoryItem { item: row.item, count: 0, last: row.time });
            entry.count += 1;
            entry.last = row.time;
            newest = row.time;
        }
        let basket_start = newest - BASKET;
        let history: Vec<HistoryItem> = history.into_values().collect();
        let last_basket = history.iter().filter(|item| item.last > basket_start).map(|item| item.item).collect();
        UserState { factors: Vec::new(), history, last_basket, number: Some(user) }
    }

    /// Distinct items a user bought in `[from, until)`, whenever that became known, ordered; with `new_only` without
    /// those bought before `from`.
    #[must_use]
    pub fn bought_between(&self, user: u32, from: Timestamp, until: Timestamp, new_only: bool) -> Vec<u32> {
        let rows = self.of_user(user);
        let start = rows.partition_point(|row| row.time < from);
        let end = rows.partition_point(|row| row.time < until);
        let mut items: Vec<u32> = rows[start..end].iter().map(|row| row.item).collect();
        items.sort_unstable();
        items.dedup();
        if new_only {
            items.retain(|&item| !rows[..start].iter().any(|row| row.item == item));
        }
        items
    }

    /// Which items anybody was known to have bought before `t`.
    #[must_use]
    pub fn items_known_at(&self, t: Timestamp) -> Vec<bool> {
        let mut known = vec![false; self.item_count];
        for row in self.rows.iter().filter(|row| row.time < t && row.known < t) {
            known[row.item as usize] = true;
        }
        known
    }

    /// Distinct buyers per item in `[t - window, t)` as known before `t`.
    #[must_use]
    pub fn buyers_at(&self, t: Timestamp, window: Period) -> Vec<u32> {
        self.count_users(t, |row| row.last >= t - window)
    }

    /// Users per item who bought it for the first time in `[t - window, t)`, as known before `t`.
    #[must_use]
    pub fn first_buyers_at(&self, t: Timestamp, window: Period) -> Vec<u32> {
        self.count_users(t, |row| row.first >= t - window)
    }

    fn count_users(&self, t: Timestamp, counts: impl Fn(&Span) -> bool) -> Vec<u32> {
        let mut users = vec![0; self.item_count];
        let mut spans: BTreeMap<u32, Span> = BTreeMap::new();
        for user in 0..self.user_count() as u32 {
            spans.clear();
            for row in self.known(user, t) {
                spans.entry(row.item).or_insert(Span { first: row.time, last: row.time }).last = row.time;
            }
            spans.iter().filter(|(_, span)| counts(span)).for_each(|(&item, _)| users[item as usize] += 1);
        }
        users
    }
}

/// A user's first and last purchase of one item.
struct Span {
    first: Timestamp,
    last: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400)
    }

    fn purchase(user: u32, item: u32, time: i64, known: i64) -> Purchase {
        Purchase { user, item, time: day(time), known: day(known) }
    }

    fn purchases() -> Purchases {
        let rows = vec![
            purchase(2, 0, 1, 1),
            purchase(0, 1, 10, 10),
            purchase(0, 0, 5, 5),
            purchase(0, 1, 7, 7),
            purchase(0, 2, 8, 20),
            purchase(0, 3, 12, 12),
        ];
        Purchases::new(rows, 3, 4)
    }

    #[test]
    fn a_state_uses_only_rows_known_before() {
        let state = purchases().state_at(0, day(11));
        // Item 2 happened on day 8 but was loaded on day 20; item 3 is in the future.
        let expected =
            [HistoryItem { item: 0, count: 1, last: day(5) }, HistoryItem { item: 1, count: 2, last: day(10) }];
        assert_eq!(state.history, expected);
        assert_eq!(state.last_basket, [1]);
        assert_eq!(purchases().state_at(0, day(10)).history[1].count, 1, "a row at t itself is not before t");
        assert_eq!(purchases().state_at(0, day(21)).history.len(), 4);
        assert_eq!(purchases().state_at(1, day(11)), UserState { number: Some(1), ..UserState::default() });
    }

    #[test]
    fn labels_are_what_happened_whenever_it_was_known() {
        let purchases = purchases();
        assert_eq!(purchases.bought_between(0, day(7), day(12), false), [1, 2]);
        assert_eq!(purchases.bought_between(0, day(8), day(13), true), [2, 3]);
        assert_eq!(purchases.items_known_at(day(11)), [true, true, false, false]);
        assert_eq!(purchases.buyers_at(day(11), Period::days(4)), [0, 1, 0, 0], "one user, two rows");
        assert_eq!(purchases.buyers_at(day(21), Period::days(13)), [0, 1, 1, 1]);
        assert_eq!(purchases.first_buyers_at(day(11), Period::days(4)), [0, 1, 0, 0]);
        assert_eq!(purchases.first_buyers_at(day(11), Period::days(3)), [0; 4], "item 1 was first bought on day 7");
    }
}
