//! The prediction cache: exact repeats of a question.
//!
//! Several requests with one new question are answered once (single flight). An entry is not given after its time to
//! live, after the tables changed, or after an event of its user: all three are part of the key or of the entry.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use paceline_core::{Digest, KeyPart};
use quick_cache::sync::{Cache, DefaultLifecycle, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, UnitWeighter};

use crate::ladder::{Answer, Question};

/// Users share this many counters of events; two users of one counter only cost each other a miss.
const COUNTERS: usize = 65_536;

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    question: Question,
    digest: Digest,
    generation: u64,
    /// Of the user's counter, when the question was asked.
    events: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    answer: Arc<Answer>,
    made: Instant,
}

/// Bounded in entries; safe to share.
pub struct AnswerCache {
    entries: Cache<CacheKey, Entry>,
    ttl: Duration,
    hasher: RandomState,
    counters: Box<[AtomicU64]>,
}

/// What the cache says to a question.
pub enum Lookup<'a> {
    /// It was answered before.
    Hit(Arc<Answer>),
    /// It was not; whoever holds this answers for all who ask meanwhile.
    Miss(Flight<'a>),
}

/// The right to answer a question. Dropped without an answer, it passes to the next who waits.
pub struct Flight<'a>(
    PlaceholderGuard<'a, CacheKey, Entry, UnitWeighter, DefaultHashBuilder, DefaultLifecycle<CacheKey, Entry>>,
);

impl AnswerCache {
    /// For at most `entries` answers, at least one, each given for `ttl`.
    #[must_use]
    pub fn new(entries: usize, ttl: Duration) -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        AnswerCache { entries: Cache::new(entries.max(1)), ttl, hasher: RandomState::new(), counters }
    }

    /// The key of a question that is asked now.
    #[must_use]
    pub fn key(&self, question: &Question, digest: Digest, generation: u64) -> CacheKey {
        let events = self.counter(&question.user).load(Ordering::Acquire);
        CacheKey { question: question.clone(), digest, generation, events }
    }

    /// The answer to `key`, or the right to make it. Waits while another makes it.
    pub async fn get(&self, key: &CacheKey) -> Lookup<'_> {
        loop {
            match self.entries.get_value_or_guard_async(key).await {
                Ok(entry) if entry.made.elapsed() < self.ttl => return Lookup::Hit(entry.answer),
                Ok(old) => {
                    self.entries.remove_if(key, |entry| Arc::ptr_eq(&entry.answer, &old.answer));
                }
                Err(guard) => return Lookup::Miss(Flight(guard)),
            }
        }
    }

    /// Forgets every answer for `user`.
    pub fn invalidate(&self, user: &KeyPart) {
        self.counter(user).fetch_add(1, Ordering::AcqRel);
    }

    fn counter(&self, user: &KeyPart) -> &AtomicU64 {
        &self.counters[self.hasher.hash_one(user) as usize % COUNTERS]
    }
}

impl Flight<'_> {
    /// Keeps the answer and gives it to all who wait.
    pub fn keep(self, answer: &Arc<Answer>) {
        // The only failure is that the entry was removed meanwhile; then nobody wants it.
        let _ = self.0.insert(Entry { answer: Arc::clone(answer), made: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Rung;

    fn question(user: i64) -> Question {
        Question { user: user.into(), k: 10, excluded: [1].into() }
    }

    fn answer() -> Arc<Answer> {
        Arc::new(Answer { items: Vec::new(), filled: 0, rung: Rung::Full, reason: None, as_of: None })
    }

    async fn is_hit(cache: &AnswerCache, key: &CacheKey) -> bool {
        match cache.get(key).await {
            Lookup::Hit(_) => true,
            Lookup::Miss(flight) => {
                flight.keep(&answer());
                false
            }
        }
    }

    #[tokio::test]
    async fn a_repeat_is_a_hit_until_something_that_it_depends_on_changes() {
        let cache = AnswerCache::new(100, Duration::from_secs(3600));
        let digest = Digest::of(b"a");
        let key = |generation| cache.key(&question(1), digest, generation);
        assert!(!is_hit(&cache, &key(0)).await);
        assert!(is_hit(&cache, &key(0)).await);
        assert!(!is_hit(&cache, &key(1)).await, "other tables");
        assert!(!is_hit(&cache, &cache.key(&question(1), Digest::of(b"b"), 0)).await, "another artifact");
        assert!(!is_hit(&cache, &cache.key(&Question { k: 9, ..question(1) }, digest, 0)).await, "another question");
        assert!(!is_hit(&cache, &cache.key(&question(2), digest, 0)).await, "another user");
        cache.invalidate(&1.into());
        assert!(!is_hit(&cache, &key(0)).await, "an event of the user");
        assert!(is_hit(&cache, &key(0)).await);
    }

    #[tokio::test]
    async fn an_answer_asked_before_an_event_is_not_given_after_it() {
        let cache = AnswerCache::new(100, Duration::from_secs(3600));
        let before = cache.key(&question(1), Digest::of(b"a"), 0);
        let Lookup::Miss(flight) = cache.get(&before).await else { panic!("empty") };
        cache.invalidate(&1.into());
        flight.keep(&answer());
        let after = cache.key(&question(1), Digest::of(b"a"), 0);
        assert!(!is_hit(&cache, &after).await);
    }

    #[tokio::test]
    async fn an_old_answer_is_made_again() {
        let cache = AnswerCache::new(100, Duration::ZERO);
        let key = cache.key(&question(1), Digest::of(b"a"), 0);
        assert!(!is_hit(&cache, &key).await);
        assert!(!is_hit(&cache, &key).await);
    }

    #[tokio::test]
    async fn who_asks_meanwhile_waits_for_one_answer() {
        let cache = Arc::new(AnswerCache::new(100, Duration::from_secs(3600)));
        let key = cache.key(&question(1), Digest::of(b"a"), 0);
        let Lookup::Miss(flight) = cache.get(&key).await else { panic!("empty") };
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let (cache, key) = (Arc::clone(&cache), key.clone());
                tokio::spawn(async move { is_hit(&cache, &key).await })
            })
            .collect();
        tokio::task::yield_now().await;
        flight.keep(&answer());
        for task in waiting {
            assert!(task.await.expect("no panic"));
        }
    }
}
