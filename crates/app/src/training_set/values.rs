//! Cells of Arrow columns as values and keys.

use anyhow::{Context as _, bail};
use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use paceline_core::{EntityKey, KeyPart, Value};

/// The value of a row of a feature column; a timestamp comes as [`Value::Int`], microseconds since 1970.
///
/// # Panics
/// For a type that neither the point-in-time join nor an expression gives out.
#[must_use]
pub fn value_at(column: &ArrayRef, row: usize) -> Value {
    // A column of type Null has no null mask, yet all of it is null.
    if column.data_type() == &DataType::Null || column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).into()),
        DataType::Timestamp(..) => Value::Int(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        other => unreachable!("a feature column of type {other}"),
    }
}

/// The entity key of each row, in the order of `entity`; `None` where a part is null.
///
/// # Errors
/// When a column is missing or holds no keys.
pub fn keys_of(rows: &RecordBatch, entity: &[String]) -> anyhow::Result<Vec<Option<EntityKey>>> {
    let mut keys = vec![Some(EntityKey(Vec::with_capacity(entity.len()))); rows.num_rows()];
    for name in entity {
        let column = rows.column_by_name(name).with_context(|| format!("no column {name:?}"))?;
        let parts = key_column(column, name)?;
        for (key, part) in keys.iter_mut().zip(parts) {
            match (key.as_mut(), part) {
                (Some(key), Some(part)) => key.0.push(part),
                _ => *key = None,
            }
        }
    }
    Ok(keys)
}

/// The keys of a column of integers or texts; null is `None`.
///
/// # Errors
/// When the column called `name` holds something else.
pub fn key_column(column: &ArrayRef, name: &str) -> anyhow::Result<Vec<Option<KeyPart>>> {
    let is_text = match column.data_type() {
        DataType::Dictionary(_, values) => values.is_string(),
        other => other.is_string(),
    };
    if column.data_type().is_integer() {
        let integers = cast(column, &DataType::Int64)?;
        Ok(integers.as_primitive::<Int64Type>().iter().map(|id| id.map(KeyPart::Int)).collect())
    } else if column.data_type() == &DataType::Null {
        Ok(vec![None; column.len()])
    } else if is_text {
        let texts = cast(column, &DataType::Utf8)?;
        Ok(texts.as_string::<i32>().iter().map(|text| text.map(KeyPart::from)).collect())
    } else {
        bail!("column {name:?} is {}; a key column holds integers or text", column.data_type());
    }
}
