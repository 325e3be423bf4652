//! The features that answers were made from, as Parquet files.
//!
//! | column | |
//! |---|---|
//! | `time` | when the request was answered |
//! | each key column of a view | the key; null where the request did not name one that fits |
//! | `request.fields` | its other fields, a JSON object |
//! | `request.as_of.VIEW` | as of when the view's values are; null where the view was not read, or its values were pushed from outside |
//! | `VIEW.FEATURE` | the value that was used |
//! | `request.features` | the request-time features that were computed, a JSON object |
//!
//! One row per row of a request. A file appears whole; the oldest are deleted to keep within a bound.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use paceline_core::Value;
use paceline_features::expression::Type;
use paceline_serve::online_features::{KeyColumn, ServedView};
use paceline_serve::request_log::{LoggedRequest, LoggedRequests, RequestLog};
use paceline_store::write_table;

use crate::training_set::{TIME, arrow_type};

/// The logged requests within the data folder.
pub const REQUESTS_FOLDER: &str = "requests";
/// The column of a request's fields that are no keys.
pub const FIELDS: &str = "request.fields";
/// The column of the request-time features.
pub const COMPUTED: &str = "request.features";
/// Requests that may wait to be written.
const QUEUE_REQUESTS: usize = 256;
/// A file is written when this many values wait, or the first of them this long.
const FILE_VALUES: usize = 1_000_000;
const FILE_AGE: Duration = Duration::from_secs(10);
const FILE_PREFIX: &str = "requests-";

/// The column that says as of when a view's values are.
#[must_use]
pub fn as_of_column(view: &str) -> String {
    format!("request.as_of.{view}")
}

/// The thread that writes; [`RequestWriter::finish`] ends it.
pub struct RequestWriter {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// What is written where.
struct Files {
    folder: PathBuf,
    bytes_max: u64,
    views: Vec<ServedView>,
    keys: Vec<KeyColumn>,
    schema: SchemaRef,
    counts: LoggedRequests,
    next: u64,
}

impl RequestWriter {
    /// Starts the thread, which writes into `folder` (made if it is missing) and keeps the files there within
    /// `bytes_max`.
    ///
    /// # Errors
    /// When the folder cannot be made, or a key column is called `time`.
    pub fn start(folder: &Path, views: &[ServedView], bytes_max: u64) -> Result<(RequestWriter, RequestLog)> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder of logged requests {}", folder.display()))?;
        let mut keys: Vec<KeyColumn> = Vec::new();
        for key in views.iter().flat_map(|view| &view.entity) {
            if key.name == TIME {
                bail!(
                    "a view has a key column {TIME:?}, which is the time of a logged request; set [serve] log_requests = false"
                );
            }
            if !keys.iter().any(|known| known.name == key.name) {
                keys.push(key.clone());
            }
        }
        let counts = LoggedRequests::default();
        let (log, requests) = RequestLog::new(QUEUE_REQUESTS, counts.clone());
        let schema = schema(&keys, views);
        let folder = folder.to_owned();
        let mut files = Files { folder, bytes_max, views: views.to_vec(), keys, schema, counts, next: 0 };
        let (stop, stopped) = mpsc::channel();
        let work = move || files.run(&requests, &stopped);
        let thread = std::thread::Builder::new().name("requests".to_owned()).spawn(work)?;
        Ok((RequestWriter { stop, thread }, log))
    }

    /// Writes what waits, and ends.
    pub fn finish(self) {
        drop(self.stop);
        // A panic there is a bug that its own message has told already.
        let _ = self.thread.join();
    }
}

fn schema(keys: &[KeyColumn], views: &[ServedView]) -> SchemaRef {
    let key_type = |key: &KeyColumn| if key.is_number { Type::Int } else { Type::Text };
    let mut columns = vec![(TIME.to_owned(), Type::Timestamp)];
    columns.extend(keys.iter().map(|key| (key.name.clone(), key_type(key))));
    columns.push((FIELDS.to_owned(), Type::Text));
    for view in views {
        let name = &view.columns.name;
        columns.push((as_of_column(name), Type::Timestamp));
        columns.extend(view.columns.columns.iter().map(|column| (format!("{name}.{}", column.name), column.kind)));
    }
    columns.push((COMPUTED.to_owned(), Type::Text));
    let field = |(name, kind): (String, Type)| Field::new(name, arrow_type(kind), true);
    Arc::new(Schema::new(columns.into_iter().map(field).collect::<Vec<_>>()))
}

impl Files {
    fn run(&mut self, requests: &Receiver<LoggedRequest>, stopped: &Receiver<()>) {
        /// How often it is looked whether the server stops.
        const LOOK: Duration = Duration::from_millis(200);
        let mut waiting: Vec<LoggedRequest> = Vec::new();
        let (mut values, mut since) = (0, Instant::now());
        loop {
            let is_stopping = !matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty));
            match requests.recv_timeout(if is_stopping { Duration::ZERO } else { LOOK }) {
                Ok(request) => {
                    if waiting.is_empty() {
                        since = Instant::now();
                    }
                    values += request.asked.row_count() * self.schema.fields().len();
                    waiting.push(request);
                }
                Err(RecvTimeoutError::Timeout) if !is_stopping => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.write(&mut waiting);
                    return;
                }
            }
            if !waiting.is_empty() && (values >= FILE_VALUES || since.elapsed() >= FILE_AGE) {
                self.write(&mut waiting);
                values = 0;
            }
        }
    }

    /// Writes a file of what waits. What the disk does not take is counted and told.
    fn write(&mut self, waiting: &mut Vec<LoggedRequest>) {
        if waiting.is_empty() {
            return;
        }
        match self.write_file(waiting).and_then(|()| self.delete_oldest()) {
            Ok(()) => self.counts.written(waiting.len()),
            Err(error) => {
                self.counts.failed(waiting.len());
                tracing::error!(error = format!("{error:#}"), requests = waiting.len(), "requests were not logged");
            }
        }
        waiting.clear();
    }

    fn write_file(&mut self, requests: &[LoggedRequest]) -> Result<()> {
        let batch = self.batch(requests)?;
        // Names are in the order of time, and no two processes give one.
        let (time, process) = (requests[0].time.0, std::process::id());
        let path = self.folder.join(format!("{FILE_PREFIX}{time:020}-{process}-{}.parquet", self.next));
        self.next += 1;
        write_table(&path, &self.schema, &[batch])?;
        Ok(())
    }

    /// Deletes the oldest files until the rest is within the bound.
    fn delete_oldest(&self) -> Result<()> {
        let context = || format!("the folder of logged requests {}", self.folder.display());
        let mut files: Vec<(String, u64)> = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(FILE_PREFIX) && name.ends_with(".parquet") {
                files.push((name, entry.metadata().with_context(context)?.len()));
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        for (name, size) in files {
            if bytes <= self.bytes_max {
                break;
            }
            std::fs::remove_file(self.folder.join(name)).with_context(context)?;
            bytes -= size;
        }
        Ok(())
    }

    fn batch(&self, requests: &[LoggedRequest]) -> Result<RecordBatch> {
        let mut columns: Vec<Vec<Value>> = vec![Vec::new(); self.schema.fields().len()];
        for request in requests {
            self.add(request, &mut columns);
        }
        let arrays = self.schema.fields().iter().zip(&columns);
        let arrays = arrays.map(|(field, values)| array(field, values)).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }

    /// Adds a request's values to the columns, in the order of the schema.
    fn add(&self, request: &LoggedRequest, columns: &mut [Vec<Value>]) {
        let rows = request.asked.row_count();
        let mut fields = request.asked.fields();
        let mut columns = columns.iter_mut();
        let mut next = |values: &mut dyn Iterator<Item = Value>| {
            columns.next().expect("a column of the schema").extend(values.take(rows));
        };
        next(&mut std::iter::repeat_n(Value::Int(request.time.0), rows));
        for key in &self.keys {
            let given = fields.remove(&key.name).unwrap_or_default();
            let fits = |value: Value| match (&value, key.is_number) {
                (Value::Int(_), true) | (Value::Text(_), false) => value,
                _ => Value::Null,
            };
            next(&mut given.into_iter().map(fits).chain(std::iter::repeat(Value::Null)));
        }
        next(&mut json_rows(&fields.into_iter().collect::<Vec<_>>()));
        for view in &self.views {
            let read = request.views.iter().find(|(name, _)| *name == view.columns.name).map(|(_, read)| read);
            let width = view.columns.columns.len();
            let as_of = |row: usize| match read {
                Some(read) if read.pushed.get(row).is_none_or(Option::is_none) => Value::Int(read.as_of.0),
                _ => Value::Null,
            };
            next(&mut (0..rows).map(as_of));
            for column in 0..width {
                match read {
                    Some(read) => next(&mut (0..rows).map(|row| read.values[row * width + column].clone())),
                    None => next(&mut std::iter::repeat_n(Value::Null, rows)),
                }
            }
        }
        next(&mut json_rows(&request.computed));
    }
}

/// A JSON object of the columns for each row; null where there are no columns.
fn json_rows(columns: &[(String, Vec<Value>)]) -> impl Iterator<Item = Value> + '_ {
    (0..).map(move |row| {
        if columns.is_empty() {
            return Value::Null;
        }
        let object: BTreeMap<&str, &Value> =
            columns.iter().map(|(name, values)| (name.as_str(), values.get(row).unwrap_or(&Value::Null))).collect();
        Value::Text(serde_json::to_string(&object).expect("plain values").into())
    })
}

/// The values as a column of the field's type. A whole number fits a column of numbers.
fn array(field: &Field, values: &[Value]) -> ArrayRef {
    let int = |value: &Value| match value {
        Value::Int(value) => Some(*value),
        _ => None,
    };
    match Type::of_arrow(field.data_type()).expect("the schema has columns of these types") {
        Type::Int => Arc::new(values.iter().map(int).collect::<Int64Array>()),
        Type::Timestamp => {
            let times = values.iter().map(int).collect::<TimestampMicrosecondArray>();
            Arc::new(times.with_data_type(field.data_type().clone()))
        }
        Type::Float => {
            let float = |value: &Value| match value {
                Value::Float(value) => Some(*value),
                other => int(other).map(|value| value as f64),
            };
            Arc::new(values.iter().map(float).collect::<Float64Array>())
        }
        Type::Bool => {
            let bool = |value: &Value| if let Value::Bool(value) = value { Some(*value) } else { None };
            Arc::new(values.iter().map(bool).collect::<BooleanArray>())
        }
        Type::Text => {
            let text = |value: &Value| if let Value::Text(value) = value { Some(value.to_string()) } else { None };
            Arc::new(values.iter().map(text).collect::<StringArray>())
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    use paceline_core::Timestamp;
    use paceline_serve::recommend::tables::{ViewColumn, ViewColumns, ViewRows};
    use paceline_serve::request_log::Asked;
    use paceline_store::{SourceReader, SourceSpec};
    use serde_json::json;

    use super::*;

    fn views() -> Vec<ServedView> {
        let column = |name: &str, kind| ViewColumn { name: name.into(), kind, missing: Value::Null };
        let view = |name: &str, key: &str, is_number, columns| ServedView {
            columns: ViewColumns { name: name.into(), columns },
            entity: vec![KeyColumn { name: key.into(), is_number }],
            is_pushed: false,
        };
        vec![
            view("user", "user_id", true, vec![column("spend", Type::Float), column("first", Type::Timestamp)]),
            view("item", "item_id", false, vec![column("n", Type::Int)]),
        ]
    }

    fn request(at: i64) -> LoggedRequest {
        let asked = json!({"user_id": [7, null], "offer": [1, 2.5]});
        let values = vec![Value::Float(0.1), Value::Int(5), Value::Null, Value::Null];
        let read = ViewRows { values, known: vec![true, false], pushed: vec![None; 2], as_of: Timestamp(3) };
        LoggedRequest {
            time: Timestamp(at),
            asked: Asked::Columns(serde_json::from_value(asked).unwrap()),
            views: vec![("user".to_owned(), read)],
            computed: vec![("dear".to_owned(), vec![Value::Bool(true), Value::Null])],
        }
    }

    #[test]
    fn requests_are_read_back_as_they_were_answered() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("requests");
        let (writer, log) = RequestWriter::start(&place, &views(), u64::MAX).unwrap();
        log.take(request(11));
        log.take(request(12));
        writer.finish();
        let rows = SourceReader::open(&SourceSpec::new("requests", "requests"), folder.path()).unwrap();
        let rows: Vec<RecordBatch> = rows.map(Result::unwrap).collect();
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        assert_eq!(rows.num_rows(), 4);
        let times = |name: &str| rows[name].as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>();
        assert_eq!(times(TIME), [Some(11), Some(11), Some(12), Some(12)]);
        assert_eq!(times("request.as_of.user"), [Some(3); 4]);
        assert_eq!(times("user.first"), [Some(5), None, Some(5), None]);
        assert_eq!((rows["request.as_of.item"].null_count(), rows["item.n"].null_count()), (4, 4));
        assert_eq!(rows["user_id"].as_primitive::<Int64Type>().iter().take(2).collect::<Vec<_>>(), [Some(7), None]);
        assert_eq!(rows["user.spend"].as_primitive::<Float64Type>().value(2).to_bits(), 0.1f64.to_bits());
        let text = |name: &str, row: usize| arrow::util::display::array_value_to_string(&rows[name], row).unwrap();
        assert_eq!((text(FIELDS, 0), text(FIELDS, 1)), ("{\"offer\":1.0}".into(), "{\"offer\":2.5}".into()));
        assert_eq!((text(COMPUTED, 0), text(COMPUTED, 1)), ("{\"dear\":true}".into(), "{\"dear\":null}".into()));
    }

    #[test]
    fn the_oldest_files_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, _) = RequestWriter::start(folder.path(), &views(), u64::MAX).unwrap();
        writer.finish();
        let mut files = Files {
            folder: folder.path().to_owned(),
            bytes_max: u64::MAX,
            views: views(),
            keys: vec![KeyColumn { name: "user_id".into(), is_number: true }],
            schema: schema(&[KeyColumn { name: "user_id".into(), is_number: true }], &views()),
            counts: LoggedRequests::default(),
            next: 0,
        };
        let stored = || {
            let mut names: Vec<String> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort_unstable();
            names
        };
        files.write(&mut vec![request(1)]);
        let size = std::fs::metadata(folder.path().join(&stored()[0])).unwrap().len();
        files.bytes_max = size * 5 / 2;
        for at in [200, 3, 4] {
            files.write(&mut vec![request(at)]);
        }
        let kept: Vec<bool> = stored().iter().map(|name| name.contains("-00000000000000000200-")).collect();
        assert_eq!(kept, [false, true], "{:?}", stored());
        assert!(stored()[0].contains("-00000000000000000004-"));
    }
}
