//! Who is evaluated at a cut, and on which items.

use paceline_core::Timestamp;

use super::Purchases;

/// One evaluated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserOutcome {
    /// Index of the user.
    pub user: u32,
    /// The items bought in the label window, ordered.
    pub relevant: Vec<u32>,
}

/// The evaluated users of one cut: `[cut, until)` is the label window.
#[derive(Debug, Clone)]
pub struct Outcomes {
    /// Features are as of this time.
    pub cut: Timestamp,
    /// End of the label window.
    pub until: Timestamp,
    /// Users with enough history and at least one relevant item, ordered.
    pub users: Vec<UserOutcome>,
}

impl Outcomes {
    /// Users who had bought at least `history_min` distinct items before `cut` and buy something (something new, with
    /// `new_only`) in `[cut, until)`.
    #[must_use]
    pub fn at(purchases: &Purchases, cut: Timestamp, until: Timestamp, history_min: usize, new_only: bool) -> Self {
        let users = (0..purchases.user_count() as u32)
            .filter_map(|user| {
                let relevant = purchases.bought_between(user, cut, until, new_only);
                let enough = !relevant.is_empty() && purchases.state_at(user, cut).history.len() >= history_min;
                enough.then_some(UserOutcome { user, relevant })
            })
            .collect();
        Outcomes { cut, until, users }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::Purchase;

    #[test]
    fn users_need_history_and_something_new() {
        let day = |day: i64| Timestamp::from_seconds(day * 86_400);
        let row = |user, item, time| Purchase { user, item, time: day(time), known: day(time) };
        let rows = vec![
            row(0, 0, 1),
            row(0, 1, 2),
            row(0, 2, 11), // new: evaluated
            row(1, 0, 1),
            row(1, 1, 2),
            row(1, 1, 11), // only a repeat
            row(2, 0, 1),
            row(2, 2, 11), // too little history
            row(3, 0, 1),
            row(3, 1, 2),
            row(3, 2, 20), // after the window
        ];
        let purchases = Purchases::new(rows, 4, 3);
        let outcomes = Outcomes::at(&purchases, day(10), day(20), 2, true);
        assert_eq!(outcomes.users, [UserOutcome { user: 0, relevant: vec![2] }]);
        let with_repeats = Outcomes::at(&purchases, day(10), day(20), 2, false);
        assert_eq!(with_repeats.users.len(), 2);
    }
}
