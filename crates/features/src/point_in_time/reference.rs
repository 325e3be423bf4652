//! The point-in-time join once more, as slow and as plain as possible: for every spine row, look at all rows. It shares
//! no code with the operator, arithmetic included.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use num_bigint::BigInt;

use paceline_core::{EntityKey, KeyPart, Timestamp, Value};

use super::Spine;
use crate::{Aggregate, Feature, FeatureView, Placement, SourceTable};

/// The values of every spine row; a timestamp is a whole number of microseconds.
pub(crate) fn join(view: &FeatureView, source: &SourceTable, spine: &Spine<'_>) -> Vec<Vec<Value>> {
    let keys = entity_keys(&source.rows, &view.entity);
    let columns: Vec<Option<Vec<Value>>> =
        view.features.iter().map(|feature| feature.of.as_ref().map(|of| values(&source.rows[of.as_str()]))).collect();
    let versions = Versions::of(source);
    entity_keys(spine.keys, &view.entity)
        .iter()
        .zip(spine.time)
        .map(|(key, &time)| {
            let as_of = match (view.placement, view.schedule) {
                (Placement::Batch, Some(step)) => time.last_scheduled_before(step).expect("a fixed schedule"),
                _ => time,
            };
            let mut rows: Vec<usize> = (0..keys.len())
                .filter(|&row| key.is_some() && keys[row] == *key && versions.is_known(row, as_of))
                .collect();
            rows.sort_by_key(|&row| (event_time(source, row), available_time(source, row), row));
            let expired = match (view.ttl, rows.last()) {
                (Some(ttl), Some(&newest)) => source.event_time.is_some() && event_time(source, newest) <= as_of - ttl,
                _ => false,
            };
            if expired {
                rows.clear();
            }
            let feature = |(feature, column): (&Feature, &Option<Vec<Value>>)| {
                aggregate(feature, column.as_deref(), source, &rows, as_of)
            };
            view.features.iter().zip(&columns).map(feature).collect()
        })
        .collect()
}

fn aggregate(
    feature: &Feature,
    column: Option<&[Value]>,
    source: &SourceTable,
    known: &[usize],
    as_of: Timestamp,
) -> Value {
    let in_window = |row: usize| source.event_time.is_none() || event_time(source, row) >= as_of - feature.window;
    let is_valid = |row: usize| column.is_none_or(|column| column[row] != Value::Null);
    let rows: Vec<usize> = known.iter().copied().filter(|&row| in_window(row) && is_valid(row)).collect();
    let values: Vec<&Value> = column.map_or(Vec::new(), |column| rows.iter().map(|&row| &column[row]).collect());
    let pick = |value: Option<&&Value>| value.map_or(Value::Null, |value| (*value).clone());
    match feature.aggregate {
        Aggregate::Count => Value::Int(rows.len() as i64),
        Aggregate::Sum | Aggregate::Mean | Aggregate::Std => moment(feature.aggregate, &values),
        Aggregate::Min => pick(values.iter().min_by(|a, b| compare(a, b))),
        Aggregate::Max => pick(values.iter().max_by(|a, b| compare(a, b))),
        Aggregate::First => pick(values.first()),
        Aggregate::Last => pick(values.last()),
        Aggregate::CountDistinct => {
            let text = |value: &Value| match value {
                Value::Float(0.0) => "0".to_owned(),
                Value::Float(value) => format!("{:x}", value.to_bits()),
                other => format!("{other:?}"),
            };
            Value::Int(values.iter().map(|value| text(value)).collect::<BTreeSet<_>>().len() as i64)
        }
        Aggregate::SecondsSinceLast => match rows.last() {
            Some(&row) if source.event_time.is_some() => Value::Float(as_of.seconds_since(event_time(source, row))),
            _ => Value::Null,
        },
    }
}

/// Which rows are duplicates, and by which row each is replaced.
struct Versions<'a> {
    source: &'a SourceTable,
    ignored: Vec<bool>,
    replaced_by: Vec<Option<usize>>,
}

impl<'a> Versions<'a> {
    fn of(source: &'a SourceTable) -> Self {
        let count = source.rows.num_rows();
        let (mut ignored, mut replaced_by) = (vec![false; count], vec![None; count]);
        if let Some(id) = &source.event_id {
            let ids = values(&source.rows[id.as_str()]);
            let version = |row: usize| (available_time(source, row), row);
            for row in 0..count {
                let mut others: Vec<usize> =
                    (0..count).filter(|&other| ids[row] != Value::Null && ids[other] == ids[row]).collect();
                others.sort_by_key(|&other| version(other));
                let (before, after): (Vec<usize>, Vec<usize>) =
                    others.into_iter().filter(|&other| other != row).partition(|&other| version(other) < version(row));
                let differs = |other: usize| content(source, other) != content(source, row);
                ignored[row] = before.last().is_some_and(|&other| !differs(other));
                replaced_by[row] = after.into_iter().find(|&other| differs(other));
            }
        }
        Versions { source, ignored, replaced_by }
    }

    fn is_known(&self, row: usize, at: Timestamp) -> bool {
        let is_replaced = self.replaced_by[row].is_some_and(|by| available_time(self.source, by) < at);
        event_time(self.source, row) < at && available_time(self.source, row) < at && !self.ignored[row] && !is_replaced
    }
}

fn content(source: &SourceTable, row: usize) -> (Timestamp, Vec<String>) {
    let skipped = [source.event_id.as_deref(), source.available_time_column.as_deref()];
    let fields = source.rows.schema();
    let columns = fields.fields().iter().zip(source.rows.columns());
    let content = columns
        .filter(|(field, _)| !skipped.contains(&Some(field.name())))
        .map(|(_, column)| format!("{:?}", raw_values(column)[row]))
        .collect();
    (event_time(source, row), content)
}

fn event_time(source: &SourceTable, row: usize) -> Timestamp {
    source.event_time.as_ref().map_or(Timestamp::MIN, |times| times[row])
}

fn available_time(source: &SourceTable, row: usize) -> Timestamp {
    source.available_time.as_ref().map_or_else(|| event_time(source, row), |times| times[row])
}

/// The entity key of every row, `None` where a part is null.
pub(crate) fn entity_keys(rows: &RecordBatch, entity: &[String]) -> Vec<Option<EntityKey>> {
    let columns: Vec<Vec<Value>> = entity.iter().map(|name| values(&rows[name.as_str()])).collect();
    let part = |value: &Value| match value {
        Value::Int(value) => Some(KeyPart::Int(*value)),
        Value::Text(value) => Some(KeyPart::Text(value.to_string())),
        _ => None,
    };
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| part(&column[row])).collect::<Option<_>>().map(EntityKey))
        .collect()
}

/// The values of a column, NaN as null.
pub(crate) fn values(column: &ArrayRef) -> Vec<Value> {
    let not_nan = |value| if matches!(value, Value::Float(value) if value.is_nan()) { Value::Null } else { value };
    raw_values(column).into_iter().map(not_nan).collect()
}

fn raw_values(column: &ArrayRef) -> Vec<Value> {
    let to = |to: &DataType| cast(column, to).expect("the types of the test tables convert");
    let value_type = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    match value_type {
        DataType::Boolean => column.as_boolean().iter().map(|v| v.map_or(Value::Null, Value::Bool)).collect(),
        DataType::Float32 | DataType::Float64 => to(&DataType::Float64)
            .as_primitive::<Float64Type>()
            .iter()
            .map(|v| v.map_or(Value::Null, Value::Float))
            .collect(),
        DataType::Timestamp(..) | DataType::Date32 => to(&DataType::Timestamp(TimeUnit::Microsecond, None))
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|v| v.map_or(Value::Null, Value::Int))
            .collect(),
        data_type if data_type.is_integer() => {
            to(&DataType::Int64).as_primitive::<Int64Type>().iter().map(|v| v.map_or(Value::Null, Value::Int)).collect()
        }
        _ => to(&DataType::Utf8)
            .as_string::<i32>()
            .iter()
            .map(|v| v.map_or(Value::Null, |v| Value::Text(Arc::from(v))))
            .collect(),
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        other => panic!("{other:?} are not of one type"),
    }
}

/// Sum, mean or sample standard deviation with exact big integers, in units of 2^-1075 (squares: its square).
fn moment(aggregate: Aggregate, values: &[&Value]) -> Value {
    let floats: Vec<f64> = values
        .iter()
        .map(|value| match value {
            Value::Float(value) => *value,
            Value::Int(value) => *value as f64,
            Value::Bool(value) => f64::from(u8::from(*value)),
            other => panic!("{other:?} is not summed"),
        })
        .collect();
    let count = floats.len();
    if count < if aggregate == Aggregate::Std { 2 } else { 1 } {
        return Value::Null;
    }
    if floats.iter().any(|value| value.is_infinite()) {
        let plain: f64 = floats.iter().filter(|value| value.is_infinite()).sum();
        return if plain.is_nan() || aggregate == Aggregate::Std { Value::Null } else { Value::Float(plain) };
    }
    let sum: BigInt = floats.iter().map(|&value| units(value)).sum();
    let n = BigInt::from(count);
    let magnitude = BigInt::from(sum.magnitude().clone());
    let unsigned = match aggregate {
        Aggregate::Sum => nearest(|at| at.cmp(&magnitude)),
        Aggregate::Mean => nearest(|at| (at * &n).cmp(&magnitude)),
        _ => {
            let squares: BigInt = floats.iter().map(|&value| units(value).pow(2)).sum();
            let numerator = &n * squares - sum.pow(2);
            let divisor: BigInt = &n * (count - 1);
            nearest(|at| (at.pow(2) * &divisor).cmp(&numerator))
        }
    };
    Value::Float(if sum < BigInt::ZERO && aggregate != Aggregate::Std { -unsigned } else { unsigned })
}

/// A finite value in units of 2^-1075.
fn units(value: f64) -> BigInt {
    let bits = value.to_bits();
    let (field, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
    let magnitude = if field == 0 { BigInt::from(fraction) << 1 } else { BigInt::from(fraction + (1 << 52)) << field };
    if value.is_sign_negative() { -magnitude } else { magnitude }
}

/// The double nearest to an unknown number of at least zero, ties to even, where `compare` tells how a number of units
/// compares with the unknown one. Doubles at or above zero are ordered as their bits are.
fn nearest(compare: impl Fn(&BigInt) -> Ordering) -> f64 {
    let infinity = f64::INFINITY.to_bits();
    // Infinity stands at 2^1024 for rounding.
    let at = |bits: u64| if bits == infinity { BigInt::from(1) << (1024 + 1075) } else { units(f64::from_bits(bits)) };
    let (mut low, mut high) = (0, infinity);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if compare(&at(middle)).is_le() {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    if low == infinity {
        return f64::INFINITY;
    }
    let between: BigInt = (at(low) + at(low + 1)) >> 1;
    let up = match compare(&between) {
        Ordering::Less => true,
        Ordering::Equal => low % 2 == 1,
        Ordering::Greater => false,
    };
    f64::from_bits(low + u64::from(up))
}
