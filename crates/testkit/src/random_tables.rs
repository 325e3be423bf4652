//! Small random tables that make the hard cases of a point-in-time join common: ties, nulls, NaN, late rows, duplicates,
//! corrections, unknown keys, every accepted type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rand::RngExt;
use rand::seq::IndexedRandom;

use paceline_core::Timestamp;
use paceline_core::random::Random;

/// How wild a table is. Probabilities are per row, between 0 and 1.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Number of rows.
    pub rows: usize,
    /// Number of different values of each key column.
    pub entities: i64,
    /// Times lie in `0..times` units.
    pub times: i64,
    /// One unit of time in microseconds.
    pub unit_micros: i64,
    /// Share of nulls in every column, keys included.
    pub nulls: f64,
    /// What the floats look like.
    pub floats: Floats,
    /// Whether rows have an event time at all.
    pub is_static: bool,
    /// When rows become available.
    pub delay: Delay,
    /// Share of rows that are a second version of an earlier one; `None`: no event ids.
    pub versions: Option<f64>,
}

/// What the floats of a table look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floats {
    /// Whole cents: the case of money.
    Cents,
    /// Full mantissas at magnitudes up to `2^exponents` apart: around 2^60 a sum no longer fits 126 bits.
    Spread {
        /// Binary orders of magnitude.
        exponents: i32,
    },
    /// Magnitudes from 1e-300 to 1e300, subnormals, negative zero, NaN.
    Wild,
    /// As `Wild`, with infinities.
    Infinite,
}

/// When the rows of a table become available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// There is no available time.
    None,
    /// The same delay for every row.
    Constant,
    /// Any delay, also a negative one.
    Random,
}

impl Shape {
    /// A random shape with at most `rows` rows.
    pub fn random(random: &mut Random, rows: usize) -> Shape {
        Shape {
            rows: random.random_range(0..=rows),
            entities: random.random_range(1..=4),
            times: *[3, 20, 200].choose(random).expect("not empty"),
            unit_micros: *[1, 1_000_000, 3_600_000_000].choose(random).expect("not empty"),
            nulls: *[0.0, 0.0, 0.1, 0.6].choose(random).expect("not empty"),
            floats: match random.random_range(0..6) {
                0..3 => Floats::Cents,
                3 => Floats::Spread { exponents: random.random_range(40..90) },
                4 => Floats::Wild,
                _ => Floats::Infinite,
            },
            is_static: random.random_bool(0.1),
            delay: *[Delay::None, Delay::None, Delay::Constant, Delay::Random].choose(random).expect("not empty"),
            versions: *[None, None, Some(0.1), Some(0.6)].choose(random).expect("not empty"),
        }
    }
}

/// A source: rows with their times.
#[derive(Debug, Clone)]
pub struct Table {
    /// Columns `user` (an integer), `shop` (a text), `amount` (Float64), `ratio` (Float32), `quantity` (an integer),
    /// `label` (a text), `flag`, `moment` (a timestamp or date), and with ids or delays `id` and `loaded`.
    pub rows: RecordBatch,
    /// Event times.
    pub event_time: Option<Vec<Timestamp>>,
    /// Available times.
    pub available_time: Option<Vec<Timestamp>>,
}

/// A random source.
pub fn table(random: &mut Random, shape: &Shape) -> Table {
    let count = shape.rows;
    let mut columns: Vec<(&str, ArrayRef)> = keys(random, shape, count, shape.entities);
    columns.push(("amount", floats(random, shape, count)));
    columns.push((
        "ratio",
        optional::<_, Float32Array>(random, shape, count, |random| random.random_range(-8..8) as f32 / 4.0),
    ));
    let quantity = optional::<_, Int64Array>(random, shape, count, |random| random.random_range(0..5));
    columns.push(("quantity", cast_to_one_of(random, &quantity, &INTEGER_TYPES)));
    let label = optional::<_, StringArray>(random, shape, count, |random| {
        (*["", "a", "b", "ab", "z\u{e9}"].choose(random).expect("not empty")).to_owned()
    });
    columns.push(("label", cast_to_one_of(random, &label, &string_types())));
    columns.push(("flag", optional::<_, BooleanArray>(random, shape, count, |random| random.random_bool(0.5))));
    let moment = optional::<_, TimestampMicrosecondArray>(random, shape, count, |random| {
        random.random_range(-3..3) * 86_400_000_000
    });
    let moment_types = [
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Date32,
    ];
    columns.push(("moment", cast_to_one_of(random, &moment, &moment_types)));
    if shape.versions.is_some() {
        let ids: Int64Array =
            (0..count as i64).map(|id| (!random.random_bool(shape.nulls / 2.0)).then_some(id)).collect();
        columns.push(("id", Arc::new(ids)));
    }
    let rows = batch(columns);
    let mut event: Vec<i64> = (0..count).map(|_| random.random_range(0..shape.times) * shape.unit_micros).collect();
    if random.random_bool(0.5) {
        event.sort_unstable();
    }
    let (rows, event) = match shape.versions {
        Some(share) => with_versions(random, shape, &rows, event, share),
        None => (rows, event),
    };
    let delay = random.random_range(0..shape.times.min(5)) * shape.unit_micros;
    let available: Option<Vec<Timestamp>> = match shape.delay {
        Delay::None => None,
        Delay::Constant => Some(event.iter().map(|&event| Timestamp(event + delay)).collect()),
        Delay::Random => Some(
            event
                .iter()
                .map(|&event| Timestamp(event + random.random_range(-1..shape.times / 2 + 1) * shape.unit_micros))
                .collect(),
        ),
    };
    let rows = match &available {
        Some(available) => with_column(&rows, "loaded", available),
        None => rows,
    };
    let event_time = (!shape.is_static).then(|| event.into_iter().map(Timestamp).collect());
    Table { rows, event_time, available_time: available }
}

/// A random spine over the same keys, some of them unknown, and times around those of the table.
pub fn spine(random: &mut Random, shape: &Shape, count: usize) -> (RecordBatch, Vec<Timestamp>) {
    let keys = batch(keys(random, shape, count, shape.entities + 1));
    let time = |random: &mut Random| {
        let nudge = random.random_range(-1..=1);
        Timestamp(random.random_range(-1..shape.times * 5 / 4 + 1) * shape.unit_micros + nudge)
    };
    let times = (0..count).map(|_| time(random)).collect();
    (keys, times)
}

/// Replaces some rows by a second version of an earlier one: the same, or with another entity, amount or time.
fn with_versions(
    random: &mut Random,
    shape: &Shape,
    rows: &RecordBatch,
    mut event: Vec<i64>,
    share: f64,
) -> (RecordBatch, Vec<i64>) {
    let count = event.len();
    let mut copied_from: Vec<u32> = (0..count as u32).collect();
    let mut id_from = copied_from.clone();
    for row in 1..count {
        if !random.random_bool(share) {
            continue;
        }
        let earlier = random.random_range(0..row);
        id_from[row] = id_from[earlier];
        if random.random_bool(0.5) {
            copied_from[row] = copied_from[earlier];
            event[row] = event[earlier];
        }
        if random.random_bool(0.2) {
            event[row] = random.random_range(0..shape.times) * shape.unit_micros;
        }
    }
    let by = |indices: Vec<u32>| take_record_batch(rows, &UInt32Array::from(indices)).expect("indices are in range");
    let (content, ids) = (by(copied_from), by(id_from));
    let schema = content.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .zip(content.columns())
        .map(|(name, column)| (name, if name == "id" { ids["id"].clone() } else { column.clone() }))
        .collect();
    (batch(columns), event)
}

const INTEGER_TYPES: [DataType; 8] = [
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::UInt8,
    DataType::UInt16,
    DataType::UInt32,
    DataType::UInt64,
];

fn string_types() -> [DataType; 5] {
    [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::LargeUtf8)),
    ]
}

fn keys(random: &mut Random, shape: &Shape, count: usize, entities: i64) -> Vec<(&'static str, ArrayRef)> {
    let user = optional::<_, Int64Array>(random, shape, count, |random| random.random_range(0..entities));
    let shop =
        optional::<_, StringArray>(random, shape, count, |random| format!("shop {}", random.random_range(0..entities)));
    vec![
        ("user", cast_to_one_of(random, &user, &INTEGER_TYPES)),
        ("shop", cast_to_one_of(random, &shop, &string_types())),
    ]
}

fn floats(random: &mut Random, shape: &Shape, count: usize) -> ArrayRef {
    optional::<_, Float64Array>(random, shape, count, |random| match shape.floats {
        Floats::Cents => f64::from(random.random_range(-2_000i32..2_000)) / 100.0,
        Floats::Spread { exponents } => {
            random.random_range(-1.0..1.0) * 2f64.powi(random.random_range(-exponents / 2..=exponents / 2))
        }
        Floats::Infinite if random.random_bool(0.05) => f64::INFINITY,
        Floats::Infinite if random.random_bool(0.05) => f64::NEG_INFINITY,
        Floats::Wild | Floats::Infinite => match random.random_range(0..8) {
            0 => f64::NAN,
            1 => -0.0,
            2 => 0.0,
            3 => f64::from_bits(random.random_range(0..1 << 52)),
            4 => f64::MAX * random.random_range(-1.0..1.0),
            5 => *[1.0, 1e16, -1e16, 5e-324].choose(random).expect("not empty"),
            _ => 10f64.powi(random.random_range(-300..300)) * random.random_range(-1.0..1.0),
        },
    })
}

fn optional<T, A>(random: &mut Random, shape: &Shape, count: usize, mut value: impl FnMut(&mut Random) -> T) -> ArrayRef
where
    A: FromIterator<Option<T>> + arrow::array::Array + 'static,
{
    let values = (0..count).map(|_| if random.random_bool(shape.nulls) { None } else { Some(value(random)) });
    Arc::new(values.collect::<A>())
}

fn cast_to_one_of(random: &mut Random, array: &ArrayRef, types: &[DataType]) -> ArrayRef {
    let to = types.choose(random).expect("not empty");
    cast(array, to).expect("the values fit every one of the types")
}

fn with_column(rows: &RecordBatch, name: &str, times: &[Timestamp]) -> RecordBatch {
    let times: TimestampMicrosecondArray = times.iter().map(|time| Some(time.0)).collect();
    let schema = rows.schema();
    let mut columns: Vec<(&str, ArrayRef)> =
        schema.fields().iter().map(|field| field.name().as_str()).zip(rows.columns().iter().cloned()).collect();
    columns.push((name, Arc::new(times)));
    batch(columns)
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}
