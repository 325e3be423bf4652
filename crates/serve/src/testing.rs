//! A shop of six items and two users, in a store that a test can stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use paceline_core::event::{Appended, Dropped, Event, EventLogError, Extent, Retention};
use paceline_core::online::{OnlineChange, OnlineError, OnlineRow, Pushed, PushedRow, PushedValue, Snapshot, Version};
use paceline_core::value::encode_values;
use paceline_core::{Digest, EntityKey, EventLog, KeyPart, Offset, OnlineStore, Timestamp, Value};
use paceline_features::expression::Type;
use paceline_models::column::Column;
use paceline_models::recommend::{
    CandidateCounts, Catalogue, Circles, HistoryItem, ItemItem, Neighbour, Retriever, SimilarUsers, UserState,
    encode_list, encode_user,
};

use crate::ladder::{Ladder, Question};
use crate::recommend::artifact::{Description, PublishedRecommender, VERSION, types};
use crate::recommend::tables::{
    RESERVED_KEY, UserNumbers, ViewColumn, ViewColumns, encode_digest, lists_table, user_state_table, view_table,
};
use crate::recommend::{Recommender, RowLayout};

pub(crate) const PIPELINE: &str = "shop";

type Table = (Timestamp, HashMap<Vec<u8>, Vec<u8>>);

#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    tables: Mutex<HashMap<String, Table>>,
    pushed: Mutex<HashMap<(String, Vec<u8>), PushedValue>>,
    down: AtomicBool,
}

impl MemoryStore {
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Replaces a table by rows of whole number keys.
    pub(crate) fn write(&self, table: &str, as_of: Timestamp, rows: Vec<(i64, Vec<u8>)>) {
        let mut rows = rows.into_iter().map(|(key, value)| (EntityKey::single(key).to_bytes(), value));
        self.publish(table, as_of, &mut rows).expect("the store is up");
    }

    fn check(&self) -> Result<(), OnlineError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(OnlineError::Unreachable { address: "memory".into(), cause: "a test says so".into() });
        }
        Ok(())
    }
}

impl OnlineStore for MemoryStore {
    fn publish(
        &self,
        table: &str,
        as_of: Timestamp,
        rows: &mut dyn Iterator<Item = OnlineRow>,
    ) -> Result<u64, OnlineError> {
        self.check()?;
        let rows: HashMap<_, _> = rows.collect();
        let count = rows.len() as u64;
        self.tables.lock().unwrap().insert(table.to_owned(), (as_of, rows));
        Ok(count)
    }

    fn get(&self, table: &str, keys: &[&[u8]]) -> Result<Snapshot, OnlineError> {
        self.check()?;
        let tables = self.tables.lock().unwrap();
        let Some((as_of, rows)) = tables.get(table) else {
            return Ok(Snapshot::of_version(None, vec![None; keys.len()]));
        };
        let values = keys.iter().map(|key| rows.get(*key).cloned()).collect();
        let pushed = self.pushed.lock().unwrap();
        let pushed = keys.iter().map(|key| pushed.get(&(table.to_owned(), key.to_vec())).cloned()).collect();
        Ok(Snapshot::of_version(Some(*as_of), values).with_pushed(pushed))
    }

    fn push(&self, table: &str, rows: &[PushedRow]) -> Result<Vec<Pushed>, OnlineError> {
        self.check()?;
        let as_of = self.as_of(table)?;
        let mut pushed = self.pushed.lock().unwrap();
        let mut push = |row: &PushedRow| {
            let place = (table.to_owned(), row.key.clone());
            match as_of.max(pushed.get(&place).map(|(time, _)| *time)) {
                Some(newest) if newest > row.time => Pushed::Older(newest),
                _ => {
                    pushed.insert(place, (row.time, row.value.clone()));
                    Pushed::Written
                }
            }
        };
        Ok(rows.iter().map(&mut push).collect())
    }

    fn publish_change(
        &self,
        table: &str,
        _base: Version,
        as_of: Timestamp,
        changes: &mut dyn Iterator<Item = OnlineChange>,
    ) -> Result<u64, OnlineError> {
        self.check()?;
        let mut tables = self.tables.lock().unwrap();
        let (current, rows) = tables.get_mut(table).expect("a test changes a table that it wrote");
        *current = as_of;
        let mut count = 0;
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
            count += 1;
        }
        Ok(count)
    }

    fn erase(&self, table: &str, keys: &[&[u8]]) -> Result<u64, OnlineError> {
        self.check()?;
        let mut tables = self.tables.lock().unwrap();
        let Some((_, rows)) = tables.get_mut(table) else { return Ok(0) };
        Ok(keys.iter().filter(|key| rows.remove(**key).is_some()).count() as u64)
    }

    fn visit_keys(&self, table: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), OnlineError> {
        self.check()?;
        let tables = self.tables.lock().unwrap();
        tables.get(table).iter().flat_map(|(_, rows)| rows.keys()).for_each(|key| visit(key));
        Ok(())
    }

    fn version(&self, table: &str) -> Result<Option<Version>, OnlineError> {
        self.check()?;
        Ok(self.tables.lock().unwrap().get(table).map(|(as_of, _)| Version { number: 0, as_of: *as_of }))
    }

    fn ping(&self) -> Result<(), OnlineError> {
        self.check()
    }
}

#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) down: AtomicBool,
}

impl EventLog for MemoryLog {
    fn append(&self, events: &[Event]) -> Result<Vec<Appended>, EventLogError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(EventLogError::Unavailable { address: "memory".into(), cause: "a test says so".into() });
        }
        let mut known = self.events.lock().unwrap();
        let mut append = |event: &Event| {
            let same = |other: &Event| event.id.is_some() && (&other.id, &other.source) == (&event.id, &event.source);
            if let Some(at) = known.iter().position(same) {
                return Appended::Duplicate(Offset(at as u64));
            }
            known.push(event.clone());
            Appended::New(Offset(known.len() as u64 - 1))
        };
        Ok(events.iter().map(&mut append).collect())
    }

    fn read(&self, from: Offset, limit: usize) -> Result<Vec<(Offset, Event)>, EventLogError> {
        let events = self.events.lock().unwrap();
        let numbered = events.iter().enumerate().map(|(at, event)| (Offset(at as u64), event.clone()));
        Ok(numbered.skip(from.0 as usize).take(limit).collect())
    }

    fn extent(&self) -> Result<Extent, EventLogError> {
        let next = Offset(self.events.lock().unwrap().len() as u64);
        Ok(Extent { first: Offset(0), next, bytes: 0 })
    }

    /// It keeps everything.
    fn trim(&self, _: &Retention) -> Result<Dropped, EventLogError> {
        Ok(Dropped::default())
    }

    fn remove(&self, _: &[Offset]) -> Result<Dropped, EventLogError> {
        Ok(Dropped::default())
    }
}

fn view(name: &str, column: &str) -> ViewColumns {
    let column = ViewColumn { name: column.into(), kind: Type::Int, missing: Value::Int(0) };
    ViewColumns { name: name.into(), columns: vec![column] }
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::new((100..106).map(KeyPart::Int))
}

pub(crate) fn retriever() -> Retriever {
    let unrelated = || ItemItem::new(&vec![Vec::new(); 6]);
    let users = [Neighbour::default(), Neighbour::default()];
    Retriever {
        item_factors: vec![0.0; 6],
        dimensions: 1,
        bought_next: unrelated(),
        bought_together: unrelated(),
        also_bought: unrelated(),
        similar_users: SimilarUsers::new(&users, 6, Circles { wide: 2, close: 1 }, 10.0),
        groups: Vec::new(),
        popularity: vec![6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        first_buyers: vec![0.0; 6],
        available: vec![true; 6],
        half_life_days: 10.0,
        taste_half_life_days: 10.0,
    }
}

/// Ranks at most four candidates by popularity, which falls with the index.
pub(crate) fn model() -> PublishedRecommender {
    let retriever = retriever();
    let columns = ["user.orders", "item.lines", "candidate.popular"].map(str::to_owned);
    let description = Description {
        version: VERSION,
        as_of: Timestamp(500),
        candidates: Some(CandidateCounts { als: 0, item_item: 0, last_basket: 0, similar_users: 0, popular: 4 }),
        new_only: true,
        user_views: vec![view("user", "orders")],
        item_views: vec![view("item", "lines")],
        request_features: Vec::new(),
        columns: columns.to_vec(),
        scorer: "popular.column.json".into(),
    };
    let mut layout = RowLayout::new(&types(&description.user_views), &types(&description.item_views), &[]).unwrap();
    layout.select(&columns).unwrap();
    let recommender = Recommender {
        retriever: Arc::new(retriever),
        candidates: description.candidates,
        layout: Arc::new(layout),
        scorer: Arc::new(Column { index: 2, column_count: 3 }),
        new_only: true,
    };
    PublishedRecommender {
        description,
        recommender,
        catalogue: Arc::new(catalogue()),
        users: Arc::new(UserNumbers::new(&[1.into(), 2.into()])),
        users_are_numbers: true,
    }
}

pub(crate) fn ladder(store: &Arc<MemoryStore>) -> Ladder {
    let store = Arc::clone(store) as Arc<dyn OnlineStore>;
    Ladder::new(PIPELINE.to_owned(), Digest::of(b"model"), model(), store)
}

/// User 1 owns item 0; her list is 5, 4, 3. User 2 owns nothing and has no list.
pub(crate) fn materialize(store: &dyn OnlineStore, digest: Digest, as_of: Timestamp) {
    let catalogue = catalogue();
    let write = |table: String, rows: Vec<OnlineRow>| {
        store.publish(&table, as_of, &mut rows.into_iter()).expect("the store is up");
    };
    let key = |key: i64| EntityKey::single(key).to_bytes();
    let count = |count: i64| encode_values(&[Value::Int(count)]);
    let history = vec![HistoryItem { item: 0, count: 1, last: Timestamp(0) }];
    let states = [UserState { history, ..UserState::default() }, UserState::default()];
    let list = |items: &[u32]| {
        let scored: Vec<_> = items.iter().map(|item| (catalogue.item(*item).clone(), -f64::from(*item))).collect();
        encode_list(&scored)
    };
    write(view_table(PIPELINE, "user"), vec![(key(1), count(3))]);
    write(view_table(PIPELINE, "item"), (100..106).map(|item| (key(item), count(item))).collect());
    write(lists_table(PIPELINE), vec![(key(1), list(&[5, 4, 3])), (RESERVED_KEY.to_vec(), list(&[0, 1, 2, 3, 4, 5]))]);
    let mut rows: Vec<OnlineRow> =
        (1..).zip(&states).map(|(user, state)| (key(user), encode_user(state, &catalogue))).collect();
    rows.push((RESERVED_KEY.to_vec(), encode_digest(&digest)));
    write(user_state_table(PIPELINE), rows);
}

pub(crate) fn question(user: i64, k: usize, excluded: &[u32]) -> Question {
    Question { user: user.into(), k, excluded: excluded.into() }
}
