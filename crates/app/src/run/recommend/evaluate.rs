//! Ranked lists of the evaluated users, and what they are worth.

use std::ops::Range;
use std::rc::Rc;

use anyhow::Result;

use paceline_core::metrics::{Measured, MetricError, RankingMetric, Units, ranking};
use paceline_learn::recommend::Outcomes;

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
