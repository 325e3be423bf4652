//! Ranked lists of the evaluated users, and what they are worth.

use std::ops::Range;
use std::rc::Rc;

use anyhow::Result;

use paceline_core::metrics::{Measured, MetricError, RankingMetric, Units, ranking};
use paceline_learn::recommend::{Outcomes, UserOutcome};
use paceline_serve::recommend::Workspace;

use super::proposal::Proposal;
use super::snapshot::Snapshot;
use super::stand::Stand;

/// One cut with its snapshot and the users who are evaluated there.
pub struct Slice {
    /// What was known.
    pub snapshot: Snapshot,
    /// What happened.
    pub outcomes: Outcomes,
}

/// The lists of every evaluated user of some slices, best item first.
#[derive(Debug, PartialEq)]
pub struct Answers {
    lists: Vec<Vec<Vec<u32>>>,
}

impl Answers {
    /// One list per user, by slice.
    #[must_use]
    pub fn new(lists: Vec<Vec<Vec<u32>>>) -> Answers {
        Answers { lists }
    }

    /// The metric over all users of the slices that were answered; a user of several cuts is one unit.
    ///
    /// # Errors
    /// When no user is evaluated.
    pub fn measured(&self, slices: &[Slice], metric: RankingMetric) -> Result<Measured, MetricError> {
        self.measured_on(slices, 0..slices.len(), metric)
    }

    /// The same over some of the slices.
    ///
    /// # Errors
    /// When no user is evaluated there.
    pub fn measured_on(
        &self,
        slices: &[Slice],
        which: Range<usize>,
        metric: RankingMetric,
    ) -> Result<Measured, MetricError> {
        let mut values = Vec::new();
        for (lists, slice) in self.lists[which.clone()].iter().zip(&slices[which.clone()]) {
            for (list, outcome) in lists.iter().zip(&slice.outcomes.users) {
                let list = &list[..list.len().min(metric.k.get())];
                let hits: Vec<bool> = list.iter().map(|item| outcome.relevant.binary_search(item).is_ok()).collect();
                values.push(ranking::user_value(metric, &hits, outcome.relevant.len())?);
            }
        }
        Measured::ranking(metric, &values, &units(&slices[which]))
    }

    /// All lists, slice by slice, user by user.
    pub fn lists(&self) -> impl Iterator<Item = &[u32]> {
        self.lists.iter().flatten().map(Vec::as_slice)
    }
}

/// What is drawn together: a user in all cuts.
#[must_use]
pub fn units(slices: &[Slice]) -> Units {
    Units::by_key(slices.iter().flat_map(|slice| &slice.outcomes.users).map(|outcome| outcome.user))
}

/// The answers of steps on some slices. Ranking the whole catalogue for every user is most of a run's work, so steps
/// with the same answers are asked once.
pub struct Qualities<'a> {
    stand: &'a Stand<'a>,
    /// The slices.
    pub slices: &'a [Slice],
    known: Vec<(Proposal, Rc<Answers>)>,
}

impl<'a> Qualities<'a> {
    /// Nothing is answered yet.
    #[must_use]
    pub fn new(stand: &'a Stand<'a>, slices: &'a [Slice]) -> Self {
        Qualities { stand, slices, known: Vec::new() }
    }

    /// What `proposal` answers.
    pub fn answers(&mut self, proposal: &Proposal) -> Rc<Answers> {
        if let Some((_, answers)) = self.known.iter().find(|(known, _)| known.answers_like(proposal)) {
            return Rc::clone(answers);
        }
        let answers = Rc::new(self.stand.answers(self.slices, proposal));
        self.known.push((proposal.clone(), Rc::clone(&answers)));
        answers
    }

    /// The pipeline's metric of `proposal` over all users.
    ///
    /// # Errors
    /// When no user is evaluated.
    pub fn of(&mut self, proposal: &Proposal) -> Result<Measured, MetricError> {
        self.answers(proposal).measured(self.slices, self.stand.metric)
    }
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
