//! What a client gets.

use paceline_core::{Timestamp, Value};
use paceline_features::expression::Type;
use serde::Serialize;
use serde_json::Value as Json;

use super::columns::Columns;
use super::request::Wanted;
use super::{FeatureError, FeatureRequest, OnlineFeatures};

/// The time of a field of the request: Feast says so of entity keys.
const NO_TIME: Timestamp = Timestamp(0);

/// The answer of Feast's feature server: one result per name, each with one value per entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureAnswer {
    metadata: Metadata,
    results: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Metadata {
    /// Fields of the request, then features.
    feature_names: Vec<String>,
}

/// One feature of every entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Column {
    values: Vec<Json>,
    statuses: Vec<Status>,
    event_timestamps: Vec<Timestamp>,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    /// It is there.
    Present,
    /// The entity is known and the value null.
    NullValue,
    /// The entity is unknown: counts are 0, other values null, as in a training set.
    NotFound,
}

impl Column {
    fn of(
        values: impl ExactSizeIterator<Item = Value>,
        kind: Type,
        at: Timestamp,
        known: impl Fn(usize) -> bool,
    ) -> Column {
        let event_timestamps = vec![at; values.len()];
        let status = |(row, value): (usize, &Value)| match value {
            _ if !known(row) => Status::NotFound,
            Value::Null => Status::NullValue,
            _ => Status::Present,
        };
        let values: Vec<Value> = values.collect();
        let statuses = values.iter().enumerate().map(status).collect();
        Column { values: values.into_iter().map(|value| shown(kind, value)).collect(), statuses, event_timestamps }
    }
}

fn shown(kind: Type, value: Value) -> Json {
    match (kind, value) {
        (Type::Timestamp, Value::Int(micros)) => Timestamp(micros).to_string().into(),
        (_, Value::Null) => Json::Null,
        (_, Value::Bool(value)) => value.into(),
        (_, Value::Int(value)) => value.into(),
        (_, Value::Float(value)) => value.into(),
        (_, Value::Text(value)) => value.as_ref().into(),
    }
}

impl OnlineFeatures {
    /// Reads each view once, from one version of its table, and computes the request-time features that are asked for
    /// as of `now`. `event_timestamps` say as of when a view's values are; of a request-time feature, the oldest of the
    /// views.
    ///
    /// # Errors
    /// [`FeatureError`].
    pub fn answer(&self, request: &FeatureRequest, now: Timestamp) -> Result<FeatureAnswer, FeatureError> {
        let row_count = request.row_count()?;
        let wanted = request.wanted(self, row_count)?;
        let feature_names = request.names(self, &wanted)?;
        let mut columns = Columns::new(self, request, row_count, now);
        for wanted in &wanted {
            if let Wanted::View(view, _) = wanted {
                columns.read(*view)?;
            }
        }
        let last = wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Request(at) => Some(*at),
            Wanted::View(..) => None,
        });
        if let Some(last) = last.max() {
            columns.compute(last)?;
        }
        let mut results: Vec<Column> = request.entities.values().map(|values| given(values)).collect();
        for wanted in wanted {
            results.push(match wanted {
                Wanted::View(view, at) => {
                    let (read, declared) = (columns.view(view), &self.set.views[view].columns.columns);
                    let values = (0..row_count).map(|row| read.values[row * declared.len() + at].clone());
                    Column::of(values, declared[at].kind, read.as_of, |row| read.known[row])
                }
                Wanted::Request(at) => {
                    let (kind, values) = columns.computed(at)?;
                    Column::of(values.iter().cloned(), *kind, columns.oldest().unwrap_or(now), |_| true)
                }
            });
        }
        Ok(FeatureAnswer { metadata: Metadata { feature_names }, results })
    }
}

/// A field of the request as a column of the answer.
fn given(values: &[Json]) -> Column {
    let status = |value: &Json| if value.is_null() { Status::NullValue } else { Status::Present };
    Column {
        values: values.to_vec(),
        statuses: values.iter().map(status).collect(),
        event_timestamps: vec![NO_TIME; values.len()],
    }
}
