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
