//! The twelve cases of `docs/features.md`, "Twelve cases", in all executions: a join, one request from raw rows, and a
//! stream that takes events as they become known.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use paceline_core::{EntityKey, Period, Timestamp, Value};

use crate::point_in_time::{Index, Spine};
use crate::stream::Reading;
use crate::{Aggregate, Feature, FeatureView, Placement, SourceTable, Stream, StreamOptions};

const SECOND: i64 = 1_000_000;
const TTL_S: i64 = 50;

/// A row of user 1: event and available time in seconds, id, amount.
type Row = (i64, i64, Option<&'static str>, Option<i64>);

fn source(rows: &[Row]) -> SourceTable {
    let seconds = |of: fn(&Row) -> i64| rows.iter().map(|row| Timestamp(of(row) * SECOND)).collect::<Vec<_>>();
    let amounts: Int64Array = rows.iter().map(|row| row.3).collect();
    let ids: StringArray = rows.iter().map(|row| row.2).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("user_id", Arc::new(Int64Array::from(vec![1; rows.len()]))),
        ("id", Arc::new(ids)),
        ("amount", Arc::new(amounts)),
    ];
    SourceTable {
        name: "events".to_owned(),
        rows: RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .expect("columns of one length"),
        event_time: Some(seconds(|row| row.0)),
        available_time: Some(seconds(|row| row.1)),
        available_time_column: None,
        event_id: rows.iter().any(|row| row.2.is_some()).then(|| "id".to_owned()),
    }
}

/// Rows and the last amount within 1,000 seconds.
fn view() -> FeatureView {
    let window = Period::Micros(1_000 * SECOND);
    let feature = |name: &str, aggregate, of: Option<&str>| Feature {
        name: name.to_owned(),
        aggregate,
        of: of.map(str::to_owned),
        window,
    };
    FeatureView {
        name: "user".to_owned(),
        source: "events".to_owned(),
        entity: vec!["user_id".to_owned()],
        ttl: Some(Period::Micros(TTL_S * SECOND)),
        schedule: None,
        placement: Placement::Stream,
        features: vec![feature("rows", Aggregate::Count, None), feature("last", Aggregate::Last, Some("amount"))],
    }
}

/// The stream's answer at `t` after the rows that were available before, in the order in which they became so.
fn streamed(table: &SourceTable, key: &EntityKey, t: Timestamp) -> Vec<Value> {
    let available = table.available_time.as_ref().expect("the tables here have it");
    let mut known: Vec<usize> = (0..available.len()).filter(|&row| available[row] < t).collect();
    known.sort_by_key(|&row| available[row]);
    let take = |times: &Vec<Timestamp>| known.iter().map(|&row| times[row]).collect::<Vec<_>>();
    let indices: UInt32Array = known.iter().map(|&row| row as u32).collect();
    let rows = SourceTable {
        rows: take_record_batch(&table.rows, &indices).expect("the rows are there"),
        event_time: table.event_time.as_ref().map(take),
        available_time: table.available_time.as_ref().map(take),
        ..table.clone()
    };
    let options = StreamOptions { max_lateness: Period::Micros(1_000 * SECOND), memory_bytes_max: 1 << 20 };
    let mut stream = Stream::new(&[&view()], table, options).expect("the view fits");
    let positions: Vec<u64> = (0..known.len() as u64).collect();
    assert_eq!(stream.apply(&rows, &positions).expect("the rows fit").late, Vec::<usize>::new());
    match stream.read(key, t).expect("a time that can be read") {
        Reading::Values(values) => values,
        Reading::Spilled(_) => panic!("nothing was spilled"),
    }
}

/// Three executions give `rows` and `last` for `user` at `t_us`.
fn check(case: &str, table: &[Row], user: i64, t_us: i64, rows: i64, last: Option<i64>) {
    let (table, view, t) = (source(table), view(), Timestamp(t_us));
    let expected = [Value::Int(rows), last.map_or(Value::Null, Value::Int)];
    let index = Index::build(&[&view], &table).expect("the view fits");
    let key = EntityKey::single(user);
    assert_eq!(index.compute(&key, t).expect("a key"), expected, "{case}: one request");
    assert_eq!(streamed(&table, &key, t), expected, "{case}: stream");

    // Twice the same row: a join keeps both, in their order, with another time between them.
    let users: ArrayRef = Arc::new(Int64Array::from(vec![user; 3]));
    let keys = RecordBatch::try_from_iter([("user_id", users)]).expect("one column");
    let joined = index.join(&Spine { keys: &keys, time: &[t, Timestamp(0), t] }, 1).expect("the spine fits");
    let column = |at: usize| joined.column(at).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    assert_eq!(column(0), [Some(rows), Some(0), Some(rows)], "{case}: join, equal spine rows kept");
    assert_eq!(column(1), [last, None, last], "{case}: join, equal spine rows kept");
}

#[test]
fn the_twelve_cases() {
    const S: i64 = SECOND;
    let one: &[Row] = &[(10, 10, None, Some(7))];
    check("before any event", one, 1, 5 * S, 0, None);
    check("at the event time", one, 1, 10 * S, 0, None);
    check("one microsecond after it", one, 1, 10 * S + 1, 1, Some(7));
    check("one microsecond before the ttl ends", one, 1, (10 + TTL_S) * S - 1, 1, Some(7));
    check("ttl edge exact", one, 1, (10 + TTL_S) * S, 0, None);
    check("ttl edge passed", one, 1, (10 + TTL_S) * S + 1, 0, None);

    let late: &[Row] = &[(10, 20, None, Some(7))];
    check("late row, when it becomes known", late, 1, 20 * S, 0, None);
    check("late row, once known", late, 1, 20 * S + 1, 1, Some(7));

    let tie: &[Row] = &[(10, 10, None, Some(8)), (10, 10, None, Some(7))];
    check("tie", tie, 1, 11 * S, 2, Some(7));
    let later: &[Row] = &[(10, 20, None, Some(8)), (10, 10, None, Some(7))];
    check("tie whose winner came later, before", later, 1, 15 * S, 1, Some(7));
    check("tie whose winner came later, after", later, 1, 21 * S, 2, Some(8));

    check("null newest", &[(10, 10, None, Some(7)), (12, 12, None, None)], 1, 13 * S, 2, Some(7));

    let corrected: &[Row] = &[(10, 10, Some("a"), Some(7)), (10, 20, Some("a"), Some(9))];
    check("correction, when it becomes known", corrected, 1, 20 * S, 1, Some(7));
    check("correction, once known", corrected, 1, 20 * S + 1, 1, Some(9));

    check("unknown entity", one, 2, 11 * S, 0, None);
}
