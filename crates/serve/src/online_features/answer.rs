//! What a client gets.

use paceline_core::{Timestamp, Value};
use paceline_features::expression::Type;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::columns::{Columns, Used};
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
    values: Values,
    statuses: Vec<Status>,
    event_timestamps: Times,
}

/// Values, written without a tree of JSON between.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// As the request gave them.
    Given(Vec<Json>),
    /// Of a feature; a time is written as text.
    Read(Type, Vec<Value>),
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Values::Given(values) => values.serialize(serializer),
            Values::Read(kind, values) => serializer.collect_seq(values.iter().map(|value| Shown(*kind, value))),
        }
    }
}

struct Shown<'a>(Type, &'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, self.1) {
            (Type::Timestamp, Value::Int(micros)) => Timestamp(*micros).serialize(serializer),
            (_, Value::Null) => serializer.serialize_unit(),
            (_, Value::Bool(value)) => serializer.serialize_bool(*value),
            (_, Value::Int(value)) => serializer.serialize_i64(*value),
            (_, Value::Float(value)) => serializer.serialize_f64(*value),
            (_, Value::Text(value)) => serializer.serialize_str(value),
        }
    }
}

/// The time of each entity's value: the same for all but those that were pushed.
#[derive(Debug, Clone, PartialEq)]
struct Times {
    at: Timestamp,
    count: usize,
    /// One per entity, or none at all where nothing was pushed.
    pushed: Vec<Option<Timestamp>>,
}

impl Times {
    fn same(at: Timestamp, count: usize) -> Times {
        Times { at, count, pushed: Vec::new() }
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.at.to_string();
        if self.pushed.is_empty() {
            return serializer.collect_seq(std::iter::repeat_n(text.as_str(), self.count));
        }
        let own = |pushed: &Option<Timestamp>| pushed.map_or_else(|| text.clone(), |time| time.to_string());
        serializer.collect_seq(self.pushed.iter().map(own))
    }
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
        event_timestamps: Times,
        known: impl Fn(usize) -> bool,
    ) -> Column {
        let status = |(row, value): (usize, &Value)| match value {
            _ if !known(row) => Status::NotFound,
            Value::Null => Status::NullValue,
            _ => Status::Present,
        };
        let values: Vec<Value> = values.collect();
        let statuses = values.iter().enumerate().map(status).collect();
        Column { values: Values::Read(kind, values), statuses, event_timestamps }
    }
}

impl OnlineFeatures {
    /// Reads each view once, from one version of its table, and computes the request-time features that are asked for
    /// as of `now`. `event_timestamps` say as of when a view's values are, of pushed ones their own time; of a request-time feature, the oldest of the
    /// views.
    ///
    /// # Errors
    /// [`FeatureError`].
    pub fn answer(&self, request: &FeatureRequest, now: Timestamp) -> Result<FeatureAnswer, FeatureError> {
        self.answer_and_used(request, now).map(|(answer, _)| answer)
    }

    /// As [`OnlineFeatures::answer`], with what the answer was made from.
    ///
    /// # Errors
    /// [`FeatureError`].
    pub fn answer_and_used(
        &self,
        request: &FeatureRequest,
        now: Timestamp,
    ) -> Result<(FeatureAnswer, Used), FeatureError> {
        let row_count = request.row_count()?;
        let wanted = request.wanted(self, row_count)?;
        let feature_names = request.names(self, &wanted)?;
        let mut columns = Columns::new(self, request, row_count, now);
        columns.read(wanted.iter().filter_map(|wanted| match wanted {
            Wanted::View(view, _) => Some(*view),
            Wanted::Request(_) => None,
        }))?;
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
                    let any_pushed = read.pushed.iter().any(Option::is_some);
                    let pushed = if any_pushed { read.pushed.clone() } else { Vec::new() };
                    let times = Times { at: read.as_of, count: row_count, pushed };
                    Column::of(values, declared[at].kind, times, |row| read.known[row])
                }
                Wanted::Request(at) => {
                    let (kind, values) = columns.computed(at)?;
                    let times = Times::same(columns.oldest().unwrap_or(now), row_count);
                    Column::of(values.iter().cloned(), *kind, times, |_| true)
                }
            });
        }
        Ok((FeatureAnswer { metadata: Metadata { feature_names }, results }, columns.into_used()))
    }
}

/// A field of the request as a column of the answer.
fn given(values: &[Json]) -> Column {
    let status = |value: &Json| if value.is_null() { Status::NullValue } else { Status::Present };
    Column {
        values: Values::Given(values.to_vec()),
        statuses: values.iter().map(status).collect(),
        event_timestamps: Times::same(NO_TIME, values.len()),
    }
}
