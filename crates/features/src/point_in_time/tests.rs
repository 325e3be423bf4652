//! The operator against the plain reference, bit for bit, on random tables.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use rand::RngExt;
use rand::seq::IndexedRandom;
use std::sync::Arc;

use paceline_core::random::{Random, stream};
use paceline_core::{Period, Timestamp, Value};
use paceline_testkit::random_tables::{self, Delay, Floats, Shape};

use super::reference::{self, entity_keys, values};
use super::{Index, Spine, join, join_all};
use crate::{Aggregate, Feature, FeatureError, FeatureView, Placement, SourceTable};

/// A random view over the columns of [`random_tables::table`].
pub(crate) fn random_view(random: &mut Random, shape: &Shape, name: &str) -> FeatureView {
    let period = |random: &mut Random| Period::Micros(random.random_range(1..=shape.times) * shape.unit_micros);
    let entities: [&[&str]; 3] = [&["user"], &["shop"], &["shop", "user"]];
    let entity = entities.choose(random).expect("not empty");
    let columns: [(&str, bool); 7] = [
        ("amount", true),
        ("ratio", true),
        ("quantity", true),
        ("flag", true),
        ("label", false),
        ("moment", false),
        ("user", true),
    ];
    let mut features = Vec::new();
    for (aggregate_name, aggregate) in Aggregate::ALL {
        for _ in 0..3 {
            let (column, is_number) = *columns.choose(random).expect("not empty");
            let is_sum = matches!(aggregate, Aggregate::Sum | Aggregate::Mean | Aggregate::Std);
            let may_lack = matches!(aggregate, Aggregate::Count | Aggregate::SecondsSinceLast);
            let of = if is_sum && !is_number { "amount" } else { column };
            features.push(Feature {
                name: format!("{aggregate_name}_{}", features.len()),
                aggregate,
                of: (!may_lack || random.random_bool(0.5)).then(|| of.to_owned()),
                window: period(random),
            });
        }
    }
    FeatureView {
        name: name.to_owned(),
        source: "events".to_owned(),
        entity: entity.iter().map(|&name| name.to_owned()).collect(),
        ttl: random.random_bool(0.3).then(|| period(random)),
        schedule: random.random_bool(0.3).then(|| period(random)),
        placement: *[Placement::Batch, Placement::Stream, Placement::Request].choose(random).expect("not empty"),
        features,
    }
}

/// A random source.
pub(crate) fn random_source(random: &mut Random, shape: &Shape) -> SourceTable {
    let table = random_tables::table(random, shape);
    SourceTable {
        name: "events".to_owned(),
        available_time_column: table.available_time.as_ref().map(|_| "loaded".to_owned()),
        event_id: shape.versions.map(|_| "id".to_owned()),
        rows: table.rows,
        event_time: table.event_time,
        available_time: table.available_time,
    }
}

fn check_equal(found: &Value, expected: &Value, context: impl Fn() -> String) {
    assert!(found.bit_equal(expected), "{}: found {found:?}, expected {expected:?}", context());
}

fn check(seed: u64, random: &mut Random, shape: &Shape) {
    let source = random_source(random, shape);
    let view = random_view(random, shape, "v");
    let (keys, time) = random_tables::spine(random, shape, 25);
    let spine = Spine { keys: &keys, time: &time };
    let expected = reference::join(&view, &source, &spine);
    let joined = join(&view, &source, &spine, 1).expect("the view fits the table");
    assert_eq!(joined, join(&view, &source, &spine, 3).expect("the same"), "seed {seed}: threads");
    assert_eq!((joined.num_rows(), joined.num_columns()), (time.len(), view.features.len()));

    let context = |row: usize, feature: usize| {
        format!("seed {seed}, {shape:?}, spine row {row} at {:?}, {:?}, {view:?}", time[row], view.features[feature])
    };
    for (feature, column) in joined.columns().iter().enumerate() {
        for (row, value) in values(column).iter().enumerate() {
            check_equal(value, &expected[row][feature], || context(row, feature));
        }
    }
    let index = Index::build(&[&view], &source).expect("the view fits the table");
    for (row, key) in entity_keys(&keys, &view.entity).into_iter().enumerate() {
        let Some(key) = key else { continue };
        let computed = index.compute(&key, time[row]).expect("the key fits");
        for (feature, value) in computed.iter().enumerate() {
            check_equal(value, &expected[row][feature], || format!("request, {}", context(row, feature)));
        }
    }
}

#[test]
fn equals_the_reference_on_random_tables() {
    for seed in 0..400 {
        let mut random = stream(seed, "point in time");
        let shape = Shape::random(&mut random, 60);
        check(seed, &mut random, &shape);
    }
}

#[test]
fn equals_the_reference_where_everything_is_hard_at_once() {
    for seed in 0..60 {
        let mut random = stream(seed, "hard");
        let shape = Shape {
            rows: 150,
            entities: 2,
            times: 30,
            unit_micros: 1,
            nulls: 0.1,
            floats: if seed % 2 == 0 { Floats::Wild } else { Floats::Cents },
            is_static: false,
            delay: Delay::Random,
            versions: Some(0.3),
        };
        check(seed, &mut random, &shape);
    }
}

#[test]
fn views_of_several_entities_come_in_their_order() {
    for seed in 0..20 {
        let mut random = stream(seed, "several");
        let shape = Shape::random(&mut random, 40);
        let source = random_source(&mut random, &shape);
        let views: Vec<FeatureView> = (0..4).map(|i| random_view(&mut random, &shape, &format!("v{i}"))).collect();
        let views: Vec<&FeatureView> = views.iter().collect();
        let (keys, time) = random_tables::spine(&mut random, &shape, 10);
        let spine = Spine { keys: &keys, time: &time };
        let joined = join_all(&views, &source, &spine, 2).expect("the views fit");
        let mut next = 0;
        for view in views {
            let alone = join(view, &source, &spine, 1).expect("the view fits");
            for (field, column) in alone.schema().fields().iter().zip(alone.columns()) {
                assert_eq!((joined.schema().field(next), joined.column(next)), (field.as_ref(), column), "seed {seed}");
                next += 1;
            }
        }
        assert_eq!(next, joined.num_columns());
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .expect("columns of one length")
}

fn small_source() -> SourceTable {
    SourceTable {
        name: "sales".to_owned(),
        rows: batch(vec![
            ("user_id", Arc::new(Int64Array::from(vec![1, 1, 2]))),
            ("amount", Arc::new(Int64Array::from(vec![5, 7, 9]))),
            ("item", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ]),
        event_time: Some(vec![Timestamp(10), Timestamp(20), Timestamp(30)]),
        available_time: None,
        available_time_column: None,
        event_id: None,
    }
}

fn small_view(aggregate: Aggregate, of: Option<&str>) -> FeatureView {
    FeatureView {
        name: "user".to_owned(),
        source: "sales".to_owned(),
        entity: vec!["user_id".to_owned()],
        ttl: None,
        schedule: None,
        placement: Placement::Batch,
        features: vec![Feature {
            name: "f".to_owned(),
            aggregate,
            of: of.map(str::to_owned),
            window: Period::Micros(100),
        }],
    }
}

#[test]
fn mistakes_name_view_feature_column_and_types() {
    let check = |view: &FeatureView, keys: RecordBatch, expected: &str| {
        let time = vec![Timestamp(50); keys.num_rows()];
        let error = join(view, &small_source(), &Spine { keys: &keys, time: &time }, 1).expect_err("a mistake");
        assert_eq!(error.to_string(), expected);
    };
    let keys = || batch(vec![("user_id", Arc::new(Int64Array::from(vec![1])))]);
    check(
        &small_view(Aggregate::Sum, Some("price")),
        keys(),
        "feature user.f needs column \"price\", which source \"sales\" does not have; it has user_id, amount, item",
    );
    check(
        &small_view(Aggregate::Mean, Some("item")),
        keys(),
        "feature user.f cannot use column \"item\" of source \"sales\": it is Utf8, expected an integer, a float or a truth value",
    );
    check(&small_view(Aggregate::Sum, None), keys(), "feature user.f: sum needs a column; add of = \"COLUMN\"");
    check(
        &small_view(Aggregate::Count, None),
        batch(vec![("user_id", Arc::new(StringArray::from(vec!["1"])))]),
        "view user cannot use column \"user_id\" of the spine: it is Utf8, expected an integer, as in the source",
    );
    check(
        &small_view(Aggregate::Count, None),
        batch(vec![("user", Arc::new(Int64Array::from(vec![1])))]),
        "view user needs column \"user_id\", which the spine does not have; it has user",
    );
    let monthly = FeatureView { schedule: Some(Period::Months(1)), ..small_view(Aggregate::Count, None) };
    check(&monthly, keys(), "view user: schedule 1mo is a calendar period; write a fixed one, such as 1d or 7d");
}

#[test]
fn a_key_of_another_shape_is_refused() {
    let index = Index::build(&[&small_view(Aggregate::Sum, Some("amount"))], &small_source()).expect("fits");
    let at = Timestamp(50);
    assert_eq!(index.compute(&paceline_core::EntityKey::single(1), at).expect("fits"), vec![Value::Float(12.0)]);
    let error = index.compute(&paceline_core::EntityKey::single("1"), at).expect_err("a text");
    assert!(matches!(error, FeatureError::Key { .. }));
    assert_eq!(error.to_string(), "view user is keyed by user_id (an integer); the key 1 does not fit");
}

#[test]
fn empty_tables_give_empty_or_unknown() {
    let view = small_view(Aggregate::Count, None);
    let source = SourceTable { rows: small_source().rows.slice(0, 0), event_time: Some(Vec::new()), ..small_source() };
    let keys = batch(vec![("user_id", Arc::new(Int64Array::from(vec![1, 2])))]);
    let joined = join(&view, &source, &Spine { keys: &keys, time: &[Timestamp(1); 2] }, 4).expect("fits");
    assert_eq!(values(joined.column(0)), vec![Value::Int(0), Value::Int(0)]);
    let none = join(&view, &small_source(), &Spine { keys: &keys.slice(0, 0), time: &[] }, 4).expect("fits");
    assert_eq!((none.num_rows(), none.num_columns()), (0, 1));
}
