//! The values of a categorical column.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use serde::{Deserialize, Serialize};

use crate::FeatureError;
use crate::point_in_time::column::canonical;

/// One value. Truth values are the integers 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
}

/// A column in canonical form: Int64, Utf8 or Boolean.
#[derive(Debug)]
pub(crate) struct Column(ArrayRef);

impl Column {
    pub(crate) fn read(name: &str, values: &ArrayRef) -> Result<Column, FeatureError> {
        let table = "the table to encode";
        match canonical(values, name, table)? {
            Some(array) if matches!(array.data_type(), DataType::Int64 | DataType::Utf8 | DataType::Boolean) => {
                Ok(Column(array))
            }
            Some(_) | None => Err(FeatureError::ColumnType {
                table: table.to_owned(),
                needed_by: format!("the encoder of {name}"),
                column: name.to_owned(),
                found: values.data_type().clone(),
                expected: "a text, an integer or a truth value".to_owned(),
            }),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_text(&self) -> bool {
        self.0.data_type() == &DataType::Utf8
    }

    pub(crate) fn get(&self, row: usize) -> Category<'_> {
        if self.0.is_null(row) {
            return Category::Null;
        }
        match self.0.data_type() {
            DataType::Utf8 => Category::Text(self.0.as_string::<i32>().value(row)),
            DataType::Boolean => Category::Integer(i64::from(self.0.as_boolean().value(row))),
            _ => Category::Integer(self.0.as_primitive::<Int64Type>().value(row)),
        }
    }
}

/// The distinct non-null values that an encoder was fitted to, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Categories {
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

impl Categories {
    pub(crate) fn of(column: &Column) -> Categories {
        let mut values: Vec<Category<'_>> = (0..column.len()).map(|row| column.get(row)).collect();
        values.sort_unstable();
        values.dedup();
        let integers = values.iter().filter_map(|value| match value {
            Category::Integer(value) => Some(*value),
            Category::Null | Category::Text(_) => None,
        });
        let texts = values.iter().filter_map(|value| match value {
            Category::Text(value) => Some((*value).to_owned()),
            Category::Null | Category::Integer(_) => None,
        });
        if column.is_text() { Categories::Texts(texts.collect()) } else { Categories::Integers(integers.collect()) }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Categories::Integers(values) => values.len(),
            Categories::Texts(values) => values.len(),
        }
    }

    /// Whether every value is above the one before it, as finding needs.
    pub(crate) fn is_ascending(&self) -> bool {
        match self {
            Categories::Integers(values) => values.is_sorted_by(|a, b| a < b),
            Categories::Texts(values) => values.is_sorted_by(|a, b| a < b),
        }
    }

    /// The position of a value; `None` for null and for unseen ones.
    pub(crate) fn find(&self, category: Category<'_>) -> Option<usize> {
        match (self, category) {
            (Categories::Integers(values), Category::Integer(value)) => values.binary_search(&value).ok(),
            (Categories::Texts(values), Category::Text(value)) => {
                values.binary_search_by(|known| known.as_str().cmp(value)).ok()
            }
            _ => None,
        }
    }

    /// Those at `positions`, which ascend.
    pub(crate) fn pick(&self, positions: &[usize]) -> Categories {
        match self {
            Categories::Integers(values) => Categories::Integers(positions.iter().map(|&i| values[i]).collect()),
            Categories::Texts(values) => Categories::Texts(positions.iter().map(|&i| values[i].clone()).collect()),
        }
    }

    pub(crate) fn accepts(&self, column: &Column) -> bool {
        column.is_text() == matches!(self, Categories::Texts(_))
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Categories::Integers(_) => "an integer or a truth value",
            Categories::Texts(_) => "a text",
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Category<'_>> {
        let (integers, texts): (&[i64], &[String]) = match self {
            Categories::Integers(values) => (values, &[]),
            Categories::Texts(values) => (&[], values),
        };
        integers.iter().map(|value| Category::Integer(*value)).chain(texts.iter().map(|value| Category::Text(value)))
    }
}

impl fmt::Display for Category<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Category::Null => f.write_str("null"),
            Category::Integer(value) => write!(f, "{value}"),
            Category::Text(value) => f.write_str(value),
        }
    }
}
