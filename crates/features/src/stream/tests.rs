//! Streams against the plain reference of the point-in-time join, bit for bit, on random tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use paceline_core::random::{Random, stream};
use paceline_core::{EntityKey, Period, Timestamp, Value};
use paceline_testkit::random_tables::{self, Delay, Floats, Shape};

use super::{Applied, Reading, Stream, StreamOptions};
use crate::point_in_time::Spine;
use crate::point_in_time::reference::{self, entity_keys, values};
use crate::point_in_time::tests::{random_source, random_view};
use crate::{Aggregate, Feature, FeatureError, FeatureView, Placement, SourceTable};

/// Some rows of a source, in this order.
fn rows_of(source: &SourceTable, rows: &[usize]) -> SourceTable {
    let indices: UInt32Array = rows.iter().map(|&row| row as u32).collect();
    let times = |times: &Option<Vec<Timestamp>>| {
        times.as_ref().map(|times| rows.iter().map(|&row| times[row]).collect::<Vec<_>>())
    };
    SourceTable {
        rows: take_record_batch(&source.rows, &indices).expect("the rows are there"),
        event_time: times(&source.event_time),
        available_time: times(&source.available_time),
        ..source.clone()
    }
}

/// Positions have gaps, as those of a log may.
fn position(row: usize) -> u64 {
    3 * row as u64 + 5
}

/// A stream, the rows that were applied to it, and what the reference says about them.
struct World {
    seed: u64,
    shape: Shape,
    views: Vec<FeatureView>,
    /// In the order of application.
    source: SourceTable,
    options: StreamOptions,
    /// What the rules say of the rows applied so far.
    expected: Expected,
    spilled: HashMap<(Vec<u8>, u32), Vec<u8>>,
    /// What happened, for messages.
    story: Vec<String>,
}

/// The rules about refused rows, plainly.
struct Expected {
    ids: Option<Vec<Value>>,
    watermark: Timestamp,
    taken: Vec<usize>,
    late: Vec<usize>,
    out_of_order: Vec<usize>,
}

impl Expected {
    fn take(&mut self, source: &SourceTable, row: usize, max_lateness: Period) {
        let event = source.event_time.as_ref().expect("not static")[row];
        let available =
            |row: usize| source.available_time.as_ref().or(source.event_time.as_ref()).expect("not static")[row];
        let id = self.ids.as_ref().map_or(Value::Null, |ids| ids[row].clone());
        let limit = self.watermark - max_lateness;
        if event < limit || (id != Value::Null && available(row) < limit) {
            self.late.push(row);
            return;
        }
        let is_same = |other: &&usize| self.ids.as_ref().is_some_and(|ids| id != Value::Null && ids[**other] == id);
        if self.taken.iter().filter(is_same).any(|&other| available(other) > available(row)) {
            self.out_of_order.push(row);
            return;
        }
        self.watermark = self.watermark.max(event.min(available(row)));
        self.taken.push(row);
    }
}

impl World {
    fn random(seed: u64, random: &mut Random, shape: Shape) -> World {
        let table = random_source(random, &shape);
        let mut views: Vec<FeatureView> =
            (0..random.random_range(1..=2)).map(|i| random_view(random, &shape, &format!("v{i}"))).collect();
        let entity = views[0].entity.clone();
        views.iter_mut().for_each(|view| view.entity.clone_from(&entity));
        let mut order: Vec<usize> = (0..table.rows.num_rows()).collect();
        match (&table.available_time, random.random_range(0..3)) {
            (Some(available), 0 | 1) => order.sort_by_key(|&row| available[row]),
            (None, 0) => order.sort_by_key(|&row| table.event_time.as_ref().expect("not static")[row]),
            (None, 1) => {}
            _ => order.shuffle(random),
        }
        let source = rows_of(&table, &order);
        let lateness =
            [0, 1, shape.times / 3, 100 * shape.times].choose(random).expect("not empty") * shape.unit_micros;
        let ids = source.event_id.as_ref().map(|id| values(&source.rows[id.as_str()]));
        World {
            seed,
            shape,
            views,
            source,
            options: StreamOptions { max_lateness: Period::Micros(lateness), memory_bytes_max: usize::MAX },
            expected: Expected {
                ids,
                watermark: Timestamp::MIN,
                taken: Vec::new(),
                late: Vec::new(),
                out_of_order: Vec::new(),
            },
            spilled: HashMap::new(),
            story: Vec::new(),
        }
    }

    fn views(&self) -> Vec<&FeatureView> {
        self.views.iter().collect()
    }

    fn stream(&self) -> Stream {
        Stream::new(&self.views(), &self.source, self.options).expect("the views fit")
    }

    fn reopen(&self, snapshot: &[u8]) -> Stream {
        Stream::from_snapshot(&self.views(), &self.source, self.options, snapshot).expect("its own bytes")
    }

    fn apply(&self, stream: &mut Stream, rows: std::ops::Range<usize>) -> Applied {
        let rows: Vec<usize> = rows.collect();
        let positions: Vec<u64> = rows.iter().map(|&row| position(row)).collect();
        stream.apply(&rows_of(&self.source, &rows), &positions).expect("the columns are the same")
    }

    /// Applies rows, and checks that those are refused that should be.
    fn apply_and_check(&mut self, stream: &mut Stream, rows: std::ops::Range<usize>) {
        let first = rows.start;
        let applied = self.apply(stream, rows.clone());
        let before = (self.expected.taken.len(), self.expected.late.len(), self.expected.out_of_order.len());
        for row in rows {
            self.expected.take(&self.source, row, self.options.max_lateness);
        }
        let context = format!("seed {}, {:?}", self.seed, self.shape);
        let found = |rows: &[usize]| rows.iter().map(|row| row + first).collect::<Vec<_>>();
        assert_eq!(found(&applied.late), self.expected.late[before.1..], "{context}");
        assert_eq!(found(&applied.out_of_order), self.expected.out_of_order[before.2..], "{context}");
        assert_eq!(applied.accepted + applied.duplicates, self.expected.taken.len() - before.0, "{context}");
        assert_eq!(applied.repeated, 0, "{context}");
    }

    /// Reads random keys at random times and compares.
    fn check_reads(&self, stream: &mut Stream, random: &mut Random, earliest: Timestamp) {
        let (keys, mut times) = random_tables::spine(random, &self.shape, 6);
        times.iter_mut().for_each(|time| *time = (*time).max(earliest));
        let known = rows_of(&self.source, &self.expected.taken);
        let spine = Spine { keys: &keys, time: &times };
        let expected: Vec<Vec<Vec<Value>>> =
            self.views.iter().map(|view| reference::join(view, &known, &spine)).collect();
        for (row, key) in entity_keys(&keys, &self.views[0].entity).into_iter().enumerate() {
            let Some(key) = key else { continue };
            let found = self.read(stream, &key, times[row]);
            let expected: Vec<&Value> = expected.iter().flat_map(|view| &view[row]).collect();
            let features = self.views.iter().flat_map(|view| view.features.iter().map(move |feature| (view, feature)));
            assert_eq!(found.len(), expected.len());
            for ((found, expected), feature) in found.iter().zip(expected).zip(features) {
                assert!(
                    found.bit_equal(expected),
                    "seed {}, {:?}, {}, {key} at {:?}: found {found:?}, expected {expected:?}, {:?}, {:?}",
                    self.seed,
                    self.shape,
                    self.story.join(", "),
                    times[row],
                    feature.1,
                    (feature.0.placement, feature.0.schedule, feature.0.ttl),
                );
            }
        }
    }

    fn read(&self, stream: &mut Stream, key: &EntityKey, t: Timestamp) -> Vec<Value> {
        let mut reading = stream.read(key, t).expect("the key fits");
        if let Reading::Spilled(parts) = reading {
            let parts: Vec<&Vec<u8>> = (0..parts).rev().map(|part| &self.spilled[&(key.to_bytes(), part)]).collect();
            stream.restore(&parts).expect("its own bytes");
            reading = stream.read(key, t).expect("the key fits");
        }
        let Reading::Values(values) = reading else { panic!("everything was restored") };
        values
    }

    fn evict(&mut self, stream: &mut Stream, bytes: usize) {
        stream.options.memory_bytes_max = bytes;
        for part in stream.evict() {
            self.spilled.insert((part.key, part.part), part.bytes);
        }
        stream.options.memory_bytes_max = usize::MAX;
    }
}

/// What else happens to a stream between tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Nothing.
    Plain,
    /// Now and then it is told that time passed.
    Advance,
    /// Its entities are spilled, and it is stopped and opened again.
    Everything,
}

fn check(seed: u64, random: &mut Random, shape: Shape, life: Life) {
    let shape = Shape { is_static: false, ..shape };
    let mut world = World::random(seed, random, shape);
    world.story.push(format!("{life:?} lateness {}", world.options.max_lateness));
    let mut current = world.stream();
    let count = world.source.rows.num_rows();
    let cut = random.random_range(0..=count);
    let mut cut_at = None;
    let mut next = 0;
    while next < count {
        if cut_at.is_none() && next >= cut {
            cut_at = Some((current.snapshot(), next));
            world.story.push("snapshot".to_owned());
        }
        let end = (next + random.random_range(1..=20)).min(count);
        world.apply_and_check(&mut current, next..end);
        next = end;
        world.story.push(format!("rows to {end}"));
        if life != Life::Plain && random.random_bool(0.2) {
            let times = world.shape.times * world.shape.unit_micros;
            let t = Timestamp(random.random_range(-1..times));
            current.advance(t);
            world.story.push(format!("advance to {}", t.0));
        }
        if life == Life::Everything && random.random_bool(0.5) {
            let bytes = random.random_range(0..=current.bytes());
            world.evict(&mut current, bytes);
            world.story.push(format!("evict to {bytes}"));
        }
        if life == Life::Everything && random.random_bool(0.2) {
            current = world.reopen(&current.snapshot());
            world.story.push("reopen".to_owned());
        }
        let earliest = current.earliest();
        world.check_reads(&mut current, random, earliest);
    }
    // Stopped at the cut, opened again, and given the rows since, from a few before the cut on.
    let Some((snapshot, from)) = cut_at else { return };
    let earliest = current.earliest();
    let mut again = world.reopen(&snapshot);
    let repeated_from = from.saturating_sub(random.random_range(0..5));
    let applied = world.apply(&mut again, repeated_from..count);
    assert_eq!(applied.repeated, from - repeated_from);
    world.story.push(format!("stopped, opened, replayed from {repeated_from}"));
    if life == Life::Plain {
        assert_eq!(again.snapshot(), current.snapshot(), "seed {seed}");
    }
    world.check_reads(&mut again, random, earliest);
    world.check_reads(&mut again, random, earliest);
}

#[test]
fn equals_the_reference_on_random_tables() {
    for seed in 0..150 {
        for life in [Life::Plain, Life::Advance, Life::Everything] {
            let mut random = stream(seed, "stream");
            let shape = Shape::random(&mut random, 60);
            check(seed, &mut random, shape, life);
        }
    }
}

#[test]
fn equals_the_reference_where_everything_is_hard_at_once() {
    for seed in 0..60 {
        let mut random = stream(seed, "hard stream");
        let shape = Shape {
            rows: 150,
            entities: 2,
            times: 30,
            unit_micros: 1,
            nulls: 0.1,
            floats: [Floats::Wild, Floats::Cents, Floats::Spread { exponents: 60 }][seed as usize % 3],
            is_static: false,
            delay: if seed % 4 < 2 { Delay::Random } else { Delay::Constant },
            versions: Some(0.3),
        };
        check(seed, &mut random, shape, if seed % 2 == 0 { Life::Everything } else { Life::Plain });
    }
}

fn view(aggregates: &[(Aggregate, Option<&str>)], window: Period) -> FeatureView {
    let feature = |(index, (aggregate, of)): (usize, &(Aggregate, Option<&str>))| Feature {
        name: format!("f{index}"),
        aggregate: *aggregate,
        of: of.map(str::to_owned),
        window,
    };
    FeatureView {
        name: "user".to_owned(),
        source: "sales".to_owned(),
        entity: vec!["user_id".to_owned()],
        ttl: None,
        schedule: None,
        placement: Placement::Stream,
        features: aggregates.iter().enumerate().map(feature).collect(),
    }
}

/// Rows of users 0 to 9 with an amount each, known at their event times.
fn sales(times: &[i64], with_ids: bool) -> SourceTable {
    let users: Int64Array = times.iter().map(|&time| Some(time.rem_euclid(10))).collect();
    let amounts: Float64Array = times.iter().map(|&time| Some(time as f64 / 4.0)).collect();
    let ids: StringArray = times.iter().map(|time| Some(format!("id {time}"))).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("user_id", Arc::new(users)), ("amount", Arc::new(amounts)), ("id", Arc::new(ids))];
    SourceTable {
        name: "sales".to_owned(),
        rows: RecordBatch::try_from_iter(columns).expect("columns of one length"),
        event_time: Some(times.iter().copied().map(Timestamp).collect()),
        available_time: None,
        available_time_column: None,
        event_id: with_ids.then(|| "id".to_owned()),
    }
}

fn small(max_lateness: i64, with_ids: bool) -> Stream {
    let view = view(&[(Aggregate::Sum, Some("amount")), (Aggregate::Count, None)], Period::Micros(100));
    let options = StreamOptions { max_lateness: Period::Micros(max_lateness), memory_bytes_max: 0 };
    Stream::new(&[&view], &sales(&[], with_ids), options).expect("the view fits")
}

#[test]
fn a_row_too_late_is_refused_and_one_at_the_limit_is_not() {
    let mut stream = small(50, false);
    let applied = stream.apply(&sales(&[1000, 950, 949, 951], false), &[0, 1, 2, 3]).expect("it fits");
    assert_eq!((applied.accepted, applied.late), (3, vec![2]));
    // A clock that runs ahead moves the watermark only as far as the row was available.
    let ahead = SourceTable { available_time: Some(vec![Timestamp(1001)]), ..sales(&[i64::MAX], false) };
    assert_eq!(stream.apply(&ahead, &[4]).expect("it fits").accepted, 1);
    assert_eq!(stream.earliest(), Timestamp(951));
    let again = stream.apply(&sales(&[950, 951], false), &[4, 5]).expect("it fits");
    assert_eq!((again.repeated, again.accepted, again.late), (1, 1, vec![]));
}

#[test]
fn too_early_times_and_other_keys_are_refused() {
    let mut stream = small(50, false);
    stream.apply(&sales(&[1000], false), &[0]).expect("it fits");
    let key = EntityKey::single(0);
    let values = |count: i64, sum: Value| Ok::<_, String>(Reading::Values(vec![sum, Value::Int(count)]));
    let read = |stream: &Stream, key: &EntityKey, t: i64| stream.read(key, Timestamp(t)).map_err(|e| e.to_string());
    assert_eq!(read(&stream, &key, 950), values(0, Value::Null));
    assert_eq!(read(&stream, &key, 1000), values(0, Value::Null));
    assert_eq!(read(&stream, &key, 1001), values(1, Value::Float(250.0)));
    assert_eq!(read(&stream, &key, 1100), values(1, Value::Float(250.0)));
    assert_eq!(read(&stream, &key, 1101), values(0, Value::Null));
    assert_eq!(read(&stream, &EntityKey::single(77), 1001), values(0, Value::Null));
    let message = read(&stream, &key, 949).expect_err("too early");
    assert!(message.contains("the earliest time it answers for is"), "{message}");
    let message = read(&stream, &EntityKey::single("0"), 1001).expect_err("a text");
    assert_eq!(message, "view user is keyed by user_id (an integer); the key 0 does not fit");
    stream.advance(Timestamp(1050));
    assert!(matches!(stream.read(&key, Timestamp(1049)), Err(FeatureError::TooEarly { .. })));
}

#[test]
fn tables_that_do_not_fit_change_nothing() {
    let mut stream = small(50, false);
    let mut other = sales(&[1000], false);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let user = other.rows["user_id"].clone();
    other.rows = RecordBatch::try_from_iter([("user_id", user), ("amount", text)]).expect("two columns");
    let message = stream.apply(&other, &[0]).expect_err("a text").to_string();
    assert_eq!(
        message,
        "feature user.f0 cannot use column \"amount\" of source \"sales\": it is Utf8, expected a float or decimal, as before"
    );
    assert_eq!((stream.next_position(), stream.entity_count()), (0, 0));
    let static_source = SourceTable { event_time: None, ..sales(&[], false) };
    let view = view(&[(Aggregate::Count, None)], Period::Micros(1));
    let options = StreamOptions { max_lateness: Period::Micros(0), memory_bytes_max: 0 };
    let message = Stream::new(&[&view], &static_source, options).expect_err("static").to_string();
    assert_eq!(message, "view user: source \"sales\" has no event time, which a stream needs; place the view in batch");
}

#[test]
fn memory_is_bounded_by_the_longest_window_and_the_lateness() {
    for with_ids in [false, true] {
        let mut stream = small(50, with_ids);
        let (mut most_rows, mut most_bytes, mut most_events) = (0, 0, 0);
        for first in (0..40_000).step_by(40) {
            let times: Vec<i64> = (first..first + 40).collect();
            let positions: Vec<u64> = times.iter().map(|&time| time as u64).collect();
            stream.apply(&sales(&times, with_ids), &positions).expect("it fits");
            most_rows = most_rows.max(stream.row_count());
            most_bytes = most_bytes.max(stream.bytes());
            most_events = most_events.max(stream.event_count());
        }
        // 150 rows can be seen, 40 came since, and an entity's old rows may wait for two rounds of 20 visits.
        assert!(most_rows <= 250, "{most_rows} rows");
        assert!(most_bytes < 300 * 1024, "{most_bytes} bytes");
        assert!(most_events <= if with_ids { 250 } else { 0 }, "{most_events} events");
        stream.advance(Timestamp(50_000));
        assert_eq!((stream.row_count(), stream.entity_count(), stream.row_bytes), (0, 0, 0));
    }
}

#[test]
fn the_least_recently_touched_entities_are_spilled_first() {
    let mut stream = small(1_000, false);
    let times: Vec<i64> = (1000..1100).collect();
    let positions: Vec<u64> = (0..100).collect();
    stream.apply(&sales(&times, false), &positions).expect("it fits");
    for user in [3, 4] {
        stream.read(&EntityKey::single(user), Timestamp(1200)).expect("the key fits");
    }
    stream.options.memory_bytes_max = stream.bytes() - 1;
    let parts = stream.evict();
    assert!(!parts.is_empty() && parts.len() < 10, "{} parts", parts.len());
    let first_key = |user: i64| EntityKey::single(user).to_bytes();
    assert!(parts.iter().all(|part| part.key != first_key(3) && part.key != first_key(4)));
    assert_eq!(parts[0].key, first_key(0));
    assert_eq!(stream.spilled_keys().count(), parts.len());
    assert!(!stream.is_over_budget() && stream.entity_count() == 10);
    // Parts of another entity, and too few of them, are refused.
    let refused = stream.restore(&[&parts[0].bytes, &parts[1].bytes]).expect_err("two entities");
    assert!(refused.to_string().contains("several entities"), "{refused}");
    let refused = stream.restore(&[&small(0, false).snapshot()]).expect_err("a snapshot");
    assert!(refused.to_string().contains("something else"), "{refused}");
}

#[test]
fn damaged_bytes_are_refused() {
    let mut stream = small(50, true);
    stream.apply(&sales(&(0..30).collect::<Vec<_>>(), true), &(0..30).collect::<Vec<_>>()).expect("it fits");
    let snapshot = stream.snapshot();
    stream.options.memory_bytes_max = 0;
    let part = stream.evict().remove(0).bytes;
    let view = view(&[(Aggregate::Sum, Some("amount")), (Aggregate::Count, None)], Period::Micros(100));
    let like = sales(&[], true);
    let open = |bytes: &[u8]| Stream::from_snapshot(&[&view], &like, small(50, true).options, bytes);
    assert_eq!(open(&snapshot).expect("its own bytes").snapshot(), snapshot);
    let is_refused = |bytes: &[u8], stream: &mut Stream| {
        let of_part = stream.restore(&[bytes]);
        matches!(open(bytes), Err(FeatureError::SavedState { .. }))
            && matches!(of_part, Err(FeatureError::SavedState { .. }))
    };
    for whole in [&snapshot, &part] {
        for end in 0..whole.len() {
            assert!(is_refused(&whole[..end], &mut stream), "cut at {end}");
            let mut flipped = whole.clone();
            flipped[end] ^= 1 << (end % 8);
            assert!(is_refused(&flipped, &mut stream), "flipped at {end}");
        }
    }
    let other = Stream::from_snapshot(&[&view], &sales(&[], false), small(50, true).options, &snapshot);
    assert!(other.expect_err("no ids").to_string().contains("other views"));
    stream.restore(&[&part]).expect("its own bytes");
}

/// With a check that fits, every other byte may be anything.
#[test]
fn crafted_bytes_never_panic() {
    let mut stream = small(50, true);
    stream.apply(&sales(&(0..30).collect::<Vec<_>>(), true), &(0..30).collect::<Vec<_>>()).expect("it fits");
    let snapshot = stream.snapshot();
    let view = view(&[(Aggregate::Sum, Some("amount")), (Aggregate::Count, None)], Period::Micros(100));
    let seal = |mut bytes: Vec<u8>| {
        let check = paceline_core::Digest::of(&bytes).short();
        bytes.extend_from_slice(check.as_bytes());
        bytes
    };
    for at in 17..snapshot.len() - 12 {
        for change in [1u8, 0x80, 0xff] {
            let mut bytes = snapshot[..snapshot.len() - 12].to_vec();
            bytes[at] ^= change;
            let opened = Stream::from_snapshot(&[&view], &sales(&[], true), small(50, true).options, &seal(bytes));
            let Ok(mut opened) = opened else { continue };
            let later = sales(&(25..60).collect::<Vec<_>>(), true);
            opened.apply(&later, &(100..135).collect::<Vec<_>>()).expect("it fits");
            for user in 0..10 {
                let t = opened.earliest().max(Timestamp(70));
                opened.read(&EntityKey::single(user), t).expect("the key fits");
            }
            opened.advance(Timestamp(1_000));
        }
    }
}
