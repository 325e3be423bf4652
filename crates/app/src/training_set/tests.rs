//! Training sets against a slow, obvious count over the raw rows, in memory and from disk.

use std::fs;
use std::path::Path;

use arrow::array::{Array as _, AsArray as _, Int64Array, StringArray};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use paceline_core::Value;
use paceline_core::random::stream;
use paceline_store::write_table;
use paceline_testkit::shop::{Shop, ShopSpec};
use rand::RngExt as _;

use super::values::value_at;
use super::*;
use crate::pipeline;

const PIPELINE: &str = r#"
name = "shop"

[sources.sales]
path = "transactions.parquet"
event_time = "timestamp"
available_time = "loaded_at"
time_unit = "s"
where = "quantity > 0 and price > 0"
columns.amount = "quantity * price"

[features.user]
source = "sales"
entity = ["user_id"]
schedule = "1d"
lines_30d = { agg = "count", window = "30d" }
spend_30d = { agg = "sum", of = "amount", window = "30d" }

[features.item]
source = "sales"
entity = ["item_id"]
last_price = { agg = "last", of = "price", window = "90d" }

[features.pair]
source = "sales"
entity = ["user_id", "item_id"]
lines = { agg = "count", window = "365d" }

[features.request]
affordable = "coalesce(user.spend_30d, 0) > item.last_price"
hour = "extract(hour from time)"
both = "request.hour + case when request.affordable then 100 else 0 end + weight"
"#;

/// A shop in a folder, its pipeline, and a spine of random users, items and times, unknown and null ones among them.
fn shop() -> (tempfile::TempDir, Shop, Pipeline, RecordBatch, Vec<Timestamp>) {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = Shop::generate(&ShopSpec { users: 40, items: 30, months: 4, ..ShopSpec::small() });
    shop.write(folder.path()).expect("writable");
    let file = folder.path().join("p.toml");
    fs::write(&file, PIPELINE.replace(" + weight", "")).expect("writable");
    let (mut pipeline, _) = pipeline::open(&file).expect("a right pipeline");
    // A column that only the spine has.
    pipeline.request_features[2].expression.push_str(" + weight");
    let lines = shop.lines();
    let mut random = stream(7, "spine");
    let rows = 500;
    let pick = |random: &mut paceline_core::random::Random| &lines[random.random_range(0..lines.len())];
    let users: Int64Array = (0..rows)
        .map(|row| if row % 50 == 0 { None } else { pick(&mut random).user_id.map(i64::from).or(Some(-1)) })
        .collect();
    let items: StringArray = (0..rows).map(|_| Some(pick(&mut random).code.clone())).collect();
    let weight: Int64Array = (0..rows).map(Some).collect();
    let time: Vec<Timestamp> = (0..rows)
        .map(|_| Timestamp::from_seconds(pick(&mut random).timestamp_s + random.random_range(-1..=86_400)))
        .collect();
    let spine = RecordBatch::try_from_iter([
        ("weight", Arc::new(weight) as ArrayRef),
        ("item_id", Arc::new(items) as ArrayRef),
        ("user_id", Arc::new(users) as ArrayRef),
    ]);
    (folder, shop, pipeline, spine.expect("three columns"), time)
}

fn means(scratch: &Path, memory_bytes_max: usize) -> JoinMeans {
    JoinMeans { threads: 2, memory_bytes_max, scratch: scratch.to_owned() }
}

#[test]
fn values_are_those_of_a_slow_count_and_do_not_depend_on_memory() {
    let (folder, shop, pipeline, spine, time) = shop();
    let rows = Spine { rows: &spine, time: Some(&time) };
    let found = append_features(&pipeline, &rows, &means(folder.path(), 1 << 30)).expect("joins");
    let spilled = append_features(&pipeline, &rows, &means(folder.path(), 400_000)).expect("joins");
    assert_eq!(found, spilled, "from disk");
    assert_eq!(found.project(&[0, 1, 2]).expect("three columns"), spine, "the spine stays");
    let names: Vec<String> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    let expected = ["user.lines_30d", "user.spend_30d", "item.last_price", "pair.lines", "request.affordable"];
    assert_eq!(names[3..8], expected);

    let users = spine["user_id"].as_primitive::<Int64Type>();
    let items = spine["item_id"].as_string::<i32>();
    let mut known_users = 0;
    for (row, &time) in time.iter().enumerate() {
        let at = time.0;
        let day = (at - 1).div_euclid(86_400_000_000) * 86_400_000_000;
        let known = |before: i64, window_days: i64, is_of: &dyn Fn(&paceline_testkit::shop::Line) -> bool| {
            let from = before - window_days * 86_400_000_000;
            let mut lines: Vec<_> = shop
                .lines()
                .iter()
                .filter(|line| line.quantity > 0 && line.price > 0.0 && is_of(line))
                .filter(|line| line.timestamp_s * 1_000_000 < before && line.loaded_at_s * 1_000_000 < before)
                .filter(|line| line.timestamp_s * 1_000_000 >= from)
                .collect();
            lines.sort_by_key(|line| (line.timestamp_s, line.loaded_at_s));
            lines
        };
        let user = users.is_valid(row).then(|| users.value(row));
        let of_user = |line: &paceline_testkit::shop::Line| user.is_some() && line.user_id.map(i64::from) == user;
        let of_item = |line: &paceline_testkit::shop::Line| line.code == items.value(row);
        let value = |name: &str| value_at(&found[name], row);
        let lines = known(day, 30, &of_user);
        known_users += usize::from(!lines.is_empty());
        assert_eq!(value("user.lines_30d"), Value::Int(lines.len() as i64), "row {row}");
        let spend: f64 = lines.iter().map(|line| f64::from(line.quantity) * f64::from(line.price)).sum();
        match value("user.spend_30d") {
            Value::Float(found) => assert!((found - spend).abs() < 1e-6, "row {row}: {found} and {spend}"),
            other => assert!(other == Value::Null && lines.is_empty(), "row {row}: {other:?}"),
        }
        let last = known(at, 90, &of_item).last().map_or(Value::Null, |line| Value::Float(f64::from(line.price)));
        assert_eq!(value("item.last_price"), last, "row {row}");
        let pairs = known(at, 365, &|line| of_user(line) && of_item(line)).len();
        assert_eq!(value("pair.lines"), Value::Int(pairs as i64), "row {row}");
        let affordable = match (value("user.spend_30d"), &last) {
            (_, Value::Null) => Value::Null,
            (Value::Float(spend), Value::Float(price)) => Value::Bool(spend > *price),
            (_, Value::Float(price)) => Value::Bool(0.0 > *price),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(value("request.affordable"), affordable, "row {row}");
        let hundred = if affordable == Value::Bool(true) { 100 } else { 0 };
        assert_eq!(value("request.both"), Value::Int(time.hour() + hundred + row as i64), "row {row}");
    }
    assert!(known_users > 100, "{known_users}");
}

#[test]
fn a_spine_file_gives_what_a_spine_in_memory_gives() {
    let (folder, _, pipeline, spine, time) = shop();
    let rows = Spine { rows: &spine, time: Some(&time) };
    let expected = append_features(&pipeline, &rows, &means(folder.path(), 1 << 30)).expect("joins");
    let texts: StringArray = time.iter().map(|time| Some(time.to_string())).collect();
    let timed = (Arc::new(arrow::datatypes::Field::new(TIME, DataType::Utf8, false)), Arc::new(texts) as ArrayRef);
    let file = beside(&[&spine], vec![timed], spine.num_rows()).expect("columns");
    // Many small files, so that batches of the spine and of the join are cut at different rows.
    let directory = folder.path().join("spine");
    fs::create_dir(&directory).expect("writable");
    for (number, from) in (0..spine.num_rows()).step_by(70).enumerate() {
        let part = file.slice(from, 70.min(spine.num_rows() - from));
        write_table(&directory.join(format!("{number:02}.csv")), &part.schema(), &[part]).expect("writable");
    }
    let spec = SpineSpec { location: directory.display().to_string(), time_unit: None };
    let mut heard = 0;
    let rows = build(&pipeline, &spec, &means(folder.path(), 400_000), &mut |rows| heard += rows).expect("joins");
    let schema = rows.schema();
    let batches: Vec<RecordBatch> = rows.collect::<Result<_, _>>().expect("readable");
    let found = concat_batches(&schema, &batches).expect("one schema");
    assert!(heard > spine.num_rows() as u64, "sources count too");
    for name in ["user_id", "item_id", "user.spend_30d", "item.last_price", "pair.lines", "request.both"] {
        assert_eq!(&found[name], &expected[name], "{name}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "no scratch folder is left");
}

#[test]
fn text_keys_of_digits_stay_texts_in_csv() {
    let (folder, _, mut pipeline, spine, _) = shop();
    pipeline.request_features.clear();
    let rows = (0..spine.num_rows()).find(|&row| {
        let item = spine["item_id"].as_string::<i32>().value(row);
        item.bytes().all(|byte| byte.is_ascii_digit())
    });
    let item = spine["item_id"].as_string::<i32>().value(rows.expect("a code of digits"));
    let path = folder.path().join("spine.csv");
    fs::write(&path, format!("time,user_id,item_id\n2012-01-01,1,{item}\n")).expect("writable");
    let spec = SpineSpec { location: path.display().to_string(), time_unit: None };
    let rows = build(&pipeline, &spec, &means(folder.path(), 1 << 30), &mut |_| ()).expect("joins");
    let batch = rows.last().expect("one batch").expect("readable");
    assert_eq!(batch["item_id"].data_type(), &DataType::Utf8);
    assert!(batch["item.last_price"].as_primitive::<Float64Type>().is_valid(0));
}

#[test]
fn what_does_not_fit_is_named() {
    let (folder, _, pipeline, spine, time) = shop();
    let check = |rows: &RecordBatch, time: Option<&[Timestamp]>, parts: &[&str]| {
        let found = append_features(&pipeline, &Spine { rows, time }, &means(folder.path(), 1 << 30));
        let said = format!("{:#}", found.expect_err("does not fit"));
        for part in parts {
            assert!(said.contains(part), "{part:?} was not said, but {said}");
        }
    };
    let time = Some(time.as_slice());
    check(&spine, None, &["[features.user] needs the time of each row", "[sources.sales]"]);
    check(&spine.project(&[0, 2]).expect("two columns"), time, &["item_id"]);
    check(&spine.project(&[1, 2]).expect("two columns"), time, &["`both`", "weight"]);
    let texts = cast(&spine["user_id"], &DataType::Utf8).expect("digits");
    let wrong = RecordBatch::try_from_iter([
        ("weight", spine["weight"].clone()),
        ("item_id", spine["item_id"].clone()),
        ("user_id", texts),
    ]);
    check(&wrong.expect("three columns"), time, &["user_id", "expected an integer, as in the source"]);
    let named = RecordBatch::try_from_iter([
        ("user.spend_30d", spine["weight"].clone()),
        ("item_id", spine["item_id"].clone()),
        ("user_id", spine["user_id"].clone()),
    ]);
    check(&named.expect("three columns"), time, &["\"user.spend_30d\" has the name of a feature"]);
}

#[test]
fn a_spine_without_rows_has_all_columns() {
    let (folder, _, pipeline, spine, _) = shop();
    let none = take_record_batch(&spine, &Int64Array::from(Vec::<i64>::new())).expect("no rows");
    let found = append_features(&pipeline, &Spine { rows: &none, time: Some(&[]) }, &means(folder.path(), 1 << 30));
    let found = found.expect("joins");
    assert_eq!((found.num_rows(), found.num_columns()), (0, 3 + 4 + 3));
}
