//! One answer, by the highest rung of the ladder that can give it: full, precomputed, popular.
//!
//! Everything here blocks, for as long as the store does, and runs on the threads of [`crate::workers`]. Only
//! [`Ladder::popular`] never does: it reads memory alone, so that an answer is always possible.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use paceline_core::online::OnlineError;
use paceline_core::{Digest, EntityKey, KeyPart, OnlineStore, Timestamp};
use paceline_models::recommend::{Ranked, UserState};

use crate::health::StoreHealth;
use crate::recommend::artifact::PublishedRecommender;
use crate::recommend::tables::{self, StoredList, TableError};
use crate::recommend::{ItemTable, Request, Workspace};
use crate::service::now;
use crate::views::Views;

/// Most items of one answer.
pub const ITEMS_MAX: usize = 1_000;
/// Most items that the popular list in memory holds: an answer's limit and as many owned or excluded ones, twice over.
const POPULAR_ITEMS_MAX: usize = 4_000;
/// The full rung is left out when it would probably take longer than this share of what is left of the deadline.
const DEADLINE_SHARE: f64 = 0.5;
/// Weight of the newest answer in the mean duration of full answers.
const DURATION_WEIGHT: f64 = 0.1;

/// Which rung answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// Candidates and rank, from the user's own values.
    Full,
    /// The user's list as it was ranked at the last materialization.
    Precomputed,
    /// What most users took up lately.
    Popular,
}

impl Rung {
    /// Its name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rung::Full => "full",
            Rung::Precomputed => "precomputed",
            Rung::Popular => "popular",
        }
    }
}

/// Why an answer does not come from the full rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing is known of the user.
    UnknownUser,
    /// Too little time was left.
    Deadline,
    /// The online store does not answer.
    StoreDown,
    /// Nothing was materialized for this pipeline yet.
    NotMaterialized,
    /// What is materialized was made with another artifact, or is damaged.
    TablesMismatch,
}

impl Reason {
    /// Its name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::UnknownUser => "unknown_user",
            Reason::Deadline => "deadline",
            Reason::StoreDown => "store_down",
            Reason::NotMaterialized => "not_materialized",
            Reason::TablesMismatch => "tables_mismatch",
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// For whom.
    pub user: KeyPart,
    /// How many items.
    pub k: usize,
    /// Catalogue indexes of items that may not be answered; ascending, each once.
    pub excluded: Arc<[u32]>,
}

/// One answered item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnsweredItem {
    /// Index in the catalogue.
    pub item: u32,
    /// Score of the rung that answered; `None` for an item that filled a short answer.
    pub score: Option<f64>,
}

impl AnsweredItem {
    /// An item with its score.
    #[must_use]
    pub fn ranked(ranked: &Ranked) -> AnsweredItem {
        AnsweredItem { item: ranked.item, score: Some(ranked.score) }
    }
}

/// Popular items for one user, where nothing better is there.
#[derive(Clone, Copy)]
pub struct Filling<'a> {
    /// What is served.
    pub model: &'a PublishedRecommender,
    /// Catalogue indexes with scores, best first.
    pub popular: &'a [(u32, f64)],
    /// What the user did; `None` when that is not known, and then nothing is known to be owned.
    pub state: Option<&'a UserState>,
    /// Items that may not be answered.
    pub excluded: &'a [u32],
}

impl Filling<'_> {
    /// The first `k` that may be answered, with their scores.
    #[must_use]
    pub fn popular(self, k: usize) -> Vec<AnsweredItem> {
        let item = |(item, score)| AnsweredItem { item, score: Some(score) };
        self.allowed(&[], k).into_iter().map(item).collect()
    }

    /// `items`, and where they are fewer than `k` what is missing, without scores.
    #[must_use]
    pub fn fill(self, mut items: Vec<AnsweredItem>, k: usize) -> Vec<AnsweredItem> {
        let wanted = k.saturating_sub(items.len());
        if wanted > 0 {
            let more = self.allowed(&items, wanted);
            items.extend(more.into_iter().map(|(item, _)| AnsweredItem { item, score: None }));
        }
        items
    }

    fn allowed(self, answered: &[AnsweredItem], count: usize) -> Vec<(u32, f64)> {
        let mut blocked = vec![false; self.model.catalogue.len()];
        let owned = self.state.filter(|_| self.model.recommender.new_only).map_or(&[][..], |state| &state.history);
        let owned = owned.iter().map(|entry| entry.item);
        for item in owned.chain(self.excluded.iter().copied()).chain(answered.iter().map(|item| item.item)) {
            if let Some(blocked) = blocked.get_mut(item as usize) {
                *blocked = true;
            }
        }
        self.popular.iter().copied().filter(|(item, _)| !blocked[*item as usize]).take(count).collect()
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Best first; neither excluded items nor, where the recommender leaves them out, items known to be owned.
    pub items: Vec<AnsweredItem>,
    /// How many of them, at the end, are popular items that filled a short answer.
    pub filled: usize,
    /// Which rung answered.
    pub rung: Rung,
    /// Why not a higher one.
    pub reason: Option<Reason>,
    /// The oldest time as of which a table is that it was made from; `None` when no table was read.
    pub as_of: Option<Timestamp>,
}

/// What is kept in memory of the tables, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Counts replacements; an answer of one generation says nothing of another.
    pub generation: u64,
    /// Features of all items; `None` before the first materialization.
    pub items: Option<(Arc<ItemTable>, Option<Timestamp>)>,
    /// Popular items that may be answered, best first.
    pub popular: Arc<[(u32, f64)]>,
    /// As of when the popular list is.
    pub popular_as_of: Option<Timestamp>,
}

/// Everything that answers are made from.
pub struct Ladder {
    /// The pipeline, whose name begins the tables' names.
    pub pipeline: String,
    /// The artifact.
    pub digest: Digest,
    /// What it holds.
    pub model: PublishedRecommender,
    /// The tables.
    pub store: Arc<dyn OnlineStore>,
    /// Where the users' views are read.
    views: Views,
    /// Whether the store answers.
    pub health: StoreHealth,
    memory: RwLock<Arc<Memory>>,
    /// Mean duration of full answers after the user's state was read, in nanoseconds.
    full_ns: AtomicU64,
}

impl Ladder {
    /// Before anything was read from the store; the popular list is that of the artifact.
    #[must_use]
    pub fn new(pipeline: String, digest: Digest, model: PublishedRecommender, store: Arc<dyn OnlineStore>) -> Self {
        let views = Views::of_store(&pipeline, Arc::clone(&store));
        Ladder::with_views(pipeline, digest, model, store, views)
    }

    pub(crate) fn with_views(
        pipeline: String,
        digest: Digest,
        model: PublishedRecommender,
        store: Arc<dyn OnlineStore>,
        views: Views,
    ) -> Self {
        let popular = popular_of(&model);
        let memory = Memory { popular, popular_as_of: Some(model.description.as_of), ..Memory::default() };
        Ladder {
            pipeline,
            digest,
            model,
            store,
            views,
            health: StoreHealth::default(),
            memory: RwLock::new(Arc::new(memory)),
            full_ns: AtomicU64::new(0),
        }
    }

    /// What is in memory now.
    #[must_use]
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what is in memory; the generation is set here.
    pub fn replace_memory(&self, memory: Memory) {
        let mut current = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(Memory { generation: current.generation + 1, ..memory });
    }

    /// The best answer that is possible before `deadline`.
    pub fn answer(&self, question: &Question, deadline: Instant, workspace: &mut Workspace) -> Answer {
        if self.health.is_down() {
            return self.popular(question, Reason::StoreDown);
        }
        let memory = self.memory();
        let user = EntityKey(vec![question.user.clone()]).to_bytes();
        let table = tables::user_state_table(&self.pipeline);
        let stored = match tables::read_user_state(&*self.store, &table, &user, &self.model.catalogue) {
            Ok(stored) => stored,
            Err(TableError::Mismatch { cause, .. }) => {
                tracing::warn!(table, cause, "a damaged user state");
                return self.precomputed(question, &user, None, &memory, Reason::TablesMismatch);
            }
            Err(error) => return self.popular(question, self.reason(error)),
        };
        if stored.artifact != Some(self.digest) {
            return self.precomputed(question, &user, stored.state.as_ref(), &memory, Reason::TablesMismatch);
        }
        let Some(mut state) = stored.state else { return self.popular(question, Reason::UnknownUser) };
        let Some((items, items_as_of)) = &memory.items else {
            return self.precomputed(question, &user, Some(&state), &memory, Reason::NotMaterialized);
        };
        if !self.time_is_left(deadline) {
            return self.precomputed(question, &user, Some(&state), &memory, Reason::Deadline);
        }
        let started = Instant::now();
        let views = &self.model.description.user_views;
        let (values, values_as_of) = match self.views.read_entity(views, &user, now()) {
            Ok(read) => read,
            Err(error) => {
                let reason = self.reason(error);
                return match reason {
                    Reason::StoreDown => self.popular_without(question, Some(&state), reason),
                    _ => self.precomputed(question, &user, Some(&state), &memory, reason),
                };
            }
        };
        state.number = self.model.users.of(&question.user);
        // The time of the request is that of the materialization: ages and decays are then what training saw, and an
        // answer depends on tables alone, so that it can be cached and compared.
        let request = Request {
            user: &values,
            state: &state,
            items,
            now: stored.as_of,
            k: question.k,
            excluded: &question.excluded,
        };
        let ranked = self.model.recommender.answer(request, workspace);
        self.note_duration(started.elapsed());
        let items = ranked.iter().map(AnsweredItem::ranked).collect();
        let as_of = [Some(stored.as_of), values_as_of, *items_as_of].into_iter().flatten().min();
        let answer = Answer { items, filled: 0, rung: Rung::Full, reason: None, as_of };
        self.filled(answer, question, Some(&state), &memory)
    }

    /// The popular list from memory: what can be answered without the store, at once. Owned items are not known then.
    #[must_use]
    pub fn popular(&self, question: &Question, reason: Reason) -> Answer {
        self.popular_without(question, None, reason)
    }

    fn popular_without(&self, question: &Question, state: Option<&UserState>, reason: Reason) -> Answer {
        let memory = self.memory();
        let items = self.filling(question, state, &memory).popular(question.k);
        Answer { items, filled: 0, rung: Rung::Popular, reason: Some(reason), as_of: memory.popular_as_of }
    }

    fn precomputed(
        &self,
        question: &Question,
        user: &[u8],
        state: Option<&UserState>,
        memory: &Memory,
        reason: Reason,
    ) -> Answer {
        let table = tables::lists_table(&self.pipeline);
        let StoredList { items: list, as_of } =
            match tables::read_list(&*self.store, &table, user, &self.model.catalogue) {
                Ok(Some(found)) => found,
                Ok(None) => return self.popular_without(question, state, reason),
                Err(error) => {
                    let reason = self.reason(error);
                    return self.popular_without(question, state, reason);
                }
            };
        let items = Filling { popular: &list, ..self.filling(question, state, memory) }.popular(question.k);
        let answer = Answer { items, filled: 0, rung: Rung::Precomputed, reason: Some(reason), as_of: Some(as_of) };
        // Without the user's state nobody knows what she owns, and a short answer is better than a wrong one.
        if state.is_some() { self.filled(answer, question, state, memory) } else { answer }
    }

    /// Adds popular items to a short answer.
    fn filled(&self, answer: Answer, question: &Question, state: Option<&UserState>, memory: &Memory) -> Answer {
        let before = answer.items.len();
        let items = self.filling(question, state, memory).fill(answer.items, question.k);
        Answer { filled: items.len() - before, items, ..answer }
    }

    fn filling<'a>(&'a self, question: &'a Question, state: Option<&'a UserState>, memory: &'a Memory) -> Filling<'a> {
        Filling { model: &self.model, popular: &memory.popular, state, excluded: &question.excluded }
    }

    /// What a failed read means for the answer, and for those that follow.
    fn reason(&self, error: TableError) -> Reason {
        match error {
            TableError::Store(error @ (OnlineError::Unreachable { .. } | OnlineError::Broken { .. })) => {
                self.health.failed(&error.to_string());
                Reason::StoreDown
            }
            TableError::Store(error) => {
                self.health.count_error();
                tracing::warn!(%error, "the online store refused a read");
                Reason::StoreDown
            }
            TableError::Absent { .. } => Reason::NotMaterialized,
            TableError::Mismatch { .. } | TableError::Restless { .. } | TableError::Stream { .. } => {
                tracing::warn!(%error, "a table cannot be used");
                Reason::TablesMismatch
            }
        }
    }

    fn time_is_left(&self, deadline: Instant) -> bool {
        let expected = self.full_ns.load(Ordering::Relaxed) as f64;
        let left = deadline.saturating_duration_since(Instant::now()).as_nanos() as f64;
        left > 0.0 && expected <= DEADLINE_SHARE * left
    }

    /// Threads may overwrite each other's update; a mean that misses some answers is as good.
    fn note_duration(&self, duration: Duration) {
        let (newest, mean) = (duration.as_nanos() as f64, self.full_ns.load(Ordering::Relaxed) as f64);
        let mean = if mean == 0.0 { newest } else { mean + DURATION_WEIGHT * (newest - mean) };
        self.full_ns.store(mean as u64, Ordering::Relaxed);
    }
}

/// The popular list that the candidate stage knows.
fn popular_of(model: &PublishedRecommender) -> Arc<[(u32, f64)]> {
    let retriever = &model.recommender.retriever;
    let available = (0u32..).zip(&retriever.available).filter(|(_, available)| **available);
    let mut items: Vec<(u32, f64)> =
        available.map(|(item, _)| (item, f64::from(retriever.popularity[item as usize]))).collect();
    items.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    items.truncate(POPULAR_ITEMS_MAX);
    items.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryStore, PIPELINE, ladder, materialize, question};

    const LONG: Duration = Duration::from_secs(60);

    fn loaded() -> (Ladder, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::default());
        let ladder = ladder(&store);
        materialize(&*store, ladder.digest, Timestamp(1_000));
        crate::refresh::look(&ladder, &crate::refresh::Tables::default());
        (ladder, store)
    }

    fn ask(ladder: &Ladder, question: &Question, time: Duration) -> Answer {
        ladder.answer(question, Instant::now() + time, &mut Workspace::default())
    }

    fn items(answer: &Answer) -> Vec<u32> {
        answer.items.iter().map(|item| item.item).collect()
    }

    #[test]
    fn a_known_user_gets_the_full_rung_without_owned_and_excluded_items() {
        let (ladder, _) = loaded();
        // Popularity of items 0 to 5 is 6 to 1 and ranks them; user 1 owns item 0.
        let answer = ask(&ladder, &question(1, 3, &[2]), LONG);
        assert_eq!((items(&answer), answer.rung, answer.reason, answer.filled), (vec![1, 3, 4], Rung::Full, None, 0));
        assert_eq!(answer.as_of, Some(Timestamp(1_000)));
        assert!(answer.items.iter().all(|item| item.score.is_some()));
    }

    #[test]
    fn a_short_answer_is_filled_with_popular_items_that_have_no_score() {
        let (ladder, _) = loaded();
        // The recommender of the test ranks at most four candidates.
        let answer = ask(&ladder, &question(1, 6, &[2]), LONG);
        assert_eq!((items(&answer), answer.filled), (vec![1, 3, 4, 5], 0), "nothing else may be answered");
        let answer = ask(&ladder, &question(2, 6, &[]), LONG);
        assert_eq!((items(&answer), answer.filled), (vec![0, 1, 2, 3, 4, 5], 2));
        assert_eq!(answer.items[4].score, None);
    }

    #[test]
    fn each_failure_has_its_rung_and_reason() {
        let (ladder, store) = loaded();
        let check = |question: &Question, time: Duration, rung: Rung, reason: Reason, expected: &[u32]| {
            let answer = ask(&ladder, question, time);
            assert_eq!((answer.rung, answer.reason), (rung, Some(reason)));
            assert_eq!(items(&answer), expected, "{rung:?} {reason:?}");
        };
        check(&question(9, 3, &[1]), LONG, Rung::Popular, Reason::UnknownUser, &[0, 2, 3]);
        // The list of user 1 is 5, 4, 3, the rest is popular and not owned.
        check(&question(1, 4, &[4]), Duration::ZERO, Rung::Precomputed, Reason::Deadline, &[5, 3, 1, 2]);
        store.write(&tables::view_table(PIPELINE, "user"), Timestamp(2_000), vec![(1, vec![9])]);
        check(&question(1, 3, &[]), LONG, Rung::Precomputed, Reason::TablesMismatch, &[5, 4, 3]);
        store.write(&tables::user_state_table(PIPELINE), Timestamp(2_000), vec![(1, vec![9])]);
        check(&question(1, 4, &[]), LONG, Rung::Precomputed, Reason::TablesMismatch, &[5, 4, 3]);
        store.set_down(true);
        check(&question(1, 3, &[1]), LONG, Rung::Popular, Reason::StoreDown, &[0, 2, 3]);
        assert!(ladder.health.is_down() && ladder.health.errors() == 1);
        check(&question(1, 3, &[1]), LONG, Rung::Popular, Reason::StoreDown, &[0, 2, 3]);
        assert_eq!(ladder.health.errors(), 1, "nobody waits for a store that is down");
    }

    #[test]
    fn before_anything_is_materialized_the_artifact_s_popular_list_answers() {
        let ladder = ladder(&Arc::new(MemoryStore::default()));
        let answer = ask(&ladder, &question(1, 2, &[]), LONG);
        assert_eq!((items(&answer), answer.reason), (vec![0, 1], Some(Reason::NotMaterialized)));
    }

    #[test]
    fn tables_of_another_artifact_are_not_mixed_with_this_one() {
        let (ladder, store) = loaded();
        materialize(&*store, Digest::of(b"another"), Timestamp(3_000));
        let answer = ask(&ladder, &question(1, 2, &[]), LONG);
        assert_eq!((items(&answer), answer.rung), (vec![5, 4], Rung::Precomputed));
        assert_eq!(answer.reason, Some(Reason::TablesMismatch));
    }
}
