//! A source column as the window kernels read it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type};

use paceline_core::Value;

use super::entity::{KeyMap, number};
use crate::window::exact::{FixedPoint, Span};
use crate::{Aggregate, FeatureError};

/// What the features of a view read from a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Exact sums.
    pub sums: bool,
    /// Exact sums of squares.
    pub squares: bool,
    /// Keys that are ordered and told apart as the values are.
    pub keys: bool,
    /// The values themselves: anything but the number of non-nulls.
    pub values: bool,
}

impl Needs {
    pub(crate) fn add(&mut self, aggregate: Aggregate) {
        match aggregate {
            Aggregate::Count | Aggregate::SecondsSinceLast => {}
            Aggregate::Sum | Aggregate::Mean => self.sums = true,
            Aggregate::Std => {
                self.sums = true;
                self.squares = true;
            }
            Aggregate::Min | Aggregate::Max | Aggregate::CountDistinct => self.keys = true,
            Aggregate::First | Aggregate::Last => self.values = true,
        }
    }
}

/// The numbers that sums are taken over.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// No feature sums this column.
    None,
    /// Integers and truth values.
    Integers(ScalarBuffer<i64>),
    /// Floats that share a fixed point.
    Fixed(ScalarBuffer<f64>, FixedPoint),
    /// Floats whose magnitudes are too far apart for one, or infinite.
    Wide(ScalarBuffer<f64>),
}

/// One column, all rows in file order. NaN has become null.
#[derive(Debug)]
pub(crate) struct Column {
    /// Int64, Float64, Utf8, Boolean or Timestamp in microseconds; any other type where only nulls are counted.
    pub values: ArrayRef,
    /// `None` when no value is null.
    pub nulls: Option<NullBuffer>,
    pub numbers: Numbers,
    /// Present when needed; ordered as the values are. Text is ranked among the column's distinct texts.
    pub keys: Option<ScalarBuffer<i64>>,
    pub needs: Needs,
    is_float: bool,
}

impl Column {
    /// Reads `array` for the needs of one or more features, of which `needed_by` is the first.
    pub(crate) fn read(
        array: &ArrayRef,
        needs: Needs,
        name: &str,
        table: &str,
        needed_by: &str,
    ) -> Result<Column, FeatureError> {
        let misfit = |expected: &str| FeatureError::ColumnType {
            table: table.to_owned(),
            needed_by: needed_by.to_owned(),
            column: name.to_owned(),
            found: array.data_type().clone(),
            expected: expected.to_owned(),
        };
        let Some(values) = canonical(array, name, table)? else {
            if needs != Needs::default() {
                return Err(misfit("an integer, a float, a text, a truth value, a date or a timestamp"));
            }
            let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            let (values, numbers) = (array.clone(), Numbers::None);
            return Ok(Column { values, nulls, numbers, keys: None, needs, is_float: false });
        };
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let numbers = if !needs.sums {
            Numbers::None
        } else {
            match values.data_type() {
                DataType::Int64 => Numbers::Integers(values.as_primitive::<Int64Type>().values().clone()),
                DataType::Boolean => Numbers::Integers(values.as_boolean().values().iter().map(i64::from).collect()),
                DataType::Float64 => {
                    let floats = values.as_primitive::<Float64Type>().values().clone();
                    let mut span = Span::EMPTY;
                    for (row, &value) in floats.iter().enumerate() {
                        if is_valid(row) {
                            span.add(value);
                        }
                    }
                    match span.fixed_point(floats.len()) {
                        Some(scale) => Numbers::Fixed(floats, scale),
                        None => Numbers::Wide(floats),
                    }
                }
                _ => return Err(misfit("an integer, a float or a truth value")),
            }
        };
        let keys = needs.keys.then(|| order_keys(&values));
        let is_float = values.data_type() == &DataType::Float64;
        Ok(Column { values, nulls, numbers, keys, needs, is_float })
    }

    /// Whether the value of a row is not null.
    #[inline]
    pub(crate) fn is_valid(&self, row: u32) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row as usize))
    }

    /// A key that is equal exactly for values that count as one; -0.0 and 0.0 do.
    #[inline]
    pub(crate) fn distinct_key(&self, key: i64) -> i64 {
        const NEGATIVE_ZERO: i64 = -1;
        if self.is_float && key == NEGATIVE_ZERO { 0 } else { key }
    }

    /// Appends what features read of a row: bytes that are equal exactly for equal values.
    pub(crate) fn append_bytes(&self, row: u32, out: &mut Vec<u8>) {
        if !self.is_valid(row) {
            return out.push(0);
        }
        if self.needs == Needs::default() {
            // What is only counted is of any type.
            return out.push(1);
        }
        let row = row as usize;
        let mut tagged = |tag: u8, bytes: &[u8]| {
            out.push(tag);
            out.extend_from_slice(bytes);
        };
        match self.values.data_type() {
            DataType::Int64 => tagged(2, &self.values.as_primitive::<Int64Type>().value(row).to_le_bytes()),
            DataType::Float64 => tagged(3, &self.values.as_primitive::<Float64Type>().value(row).to_le_bytes()),
            DataType::Boolean => tagged(4, &[u8::from(self.values.as_boolean().value(row))]),
            DataType::Timestamp(..) => {
                tagged(5, &self.values.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes());
            }
            DataType::Utf8 => {
                let text = self.values.as_string::<i32>().value(row);
                tagged(6, &(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            other => unreachable!("a column of type {other} is only counted"),
        }
    }

    /// The value of a row.
    pub(crate) fn value(&self, row: u32) -> Value {
        let row = row as usize;
        match self.values.data_type() {
            DataType::Int64 => Value::Int(self.values.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Value::Float(self.values.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => Value::Bool(self.values.as_boolean().value(row)),
            DataType::Utf8 => Value::Text(Arc::from(self.values.as_string::<i32>().value(row))),
            DataType::Timestamp(..) => Value::Int(self.values.as_primitive::<TimestampMicrosecondType>().value(row)),
            other => unreachable!("a column of type {other} is only counted"),
        }
    }
}

/// The column of that name, or which columns there are.
pub(crate) fn column_named<'a>(
    rows: &'a RecordBatch,
    name: &str,
    table: &str,
    needed_by: impl Fn() -> String,
) -> Result<&'a ArrayRef, FeatureError> {
    rows.column_by_name(name).ok_or_else(|| FeatureError::MissingColumn {
        table: table.to_owned(),
        needed_by: needed_by(),
        column: name.to_owned(),
        found: rows.schema_ref().fields().iter().map(|field| field.name().clone()).collect(),
    })
}

/// An integer column as Int64; an unsigned value above its range is an error that names the row.
pub(crate) fn integers(array: &ArrayRef, name: &str, table: &str) -> Result<ArrayRef, FeatureError> {
    if let Some(unsigned) = array.as_primitive_opt::<UInt64Type>() {
        let too_large = unsigned.iter().position(|value| value.is_some_and(|value| i64::try_from(value).is_err()));
        if let Some(row) = too_large {
            return Err(FeatureError::ColumnValue {
                table: table.to_owned(),
                column: name.to_owned(),
                row,
                value: unsigned.value(row).to_string(),
                problem: "is above the largest 64-bit integer; cast the column to a text or a float",
            });
        }
    }
    convert(array, &DataType::Int64, name, table)
}

fn convert(array: &ArrayRef, to: &DataType, name: &str, table: &str) -> Result<ArrayRef, FeatureError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(FeatureError::arrow(format!("column {name:?} of {table}")))
}

/// The column in one of the five types that features have, NaN as null; `None` for a type that has no place there.
pub(crate) fn canonical(array: &ArrayRef, name: &str, table: &str) -> Result<Option<ArrayRef>, FeatureError> {
    Ok(Some(match array.data_type() {
        data_type if data_type.is_integer() => integers(array, name, table)?,
        data_type if data_type.is_floating() || data_type.is_decimal() => {
            nan_as_null(&convert(array, &DataType::Float64, name, table)?)
        }
        data_type if data_type.is_string() => convert(array, &DataType::Utf8, name, table)?,
        DataType::Boolean => array.clone(),
        DataType::Timestamp(_, zone) => {
            convert(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), name, table)?
        }
        DataType::Date32 | DataType::Date64 => {
            convert(array, &DataType::Timestamp(TimeUnit::Microsecond, None), name, table)?
        }
        DataType::Null => Arc::new(Float64Array::new_null(array.len())),
        DataType::Dictionary(_, values) => return canonical(&convert(array, values, name, table)?, name, table),
        _ => return Ok(None),
    }))
}

fn nan_as_null(array: &ArrayRef) -> ArrayRef {
    let floats = array.as_primitive::<Float64Type>();
    if !floats.values().iter().any(|value| value.is_nan()) {
        return array.clone();
    }
    Arc::new(floats.iter().map(|value| value.filter(|value| !value.is_nan())).collect::<Float64Array>())
}

/// Keys ordered as the values are: integers and times themselves, floats in the total order of IEEE 754 (-0.0 before
/// 0.0), texts by bytes, `false` before `true`. Keys of nulls mean nothing.
fn order_keys(values: &ArrayRef) -> ScalarBuffer<i64> {
    match values.data_type() {
        DataType::Int64 => values.as_primitive::<Int64Type>().values().clone(),
        DataType::Timestamp(..) => values.as_primitive::<TimestampMicrosecondType>().values().clone(),
        DataType::Boolean => values.as_boolean().values().iter().map(i64::from).collect(),
        DataType::Float64 => values.as_primitive::<Float64Type>().values().iter().copied().map(float_key).collect(),
        DataType::Utf8 => {
            let texts = values.as_string::<i32>();
            let mut known: KeyMap<&str> = KeyMap::default();
            let codes = number(texts.iter(), &mut known);
            let mut distinct: Vec<(&str, u32)> = known.into_iter().collect();
            distinct.sort_unstable();
            let mut rank_of = vec![0i64; distinct.len()];
            for (rank, (_, code)) in distinct.iter().enumerate() {
                rank_of[*code as usize] = rank as i64;
            }
            codes.iter().map(|&code| rank_of.get(code as usize).copied().unwrap_or(0)).collect()
        }
        other => unreachable!("{other} is not canonical"),
    }
}

#[inline]
fn float_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}
