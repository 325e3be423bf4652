//! Values that were computed elsewhere: a view's rows from outside, checked against its declaration.

use std::fmt;

use paceline_core::online::{OnlineError, Pushed, PushedRow};
use paceline_core::value::encode_values;
use paceline_core::{EntityKey, Timestamp, Value};
use paceline_features::expression::Type;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::{OnlineFeatures, ServedView, TIME};
use crate::recommend::tables::ViewColumn;

/// Most rows of one push.
pub const PUSH_ROWS_MAX: usize = 1_000;
/// Most mistakes that one answer names; the others are counted.
pub const MISTAKES_MAX: usize = 100;
/// A row may be this much ahead of the server's clock, in microseconds: clocks differ, but a wrong year would keep every
/// right row out for as long.
const AHEAD_MICROS_MAX: i64 = 3_600_000_000;

/// Rows of one view: `{"view": "taste", "rows": [{"user_id": 42, "time": "2030-01-01T00:00:00Z", "score": 0.5}]}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// The view.
    pub view: String,
    /// Each with the view's key columns, `time`, and every feature; null where it is not known.
    pub rows: Vec<Map<String, Json>>,
}

/// Something wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowMistake {
    /// Which row, from 0.
    pub row: usize,
    /// The column.
    pub column: String,
    /// What is wrong and what to write.
    pub error: String,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum PushError {
    /// There is no such view, or it takes no rows.
    #[error("{0}")]
    View(String),
    /// Rows do not fit the view's declaration; all mistakes, up to [`MISTAKES_MAX`] of `count`.
    #[error("{count} mistakes in the rows, nothing was written; row {}, {:?}: {}", mistakes[0].row, mistakes[0].column, mistakes[0].error)]
    Rows {
        /// How many there are.
        count: usize,
        /// The first of them; at least one.
        mistakes: Vec<RowMistake>,
    },
    /// The store does not take them now; the same rows may be sent again.
    #[error("rows cannot be written: {0}")]
    Store(#[from] OnlineError),
}

/// Rows that fit their view.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedPush {
    pub(super) view: usize,
    rows: Vec<PushedRow>,
    keys: Vec<EntityKey>,
}

impl CheckedPush {
    /// The entities, in the order of the rows.
    #[must_use]
    pub fn keys(&self) -> &[EntityKey] {
        &self.keys
    }
}

impl OnlineFeatures {
    /// Checks rows that were received at `now` against the declaration of their view.
    ///
    /// # Errors
    /// [`PushError`] with all mistakes.
    pub fn check_push(&self, request: &PushRequest, now: Timestamp) -> Result<CheckedPush, PushError> {
        let known = || self.set.views.iter().map(|view| view.columns.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(at) = self.set.views.iter().position(|view| view.columns.name == request.view) else {
            return Err(PushError::View(format!("there is no view {:?}; there are: {}", request.view, known())));
        };
        let view = &self.set.views[at];
        if self.views.is_streamed(&view.columns) {
            let name = &view.columns.name;
            let problem =
                format!("view {name:?} is kept current by the events of its source; send those to /v1/events");
            return Err(PushError::View(problem));
        }
        let columns =
            view.entity.iter().map(|key| &key.name).chain(view.columns.columns.iter().map(|column| &column.name));
        if columns.clone().any(|column| column == TIME) {
            return Err(PushError::View(format!(
                "view {:?} has a column {TIME:?}, which rows have for their own time",
                request.view
            )));
        }
        if request.rows.is_empty() || request.rows.len() > PUSH_ROWS_MAX {
            let problem = format!("{} rows; a push has 1 to {PUSH_ROWS_MAX}", request.rows.len());
            return Err(PushError::View(problem));
        }
        let mut mistakes = Mistakes::default();
        let mut checked = CheckedPush { view: at, rows: Vec::new(), keys: Vec::new() };
        for (number, row) in request.rows.iter().enumerate() {
            mistakes.row = number;
            if let Some((key, row)) = row_of(view, row, now, &mut mistakes) {
                checked.keys.push(key);
                checked.rows.push(row);
            }
        }
        match mistakes.count {
            0 => Ok(checked),
            count => Err(PushError::Rows { count, mistakes: mistakes.found }),
        }
    }

    /// Writes checked rows, each unless the store holds something newer; tells what became of each.
    ///
    /// # Errors
    /// The store's.
    pub fn push(&self, checked: &CheckedPush) -> Result<Vec<Pushed>, OnlineError> {
        self.views.push(&self.set.views[checked.view].columns, &checked.rows)
    }

    /// The view of a push.
    #[must_use]
    pub fn view_of(&self, checked: &CheckedPush) -> &ServedView {
        &self.set.views[checked.view]
    }
}

#[derive(Default)]
struct Mistakes {
    row: usize,
    count: usize,
    found: Vec<RowMistake>,
}

impl Mistakes {
    fn add(&mut self, column: &str, error: impl fmt::Display) {
        self.count += 1;
        if self.found.len() < MISTAKES_MAX {
            self.found.push(RowMistake { row: self.row, column: column.to_owned(), error: error.to_string() });
        }
    }

    /// The value, or a mistake.
    fn take<T>(&mut self, column: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|error| self.add(column, error)).ok()
    }
}

/// A row's key and bytes; `None` when mistakes were added.
fn row_of(
    view: &ServedView,
    row: &Map<String, Json>,
    now: Timestamp,
    mistakes: &mut Mistakes,
) -> Option<(EntityKey, PushedRow)> {
    let features = &view.columns.columns;
    for name in row.keys() {
        let is_known = name == TIME
            || view.entity.iter().any(|key| key.name == *name)
            || features.iter().any(|column| column.name == *name);
        if !is_known {
            let names = view.entity.iter().map(|key| key.name.as_str()).chain([TIME]);
            let names: Vec<&str> = names.chain(features.iter().map(|column| column.name.as_str())).collect();
            mistakes.add(name, format!("there is no such column; a row has {}", names.join(", ")));
        }
    }
    let missing = || "it is missing".to_owned();
    let keys = view.entity.iter().map(|key| {
        let part = row.get(&key.name).ok_or_else(missing).and_then(|value| {
            key.part(value).ok_or_else(|| format!("{value} is no key; it must be {}", key.must_be()))
        });
        mistakes.take(&key.name, part)
    });
    let key = keys.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(EntityKey);
    let time = row.get(TIME).ok_or_else(|| "it is missing; it is the time of the row's values".to_owned());
    let time = mistakes.take(TIME, time.and_then(|time| time_of(time, now)));
    let values = features.iter().map(|column| {
        let value = row.get(&column.name).ok_or_else(|| format!("{}; write null where it is not known", missing()));
        mistakes.take(&column.name, value.and_then(|value| value_of(value, column)))
    });
    let values = values.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>();
    let (key, time, values) = (key?, time?, values?);
    let row = PushedRow { key: key.to_bytes(), time, value: encode_values(&values) };
    Some((key, row))
}

fn time_of(time: &Json, now: Timestamp) -> Result<Timestamp, String> {
    let Json::String(text) = time else {
        return Err(format!("{time} is no time; write a text such as 2030-01-01T00:00:00Z"));
    };
    let time: Timestamp = text.parse().map_err(|error: paceline_core::time::TimeError| error.to_string())?;
    if time.0.saturating_sub(now.0) > AHEAD_MICROS_MAX {
        return Err(format!(
            "{time} is more than an hour after {now}, the server's time; it would keep right rows out"
        ));
    }
    Ok(time)
}

fn value_of(value: &Json, column: &ViewColumn) -> Result<Value, String> {
    let wrong = |must: &str| Err(format!("{value} is not {must}"));
    match (column.kind, value) {
        (_, Json::Null) => Ok(Value::Null),
        (Type::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Type::Int, Json::Number(number)) if number.is_i64() => Ok(number.as_i64().map_or(Value::Null, Value::Int)),
        // JSON has no infinities and no NaN.
        (Type::Float, Json::Number(number)) => Ok(number.as_f64().map_or(Value::Null, Value::Float)),
        (Type::Text, Json::String(text)) => Ok(Value::Text(text.as_str().into())),
        (Type::Timestamp, Json::String(text)) => {
            let time: Result<Timestamp, _> = text.parse();
            time.map(|time| Value::Int(time.0)).map_err(|error| error.to_string())
        }
        (Type::Bool, _) => wrong("true, false or null"),
        (Type::Int, _) => wrong("a whole number or null"),
        (Type::Float, _) => wrong("a number or null"),
        (Type::Text, _) => wrong("a text or null"),
        (Type::Timestamp, _) => wrong("a time, as a text such as 2030-01-01T00:00:00Z, or null"),
    }
}
