//! What requests were answered with, for whoever writes it down.
//!
//! The thread that answered hands a request over by moving it into a bounded queue; its form is worked out on the other
//! side. Nothing waits: a request that finds the queue full is counted and dropped.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use paceline_core::{Timestamp, Value};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value as Json};

use crate::online_features::typed;
use crate::recommend::tables::ViewRows;

/// One request with the feature values that its answer was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedRequest {
    /// As of when it was answered.
    pub time: Timestamp,
    /// Its fields.
    pub asked: Asked,
    /// The views that were read, by name.
    pub views: Vec<(String, ViewRows)>,
    /// The request-time features that were computed, by name: one value per row.
    pub computed: Vec<(String, Vec<Value>)>,
}

/// The fields of a request, entity keys among them.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// One list per field, as `/get-online-features` takes them.
    Columns(BTreeMap<String, Vec<Json>>),
    /// One object per row, as `/v1/predict` takes them.
    Rows(Vec<Map<String, Json>>),
}

impl Asked {
    /// Number of rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        match self {
            Asked::Columns(columns) => columns.values().next().map_or(0, Vec::len),
            Asked::Rows(rows) => rows.len(),
        }
    }

    /// The fields with one value per row, of the types that expressions saw. A list or an object, which none can read, is
    /// null, and so is a field that a row lacks.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<String, Vec<Value>> {
        match self {
            Asked::Columns(columns) => {
                let values = |(name, values): (&String, &Vec<Json>)| {
                    let typed = typed(name, values).map(|(_, values)| values);
                    (name.clone(), typed.unwrap_or_else(|_| values.iter().map(plain).collect()))
                };
                columns.iter().map(values).collect()
            }
            Asked::Rows(rows) => {
                let mut fields: BTreeMap<String, Vec<Value>> = BTreeMap::new();
                for (at, row) in rows.iter().enumerate() {
                    for (name, value) in row {
                        let values = fields.entry(name.clone()).or_insert_with(|| vec![Value::Null; rows.len()]);
                        values[at] = plain(value);
                    }
                }
                fields
            }
        }
    }
}

fn plain(value: &Json) -> Value {
    match value {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::Float(value),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::Text(text.as_str().into()),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What became of the requests that were to be logged. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct LoggedRequests(Family<Outcome, Counter>);

impl LoggedRequests {
    /// Counts requests that are on the disk.
    pub fn written(&self, requests: usize) {
        self.count("written", requests);
    }

    /// Counts requests that the disk did not take.
    pub fn failed(&self, requests: usize) {
        self.count("failed", requests);
    }

    fn count(&self, outcome: &'static str, requests: usize) {
        self.0.get_or_create(&Outcome { outcome }).inc_by(requests as u64);
    }

    /// Shows them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("serve_logged_requests", "Logged requests by what became of them", self.0.clone());
    }
}

/// The near end of the queue.
#[derive(Debug, Clone)]
pub struct RequestLog {
    queue: SyncSender<LoggedRequest>,
    counts: LoggedRequests,
}

impl RequestLog {
    /// A queue of at most `requests_max`, and its far end.
    #[must_use]
    pub fn new(requests_max: usize, counts: LoggedRequests) -> (RequestLog, Receiver<LoggedRequest>) {
        let (queue, requests) = sync_channel(requests_max);
        (RequestLog { queue, counts }, requests)
    }

    /// Shows what becomes of requests.
    pub(crate) fn counts(&self) -> &LoggedRequests {
        &self.counts
    }

    /// Hands a request over, or drops it.
    pub fn take(&self, request: LoggedRequest) {
        if self.queue.try_send(request).is_err() {
            self.counts.count("dropped", 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns(json: Json) -> Asked {
        Asked::Columns(serde_json::from_value(json).expect("lists"))
    }

    #[test]
    fn fields_have_the_types_that_expressions_saw() {
        let asked = columns(json!({"offer": [1, 1.5], "user_id": [7, null], "odd": [[1], 2]}));
        let fields = asked.fields();
        assert_eq!((asked.row_count(), &fields["offer"]), (2, &vec![Value::Float(1.0), Value::Float(1.5)]));
        assert_eq!(fields["user_id"], [Value::Int(7), Value::Null]);
        assert_eq!(fields["odd"], [Value::Null, Value::Int(2)]);
        let row = |json: Json| json.as_object().expect("an object").clone();
        let asked = Asked::Rows(vec![row(json!({"a": 1})), row(json!({"a": "x", "b": true}))]);
        assert_eq!(asked.fields()["a"], [Value::Int(1), Value::Text("x".into())]);
        assert_eq!(asked.fields()["b"], [Value::Null, Value::Bool(true)]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (log, requests) = RequestLog::new(1, LoggedRequests::default());
        let request =
            LoggedRequest { time: Timestamp(1), asked: columns(json!({})), views: Vec::new(), computed: Vec::new() };
        log.take(request.clone());
        log.take(request);
        assert_eq!(requests.try_iter().count(), 1);
        assert_eq!(log.counts.0.get_or_create(&Outcome { outcome: "dropped" }).get(), 1);
    }
}
