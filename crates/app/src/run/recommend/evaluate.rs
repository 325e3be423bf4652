//! Ranked lists of the evaluated users, and what they are worth.

use anyhow::Result;

use paceline_core::metrics::{Measured, RankingMetric, Units, ranking};
use paceline_learn::recommend::{Outcomes, Purchases, UserOutcome};
use paceline_serve::recommend::{Recommender, Request, Workspace};

use super::snapshot::Snapshot;

/// One cut with its snapshot and the users who are evaluated there.
pub struct Slice {
    /// What was known.
    pub snapshot: Snapshot,
    /// What happened.
    pub outcomes: Outcomes,
}

/// The metric of `recommender` over all users of `slices`; a user of several cuts is one unit.
///
/// `at_cut` gives the recommender with a slice's own candidate stage.
pub fn measure(
    slices: &[Slice],
    purchases: &Purchases,
    metric: RankingMetric,
    threads: usize,
    at_cut: impl Fn(&Slice) -> Recommender + Sync,
) -> Result<Measured> {
    let (mut values, mut users) = (Vec::new(), Vec::new());
    for slice in slices {
        let recommender = at_cut(slice);
        let lists = each_user(&slice.outcomes.users, threads, |outcome, workspace| {
            let state = slice.snapshot.state(purchases, outcome.user);
            let request = Request {
                user: slice.snapshot.user(outcome.user),
                state: &state,
                items: &slice.snapshot.items,
                now: slice.snapshot.cut,
                k: metric.k.get(),
                excluded: &[],
            };
            let ranked = recommender.answer(request, workspace);
            let hits: Vec<bool> = ranked.iter().map(|r| outcome.relevant.binary_search(&r.item).is_ok()).collect();
            ranking::user_value(metric, &hits, outcome.relevant.len())
        });
        for (value, outcome) in lists.into_iter().zip(&slice.outcomes.users) {
            values.push(value?);
            users.push(outcome.user);
        }
    }
    Ok(Measured::ranking(metric, &values, &Units::by_key(users))?)
}

/// `work` for every user, in the order of `users`, on `threads` threads.
pub fn each_user<T: Send>(
    users: &[UserOutcome],
    threads: usize,
    work: impl Fn(&UserOutcome, &mut Workspace) -> T + Sync,
) -> Vec<T> {
    let share = users.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = users
            .chunks(share)
            .map(|mine| {
                let work = &work;
                scope.spawn(move || {
                    let mut workspace = Workspace::default();
                    mine.iter().map(|user| work(user, &mut workspace)).collect::<Vec<_>>()
                })
            })
            .collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("a worker does not panic")).collect()
    })
}
