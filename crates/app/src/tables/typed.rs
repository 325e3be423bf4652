//! Arrow columns as the typed values that a row model reads.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use paceline_core::{EntityKey, KeyPart, Timestamp, Value};
use paceline_features::expression::{Input, Type};
use paceline_store::to_timestamps;

/// Columns of one batch, read row by row without copying their texts.
#[derive(Debug)]
pub struct TypedColumns {
    columns: Vec<TypedColumn>,
}

/// One column in its canonical form. NaN is null, as everywhere.
#[derive(Debug)]
pub enum TypedColumn {
    /// Truth values.
    Bool(BooleanArray),
    /// Whole numbers.
    Int(Int64Array),
    /// Numbers.
    Float(Float64Array),
    /// Texts.
    Text(StringArray),
    /// Times.
    Timestamp(TimestampMicrosecondArray),
}

impl TypedColumns {
    /// The columns of `batch` called and typed as `wanted`, in that order. A column of whole numbers also serves as
    /// numbers, one of numbers without fractions as whole numbers, one of ISO 8601 texts as times, and one without any
    /// value as anything.
    ///
    /// # Errors
    /// A column that is missing or has another type; a fraction or a text in the way, with its row.
    pub fn new<'w>(
        batch: &RecordBatch,
        wanted: impl IntoIterator<Item = (&'w str, Type)>,
    ) -> anyhow::Result<TypedColumns> {
        let column = |(name, kind): (&str, Type)| {
            let array = batch.column_by_name(name).with_context(|| missing(batch, name, kind))?;
            TypedColumn::read(name, array, kind)
        };
        Ok(TypedColumns { columns: wanted.into_iter().map(column).collect::<anyhow::Result<_>>()? })
    }

    /// Of columns that were read one by one.
    #[must_use]
    pub fn of(columns: Vec<TypedColumn>) -> TypedColumns {
        TypedColumns { columns }
    }

    /// Appends the values of one row.
    pub fn push_row<'a>(&'a self, row: usize, values: &mut Vec<Input<'a>>) {
        values.extend(self.columns.iter().map(|column| column.get(row)));
    }
}

impl TypedColumn {
    /// The column as Arrow has it.
    #[must_use]
    pub fn into_array(self) -> ArrayRef {
        match self {
            TypedColumn::Bool(array) => Arc::new(array),
            TypedColumn::Int(array) => Arc::new(array),
            TypedColumn::Float(array) => Arc::new(array),
            TypedColumn::Text(array) => Arc::new(array),
            TypedColumn::Timestamp(array) => Arc::new(array),
        }
    }

    /// Reads `array` as `kind`; see [`TypedColumns::new`].
    ///
    /// # Errors
    /// As [`TypedColumns::new`].
    pub fn read(name: &str, array: &ArrayRef, kind: Type) -> anyhow::Result<TypedColumn> {
        let found = Type::of_arrow(array.data_type());
        let to = |data_type: &DataType| cast(array, data_type).with_context(|| format!("column {name:?}"));
        let is_empty = array.logical_null_count() == array.len();
        Ok(match (kind, found) {
            _ if is_empty => TypedColumn::nulls(kind, array.len()),
            (Type::Bool, Some(Type::Bool)) => TypedColumn::Bool(to(&DataType::Boolean)?.as_boolean().clone()),
            (Type::Int, Some(Type::Int)) => TypedColumn::Int(to(&DataType::Int64)?.as_primitive().clone()),
            (Type::Int, Some(Type::Float)) => TypedColumn::Int(whole(name, &to(&DataType::Float64)?)?),
            (Type::Float, Some(Type::Float | Type::Int)) => {
                TypedColumn::Float(to(&DataType::Float64)?.as_primitive().clone())
            }
            (Type::Text, Some(Type::Text)) => TypedColumn::Text(to(&DataType::Utf8)?.as_string().clone()),
            (Type::Timestamp, Some(Type::Timestamp | Type::Text)) => TypedColumn::Timestamp(times(name, array)?),
            (wanted, _) => bail!("column {name:?} is {}, but the model reads it as {wanted}", array.data_type()),
        })
    }

    fn nulls(kind: Type, count: usize) -> TypedColumn {
        match kind {
            Type::Bool => TypedColumn::Bool(BooleanArray::new_null(count)),
            Type::Int => TypedColumn::Int(Int64Array::new_null(count)),
            Type::Float => TypedColumn::Float(Float64Array::new_null(count)),
            Type::Text => TypedColumn::Text(StringArray::new_null(count)),
            Type::Timestamp => TypedColumn::Timestamp(TimestampMicrosecondArray::new_null(count)),
        }
    }

    /// The value of one row.
    #[must_use]
    pub fn get(&self, row: usize) -> Input<'_> {
        match self {
            TypedColumn::Bool(array) if array.is_valid(row) => Input::Bool(array.value(row)),
            TypedColumn::Int(array) if array.is_valid(row) => Input::Int(array.value(row)),
            TypedColumn::Float(array) if array.is_valid(row) && !array.value(row).is_nan() => {
                Input::Float(array.value(row))
            }
            TypedColumn::Text(array) if array.is_valid(row) => Input::Text(array.value(row)),
            TypedColumn::Timestamp(array) if array.is_valid(row) => Input::Timestamp(Timestamp(array.value(row))),
            _ => Input::Null,
        }
    }
}

/// The entity key that a row's key columns form; `None` where one of them is null.
///
/// # Panics
/// For key columns that are neither whole numbers nor texts.
#[must_use]
pub fn entity_key(columns: &[TypedColumn], row: usize) -> Option<EntityKey> {
    let part = |column: &TypedColumn| match column.get(row) {
        Input::Int(id) => Some(KeyPart::Int(id)),
        Input::Text(text) => Some(KeyPart::from(text)),
        Input::Null => None,
        other => unreachable!("a key column of {other:?}"),
    };
    columns.iter().map(part).collect::<Option<Vec<_>>>().map(EntityKey)
}

/// A value that owns its text. Times become microseconds, as expressions give them.
#[must_use]
pub fn owned(value: Input<'_>) -> Value {
    match value {
        Input::Null => Value::Null,
        Input::Bool(value) => Value::Bool(value),
        Input::Int(value) => Value::Int(value),
        Input::Float(value) => Value::Float(value),
        Input::Text(value) => Value::Text(value.into()),
        Input::Timestamp(at) => Value::Int(at.0),
    }
}

fn whole(name: &str, array: &ArrayRef) -> anyhow::Result<Int64Array> {
    /// Up to here every whole number has its own float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let convert = |(row, value): (usize, Option<f64>)| match value {
        Some(value) if value.is_nan() => Ok(None),
        Some(value) if value.fract() == 0.0 && value.abs() <= EXACT => Ok(Some(value as i64)),
        Some(value) => Err(anyhow!("column {name:?}, row {row}: {value} is not the whole number that the model reads")),
        None => Ok(None),
    };
    array.as_primitive::<Float64Type>().iter().enumerate().map(convert).collect()
}

fn times(name: &str, array: &ArrayRef) -> anyhow::Result<TimestampMicrosecondArray> {
    if let DataType::Timestamp(_, zone) = array.data_type() {
        // The zone is kept so that the cast changes the unit only; a timestamp's number always means UTC.
        let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
        return Ok(micros.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>));
    }
    if array.data_type().is_string() {
        // Nulls have no time; the others are read as the times of a source are.
        let mut times = TimestampMicrosecondArray::builder(array.len());
        for row in 0..array.len() {
            if array.is_null(row) {
                times.append_null();
            } else {
                times.append_value(to_timestamps(name, &array.slice(row, 1), None)?[0].0);
            }
        }
        return Ok(times.finish());
    }
    let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    Ok(micros.as_primitive::<TimestampMicrosecondType>().clone())
}

fn missing(batch: &RecordBatch, name: &str, kind: Type) -> String {
    let known: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    format!("there is no column {name:?}, which the model reads as {kind}; there are {}", known.join(", "))
}

/// The key columns of a batch.
///
/// # Errors
/// A column that is missing, or neither whole numbers nor texts.
pub fn key_columns(batch: &RecordBatch, names: &[String]) -> anyhow::Result<Vec<TypedColumn>> {
    let column = |name: &String| {
        let array = batch.column_by_name(name).with_context(|| missing(batch, name, Type::Text))?;
        let kind = match Type::of_arrow(array.data_type()) {
            Some(kind @ (Type::Int | Type::Text)) => kind,
            _ => bail!("key column {name:?} is {}; keys are whole numbers or texts", array.data_type()),
        };
        TypedColumn::read(name, array, kind)
    };
    names.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Int32Array, LargeStringArray, NullArray};

    use super::*;

    fn read(array: ArrayRef, kind: Type) -> anyhow::Result<Vec<Value>> {
        let count = array.len();
        let column = TypedColumn::read("c", &array, kind)?;
        Ok((0..count).map(|row| owned(column.get(row))).collect())
    }

    #[test]
    fn every_arrow_type_reads_as_its_canonical_one() {
        let check =
            |array: ArrayRef, kind, expected: &[Value]| assert_eq!(read(array, kind).unwrap(), expected, "{kind}");
        let (int, float) = (Value::Int, Value::Float);
        check(Arc::new(Int32Array::from(vec![Some(3), None])), Type::Int, &[int(3), Value::Null]);
        check(Arc::new(Int32Array::from(vec![3])), Type::Float, &[float(3.0)]);
        check(
            Arc::new(Float64Array::from(vec![Some(3.0), Some(f64::NAN), None])),
            Type::Int,
            &[int(3), Value::Null, Value::Null],
        );
        check(Arc::new(LargeStringArray::from(vec!["a"])), Type::Text, &[Value::Text("a".into())]);
        check(Arc::new(NullArray::new(1)), Type::Bool, &[Value::Null]);
        check(Arc::new(StringArray::from(vec![None::<&str>])), Type::Int, &[Value::Null]);
        check(Arc::new(Date32Array::from(vec![1])), Type::Timestamp, &[int(86_400_000_000)]);
        check(
            Arc::new(StringArray::from(vec![Some("1970-01-01T00:00:01Z"), None])),
            Type::Timestamp,
            &[int(1_000_000), Value::Null],
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let check = |array: ArrayRef, kind, part: &str| {
            let message = format!("{:#}", read(array, kind).unwrap_err());
            assert!(message.contains(part), "{message}");
        };
        check(Arc::new(StringArray::from(vec!["a"])), Type::Float, "\"c\" is Utf8, but the model reads it as a number");
        check(Arc::new(Float64Array::from(vec![1.0, 1.5])), Type::Int, "row 1: 1.5 is not the whole number");
        check(Arc::new(Int32Array::from(vec![1])), Type::Text, "the model reads it as a text");
        check(Arc::new(StringArray::from(vec!["noon"])), Type::Timestamp, "noon");
    }
}
