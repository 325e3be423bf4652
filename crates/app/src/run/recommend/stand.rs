//! How a step is asked and timed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use paceline_core::Value;
use paceline_core::metrics::RankingMetric;
use paceline_learn::search::Latency;
use paceline_models::recommend::Ranked;
use paceline_serve::recommend::{ItemTable, Recommender, Request, RowLayout, Workspace};

use super::evaluate::{Answers, Slice};
use super::proposal::Proposal;
use super::world::World;
use crate::{measure, parallel};

/// How well a latency is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    requests_min: usize,
    requests_max: usize,
    time_max: Duration,
}

impl Effort {
    /// For a step that may be kept: with 2,000 requests, 20 lie beyond p99.
    pub const WELL: Effort = Effort { requests_min: 200, requests_max: 2_000, time_max: Duration::from_secs(3) };
    /// For a step that is rejected whatever its latency.
    pub const BRIEFLY: Effort = Effort { requests_min: 100, requests_max: 200, time_max: Duration::from_millis(500) };
    /// For a step of many milliseconds, which computes every feature.
    pub const SLOW: Effort = Effort { requests_min: 50, requests_max: 300, time_max: Duration::from_secs(3) };
}

impl Effort {
    /// The latency of `request(0), request(1), ...`, wrapping at `distinct`.
    pub fn measure(self, distinct: usize, request: impl FnMut(usize)) -> Latency {
        measure::measure(distinct, self.requests_min, self.requests_max, self.time_max, request).latency()
    }
}

/// What steps are measured with.
pub struct Stand<'a> {
    /// The data.
    pub world: &'a World,
    /// What makes a row.
    pub layout: Arc<RowLayout>,
    /// Only the request-time features of a row; `None` when there are none.
    pub expressions: Option<RowLayout>,
    /// The metric of quality.
    pub metric: RankingMetric,
    /// Whether owned items are left out.
    pub new_only: bool,
    /// Threads for evaluation; latency is always measured on one.
    pub threads: usize,
}

impl Stand<'_> {
    /// `proposal` with the candidate stage of `slice`.
    #[must_use]
    pub fn recommender(&self, slice: &Slice, proposal: &Proposal) -> Recommender {
        Recommender {
            retriever: Arc::clone(&slice.snapshot.retriever),
            candidates: proposal.candidates,
            layout: Arc::clone(&self.layout),
            scorer: Arc::clone(&proposal.scorer),
            new_only: self.new_only,
        }
    }

    /// What `proposal` answers every user of `slices`, as many items as the metric looks at.
    #[must_use]
    pub fn answers(&self, slices: &[Slice], proposal: &Proposal) -> Answers {
        let items = |list: Vec<Ranked>| list.iter().map(|ranked| ranked.item).collect();
        let of_slice = |slice| self.ranked(slice, proposal, self.metric.k.get()).into_iter().map(items).collect();
        Answers::new(slices.iter().map(of_slice).collect())
    }

    /// The `k` best items for every user of `slice`, best first.
    #[must_use]
    pub fn ranked(&self, slice: &Slice, proposal: &Proposal, k: usize) -> Vec<Vec<Ranked>> {
        let judged = Recommender { scorer: Arc::clone(&proposal.judged_by), ..self.recommender(slice, proposal) };
        let users = &slice.outcomes.users;
        parallel::map(users.len(), self.threads, |workspace, at| {
            self.answer(&judged, slice, users[at].user, k, workspace)
        })
    }

    fn answer(
        &self,
        recommender: &Recommender,
        slice: &Slice,
        user: u32,
        k: usize,
        workspace: &mut Workspace,
    ) -> Vec<Ranked> {
        let Slice { snapshot, .. } = slice;
        let state = snapshot.state(&self.world.purchases, user);
        let user = snapshot.user(user);
        let request = Request { user, state: &state, items: &snapshot.items, now: snapshot.cut, k, excluded: &[] };
        recommender.answer(request, workspace)
    }

    /// Refuses a step whose scorer answers otherwise than the one that it is judged by.
    ///
    /// # Errors
    /// With the first user whose lists differ: a fault of Paceline.
    pub fn check_judged_by(&self, slice: &Slice, proposal: &Proposal) -> Result<()> {
        const USERS: usize = 20;
        let timed = self.recommender(slice, proposal);
        let judged = Recommender { scorer: Arc::clone(&proposal.judged_by), ..timed.clone() };
        let mut workspace = Workspace::default();
        for outcome in slice.outcomes.users.iter().take(USERS) {
            let lists = [&timed, &judged].map(|recommender| {
                let list = self.answer(recommender, slice, outcome.user, self.metric.k.get(), &mut workspace);
                list.iter().map(|ranked| ranked.item).collect::<Vec<_>>()
            });
            ensure!(
                lists[0] == lists[1],
                "step {:?}: LightGBM and the compiled forest answer user {} differently; please report this",
                proposal.name,
                self.world.users[outcome.user as usize]
            );
        }
        Ok(())
    }

    /// Times requests of the slice's users, one at a time.
    ///
    /// # Errors
    /// When a feature cannot be computed.
    pub fn latency(&self, slice: &Slice, proposal: &Proposal, effort: Effort) -> Result<Latency> {
        let recommender = self.recommender(slice, proposal);
        let (snapshot, users) = (&slice.snapshot, &slice.outcomes.users);
        let states: Vec<_> = users.iter().map(|o| snapshot.state(&self.world.purchases, o.user)).collect();
        let mut workspace = Workspace::default();
        let mut failure = None;
        let k = self.metric.k.get();
        let latency = effort.measure(users.len(), |i| {
            let mut answer = |user: &[Value], items: &ItemTable| {
                let request = Request { user, state: &states[i], items, now: snapshot.cut, k, excluded: &[] };
                black_box(recommender.answer(request, &mut workspace));
            };
            if proposal.features_on_request {
                match self.features_on_request(slice, users[i].user) {
                    Ok((user, items)) => answer(&user, &items),
                    Err(error) => failure = Some(error),
                }
            } else {
                answer(snapshot.user(users[i].user), &snapshot.items)
            }
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(latency),
        }
    }

    /// What the pipeline as written does for one request: every feature of the user and of all items from raw rows.
    fn features_on_request(&self, slice: &Slice, user: u32) -> Result<(Vec<Value>, ItemTable)> {
        let (world, cut) = (self.world, slice.snapshot.cut);
        let values = world.user_side.compute(&world.users[user as usize], cut)?;
        let mut items = Vec::with_capacity(world.catalogue.len() * world.item_side.types().len());
        for item in world.catalogue.items() {
            items.extend(world.item_side.compute(item, cut)?);
        }
        Ok((values, self.layout.item_table(items)))
    }

    /// CPU milliseconds that one request spends on features when `proposal` answers: computing them from raw rows where
    /// it does, and the request-time features of the rows that it scores. The mean over users of `slice`.
    ///
    /// # Errors
    /// When a feature cannot be computed.
    pub fn feature_cpu_ms(&self, slice: &Slice, proposal: &Proposal) -> Result<f64> {
        let requests = if proposal.features_on_request { 30 } else { 300 };
        let recommender = self.recommender(slice, proposal);
        let mut workspace = Workspace::default();
        let mut spent_s = 0.0;
        let users = &slice.outcomes.users;
        for outcome in users.iter().cycle().take(requests) {
            let start = measure::thread_cpu_seconds();
            let computed = proposal
                .features_on_request
                .then(|| self.features_on_request(slice, outcome.user))
                .transpose()
                .context("features of one request")?;
            spent_s += measure::thread_cpu_seconds() - start;
            let (user, items) = match &computed {
                Some((user, items)) => (user.as_slice(), items),
                None => (slice.snapshot.user(outcome.user), &slice.snapshot.items),
            };
            let Some(expressions) = &self.expressions else { continue };
            let state = slice.snapshot.state(&self.world.purchases, outcome.user);
            let Workspace { retrieval, candidates, rows, .. } = &mut workspace;
            let retriever = &recommender.retriever;
            retriever.score(&state, slice.snapshot.cut, self.new_only, &[], retrieval);
            match &recommender.candidates {
                Some(counts) => retriever.candidates(counts, retrieval, candidates),
                None => retriever.whole_catalogue(retrieval, candidates),
            }
            let start = measure::thread_cpu_seconds();
            expressions.fill(user, items, retrieval, candidates, rows);
            spent_s += measure::thread_cpu_seconds() - start;
        }
        Ok(1e3 * spent_s / requests as f64)
    }
}
