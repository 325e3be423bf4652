//! What rows say, whoever gave them and however they were cut into batches.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, downcast_primitive_array};
use arrow::datatypes::{DataType, Schema, ToByteSlice};
use paceline_core::{Digest, Digester};

/// The digest of a table that comes batch by batch.
#[derive(Debug, Default)]
pub(super) struct TableDigest {
    /// One for each column: whether each row has a value, and the values.
    columns: Vec<(Digester, Digester)>,
}

impl TableDigest {
    /// Adds rows; all batches have the same columns.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.columns.resize_with(batch.num_columns(), Default::default);
        for ((known, values), column) in self.columns.iter_mut().zip(batch.columns()) {
            let is_known: Vec<u8> = match column.logical_nulls() {
                Some(nulls) => nulls.iter().map(u8::from).collect(),
                None => vec![1; column.len()],
            };
            known.add(&is_known);
            values.add(&bytes_of(column));
        }
    }

    /// That of all rows so far, with the names and types of `schema`, which are those of the batches.
    pub(super) fn of(&self, schema: &Schema) -> Digest {
        let mut parts: Vec<String> = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            parts.extend([field.name().clone(), field.data_type().to_string()]);
            if let Some((known, values)) = self.columns.get(index) {
                parts.extend([known.digest().to_string(), values.digest().to_string()]);
            }
        }
        Digest::of_parts(parts.iter().map(String::as_bytes))
    }
}

/// The values that there are, texts with their lengths. What stands behind a null is whatever its maker left there.
fn bytes_of(column: &ArrayRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut text = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    downcast_primitive_array!(
        column => column.iter().flatten().for_each(|value| bytes.extend_from_slice(value.to_byte_slice())),
        DataType::Utf8 => column.as_string::<i32>().iter().flatten().for_each(&mut text),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().flatten().for_each(&mut text),
        DataType::Utf8View => column.as_string_view().iter().flatten().for_each(&mut text),
        DataType::Boolean => bytes.extend(column.as_boolean().iter().flatten().map(u8::from)),
        DataType::Null => {}
        other => unreachable!("a readable column of {other}"),
    );
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use arrow::buffer::NullBuffer;

    use super::*;

    fn table(ids: Int64Array, names: &[Option<&str>]) -> RecordBatch {
        let rows = ids.len();
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(ids) as ArrayRef, true),
            ("name", Arc::new(StringArray::from(names.to_vec())) as ArrayRef, true),
            ("flag", Arc::new(BooleanArray::from(vec![true; rows])) as ArrayRef, true),
            ("price", Arc::new(Float64Array::from(vec![0.5; rows])) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn digest(batches: &[RecordBatch]) -> Digest {
        let mut digest = TableDigest::default();
        batches.iter().for_each(|batch| digest.add(batch));
        digest.of(&batches[0].schema())
    }

    #[test]
    fn only_the_rows_count() {
        let names = [Some("a"), None, Some("bc")];
        let whole = table(Int64Array::from(vec![Some(1), None, Some(3)]), &names);
        let expected = digest(std::slice::from_ref(&whole));
        assert_eq!(digest(&[whole.slice(0, 1), whole.slice(1, 2)]), expected);
        let hidden = Int64Array::new(vec![1, 99, 3].into(), Some(NullBuffer::from(vec![true, false, true])));
        assert_eq!(digest(&[table(hidden, &names)]), expected);
        for other in [
            table(Int64Array::from(vec![Some(1), Some(0), Some(3)]), &names),
            table(Int64Array::from(vec![Some(1), None, Some(3)]), &[Some("ab"), None, Some("c")]),
            table(Int64Array::from(vec![None, Some(1), Some(3)]), &names),
        ] {
            assert_ne!(digest(&[other]), expected);
        }
    }
}
