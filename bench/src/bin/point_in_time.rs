//! The point-in-time join: 2 million events of 100 thousand entities, 12 window values, one thread.
//!
//! `cargo run --release -p paceline-bench --bin point_in_time [EVENTS]`. Each case is joined for a spine of 200 thousand
//! rows and for one of a row per event; CPU and wall seconds are the best of three, columns already in memory.
#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use rand::RngExt;

use paceline_core::random::{Random, stream};
use paceline_core::{EntityKey, Period, Timestamp};
use paceline_features::Aggregate::{Count, CountDistinct, First, Last, Max, Mean, Min, Std, Sum};
use paceline_features::point_in_time::{Index, Spine, join};
use paceline_features::{Aggregate, Feature, FeatureView, Placement, SourceTable};

const ENTITIES: i64 = 100_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;
const DAYS: i64 = 365;
const ROUNDS: usize = 3;

/// What is aggregated over 1 hour, 7 and 30 days.
const CASES: [(&str, [(Aggregate, &str); 4]); 4] = [
    ("count, sum, mean, last", [(Count, "amount"), (Sum, "amount"), (Mean, "amount"), (Last, "amount")]),
    ("sums of integers", [(Sum, "item"), (Mean, "item"), (Sum, "user_id"), (Mean, "user_id")]),
    ("std, min, max, count_distinct", [(Std, "amount"), (Min, "amount"), (Max, "amount"), (CountDistinct, "item")]),
    ("first, last, min, max of texts", [(First, "shop"), (Last, "shop"), (Min, "shop"), (Max, "shop")]),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events = std::env::args().nth(1).map_or(Ok(2_000_000), |text| text.parse())?;
    let mut random = stream(1, "point in time bench");
    let source = source(&mut random, events);
    let late = late(&mut random, &source);
    let spines = [spine(&mut random, 200_000), spine(&mut random, events)];
    println!("{events} events, {ENTITIES} entities, 3 windows of 4 aggregates, 1 thread, best of {ROUNDS}");
    println!("{:<32}{:>8}{:>12}{:>10}{:>10}", "aggregates", "rows", "spine rows", "CPU s", "wall s");
    for (name, aggregates) in &CASES {
        let view = view(aggregates);
        for (kind, source) in [("on time", &source), ("late", &late)] {
            for (keys, time) in &spines {
                let (cpu, wall) = best(|| {
                    black_box(join(&view, source, &Spine { keys, time }, 1).expect("the view fits"));
                });
                println!("{name:<32}{kind:>8}{:>12}{cpu:>10.2}{wall:>10.2}", time.len());
            }
        }
    }
    requests(&mut random, &source, &view(&CASES[0].1))
}

/// Values of single keys from the raw rows.
fn requests(random: &mut Random, source: &SourceTable, view: &FeatureView) -> Result<(), Box<dyn std::error::Error>> {
    let index = Index::build(&[view], source)?;
    let asked: Vec<(EntityKey, Timestamp)> = (0..100_000)
        .map(|_| (EntityKey::single(entity(random)), Timestamp(random.random_range(0..DAYS * MICROS_PER_DAY))))
        .collect();
    let (cpu, _) = best(|| {
        for (key, time) in &asked {
            black_box(index.compute(key, *time).expect("the key fits"));
        }
    });
    println!("one request of 12 values from raw rows: {:.2} us of CPU", cpu * 1e6 / asked.len() as f64);
    Ok(())
}

fn view(aggregates: &[(Aggregate, &str)]) -> FeatureView {
    let windows = [Period::Micros(3_600_000_000), Period::days(7), Period::days(30)];
    let features = aggregates.iter().enumerate().flat_map(|(i, &(aggregate, of))| {
        windows.map(|window| Feature {
            name: format!("{}_{i}_{window}", aggregate.name()),
            aggregate,
            of: Some(of.to_owned()),
            window,
        })
    });
    FeatureView {
        name: "user".to_owned(),
        source: "sales".to_owned(),
        entity: vec!["user_id".to_owned()],
        ttl: None,
        schedule: None,
        placement: Placement::Batch,
        features: features.collect(),
    }
}

/// Few entities have many events: the square of a uniform number.
fn entity(random: &mut Random) -> i64 {
    let uniform: f64 = random.random();
    (uniform * uniform * ENTITIES as f64) as i64
}

/// Events in time order, as a log is written; amounts in cents.
fn source(random: &mut Random, events: usize) -> SourceTable {
    let mut time: Vec<Timestamp> =
        (0..events).map(|_| Timestamp(random.random_range(0..DAYS * MICROS_PER_DAY))).collect();
    time.sort_unstable();
    let user: Int64Array = (0..events).map(|_| Some(entity(random))).collect();
    let amount: Float64Array = (0..events).map(|_| Some(f64::from(random.random_range(1..100_000)) / 100.0)).collect();
    let item: Int64Array = (0..events).map(|_| Some(random.random_range(0..5_000))).collect();
    let shop: StringArray = (0..events).map(|_| Some(format!("shop {}", random.random_range(0..300)))).collect();
    let rows = RecordBatch::try_from_iter([
        ("user_id", Arc::new(user) as _),
        ("amount", Arc::new(amount) as _),
        ("item", Arc::new(item) as _),
        ("shop", Arc::new(shop) as _),
    ])
    .expect("columns of one length");
    SourceTable {
        name: "sales".to_owned(),
        rows,
        event_time: Some(time),
        available_time: None,
        available_time_column: None,
        event_id: None,
    }
}

/// The same events, each known up to two days after it happened.
fn late(random: &mut Random, source: &SourceTable) -> SourceTable {
    let time = source.event_time.as_ref().expect("the events have times");
    let available = time.iter().map(|time| Timestamp(time.0 + random.random_range(0..2 * MICROS_PER_DAY))).collect();
    SourceTable { available_time: Some(available), ..source.clone() }
}

fn spine(random: &mut Random, rows: usize) -> (RecordBatch, Vec<Timestamp>) {
    let user: Int64Array = (0..rows).map(|_| Some(entity(random))).collect();
    let time = (0..rows).map(|_| Timestamp(random.random_range(0..DAYS * MICROS_PER_DAY))).collect();
    (RecordBatch::try_from_iter([("user_id", Arc::new(user) as _)]).expect("one column"), time)
}

/// The least CPU and wall seconds of several rounds.
fn best(mut work: impl FnMut()) -> (f64, f64) {
    let mut least = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        work();
        least = (least.0.min(cpu_seconds() - cpu), least.1.min(wall.elapsed().as_secs_f64()));
    }
    least
}

/// CPU time of this thread so far, from Linux's scheduler.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps scheduler statistics");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.expect("the first field is the time on the CPU") / 1e9
}
