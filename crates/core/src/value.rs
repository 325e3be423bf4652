//! Values: one feature of one entity, and blocks of model inputs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One scalar. Null means "not known"; NaN never occurs (sources read it as null).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Not known.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number: counts.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
}

impl Value {
    /// The number that a model sees: null and text are NaN, `true` is 1.
    #[must_use]
    pub fn to_model_input(&self) -> f64 {
        match self {
            Value::Null | Value::Text(_) => f64::NAN,
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::Int(value) => *value as f64,
            Value::Float(value) => *value,
        }
    }

    /// Whether both are the same value to the last bit (so -0.0 and 0.0 differ).
    #[must_use]
    pub fn bit_equal(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }
}

/// Why bytes are not a list of values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored values are damaged at byte {at}")]
pub struct DecodeError {
    /// Where.
    pub at: usize,
}

/// The stored form of a list of values: per value a tag (0 null, 1 false, 2 true, 3 integer, 4 float, 5 text), then
/// eight little-endian bytes, or a text's length (u32, little-endian) and its UTF-8.
#[must_use]
pub fn encode_values(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 * values.len());
    for value in values {
        match value {
            Value::Null => bytes.push(0),
            Value::Bool(value) => bytes.push(1 + u8::from(*value)),
            Value::Int(value) => {
                bytes.push(3);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Value::Float(value) => {
                bytes.push(4);
                bytes.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Value::Text(value) => {
                bytes.push(5);
                bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
                bytes.extend_from_slice(value.as_bytes());
            }
        }
    }
    bytes
}

/// Reads what [`encode_values`] wrote; bit-equal values come back.
pub fn decode_values(bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
    let mut values = Vec::with_capacity(bytes.len() / 9 + 1);
    let mut at = 0;
    while at < bytes.len() {
        let damaged = || DecodeError { at };
        let tag = bytes[at];
        let rest = &bytes[at + 1..];
        let (value, length) = match tag {
            0 => (Value::Null, 0),
            1 | 2 => (Value::Bool(tag == 2), 0),
            3 => (Value::Int(i64::from_le_bytes(*rest.first_chunk().ok_or_else(damaged)?)), 8),
            4 => (Value::Float(f64::from_le_bytes(*rest.first_chunk().ok_or_else(damaged)?)), 8),
            5 => {
                let length = u32::from_le_bytes(*rest.first_chunk().ok_or_else(damaged)?) as usize;
                let text = rest.get(4..4 + length).and_then(|text| std::str::from_utf8(text).ok());
                (Value::Text(text.ok_or_else(damaged)?.into()), 4 + length)
            }
            _ => return Err(damaged()),
        };
        values.push(value);
        at += 1 + length;
    }
    Ok(values)
}

/// A row-major block of model inputs. NaN means missing.
///
/// `values.len() == rows * columns`; `columns` may not be zero.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f64],
    columns: usize,
}

impl<'a> Rows<'a> {
    /// A view of `values` as rows of `columns` values.
    ///
    /// # Panics
    /// When `columns` is zero or does not divide the number of values: the caller's bug.
    #[must_use]
    pub fn new(values: &'a [f64], columns: usize) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values, {columns} columns", values.len());
        Rows { values, columns }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Number of values in a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> &'a [f64] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// Row after row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [f64]> + use<'a> {
        self.values.chunks_exact(self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_bit_for_bit() {
        let values = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(-0.0),
            Value::Float(0.1),
            Value::Text("Grüße".into()),
            Value::Text("".into()),
        ];
        let bytes = encode_values(&values);
        let read = decode_values(&bytes).expect("its own bytes");
        assert!(read.len() == values.len() && read.iter().zip(&values).all(|(a, b)| a.bit_equal(b)));
        // Every cut that is not between two values is an error, never a panic.
        let complete = (0..=bytes.len()).filter(|&end| decode_values(&bytes[..end]).is_ok()).count();
        assert_eq!(complete, values.len() + 1);
        assert_eq!(decode_values(&[9]), Err(DecodeError { at: 0 }));
    }

    #[test]
    fn model_inputs() {
        let inputs = |value: Value| value.to_model_input();
        assert!(inputs(Value::Null).is_nan() && inputs(Value::Text("x".into())).is_nan());
        assert_eq!((inputs(Value::Bool(true)), inputs(Value::Int(3)), inputs(Value::Float(0.5))), (1.0, 3.0, 0.5));
    }
}
