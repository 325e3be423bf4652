use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arrow::array::StringArray;
use rand::RngExt;

use paceline_core::random::{Random, stream};
use paceline_core::{Period, Timestamp, Value};
use paceline_testkit::random_tables::{self, Shape};

use super::merge::BATCH_ROWS;
use super::*;
use crate::point_in_time::tests::{random_source, random_view};
use crate::point_in_time::{join_all, reference};
use crate::{Aggregate, Feature, Placement};

fn piece(source: &SourceTable, from: usize, count: usize) -> SourceTable {
    let cut = |times: &Option<Vec<Timestamp>>| times.as_ref().map(|times| times[from..from + count].to_vec());
    SourceTable {
        rows: source.rows.slice(from, count),
        event_time: cut(&source.event_time),
        available_time: cut(&source.available_time),
        ..source.clone()
    }
}

/// Random cuts of `0..rows`, at least one, empty ones among them.
fn cuts(random: &mut Random, rows: usize) -> Vec<(usize, usize)> {
    let mut cuts = Vec::new();
    let mut from = 0;
    while from < rows || cuts.is_empty() {
        let count = random.random_range(0..=12).min(rows - from);
        cuts.push((from, count));
        from += count;
    }
    cuts
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").count()
}

/// Pushes both in pieces, joins, and compares with the join in memory.
fn check(
    views: &[&FeatureView],
    source: &SourceTable,
    keys: &RecordBatch,
    time: &[Timestamp],
    memory: usize,
    random: &mut Random,
) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let options = PartitionOptions { scratch: directory.path().to_owned(), memory_bytes_max: memory, threads: 2 };
    let mut join = PartitionedJoin::new(views, options);
    for (from, count) in cuts(random, source.rows.num_rows()) {
        join.push_source(&piece(source, from, count)).expect("fits");
    }
    for (from, count) in cuts(random, time.len()) {
        join.push_spine(&Spine { keys: &keys.slice(from, count), time: &time[from..from + count] }).expect("fits");
    }
    let spilled = entries(directory.path()) > 0;
    let joined = join.finish().expect("fits");
    let schema = joined.schema();
    assert_eq!(joined.row_count(), time.len());
    let batches: Vec<RecordBatch> = joined.collect::<Result<_, _>>().expect("readable");
    assert_eq!(entries(directory.path()), 0, "the scratch directory is gone");
    let found = concat_batches(&schema, &batches).expect("one schema");
    let expected = join_all(views, source, &Spine { keys, time }, 1).expect("fits");
    assert_eq!(found, expected);
    spilled
}

#[test]
fn equals_the_join_in_memory_on_random_tables() {
    let mut spilled = 0;
    for seed in 0..60 {
        let mut random = stream(seed, "partition");
        let shape = Shape { entities: 12, ..Shape::random(&mut random, 80) };
        let source = random_source(&mut random, &shape);
        let first = random_view(&mut random, &shape, "a");
        let second = FeatureView { entity: first.entity.clone(), ..random_view(&mut random, &shape, "b") };
        let (keys, time) = random_tables::spine(&mut random, &shape, 30);
        for memory in [4_000, 1 << 30] {
            spilled += usize::from(check(&[&first, &second], &source, &keys, &time, memory, &mut random));
        }
    }
    assert!((20..=60).contains(&spilled), "{spilled} of 120 joins went to disk");
}

/// The values of all entities at one time, by key, from pieces; and how many entities there were.
fn entities_at(
    views: &[&FeatureView],
    source: &SourceTable,
    at: Timestamp,
    memory: usize,
    random: &mut Random,
) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().expect("a directory");
    let options = PartitionOptions { scratch: directory.path().to_owned(), memory_bytes_max: memory, threads: 2 };
    let mut join = PartitionedJoin::new(views, options);
    for (from, count) in cuts(random, source.rows.num_rows()) {
        join.push_source(&piece(source, from, count)).expect("fits");
    }
    let mut found = Vec::new();
    for values in join.finish_entities(at).expect("fits") {
        let values = values.expect("readable");
        let row = |rows: &RecordBatch, row: usize| format!("{:?}", rows.slice(row, 1).columns());
        found.extend((0..values.keys.num_rows()).map(|i| (row(&values.keys, i), row(&values.features, i))));
    }
    assert_eq!(entries(directory.path()), 0, "the scratch directory is gone");
    found.sort();
    found
}

/// The entities of a materialization with their values, those removed, and the rest of it.
fn materialized(
    view: &FeatureView,
    source: &SourceTable,
    since: Option<Since>,
    at: Timestamp,
    memory: usize,
    random: &mut Random,
) -> (Vec<(String, String)>, Vec<String>, Entities) {
    let directory = tempfile::tempdir().expect("a directory");
    let options = PartitionOptions { scratch: directory.path().to_owned(), memory_bytes_max: memory, threads: 2 };
    let mut join = PartitionedJoin::new(&[view], options);
    for (from, count) in cuts(random, source.rows.num_rows()) {
        join.push_source(&piece(source, from, count)).expect("fits");
    }
    let mut entities = match since {
        Some(since) => join.finish_changes(since, at).expect("fits"),
        None => join.finish_entities(at).expect("fits"),
    };
    let row = |rows: &RecordBatch, row: usize| format!("{:?}", rows.slice(row, 1).columns());
    let (mut written, mut removed) = (Vec::new(), Vec::new());
    for values in entities.by_ref() {
        let values = values.expect("readable");
        written.extend((0..values.keys.num_rows()).map(|i| (row(&values.keys, i), row(&values.features, i))));
        removed.extend((0..values.removed.num_rows()).map(|i| row(&values.removed, i)));
    }
    (written, removed, entities)
}

/// The source as if a row had never been there.
fn without(source: &SourceTable, row: usize) -> SourceTable {
    let (before, after) = (piece(source, 0, row), piece(source, row + 1, source.rows.num_rows() - row - 1));
    let both = |a: Option<Vec<Timestamp>>, b: Option<Vec<Timestamp>>| a.zip(b).map(|(a, b)| [a, b].concat());
    SourceTable {
        rows: concat_batches(&source.rows.schema(), [&before.rows, &after.rows]).expect("one schema"),
        event_time: both(before.event_time, after.event_time),
        available_time: both(before.available_time, after.available_time),
        ..source.clone()
    }
}

/// Time passes and rows come, late and corrected ones among them, and rows that were known are taken back; what changes
/// leave is what all values would be.
#[test]
fn changes_leave_what_all_values_would() {
    let (mut steps, mut whole, mut spared, mut removals) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut random = stream(seed, "changes");
        let shape = Shape { entities: 12, ..Shape::random(&mut random, 120) };
        let mut source = random_source(&mut random, &shape);
        let view = FeatureView { schedule: None, ..random_view(&mut random, &shape, "v") };
        let span = shape.times * shape.unit_micros;
        let mut stored: BTreeMap<String, String> = BTreeMap::new();
        let mut since: Option<Since> = None;
        let mut rows = random.random_range(0..=source.rows.num_rows());
        let mut at = Timestamp(random.random_range(0..=span));
        for step in 0..12 {
            let now = piece(&source, 0, rows);
            let memory = if random.random_bool(0.5) { 8_000 } else { 1 << 30 };
            let (mut written, mut removed, mut entities) =
                materialized(&view, &now, since.clone(), at, memory, &mut random);
            steps += 1;
            if since.is_none() || entities.is_incomparable() {
                whole += 1;
                stored.clear();
                (written, removed, entities) = materialized(&view, &now, None, at, memory, &mut random);
            }
            removals += removed.len();
            for key in &removed {
                assert!(stored.remove(key).is_some(), "seed {seed}, step {step}: {key} was not there");
            }
            let count = written.len();
            stored.extend(written);
            spared += stored.len() - count;
            let expected = entities_at(&[&view], &now, at, 1 << 30, &mut random);
            let found: Vec<(String, String)> = stored.clone().into_iter().collect();
            assert_eq!(found, expected, "seed {seed}, step {step} as of {at} since {since:?}");

            let bytes = entities.known().to_bytes();
            let known = Known::from_bytes(&bytes).expect("what was written");
            assert_eq!(&known, entities.known());
            assert!(bytes.is_empty() || Known::from_bytes(&bytes[1..]).is_none_or(|other| other != known));
            since = Some(Since { at, known });
            at = Timestamp(at.0 + random.random_range(0..=span / 8));
            if random.random_bool(0.6) {
                rows = (rows + random.random_range(0..=4)).min(source.rows.num_rows());
            }
            if rows > 0 && random.random_bool(0.1) {
                source = without(&source, random.random_range(0..rows));
                rows -= 1;
            }
        }
    }
    println!("{steps} steps, {whole} whole, {spared} values spared, {removals} removed");
    assert!(whole < steps / 2 && spared > 300 && removals > 0, "the test meets all cases");
}

/// The key of a row, printed as [`entities_at`] prints it.
fn key_of(entity: &[String], source: &SourceTable, row: usize) -> String {
    let columns = source.rows.schema_ref().fields().iter().zip(source.rows.columns());
    let keys = columns.filter(|(field, _)| entity.contains(field.name()));
    let keys: Vec<ArrayRef> = keys.map(|(_, column)| plain(&column.slice(row, 1)).expect("a key column")).collect();
    format!("{keys:?}")
}

#[test]
fn entities_are_those_with_a_known_row_and_have_the_values_of_the_join() {
    let mut seen = 0;
    for seed in 0..60 {
        let mut random = stream(seed, "entities");
        let shape = Shape { entities: 6, ..Shape::random(&mut random, 80) };
        let source = random_source(&mut random, &shape);
        let views = [random_view(&mut random, &shape, "a")].map(|view| FeatureView { schedule: None, ..view });
        let views: Vec<&FeatureView> = views.iter().collect();
        let (_, times) = random_tables::spine(&mut random, &shape, 1);
        let at = times[0];
        let found = entities_at(&views, &source, at, 1 << 30, &mut random);
        assert_eq!(entities_at(&views, &source, at, 4_000, &mut random), found, "seed {seed}: in parts");
        // Every key of the source once, as a spine; the entities with a row known at that time by the slow count.
        let count = FeatureView {
            ttl: None,
            features: vec![Feature {
                name: "n".to_owned(),
                aggregate: Aggregate::Count,
                of: None,
                window: Period::Micros(i64::MAX),
            }],
            ..views[0].clone()
        };
        let all = vec![at; source.rows.num_rows()];
        let spine = Spine { keys: &source.rows, time: &all };
        let counts = reference::join(&count, &source, &spine);
        let keys: BTreeSet<String> = (0..all.len())
            .filter(|&row| counts[row] != [Value::Int(0)])
            .map(|row| key_of(&views[0].entity, &source, row))
            .collect();
        assert!(found.iter().map(|(key, _)| key).eq(&keys), "seed {seed}: {found:?} and {keys:?}");
        seen += found.len();
        let joined = join_all(&views, &source, &spine, 1).expect("fits");
        for (key, values) in &found {
            let is_of = |row: &usize| key_of(&views[0].entity, &source, *row) == *key;
            let row = (0..all.len()).find(is_of).expect("the key is in the source");
            assert_eq!(format!("{:?}", joined.slice(row, 1).columns()), *values, "seed {seed}");
        }
    }
    assert!(seen > 100, "{seen}");
}

fn counting_view() -> FeatureView {
    FeatureView {
        name: "user".to_owned(),
        source: "events".to_owned(),
        entity: vec!["user".to_owned()],
        ttl: None,
        schedule: None,
        placement: Placement::Request,
        features: vec![Feature {
            name: "n".to_owned(),
            aggregate: Aggregate::Count,
            of: None,
            window: Period::Micros(1_000),
        }],
    }
}

fn counting_source(rows: i64) -> SourceTable {
    SourceTable {
        name: "events".to_owned(),
        rows: batch(vec![("user".to_owned(), int64((0..rows).map(|row| row % 97)))]).expect("one column"),
        event_time: Some((0..rows).map(Timestamp).collect()),
        available_time: None,
        available_time_column: None,
        event_id: None,
    }
}

#[test]
fn merges_more_spine_rows_than_one_batch_holds() {
    let rows = 2 * BATCH_ROWS as i64 + 100;
    let keys = batch(vec![("user".to_owned(), int64((0..rows).map(|row| row * 7 % 101)))]).expect("one column");
    let time: Vec<Timestamp> = (0..rows).map(|row| Timestamp(row % 1_500)).collect();
    let view = counting_view();
    let source = counting_source(1_000);
    let directory = tempfile::tempdir().expect("a directory");
    let options = PartitionOptions { scratch: directory.path().to_owned(), memory_bytes_max: 1 << 18, threads: 1 };
    let mut join = PartitionedJoin::new(&[&view], options);
    join.push_source(&source).expect("fits");
    for from in (0..rows as usize).step_by(10_000) {
        let count = 10_000.min(rows as usize - from);
        join.push_spine(&Spine { keys: &keys.slice(from, count), time: &time[from..from + count] }).expect("fits");
    }
    let batches: Vec<RecordBatch> = join.finish().expect("fits").collect::<Result<_, _>>().expect("readable");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [BATCH_ROWS, BATCH_ROWS, 100]);
    let found = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    assert_eq!(found, join_all(&[&view], &source, &Spine { keys: &keys, time: &time }, 1).expect("fits"));
}

#[test]
fn failures_are_named_and_leave_nothing() {
    let view = counting_view();
    let directory = tempfile::tempdir().expect("a directory");
    let start = |scratch: &Path, memory_bytes_max: usize| {
        let options = PartitionOptions { scratch: scratch.to_owned(), memory_bytes_max, threads: 1 };
        PartitionedJoin::new(&[&view], options)
    };
    let keys = batch(vec![("user".to_owned(), int64(0..5))]).expect("one column");
    let spine = Spine { keys: &keys, time: &[Timestamp(9); 5] };

    let missing = directory.path().join("missing");
    let error = start(&missing, 0).push_source(&counting_source(10)).expect_err("no directory");
    assert!(matches!(&error, FeatureError::Scratch { path, .. } if path.starts_with(&missing)), "{error}");

    let mut join = start(directory.path(), 100);
    join.push_source(&counting_source(1_000)).expect("fits");
    join.push_spine(&spine).expect("fits");
    assert_eq!(entries(directory.path()), 1);
    let error = join.finish().expect_err("parts of more than 100 bytes");
    assert!(matches!(error, FeatureError::PartTooLarge { memory_bytes_max: 100, .. }), "{error}");
    assert_eq!(entries(directory.path()), 0);

    let mut join = start(directory.path(), 4_000);
    join.push_source(&counting_source(1_000)).expect("fits");
    let texts = batch(vec![("user".to_owned(), Arc::new(StringArray::from(vec!["1"])))]).expect("one column");
    join.push_spine(&Spine { keys: &texts, time: &[Timestamp(9)] }).expect("a key column");
    assert!(matches!(join.finish().expect_err("a text"), FeatureError::ColumnType { .. }));
    assert_eq!(entries(directory.path()), 0);

    let error = start(directory.path(), 0).push_spine(&Spine { keys: &keys.project(&[]).expect("no column"), ..spine });
    assert!(matches!(error, Err(FeatureError::MissingColumn { .. })));

    let mut join = start(directory.path(), 4_000);
    join.push_source(&counting_source(1_000)).expect("fits");
    drop(join);
    assert_eq!(entries(directory.path()), 0, "a join that is given up leaves nothing");
}
