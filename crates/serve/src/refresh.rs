//! Looks at the tables off the request path, and keeps the memory of a [`Ladder`] current.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use paceline_core::online::OnlineError;
use paceline_core::{Digest, OnlineStore, Timestamp};

use crate::background::Background;
use crate::health::StoreHealth;
use crate::ladder::{Ladder, Memory};
use crate::recommend::tables::{self, RESERVED_KEY, TableError};

/// How often the tables' times are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while the store is down, so that full answers return soon after it does.
const INTERVAL_DOWN: Duration = Duration::from_millis(200);

/// What the last look at the tables found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// Each table of the pipeline and as of when it is.
    pub as_of: Vec<(String, Option<Timestamp>)>,
    /// The artifact that the user states were made with.
    pub artifact: Option<Digest>,
    /// What keeps full answers from being given; `None` when nothing does.
    pub problem: Option<String>,
}

/// The thread that looks.
#[derive(Debug)]
pub struct Refresher {
    found: Arc<RwLock<Tables>>,
    _thread: Background,
}

impl Refresher {
    /// Looks once, then once a second (more often while `is_down`) on a thread of its own. `look` is given what it found
    /// before.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        is_down: impl Fn() -> bool + Send + 'static,
        look: impl Fn(&Tables) -> Tables + Send + 'static,
    ) -> std::io::Result<Refresher> {
        let found = Arc::new(RwLock::new(look(&Tables::default())));
        let shared = Arc::clone(&found);
        let work = move |stopped: &Receiver<()>| {
            loop {
                let interval = if is_down() { INTERVAL_DOWN } else { INTERVAL };
                match stopped.recv_timeout(interval) {
                    Err(RecvTimeoutError::Timeout) => {
                        let before = shared.read().unwrap_or_else(PoisonError::into_inner).clone();
                        *shared.write().unwrap_or_else(PoisonError::into_inner) = look(&before);
                    }
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        Ok(Refresher { found, _thread: Background::start("tables", work)? })
    }

    /// What the last look found.
    #[must_use]
    pub fn tables(&self) -> Tables {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks at the tables and replaces the ladder's memory when they changed since `before`.
pub(crate) fn look(ladder: &Ladder, before: &Tables) -> Tables {
    let now = match versions(ladder) {
        Ok(versions) => {
            ladder.health.answered();
            let same = (&versions.as_of, versions.artifact) == (&before.as_of, before.artifact);
            let changed = !same || before.problem.is_some();
            let problem = if changed { reload(ladder, &versions) } else { None };
            Tables { problem, ..versions }
        }
        Err(error) => {
            ladder.health.failed(&error.to_string());
            Tables { problem: Some(error.to_string()), ..before.clone() }
        }
    };
    tell(before, &now);
    now
}

/// As of when the tables of views are; one that was never written is a problem.
pub(crate) fn look_at_views(
    store: &dyn OnlineStore,
    tables: impl Iterator<Item = String>,
    health: &StoreHealth,
    before: &Tables,
) -> Tables {
    let read = tables.map(|table| Ok((table.clone(), store.as_of(&table)?)));
    let now = match read.collect::<Result<Vec<_>, OnlineError>>() {
        Ok(as_of) => {
            health.answered();
            let absent = as_of.iter().find(|(_, as_of)| as_of.is_none());
            let problem = absent.map(|(table, _)| TableError::Absent { table: table.clone() }.to_string());
            Tables { as_of, artifact: None, problem }
        }
        Err(error) => {
            health.failed(&error.to_string());
            Tables { problem: Some(error.to_string()), ..before.clone() }
        }
    };
    tell(before, &now);
    now
}

/// Logs a change.
pub(crate) fn tell(before: &Tables, now: &Tables) {
    if now.problem != before.problem {
        match &now.problem {
            Some(problem) => tracing::warn!(problem, "full answers are not possible"),
            None => tracing::info!(tables = ?now.as_of, "tables loaded"),
        }
    }
}

/// As of when every table is.
fn versions(ladder: &Ladder) -> Result<Tables, OnlineError> {
    let description = &ladder.model.description;
    let state = tables::user_state_table(&ladder.pipeline);
    let version = tables::read_user_state_version(&*ladder.store, &state)?;
    let (state_as_of, artifact) = version.map_or((None, None), |(as_of, artifact)| (Some(as_of), artifact));
    let views = description.user_views.iter().chain(&description.item_views);
    let others = views.map(|view| tables::view_table(&ladder.pipeline, &view.name));
    let others = others.chain([tables::lists_table(&ladder.pipeline)]);
    let mut as_of = vec![(state, state_as_of)];
    for table in others {
        let time = ladder.store.as_of(&table)?;
        as_of.push((table, time));
    }
    Ok(Tables { as_of, artifact, problem: None })
}

/// Reads items and popular list again; returns what is wrong.
fn reload(ladder: &Ladder, found: &Tables) -> Option<String> {
    let (store, catalogue) = (&*ladder.store, &*ladder.model.catalogue);
    let mut memory = (*ladder.memory()).clone();
    let mut problem = None;
    let (views, layout) = (&ladder.model.description.item_views, &ladder.model.recommender.layout);
    match tables::read_items(store, &ladder.pipeline, views, catalogue, layout) {
        Ok((items, as_of)) => memory.items = Some((Arc::new(items), as_of)),
        Err(error) => {
            note_failure(ladder, &error);
            memory.items = None;
            problem = Some(error.to_string());
        }
    }
    match tables::read_list(store, &tables::lists_table(&ladder.pipeline), RESERVED_KEY, catalogue) {
        Ok(Some(list)) => {
            memory.popular = list.items.into();
            memory.popular_as_of = Some(list.as_of);
        }
        // The artifact's own list stays.
        Ok(None) => {}
        Err(error) => {
            note_failure(ladder, &error);
            problem = problem.or(Some(error.to_string()));
        }
    }
    ladder.replace_memory(Memory { ..memory });
    if problem.is_some() {
        return problem;
    }
    if let Some((table, _)) = found.as_of.iter().find(|(_, as_of)| as_of.is_none()) {
        return Some(TableError::Absent { table: table.clone() }.to_string());
    }
    if found.artifact != Some(ladder.digest) {
        let made = found.artifact.map_or_else(|| "an unknown artifact".to_owned(), |digest| digest.short());
        let (table, mine) = (tables::user_state_table(&ladder.pipeline), ladder.digest.short());
        return Some(format!(
            "table {table:?} was made with {made}, but {mine} is served; materialize the pipeline again"
        ));
    }
    None
}

fn note_failure(ladder: &Ladder, error: &TableError) {
    if let TableError::Store(error) = error {
        ladder.health.failed(&error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryStore, PIPELINE, ladder, materialize};

    #[test]
    fn what_is_wrong_is_said_until_it_is_right() {
        let store = Arc::new(MemoryStore::default());
        let ladder = ladder(&store);
        let mut found = Tables::default();
        let mut check = |part: Option<&str>| {
            found = look(&ladder, &found);
            match (part, &found.problem) {
                (None, None) => {}
                (Some(part), Some(problem)) => assert!(problem.contains(part), "{problem}"),
                other => panic!("{other:?}"),
            }
        };
        check(Some("\"shop.item\" was never written; materialize"));
        materialize(&*store, Digest::of(b"another"), Timestamp(1));
        check(Some("materialize the pipeline again"));
        materialize(&*store, ladder.digest, Timestamp(2));
        check(None);
        store.write(&tables::view_table(PIPELINE, "item"), Timestamp(3), vec![(101, vec![0, 0])]);
        check(Some("a row has 2 values, but the model knows 1"));
        store.set_down(true);
        check(Some("cannot be reached"));
        assert!(ladder.health.is_down());
        store.set_down(false);
        materialize(&*store, ladder.digest, Timestamp(4));
        check(None);
        assert!(!ladder.health.is_down());
    }

    #[test]
    fn memory_is_replaced_only_when_a_table_changed() {
        let store = Arc::new(MemoryStore::default());
        let ladder = ladder(&store);
        materialize(&*store, ladder.digest, Timestamp(1));
        let first = look(&ladder, &Tables::default());
        let generation = ladder.memory().generation;
        let second = look(&ladder, &first);
        assert_eq!((ladder.memory().generation, &second), (generation, &first));
        materialize(&*store, ladder.digest, Timestamp(2));
        look(&ladder, &second);
        assert_eq!(ladder.memory().generation, generation + 1);
        assert_eq!(ladder.memory().popular_as_of, Some(Timestamp(2)));
    }
}
