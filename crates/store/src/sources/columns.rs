//! The column types that the rest of the product handles, and how other types become one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::SourceError;
use super::error::near_names;

/// The type that a column of `stored` type is read as, `None` when it cannot be.
pub(super) fn readable_type(stored: &DataType) -> Option<DataType> {
    match stored {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(_, _)
        | DataType::Null => Some(stored.clone()),
        DataType::Float16 => Some(DataType::Float32),
        DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => Some(DataType::Float64),
        DataType::Dictionary(_, values) => readable_type(values),
        DataType::RunEndEncoded(_, values) => readable_type(values.data_type()),
        _ => None,
    }
}

/// The schema that a file is read with: the wanted columns in the wanted order, or all; every one nullable.
pub(super) fn readable_schema(
    file: &str,
    stored: &Schema,
    wanted: Option<&[String]>,
) -> Result<SchemaRef, SourceError> {
    let stands_twice = |index: &usize| {
        let name = stored.field(*index).name();
        stored.fields()[..*index].iter().any(|earlier| earlier.name() == name)
            && wanted.is_none_or(|wanted| wanted.contains(name))
    };
    if let Some(index) = (0..stored.fields().len()).find(stands_twice) {
        return Err(SourceError::RepeatedColumn { file: file.to_owned(), column: stored.field(index).name().clone() });
    }
    let names: Vec<&str> = match wanted {
        Some(names) => names.iter().map(String::as_str).collect(),
        None => stored.fields().iter().map(|field| field.name().as_str()).collect(),
    };
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        let field = stored.field_with_name(name).map_err(|_| no_such_column(file, stored, name))?;
        let data_type = readable_type(field.data_type()).ok_or_else(|| SourceError::UnsupportedType {
            file: file.to_owned(),
            column: name.to_owned(),
            data_type: field.data_type().clone(),
        })?;
        fields.push(Field::new(name, data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

pub(super) fn no_such_column(file: &str, stored: &Schema, column: &str) -> SourceError {
    let columns: Vec<String> = stored.fields().iter().map(|field| field.name().clone()).collect();
    let near = near_names(column, columns.iter().map(String::as_str));
    SourceError::NoSuchColumn { file: file.to_owned(), column: column.to_owned(), near, columns }
}

/// Brings a stored batch into `schema`, whose columns it has in any order.
pub(super) fn to_readable(stored: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = stored.column(stored.schema_ref().index_of(field.name())?);
        columns.push(if column.data_type() == field.data_type() {
            Arc::clone(column)
        } else {
            arrow::compute::cast(column, field.data_type())?
        });
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Replaces NaN by null and adds the number of replaced values to `counts`, by column.
pub(super) fn nan_to_null(batch: RecordBatch, counts: &mut BTreeMap<String, u64>) -> Result<RecordBatch, ArrowError> {
    let mut replaced = None;
    for (index, field) in batch.schema_ref().fields().iter().enumerate() {
        let column = batch.column(index);
        let cleaned = match field.data_type() {
            DataType::Float64 => without_nan(column.as_primitive::<Float64Type>(), |value| value.is_nan()),
            DataType::Float32 => without_nan(column.as_primitive::<Float32Type>(), |value| value.is_nan()),
            _ => None,
        };
        if let Some((cleaned, count)) = cleaned {
            replaced.get_or_insert_with(|| batch.columns().to_vec())[index] = cleaned;
            *counts.entry(field.name().clone()).or_default() += count;
        }
    }
    match replaced {
        Some(columns) => RecordBatch::try_new(batch.schema(), columns),
        None => Ok(batch),
    }
}

fn without_nan<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    is_nan: impl Fn(T::Native) -> bool,
) -> Option<(ArrayRef, u64)> {
    let known_nan = |row: usize| is_nan(array.value(row)) && array.is_valid(row);
    let count = (0..array.len()).filter(|&row| known_nan(row)).count() as u64;
    if count == 0 {
        return None;
    }
    let valid = BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && !known_nan(row));
    Some((Arc::new(PrimitiveArray::<T>::new(array.values().clone(), Some(NullBuffer::new(valid)))), count))
}

/// The first column in which `other` differs from `first`, and how.
pub(super) fn first_difference(first: &Schema, other: &Schema) -> Option<(String, String)> {
    for field in first.fields() {
        let name = field.name().clone();
        match other.field_with_name(&name) {
            Err(_) => return Some((name, "the former has no such column".into())),
            Ok(found) if found.data_type() != field.data_type() => {
                return Some((name, format!("{} and {}", found.data_type(), field.data_type())));
            }
            Ok(_) => {}
        }
    }
    let extra = other.fields().iter().find(|field| first.field_with_name(field.name()).is_err())?;
    Some((extra.name().clone(), "the latter has no such column".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Float64Array, Int64Array};

    #[test]
    fn nan_becomes_null_and_is_counted_but_a_null_is_not() {
        let nulls = NullBuffer::from(vec![true, true, false]);
        let hidden_nan = Float64Array::new(vec![f64::NAN, 1.0, f64::NAN].into(), Some(nulls));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(hidden_nan) as ArrayRef, true),
            ("b", Arc::new(Float32Array::from(vec![0.0, f32::NAN, f32::INFINITY])) as ArrayRef, true),
            ("c", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef, true),
        ])
        .unwrap();
        let mut counts = BTreeMap::new();
        let clean = nan_to_null(batch, &mut counts).unwrap();
        assert_eq!(counts, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
        assert_eq!(clean.column(0).as_primitive::<Float64Type>(), &Float64Array::from(vec![None, Some(1.0), None]));
        assert_eq!(
            clean.column(1).as_primitive::<Float32Type>(),
            &Float32Array::from(vec![Some(0.0), None, Some(f32::INFINITY)])
        );
    }
}
