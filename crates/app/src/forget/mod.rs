//! Takes one entity out of everything that outlives a command: the event log, the tables of the online store, logged
//! requests and the state of streams.
//!
//! Each step can be repeated, so what was killed in the middle is finished by running it again; at the end both places
//! are read once more and what is still there is counted.

mod requests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indexmap::IndexMap;
use paceline_core::event::{Event, EventLog, EventLogError, Offset};
use paceline_core::{EntityKey, KeyPart, OnlineStore};
use paceline_features::{FeatureView, Placement};
use paceline_serve::recommend::tables::{lists_table, user_state_table, view_table};
use paceline_store::StreamFiles;
use serde::Serialize;
use serde_json::Value as Json;

use crate::materialize::table_of;
use crate::pipeline::mistake::suggest;
use crate::pipeline::{Pipeline, Source};
use crate::serving::stream_folder;

/// Events are read in pages of this many.
const PAGE_EVENTS: usize = 1_000;
/// Events besides rows of sources that clients send; they may name an entity anywhere in their fields.
const KINDS: [&str; 3] = paceline_serve::EVENT_KINDS;

/// An entity by the values of its key columns. A value that looks like a number stands for the text too, so that no
/// source has to be read to know which of both it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    columns: IndexMap<String, String>,
}

/// What was removed, and what a reader still finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Removed now.
    pub removed: u64,
    /// Found when everything was read again.
    pub left: u64,
}

/// One table of the online store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForgottenTable {
    /// Its name.
    pub table: String,
    /// Rows of the entity.
    #[serde(flatten)]
    pub rows: Counts,
}

/// What became of an entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forgotten {
    /// Its key columns.
    pub entity: IndexMap<String, String>,
    /// Events of the log.
    pub events: Counts,
    /// Tables that may hold it.
    pub tables: Vec<ForgottenTable>,
    /// Rows of requests that a server of this data folder logged.
    pub requests: Counts,
    /// Folders of streams whose state was removed, with that of all other entities: they begin anew.
    pub streams: Vec<String>,
    /// Where it may still be, which no command reaches.
    pub not_reached: Vec<String>,
}

impl Forgotten {
    /// Events and rows that are still there.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.events.left + self.requests.left + self.tables.iter().map(|table| table.rows.left).sum::<u64>()
    }
}

impl Entity {
    /// Reads `COLUMN=VALUE` texts.
    ///
    /// # Errors
    /// When a text has another form, stands twice, or names no column that the pipeline knows an entity by.
    pub fn parse(pipeline: &Pipeline, texts: &[String]) -> anyhow::Result<Entity> {
        let known = key_columns(pipeline);
        let mut columns = IndexMap::new();
        for text in texts {
            let Some((column, value)) = text.split_once('=').map(|(column, value)| (column.trim(), value.trim()))
            else {
                bail!("--entity {text:?} is not COLUMN=VALUE, such as user_id=42");
            };
            if !known.contains(column) {
                let help = suggest(column, known.iter().copied())
                    .unwrap_or_else(|| format!("there are {}", known.iter().copied().collect::<Vec<_>>().join(", ")));
                bail!("--entity {text:?}: no feature view or model has a key column {column:?}; {help}");
            }
            if columns.insert(column.to_owned(), value.to_owned()).is_some() {
                bail!("--entity {column} is given twice");
            }
        }
        if columns.is_empty() {
            bail!("--entity names nobody; write it as COLUMN=VALUE, such as user_id=42");
        }
        Ok(Entity { columns })
    }

    /// Whether every column has its value in `fields`.
    fn is_in(&self, fields: &serde_json::Map<String, Json>) -> bool {
        self.columns.iter().all(|(column, value)| match fields.get(column) {
            Some(Json::String(text)) => text.trim() == value,
            Some(Json::Number(number)) => match (number.as_i64(), value.parse::<i64>()) {
                (Some(number), Ok(value)) => number == value,
                // 42.0 is how some clients write 42.
                (None, Ok(value)) => number.as_f64() == Some(value as f64),
                (_, Err(_)) => number.to_string() == *value,
            },
            _ => false,
        })
    }

    /// The same for an object anywhere in `value`.
    fn is_within(&self, value: &Json) -> bool {
        match value {
            Json::Object(fields) => self.is_in(fields) || fields.values().any(|value| self.is_within(value)),
            Json::Array(values) => values.iter().any(|value| self.is_within(value)),
            _ => false,
        }
    }

    fn is_of(&self, event: &Event, sources: &[Source]) -> bool {
        let is_row = sources.iter().any(|source| source.name == event.source);
        self.is_in(&event.fields) && (is_row || KINDS.contains(&event.source.as_str()))
            || KINDS.contains(&event.source.as_str()) && event.fields.values().any(|value| self.is_within(value))
    }

    /// Whether the rows of a view with these key columns are, or may be, about it.
    fn is_key_of(&self, columns: &[String]) -> bool {
        self.columns.keys().all(|column| columns.contains(column))
    }

    /// Whether a key of these columns is about it.
    fn is_key(&self, columns: &[String], key: &EntityKey) -> bool {
        key.0.len() == columns.len()
            && columns.iter().zip(&key.0).all(|(column, part)| match self.columns.get(column) {
                Some(value) => parts(value).contains(part),
                None => true,
            })
    }

    /// The keys that it may have in a table of these columns, which it names all.
    fn keys(&self, columns: &[String]) -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        for column in columns {
            let parts = parts(&self.columns[column]);
            keys = keys
                .into_iter()
                .flat_map(|key| parts.iter().map(move |part| [key.clone(), vec![part.clone()]].concat()))
                .collect();
        }
        keys.into_iter().map(|key| EntityKey(key).to_bytes()).collect()
    }
}

/// What a value may be in a key.
fn parts(value: &str) -> Vec<KeyPart> {
    let number = value.parse().ok().map(KeyPart::Int);
    number.into_iter().chain([KeyPart::Text(value.to_owned())]).collect()
}

fn key_columns(pipeline: &Pipeline) -> BTreeSet<&str> {
    let of_views = pipeline.views.iter().flat_map(|view| view.entity.iter().map(String::as_str));
    let of_model = pipeline.recommend().into_iter().flat_map(|goal| [goal.user.as_str(), goal.item.as_str()]);
    let of_pushed = pipeline.pushed.iter().flat_map(|view| view.entity.iter().map(|(column, _)| column.as_str()));
    of_views.chain(of_pushed).chain(of_model).collect()
}

/// Where an entity is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The event log, where there is one.
    pub log: Option<&'a dyn EventLog>,
    /// The online store, where there is one.
    pub store: Option<&'a dyn OnlineStore>,
    /// The folder that may hold the state of streams and logged requests.
    pub data_folder: &'a Path,
}

/// Removes an entity from all places and counts what is left.
///
/// # Errors
/// When a place fails or is held by another process; what was removed by then stays removed.
pub fn forget(
    pipeline: &Pipeline,
    entity: &Entity,
    Places { log, store, data_folder }: Places<'_>,
    on_events: &mut dyn FnMut(u64),
) -> anyhow::Result<Forgotten> {
    let tables = tables(pipeline, entity);
    // First, because it fails while a server of this folder runs.
    let streams = clear_streams(pipeline, entity, data_folder)?;
    let mut events = Counts::default();
    if let Some(log) = log {
        events.removed = remove_events(log, pipeline, entity, on_events)?;
    }
    let mut removed = vec![0; tables.len()];
    if let Some(store) = store {
        for (removed, (table, columns)) in removed.iter_mut().zip(&tables) {
            let keys = keys_in(store, table, columns, entity)?;
            *removed = store.erase(table, &borrowed(&keys))?;
        }
    }
    // Only what a reader finds proves anything.
    if let Some(log) = log {
        let mut found = |page: &[Offset]| {
            events.left += page.len() as u64;
            Ok(())
        };
        events_of(log, pipeline, entity, on_events, &mut found)?;
    }
    let mut forgotten = Vec::with_capacity(tables.len());
    for ((table, columns), removed) in tables.into_iter().zip(removed) {
        let left = match store {
            Some(store) => {
                let keys = keys_in(store, &table, &columns, entity)?;
                store.get(&table, &borrowed(&keys))?.values.iter().flatten().count() as u64
            }
            None => 0,
        };
        forgotten.push(ForgottenTable { table, rows: Counts { removed, left } });
    }
    let requests = requests::forget(data_folder, entity)?;
    let not_reached = not_reached(pipeline, entity);
    Ok(Forgotten { entity: entity.columns.clone(), events, tables: forgotten, requests, streams, not_reached })
}

/// Removes the state of streams that hold rows of the entity; returns their folders. Rows of a stream lie in snapshots of
/// all entities, so nothing smaller can be removed.
fn clear_streams(pipeline: &Pipeline, entity: &Entity, data_folder: &Path) -> anyhow::Result<Vec<String>> {
    let holds = |view: &&FeatureView| {
        let counts = view.features.iter().any(|feature| feature.of.iter().any(|of| entity.columns.contains_key(of)));
        view.placement == Placement::Stream && (counts || entity.is_key_of(&view.entity))
    };
    let folders = pipeline.views.iter().filter(holds).map(|view| stream_folder(data_folder, view));
    let folders: BTreeSet<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    let clear = |folder: PathBuf| {
        let shown = folder.display().to_string();
        let cleared = StreamFiles::open(&folder).and_then(|files| files.clear());
        cleared.map(|()| shown).context("a stream's state cannot be removed")
    };
    folders.into_iter().map(clear).collect()
}

fn borrowed(keys: &[Vec<u8>]) -> Vec<&[u8]> {
    keys.iter().map(Vec::as_slice).collect()
}

/// The tables that may hold rows of the entity, with the columns of their keys.
fn tables(pipeline: &Pipeline, entity: &Entity) -> Vec<(String, Vec<String>)> {
    let is_about = |view: &&FeatureView| entity.is_key_of(&view.entity);
    let views = pipeline.views.iter().filter(is_about).map(|view| (table_of(pipeline, view), view.entity.clone()));
    let user = pipeline.recommend().map(|goal| vec![goal.user.clone()]).filter(|user| entity.is_key_of(user));
    let of_user = user.into_iter().flat_map(|user| {
        [user_state_table(&pipeline.name), lists_table(&pipeline.name)].map(|table| (table, user.clone()))
    });
    let pushed = pipeline.pushed.iter().map(|view| {
        let columns: Vec<String> = view.entity.iter().map(|(column, _)| column.clone()).collect();
        (view_table(&pipeline.name, &view.name), columns)
    });
    views.chain(pushed.filter(|(_, columns)| entity.is_key_of(columns))).chain(of_user).collect()
}

/// Keys of a table that are about the entity, or would be. Where it names only some of the key's columns the table is
/// looked through.
fn keys_in(store: &dyn OnlineStore, table: &str, columns: &[String], entity: &Entity) -> anyhow::Result<Vec<Vec<u8>>> {
    if columns.len() == entity.columns.len() {
        return Ok(entity.keys(columns));
    }
    let mut found = BTreeSet::new();
    let mut visit = |bytes: &[u8]| {
        if EntityKey::from_bytes(bytes).is_some_and(|key| entity.is_key(columns, &key)) {
            found.insert(bytes.to_vec());
        }
    };
    store.visit_keys(table, &mut visit)?;
    Ok(found.into_iter().collect())
}

fn remove_events(
    log: &dyn EventLog,
    pipeline: &Pipeline,
    entity: &Entity,
    on_events: &mut dyn FnMut(u64),
) -> anyhow::Result<u64> {
    let mut removed = 0;
    let mut remove = |page: &[Offset]| {
        removed += log.remove(page)?.events;
        Ok(())
    };
    events_of(log, pipeline, entity, on_events, &mut remove)?;
    Ok(removed)
}

/// Gives `found` the positions of the entity's events, a page at a time, up to what the log holds now.
fn events_of(
    log: &dyn EventLog,
    pipeline: &Pipeline,
    entity: &Entity,
    on_events: &mut dyn FnMut(u64),
    found: &mut dyn FnMut(&[Offset]) -> Result<(), EventLogError>,
) -> anyhow::Result<()> {
    let extent = log.extent()?;
    let mut from = extent.first;
    while from < extent.next {
        let page = match log.read(from, PAGE_EVENTS) {
            // A server drops old events meanwhile.
            Err(EventLogError::Gone { first, .. }) => {
                from = first;
                continue;
            }
            page => page?,
        };
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = Offset(last.0 + 1);
        let is_of = |(_, event): &&(Offset, Event)| entity.is_of(event, &pipeline.sources);
        let of_entity: Vec<Offset> = page.iter().filter(is_of).map(|(offset, _)| *offset).collect();
        if !of_entity.is_empty() {
            found(&of_entity)?;
        }
        on_events(page.len() as u64);
    }
    Ok(())
}

/// Where it may still be.
fn not_reached(pipeline: &Pipeline, entity: &Entity) -> Vec<String> {
    let about = |source: &&Source| {
        let reads = |view: &&FeatureView| view.source == source.name && entity.is_key_of(&view.entity);
        let of_label = pipeline.recommend().is_some_and(|goal| {
            goal.label.source == source.name && entity.columns.keys().all(|key| *key == goal.user || *key == goal.item)
        });
        of_label || pipeline.views.iter().any(|view| reads(&view))
    };
    let mut places: Vec<String> = pipeline
        .sources
        .iter()
        .filter(about)
        .map(|source| {
            format!(
                "rows of [sources.{}] at {}: unless they are removed there, features and lists come back with the next \
                 materialization that writes the entity, such as a full one",
                source.name,
                source.place()
            )
        })
        .collect();
    if pipeline.recommend().is_some_and(|goal| entity.columns.contains_key(&goal.user)) {
        places.push(
            "published models: the keys of users.json and similar users of the candidate stage, until a new run \
             without these rows is published and older versions are deleted"
                .to_owned(),
        );
    }
    if pipeline.serve.log_requests {
        places
            .push("requests that servers with other data folders logged: run this with --data-dir for each".to_owned());
    }
    if !pipeline.pushed.is_empty() {
        places.push("whoever pushes features from outside, and may push them again".to_owned());
    }
    if !pipeline.views.is_empty() || pipeline.model.is_some() {
        places.push("training sets, lists and reports that were written to files".to_owned());
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entity(columns: &[(&str, &str)]) -> Entity {
        Entity { columns: columns.iter().map(|(column, value)| ((*column).to_owned(), (*value).to_owned())).collect() }
    }

    #[test]
    fn an_entity_is_found_however_a_client_wrote_it() {
        let check = |columns: &[(&str, &str)], value: Json, is_in: bool, is_within: bool| {
            let entity = entity(columns);
            let fields = value.as_object().unwrap();
            assert_eq!((entity.is_in(fields), entity.is_within(&value)), (is_in, is_within), "{columns:?} in {value}");
        };
        let user = [("user_id", "42")];
        check(&user, json!({"user_id": 42}), true, true);
        check(&user, json!({"user_id": "42", "x": 1}), true, true);
        check(&user, json!({"user_id": 42.0}), true, true);
        check(&user, json!({"user_id": 421}), false, false);
        check(&user, json!({"user_id": 42.5}), false, false);
        check(&user, json!({"user_id": null}), false, false);
        check(&user, json!({"item_id": 42}), false, false);
        check(&user, json!({"shown": [{"to": {"user_id": 42}}]}), false, true);
        check(&[("user_id", "ann")], json!({"user_id": "ann"}), true, true);
        check(&[("user_id", "ann")], json!({"user_id": "Ann"}), false, false);
        let both = [("user_id", "42"), ("item_id", "a")];
        check(&both, json!({"user_id": 42, "item_id": "a"}), true, true);
        check(&both, json!({"user_id": 42, "item_id": "b"}), false, false);
        check(&both, json!({"user_id": 42}), false, false);
    }

    #[test]
    fn keys_are_numbers_and_texts_and_a_part_of_a_key_is_enough() {
        let columns = ["user_id", "item_id"].map(str::to_owned);
        let user = entity(&[("user_id", "42")]);
        let keys = user.keys(&columns[..1]);
        assert_eq!(keys, [EntityKey::single(42).to_bytes(), EntityKey::single("42").to_bytes()]);
        assert!(user.is_key_of(&columns) && !user.is_key_of(&columns[1..]));
        let check = |key: Vec<KeyPart>, is_key: bool| {
            assert_eq!(user.is_key(&columns, &EntityKey(key.clone())), is_key, "{key:?}");
        };
        check(vec![42.into(), "a".into()], true);
        check(vec!["42".into(), 7.into()], true);
        check(vec![7.into(), "42".into()], false);
        check(vec![42.into()], false);
        let both = entity(&[("item_id", "a"), ("user_id", "42")]);
        let expected: Vec<Vec<u8>> =
            [KeyPart::Int(42), "42".into()].map(|user| EntityKey(vec![user, "a".into()]).to_bytes()).into();
        assert_eq!(both.keys(&columns), expected, "in the order of the table's columns");
    }
}
