//! A recommender's tables in the online store: what they are called, and how a request reads them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `{pipeline}.{view}`, one per feature view | the entity's key bytes | the view's values, [`encode_values`] |
//! | | [`MARKER_KEY`] | what the table was made from, for the next materialization |
//! | `{pipeline}.user_state` | the user's key bytes | [`encode_user`] |
//! | | [`RESERVED_KEY`] | digest of the artifact whose item factors the users' factors go with |
//! | `{pipeline}.lists` | the user's key bytes | her precomputed list, [`encode_list`] |
//! | | [`RESERVED_KEY`] | the popular list |
//!
//! [`encode_values`]: paceline_core::value::encode_values
//! [`encode_user`]: paceline_models::recommend::encode_user
//! [`encode_list`]: paceline_models::recommend::encode_list

use std::collections::HashMap;

use paceline_core::online::{OnlineError, Snapshot};
use paceline_core::value::{decode_values, encode_values};
use paceline_core::{Digest, EntityKey, KeyPart, OnlineStore, Timestamp, Value};
use paceline_features::expression::Type;
use paceline_models::recommend::{Catalogue, UserState, decode_list, decode_user};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ItemTable, RowLayout};

/// A key that no entity has: the bytes of every entity key begin with 1 or 2. (Stores refuse an empty key.)
pub const RESERVED_KEY: &[u8] = &[0];
/// Another one, in the tables of views: by what a materialization recognizes which entities it need not write again.
/// Whoever changes such a table in another way removes it; then all entities are written.
pub const MARKER_KEY: &[u8] = &[0, b'm'];

/// Items are read from a table in requests of this many, so that neither side buffers a whole catalogue.
const CHUNK_KEYS: usize = 1_000;
/// A catalogue whose table is replaced this often while it is read is given up until the next round.
const READ_ATTEMPTS_MAX: usize = 3;

/// The table of a feature view.
#[must_use]
pub fn view_table(pipeline: &str, view: &str) -> String {
    format!("{pipeline}.{view}")
}

/// The table of the users' histories and factors.
#[must_use]
pub fn user_state_table(pipeline: &str) -> String {
    format!("{pipeline}.user_state")
}

/// The table of precomputed lists.
#[must_use]
pub fn lists_table(pipeline: &str) -> String {
    format!("{pipeline}.lists")
}

/// The columns of a feature view, as the model was trained on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewColumns {
    /// Name of the view.
    pub name: String,
    /// Its features, in declaration order.
    pub columns: Vec<ViewColumn>,
}

/// One feature of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewColumn {
    /// Name within the view.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Its value for an entity that the table does not know: 0 for a count, else null.
    pub missing: Value,
}

impl ViewColumns {
    fn missing(&self) -> impl Iterator<Item = Value> + '_ {
        self.columns.iter().map(|column| column.missing.clone())
    }

    /// Reads a stored row and checks it against the declaration, because a value of another type would make the
    /// request-time features that read it fail.
    fn decode(&self, bytes: &[u8], into: &mut Vec<Value>) -> Result<(), String> {
        let values = decode_values(bytes).map_err(|error| error.to_string())?;
        if values.len() != self.columns.len() {
            return Err(format!("a row has {} values, but the model knows {}", values.len(), self.columns.len()));
        }
        for (value, column) in values.iter().zip(&self.columns) {
            if !fits(value, column.kind) {
                return Err(format!("{}.{} is {value:?}, but the model knows {}", self.name, column.name, column.kind));
            }
        }
        into.extend(values);
        Ok(())
    }
}

fn fits(value: &Value, kind: Type) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => kind == Type::Bool,
        Value::Int(_) => matches!(kind, Type::Int | Type::Float | Type::Timestamp),
        Value::Float(_) => kind == Type::Float,
        Value::Text(_) => kind == Type::Text,
    }
}

/// Why a table cannot answer.
#[derive(Debug, Error)]
pub enum TableError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] OnlineError),
    /// Nothing was ever written there.
    #[error("table {table:?} was never written; materialize the pipeline")]
    Absent {
        /// The table.
        table: String,
    },
    /// What is written there is not what the model was trained on.
    #[error("table {table:?}: {cause}; materialize the pipeline again")]
    Mismatch {
        /// The table.
        table: String,
        /// What is wrong.
        cause: String,
    },
    /// The stream that keeps a view current cannot answer.
    #[error("view {view:?} cannot be read from its stream: {cause}")]
    Stream {
        /// The view.
        view: String,
        /// What is wrong.
        cause: String,
    },
    /// It was replaced faster than it could be read.
    #[error("table {table:?} was replaced {READ_ATTEMPTS_MAX} times while it was read")]
    Restless {
        /// The table.
        table: String,
    },
}

/// What is stored of one user.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredUser {
    /// As of when.
    pub as_of: Timestamp,
    /// The artifact that the factors go with; `None` when the table does not say or says nonsense.
    pub artifact: Option<Digest>,
    /// Her history and factors; `None` for a user whom the table does not know.
    pub state: Option<UserState>,
}

/// Reads a user's history and factors.
///
/// # Errors
/// [`TableError`]; a damaged record is a [`TableError::Mismatch`].
pub fn read_user_state(
    store: &dyn OnlineStore,
    table: &str,
    user: &[u8],
    catalogue: &Catalogue,
) -> Result<StoredUser, TableError> {
    let snapshot = store.get(table, &[user, RESERVED_KEY])?;
    let as_of = snapshot.as_of.ok_or_else(|| TableError::Absent { table: table.to_owned() })?;
    let mismatch = |cause: String| TableError::Mismatch { table: table.to_owned(), cause };
    let stored = |at: usize| snapshot.values.get(at).and_then(Option::as_deref);
    let state = stored(0).map(|bytes| decode_user(bytes, catalogue).map_err(|error| mismatch(error.to_string())));
    Ok(StoredUser { as_of, artifact: stored(1).and_then(decode_digest), state: state.transpose()? })
}

/// The value of [`RESERVED_KEY`] in the table of user states.
#[must_use]
pub fn encode_digest(digest: &Digest) -> Vec<u8> {
    encode_values(&[Value::Text(digest.to_string().into())])
}

fn decode_digest(bytes: &[u8]) -> Option<Digest> {
    match decode_values(bytes).ok()?.as_slice() {
        [Value::Text(text)] => text.parse().ok(),
        _ => None,
    }
}

/// As of when a table is, and the artifact it was made with.
///
/// # Errors
/// The store's.
pub fn read_user_state_version(
    store: &dyn OnlineStore,
    table: &str,
) -> Result<Option<(Timestamp, Option<Digest>)>, OnlineError> {
    let snapshot = store.get(table, &[RESERVED_KEY])?;
    let artifact = snapshot.values.first().and_then(Option::as_deref).and_then(decode_digest);
    Ok(snapshot.as_of.map(|as_of| (as_of, artifact)))
}

/// The values of a user in all `views`, in order, and the oldest time as of which one of them is.
///
/// # Errors
/// [`TableError`].
pub fn read_user_values(
    store: &dyn OnlineStore,
    pipeline: &str,
    views: &[ViewColumns],
    user: &[u8],
) -> Result<(Vec<Value>, Option<Timestamp>), TableError> {
    let tables: Vec<String> = views.iter().map(|view| view_table(pipeline, &view.name)).collect();
    let keys = [user.to_vec()];
    let wanted = views.iter().zip(&tables).map(|(view, table)| WantedRows { table, view, keys: &keys });
    Ok(joined(read_views(store, &wanted.collect::<Vec<_>>())?))
}

/// The values of all views, in order, and the oldest time as of which one of them is.
pub(crate) fn joined(views: Vec<ViewRows>) -> (Vec<Value>, Option<Timestamp>) {
    let oldest = views.iter().map(|rows| rows.as_of).min();
    (views.into_iter().flat_map(|rows| rows.values).collect(), oldest)
}

/// The features of all items of `catalogue`, each view as of one time, and the oldest of these times. `views` are those
/// of the layout.
///
/// # Errors
/// [`TableError`].
pub fn read_items(
    store: &dyn OnlineStore,
    pipeline: &str,
    views: &[ViewColumns],
    catalogue: &Catalogue,
    layout: &RowLayout,
) -> Result<(ItemTable, Option<Timestamp>), TableError> {
    let keys: Vec<Vec<u8>> = catalogue.items().iter().map(|item| EntityKey(vec![item.clone()]).to_bytes()).collect();
    let mut columns: Vec<(Vec<Value>, usize)> = Vec::with_capacity(views.len());
    let mut oldest = None;
    for view in views {
        let read = read_view(store, &view_table(pipeline, &view.name), view, &keys)?;
        oldest = Some(oldest.map_or(read.as_of, |known: Timestamp| known.min(read.as_of)));
        columns.push((read.values, view.columns.len()));
    }
    let width: usize = columns.iter().map(|(_, width)| width).sum();
    let mut rows = Vec::with_capacity(keys.len() * width);
    for item in 0..keys.len() {
        for (values, width) in &columns {
            rows.extend_from_slice(&values[item * width..(item + 1) * width]);
        }
    }
    Ok((layout.item_table(rows), oldest))
}

/// The values of one view for several entities, all from one version of its table.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewRows {
    /// Row-major, `keys x columns`; an entity that the table does not know has the values of an unknown one.
    pub values: Vec<Value>,
    /// Whether the table knows each entity.
    pub known: Vec<bool>,
    /// For each entity whose values were pushed, their time.
    pub pushed: Vec<Option<Timestamp>>,
    /// As of when the others are.
    pub as_of: Timestamp,
}

/// A view's table with the view and the keys that are wanted of it.
#[derive(Debug, Clone, Copy)]
pub struct WantedRows<'a> {
    /// The table.
    pub table: &'a str,
    /// The view.
    pub view: &'a ViewColumns,
    /// The keys.
    pub keys: &'a [Vec<u8>],
}

/// The values of several views, each for its keys in order and from one version of its table; all in one request to the
/// store where none wants more than a thousand.
///
/// # Errors
/// [`TableError`].
pub fn read_views(store: &dyn OnlineStore, wanted: &[WantedRows<'_>]) -> Result<Vec<ViewRows>, TableError> {
    if wanted.len() < 2 || wanted.iter().any(|wanted| wanted.keys.is_empty() || wanted.keys.len() > CHUNK_KEYS) {
        return wanted.iter().map(|wanted| read_view(store, wanted.table, wanted.view, wanted.keys)).collect();
    }
    let keys: Vec<Vec<&[u8]>> = wanted.iter().map(|wanted| wanted.keys.iter().map(Vec::as_slice).collect()).collect();
    let asked: Vec<(&str, &[&[u8]])> =
        wanted.iter().zip(&keys).map(|(wanted, keys)| (wanted.table, keys.as_slice())).collect();
    let snapshots = store.get_tables(&asked)?;
    let rows = |(wanted, snapshot): (&WantedRows<'_>, Snapshot)| {
        let WantedRows { table, view, keys } = *wanted;
        let as_of = snapshot.as_of.ok_or_else(|| TableError::Absent { table: table.to_owned() })?;
        let mut rows = ViewRows::with_room(view, keys.len(), as_of);
        rows.take(table, view, snapshot)?;
        Ok(rows)
    };
    wanted.iter().zip(snapshots).map(rows).collect()
}

impl ViewRows {
    /// No row yet, with room for so many.
    pub(crate) fn with_room(view: &ViewColumns, count: usize, as_of: Timestamp) -> ViewRows {
        ViewRows {
            values: Vec::with_capacity(count * view.columns.len()),
            known: Vec::with_capacity(count),
            pushed: Vec::with_capacity(count),
            as_of,
        }
    }

    /// Adds the rows of a snapshot.
    fn take(&mut self, table: &str, view: &ViewColumns, snapshot: Snapshot) -> Result<(), TableError> {
        self.pushed.extend(snapshot.pushed);
        for row in snapshot.values {
            self.known.push(row.is_some());
            match row {
                Some(bytes) => view
                    .decode(&bytes, &mut self.values)
                    .map_err(|cause| TableError::Mismatch { table: table.to_owned(), cause })?,
                None => self.values.extend(view.missing()),
            }
        }
        Ok(())
    }
}

/// The values of one view for `keys`, in order; up to a thousand keys in one request to the store.
///
/// # Errors
/// [`TableError`].
pub fn read_view(
    store: &dyn OnlineStore,
    table: &str,
    view: &ViewColumns,
    keys: &[Vec<u8>],
) -> Result<ViewRows, TableError> {
    let absent = || TableError::Absent { table: table.to_owned() };
    'again: for _ in 0..READ_ATTEMPTS_MAX {
        let mut as_of = None;
        let mut rows = ViewRows::with_room(view, keys.len(), Timestamp::MIN);
        for chunk in keys.chunks(CHUNK_KEYS) {
            let borrowed: Vec<&[u8]> = chunk.iter().map(Vec::as_slice).collect();
            let snapshot = store.get(table, &borrowed)?;
            let now = snapshot.as_of.ok_or_else(absent)?;
            if *as_of.get_or_insert(now) != now {
                continue 'again;
            }
            rows.take(table, view, snapshot)?;
        }
        rows.as_of = match as_of {
            Some(as_of) => as_of,
            None => store.as_of(table)?.ok_or_else(absent)?,
        };
        return Ok(rows);
    }
    Err(TableError::Restless { table: table.to_owned() })
}

/// A precomputed list.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredList {
    /// Items with their scores, best first.
    pub items: Vec<(u32, f64)>,
    /// As of when it is.
    pub as_of: Timestamp,
}

/// The list for a key ([`RESERVED_KEY`] for the popular one), without items that `catalogue` does not hold; `None` when
/// there is none, or no table at all.
///
/// # Errors
/// [`TableError`].
pub fn read_list(
    store: &dyn OnlineStore,
    table: &str,
    key: &[u8],
    catalogue: &Catalogue,
) -> Result<Option<StoredList>, TableError> {
    let snapshot = store.get(table, &[key])?;
    let (Some(as_of), Some(bytes)) = (snapshot.as_of, snapshot.values.into_iter().next().flatten()) else {
        return Ok(None);
    };
    let list = decode_list(&bytes)
        .map_err(|error| TableError::Mismatch { table: table.to_owned(), cause: error.to_string() })?;
    let items = list.into_iter().filter_map(|(item, score)| Some((catalogue.index_of(&item)?, score))).collect();
    Ok(Some(StoredList { items, as_of }))
}

/// Numbers of the users that the candidate stage was fitted on.
#[derive(Debug, Clone, Default)]
pub struct UserNumbers(HashMap<KeyPart, u32>);

impl UserNumbers {
    /// The position is the number.
    #[must_use]
    pub fn new(users: &[KeyPart]) -> Self {
        UserNumbers((0u32..).zip(users).map(|(number, user)| (user.clone(), number)).collect())
    }

    /// The number of `user`.
    #[must_use]
    pub fn of(&self, user: &KeyPart) -> Option<u32> {
        self.0.get(user).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
