//! A stream: events a second into 12 window values, the time of a read, and the memory of the state.
//!
//! `cargo run --release -p paceline-bench --bin stream [EVENTS]`. Count, sum, mean and last of an amount over 1 hour, 7 and
//! 30 days for 100 thousand entities, one thread. CPU seconds are those of one pass, tables being in memory; reads are
//! timed one by one, the clock's own cost included, and a sample of them is compared with the values from raw rows.
#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use rand::RngExt;

use paceline_core::random::{Random, stream};
use paceline_core::{EntityKey, Period, Timestamp};
use paceline_features::point_in_time::Index;
use paceline_features::stream::Reading;
use paceline_features::{Aggregate, Feature, FeatureView, Placement, SourceTable, Stream, StreamOptions};

const ENTITIES: i64 = 100_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Time in which the events happen; with 2 million of them, an entity has 3 in a week and 14 in a month.
const DAYS: i64 = 45;
const READS: usize = 200_000;

/// What comes, and in tables of how many rows.
struct Case {
    name: &'static str,
    table_rows: usize,
    late: f64,
    with_ids: bool,
}

const CASES: [Case; 5] = [
    Case { name: "in order", table_rows: 1_000, late: 0.0, with_ids: false },
    Case { name: "in order, small tables", table_rows: 32, late: 0.0, with_ids: false },
    Case { name: "in order, single rows", table_rows: 1, late: 0.0, with_ids: false },
    Case { name: "5 % up to a day late", table_rows: 1_000, late: 0.05, with_ids: false },
    Case { name: "with event ids", table_rows: 1_000, late: 0.0, with_ids: true },
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events = std::env::args().nth(1).map_or(Ok(2_000_000), |text| text.parse())?;
    println!("{events} events in {DAYS} days, {ENTITIES} entities, 12 values, 1 thread");
    println!(
        "{:<24}{:>10}{:>12}{:>10}{:>10}{:>10}{:>12}{:>14}{:>12}",
        "events", "CPU s", "events/s", "read p50", "p99", "p99.9 us", "rows held", "bytes/entity", "bytes/row"
    );
    CASES.iter().try_for_each(|case| measure(case, events))
}

fn measure(case: &Case, events: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut random = stream(1, "stream bench");
    let source = source(&mut random, events, case);
    let view = view();
    let options = StreamOptions { max_lateness: Period::days(2), memory_bytes_max: usize::MAX };
    let mut state = Stream::new(&[&view], &source, options)?;
    let tables: Vec<(SourceTable, Vec<u64>)> = (0..events)
        .step_by(case.table_rows)
        .map(|first| {
            let count = case.table_rows.min(events - first);
            (slice(&source, first, count), (first as u64..(first + count) as u64).collect())
        })
        .collect();
    let before = cpu_seconds();
    for (table, positions) in &tables {
        black_box(state.apply(table, positions)?);
    }
    let cpu = cpu_seconds() - before;

    let now = source.available_time.as_ref().and_then(|times| times.last()).expect("there are events").0 + 1;
    let mut nanoseconds: Vec<u128> = (0..READS)
        .map(|_| {
            let key = EntityKey::single(entity(&mut random));
            let t = Timestamp(now + random.random_range(0..MICROS_PER_DAY));
            let start = Instant::now();
            black_box(state.read(&key, t)).expect("the key fits");
            start.elapsed().as_nanos()
        })
        .collect();
    nanoseconds.sort_unstable();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| nanoseconds[(READS as f64 * share) as usize] as f64 / 1e3);
    println!(
        "{:<24}{cpu:>10.2}{:>12.0}{p50:>10.2}{p99:>10.2}{p999:>10.2}{:>12}{:>14}{:>12}",
        case.name,
        events as f64 / cpu,
        state.row_count(),
        state.bytes() / state.entity_count().max(1),
        state.bytes() / state.row_count().max(1),
    );

    let index = Index::build(&[&view], &source)?;
    for _ in 0..2_000 {
        let key = EntityKey::single(entity(&mut random));
        let t = Timestamp(now + random.random_range(0..MICROS_PER_DAY));
        assert_eq!(state.read(&key, t)?, Reading::Values(index.compute(&key, t)?), "{key} at {t}");
    }
    let start = Instant::now();
    let snapshot = state.snapshot();
    let written = start.elapsed().as_secs_f64();
    let again = Stream::from_snapshot(&[&view], &source, options, &snapshot)?;
    let read = start.elapsed().as_secs_f64() - written;
    assert!(again.snapshot() == snapshot, "the same state has another snapshot");
    println!("{:<24}{} MB, written in {written:.2} s, read in {read:.2} s", "  snapshot", snapshot.len() / 1_000_000);
    Ok(())
}

fn view() -> FeatureView {
    let windows = [Period::Micros(3_600_000_000), Period::days(7), Period::days(30)];
    let aggregates = [Aggregate::Count, Aggregate::Sum, Aggregate::Mean, Aggregate::Last];
    let features = windows.iter().flat_map(|&window| {
        aggregates.map(|aggregate| Feature {
            name: format!("{}_{window}", aggregate.name()),
            aggregate,
            of: (aggregate != Aggregate::Count).then(|| "amount".to_owned()),
            window,
        })
    });
    FeatureView {
        name: "user".to_owned(),
        source: "sales".to_owned(),
        entity: vec!["user_id".to_owned()],
        ttl: None,
        schedule: None,
        placement: Placement::Stream,
        features: features.collect(),
    }
}

/// Few entities have many events: the square of a uniform number.
fn entity(random: &mut Random) -> i64 {
    let uniform: f64 = random.random();
    (uniform * uniform * ENTITIES as f64) as i64
}

/// Events in the order in which they are received; amounts in cents.
fn source(random: &mut Random, events: usize, case: &Case) -> SourceTable {
    let mut received: Vec<Timestamp> =
        (0..events).map(|_| Timestamp(random.random_range(0..DAYS * MICROS_PER_DAY))).collect();
    received.sort_unstable();
    let happened = received.iter().map(|at| {
        let is_late = random.random_bool(case.late);
        Timestamp(at.0 - if is_late { random.random_range(0..MICROS_PER_DAY) } else { 0 })
    });
    let happened: Vec<Timestamp> = happened.collect();
    let user: Int64Array = (0..events).map(|_| Some(entity(random))).collect();
    let amount: Float64Array = (0..events).map(|_| Some(f64::from(random.random_range(1..100_000)) / 100.0)).collect();
    let id: Int64Array = (0..events as i64).map(Some).collect();
    SourceTable {
        name: "sales".to_owned(),
        rows: RecordBatch::try_from_iter([
            ("user_id", Arc::new(user) as _),
            ("amount", Arc::new(amount) as _),
            ("id", Arc::new(id) as _),
        ])
        .expect("columns of one length"),
        event_time: Some(happened),
        available_time: Some(received),
        available_time_column: None,
        event_id: case.with_ids.then(|| "id".to_owned()),
    }
}

fn slice(source: &SourceTable, first: usize, count: usize) -> SourceTable {
    let times = |times: &Option<Vec<Timestamp>>| times.as_ref().map(|times| times[first..first + count].to_vec());
    SourceTable {
        name: source.name.clone(),
        rows: source.rows.slice(first, count),
        event_time: times(&source.event_time),
        available_time: times(&source.available_time),
        available_time_column: None,
        event_id: source.event_id.clone(),
    }
}

/// CPU time of this thread so far, from Linux's scheduler.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps scheduler statistics");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.expect("the first field is the time on the CPU") / 1e9
}
