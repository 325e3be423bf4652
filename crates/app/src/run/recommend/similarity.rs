//! The similarity cache, tried: the answer of the nearest other user instead of an own one, where the cosine of their
//! factors is above a bound.
//!
//! The trial flatters it: every other user's answer is in the cache. What it costs is counted: the comparison with every
//! cached user, and leaving out what the user owns.

use std::hint::black_box;

use anyhow::{Context as _, Result};

use paceline_models::recommend::{SimilarityCache, UserState};
use paceline_serve::recommend::{Request, Workspace};

use super::Timing;
use super::evaluate::{Answers, Slice};
use super::gather::{Gathering, Judgement};
use super::lists::LIST_ITEMS;
use super::proposal::Proposal;
use super::stand::{Effort, Stand};
use crate::report;

/// The bounds that are tried.
const COSINES: [f32; 2] = [0.9, 0.8];
/// It pays when it is at least this factor faster on average. It cannot be faster by more than the share of requests that
/// hit, so with fewer hits a faster mean is noise.
const FASTER_MIN: f64 = 1.03;

/// Both bounds with their figures on tuning data, as they compare with `step` alone. This version does not serve from a
/// similarity cache, so it is never kept; the reason says whether it would pay.
///
/// # Errors
/// When too few users are judged.
pub fn tried(
    gathering: &Gathering<'_>,
    judgement: &mut Judgement<'_>,
    timing: &Timing<'_>,
    step: &str,
) -> Result<Vec<report::Rejected>> {
    let stand = timing.stand;
    let proposal = judgement.models.step(gathering.plan, step);
    let live = judgement.qualities.answers(&proposal);
    let slices = judgement.qualities.slices;
    let caches: Vec<Neighbours> = slices.iter().map(|slice| Neighbours::new(stand, slice, &proposal)).collect();
    let without = gathering.search.step(step).with_context(|| format!("there is no step {step:?}"))?.trial.latency;
    let mut tried = Vec::new();
    for cosine in COSINES {
        let hits: usize = caches.iter().map(|cache| cache.hits(cosine)).sum();
        let users: usize = slices.iter().map(|slice| slice.outcomes.users.len()).sum();
        let mut own = live.lists();
        let lists = slices.iter().zip(&caches).map(|(slice, cache)| {
            let users = 0..slice.outcomes.users.len();
            let answer = |user| {
                let live = own.next().expect("the live step answered every user");
                cache.answer(stand, slice, user, cosine).unwrap_or_else(|| live.to_vec())
            };
            users.map(answer).collect()
        });
        let answers = Answers::new(lists.collect());
        let quality = gathering.quality(judgement, &answers)?;
        let name = format!("similarity cache, cosine {cosine:.1}");
        let timed = slices.iter().position(|slice| std::ptr::eq(slice, timing.slice)).unwrap_or(0);
        let latency =
            timing.trials.latency(&name, || Ok(caches[timed].latency(stand, &slices[timed], &proposal, cosine)))?;
        let keep = gathering.plan.budget.keep;
        let (because, verdict) = if quality.retention.low < keep {
            let below = format!("the lower end of what it keeps is below {:.2} %", 100.0 * keep);
            (report::RejectedBecause::BelowFloor, below)
        } else if hits as f64 * FASTER_MIN < users as f64 * (FASTER_MIN - 1.0)
            || latency.mean * FASTER_MIN > without.mean
        {
            (report::RejectedBecause::NotFaster, "not faster".to_owned())
        } else {
            let unserved = "it would pay, but this version does not serve from it".to_owned();
            (report::RejectedBecause::NotServed, unserved)
        };
        tried.push(report::Rejected {
            candidate: name,
            reason: format!(
                "{:.1} % of requests hit; {} on average against {} without it: {verdict}",
                100.0 * hits as f64 / users.max(1) as f64,
                report::latency_text(latency.mean),
                report::latency_text(without.mean)
            ),
            because: Some(because),
            latency_ms: Some(latency.into()),
            metric: Some(quality.metric.value),
            ci: Some(quality.metric.into()),
            retention: Some(quality.retention.value),
            retention_ci: Some(quality.retention.into()),
            bytes: None,
        });
    }
    Ok(tried)
}

/// The users of one slice: their states, the cache of all their lists, and who is nearest to whom.
struct Neighbours {
    states: Vec<UserState>,
    cache: SimilarityCache,
    nearest: Vec<Option<(usize, f32)>>,
}

impl Neighbours {
    fn new(stand: &Stand<'_>, slice: &Slice, proposal: &Proposal) -> Neighbours {
        let states: Vec<UserState> = slice
            .outcomes
            .users
            .iter()
            .map(|outcome| slice.snapshot.state(&stand.world.purchases, outcome.user))
            .collect();
        let lists = stand.ranked(slice, proposal, LIST_ITEMS);
        let lists = lists.iter().map(|list| list.iter().map(|ranked| ranked.item).collect());
        let entries = states.iter().map(|state| state.factors.as_slice()).zip(lists);
        let cache = SimilarityCache::new(slice.snapshot.retriever.dimensions, entries);
        let nearest =
            states.iter().enumerate().map(|(user, state)| cache.nearest(&state.factors, Some(user))).collect();
        Neighbours { states, cache, nearest }
    }

    fn hits(&self, cosine: f32) -> usize {
        self.nearest.iter().flatten().filter(|(_, near)| *near >= cosine).count()
    }

    /// The neighbour's list without what the user owns; `None` when nobody is near enough.
    fn answer(&self, stand: &Stand<'_>, slice: &Slice, user: usize, cosine: f32) -> Option<Vec<u32>> {
        let (entry, _) = self.nearest[user].filter(|(_, near)| *near >= cosine)?;
        Some(self.shown(stand, slice, &self.states[user], entry))
    }

    fn shown(&self, stand: &Stand<'_>, slice: &Slice, state: &UserState, entry: usize) -> Vec<u32> {
        let owns =
            |item: u32| stand.new_only && state.history.binary_search_by_key(&item, |bought| bought.item).is_ok();
        let may_be_shown = |item: &u32| slice.snapshot.retriever.available[*item as usize] && !owns(*item);
        self.cache.list(entry).iter().copied().filter(may_be_shown).take(stand.metric.k.get()).collect()
    }

    fn latency(
        &self,
        stand: &Stand<'_>,
        slice: &Slice,
        proposal: &Proposal,
        cosine: f32,
    ) -> paceline_learn::search::Latency {
        let recommender = stand.recommender(slice, proposal);
        let mut workspace = Workspace::default();
        let users = &slice.outcomes.users;
        Effort::WELL.measure(users.len(), |i| {
            let state = &self.states[i];
            match self.cache.nearest(&state.factors, Some(i)).filter(|(_, near)| *near >= cosine) {
                Some((entry, _)) => {
                    black_box(self.shown(stand, slice, state, entry));
                }
                None => {
                    let request = Request {
                        user: slice.snapshot.user(users[i].user),
                        state,
                        items: &slice.snapshot.items,
                        now: slice.snapshot.cut,
                        k: stand.metric.k.get(),
                        excluded: &[],
                    };
                    black_box(recommender.answer(request, &mut workspace));
                }
            }
        })
    }
}
