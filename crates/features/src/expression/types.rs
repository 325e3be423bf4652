//! The types of the expression language.

use std::fmt;

use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};

/// The type of a column or of an expression. Every value may also be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// A truth value.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A finite number of 64 bits.
    Float,
    /// A text in UTF-8.
    Text,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
}

impl Type {
    /// The type that a column of an Arrow type is read as; `None` for a type that expressions do not read.
    ///
    /// Integers of every width are `Int` (an unsigned value above `i64::MAX` reads as null); floats of every width and
    /// decimals are `Float` (a decimal is rounded to the nearest float); every string type, dictionaries included, is
    /// `Text`; timestamps of every unit and dates (their midnight) are `Timestamp` (finer than a microsecond is cut).
    #[must_use]
    pub fn of_arrow(data_type: &DataType) -> Option<Type> {
        match data_type {
            DataType::Boolean => Some(Type::Bool),
            integer if integer.is_integer() => Some(Type::Int),
            float if float.is_floating() || float.is_decimal() => Some(Type::Float),
            text if is_text(text) => Some(Type::Text),
            DataType::Dictionary(_, values) if is_text(values) => Some(Type::Text),
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => Some(Type::Timestamp),
            _ => None,
        }
    }

    /// Which kind of register holds it.
    pub(super) fn class(self) -> Class {
        match self {
            Type::Bool => Class::Bool,
            Type::Int | Type::Timestamp => Class::Int,
            Type::Float => Class::Float,
            Type::Text => Class::Text,
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Float)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "a truth value",
            Type::Int => "a whole number",
            Type::Float => "a number",
            Type::Text => "a text",
            Type::Timestamp => "a timestamp",
        })
    }
}

/// How a value is held while a program runs; timestamps are held as whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Bool,
    Int,
    Float,
    Text,
}

/// Names and types of the columns that expressions can read, for [`super::Program::compile`]. Columns of other types
/// are left out.
#[must_use]
pub fn columns_of(schema: &Schema) -> Vec<(String, Type)> {
    let readable =
        |field: &arrow::datatypes::FieldRef| Some((field.name().clone(), Type::of_arrow(field.data_type())?));
    schema.fields().iter().filter_map(readable).collect()
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
