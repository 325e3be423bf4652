//! Text and categorical columns as numbers: declared, fitted once, saved with the model.
//!
//! [`fit`] learns an [`Encoder`] and returns the numbers that training should see; [`Encoder::transform`] encodes blocks
//! and [`Encoder::encode`] single values by the same code. What unseen values and nulls become is written in
//! `docs/features.md`.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, StringArray};
//! use paceline_core::Value;
//! use paceline_features::encode::{EncoderSpec, fit};
//!
//! let color: ArrayRef = Arc::new(StringArray::from(vec!["red", "blue", "red"]));
//! let fitted = fit(&EncoderSpec::Ordinal, "color", &color, None)?;
//! assert_eq!(fitted.training, [1.0, 0.0, 1.0]);
//! let mut code = [0.0];
//! fitted.encoder.encode(&Value::Text("green".into()), &mut code)?;
//! assert_eq!(code, [-1.0]);
//! # Ok::<(), paceline_features::FeatureError>(())
//! ```

mod category;
mod target;

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use serde::{Deserialize, Serialize};

use paceline_core::Timestamp;

use crate::FeatureError;
use crate::expression::{Input, Type};
use category::{Categories, Category, Column};
use target::TargetStatistics;

/// What a pipeline declares about the encoding of one column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EncoderSpec {
    /// The position among the fitted values, sorted.
    Ordinal,
    /// One column per fitted value, one for any other, one for null.
    OneHot {
        /// At most this many values get a column of their own: the most frequent, the smaller of equally frequent ones.
        #[serde(default = "default_categories_max")]
        categories_max: usize,
    },
    /// A bucket by a fixed hash; nothing is fitted.
    Hashed {
        /// Number of buckets, at least 1.
        buckets: u32,
    },
    /// The smoothed mean label of the value.
    Target {
        /// How many rows the prior counts for; at least 0. The default of 20 follows the usual advice for noisy labels:
        /// a value seen 20 times is believed half.
        #[serde(default = "default_smoothing")]
        smoothing: f64,
    },
}

fn default_categories_max() -> usize {
    64
}

fn default_smoothing() -> f64 {
    20.0
}

/// The labels that target encoding learns from; one entry per row in each.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// The label; NaN (or infinite) where there is none.
    pub value: &'a [f64],
    /// The row's own time: it may see labels known before it.
    pub time: &'a [Timestamp],
    /// When the label is known: the end of its label window.
    pub known: &'a [Timestamp],
}

/// A fitted encoder and the numbers that training should see.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The encoder as of the end of training.
    pub encoder: Encoder,
    /// Row-major, [`Encoder::width`] numbers per row. For target encoding out of fold, as known at each row's time; for
    /// all others the same as [`Encoder::transform`].
    pub training: Vec<f64>,
}

/// A fitted encoder of one column. Serialized with the model that it feeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    column: String,
    codes: Codes,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Codes {
    Ordinal { categories: Categories },
    OneHot { categories: Categories },
    Hashed { buckets: u32 },
    Target { statistics: TargetStatistics },
}

/// Fits an encoder to `values` of the column called `column`.
///
/// # Errors
/// A column that is neither text, integer nor truth value; zero buckets; negative smoothing; target encoding without
/// any label.
///
/// # Panics
/// When `labels` are not one per row: the caller's bug.
pub fn fit(
    spec: &EncoderSpec,
    column: &str,
    values: &ArrayRef,
    labels: Option<Labels<'_>>,
) -> Result<Fitted, FeatureError> {
    let refuse = |problem: &str| {
        Err(FeatureError::Declaration { subject: format!("encoder of column {column}"), problem: problem.to_owned() })
    };
    let read = Column::read(column, values)?;
    let codes = match *spec {
        EncoderSpec::Ordinal => Codes::Ordinal { categories: Categories::of(&read) },
        EncoderSpec::OneHot { categories_max } => {
            Codes::OneHot { categories: most_frequent(&read, Categories::of(&read), categories_max) }
        }
        EncoderSpec::Hashed { buckets: 0 } => return refuse("hashed needs at least 1 bucket"),
        EncoderSpec::Hashed { buckets } => Codes::Hashed { buckets },
        EncoderSpec::Target { smoothing } => {
            if !(smoothing >= 0.0 && smoothing.is_finite()) {
                return refuse("target needs a finite smoothing of at least 0");
            }
            let Some(labels) = labels else {
                return refuse("target needs labels; use it in a pipeline that has a label");
            };
            let Some((statistics, training)) = target::fit(&read, smoothing, labels) else {
                return refuse("no row has a label; target has nothing to learn from");
            };
            let encoder = Encoder { column: column.to_owned(), codes: Codes::Target { statistics } };
            return Ok(Fitted { encoder, training });
        }
    };
    let encoder = Encoder { column: column.to_owned(), codes };
    let training = encoder.transform_column(&read);
    Ok(Fitted { encoder, training })
}

impl Encoder {
    /// The column that it encodes.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// Number of numbers per value.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.codes {
            Codes::Ordinal { .. } | Codes::Hashed { .. } | Codes::Target { .. } => 1,
            Codes::OneHot { categories } => categories.len() + 2,
        }
    }

    /// A name for each number.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let column = &self.column;
        match &self.codes {
            Codes::Ordinal { .. } => vec![format!("{column}.ordinal")],
            Codes::Hashed { .. } => vec![format!("{column}.hashed")],
            Codes::Target { .. } => vec![format!("{column}.target")],
            Codes::OneHot { categories } => categories
                .iter()
                .map(|category| format!("{column}={category}"))
                .chain([format!("{column}.other"), format!("{column}.null")])
                .collect(),
        }
    }

    /// Encodes a block: row-major, [`Encoder::width`] numbers per row.
    ///
    /// # Errors
    /// A column of another type than the encoder was fitted to.
    pub fn transform(&self, values: &ArrayRef) -> Result<Vec<f64>, FeatureError> {
        let column = Column::read(&self.column, values)?;
        match self.categories() {
            Some(categories) if !categories.accepts(&column) => Err(FeatureError::ColumnType {
                table: "the table to encode".to_owned(),
                needed_by: format!("the encoder of {}", self.column),
                column: self.column.clone(),
                found: values.data_type().clone(),
                expected: categories.kind().to_owned(),
            }),
            Some(_) | None => Ok(self.transform_column(&column)),
        }
    }

    /// Encodes one value into `out`.
    ///
    /// # Errors
    /// A value of another type than the encoder was fitted to; a float or a timestamp always.
    ///
    /// # Panics
    /// When `out` is not [`Encoder::width`] long: the caller's bug.
    pub fn encode<'v>(&self, value: impl Into<Input<'v>>, out: &mut [f64]) -> Result<(), FeatureError> {
        let category = match value.into() {
            Input::Null => Category::Null,
            Input::Bool(value) => Category::Integer(i64::from(value)),
            Input::Int(value) => Category::Integer(value),
            Input::Text(value) => Category::Text(value),
            Input::Float(value) => return Err(self.misfit(&value)),
            Input::Timestamp(value) => return Err(self.misfit(&value)),
        };
        match (self.categories(), category) {
            (Some(Categories::Integers(_)), Category::Text(text)) => Err(self.misfit(&text)),
            (Some(Categories::Texts(_)), Category::Integer(integer)) => Err(self.misfit(&integer)),
            _ => {
                self.encode_category(category, out);
                Ok(())
            }
        }
    }

    /// Whether the encoder, read from a file, is sound and takes values of type `kind`.
    ///
    /// # Errors
    /// What [`fit`] never makes: values out of order or twice, another number of codes than values, a code that is not
    /// finite, no bucket; and a type that the encoder was not fitted to.
    pub fn check(&self, kind: Type) -> Result<(), FeatureError> {
        let refuse = |problem: String| {
            Err(FeatureError::Declaration { subject: format!("encoder of column {}", self.column), problem })
        };
        let takes = match (self.categories(), kind) {
            (_, Type::Float | Type::Timestamp) => false,
            (None, Type::Bool | Type::Int | Type::Text) => true,
            (Some(Categories::Integers(_)), kind) => kind != Type::Text,
            (Some(Categories::Texts(_)), kind) => kind == Type::Text,
        };
        if !takes {
            let fitted = self.categories().map_or("a text, an integer or a truth value", Categories::kind);
            return refuse(format!("it takes {fitted}, the column is {kind}"));
        }
        if !self.categories().is_none_or(Categories::is_ascending) {
            return refuse("its values are not in ascending order".to_owned());
        }
        match &self.codes {
            Codes::Hashed { buckets: 0 } => refuse("it has no bucket".to_owned()),
            Codes::Target { statistics } if !statistics.is_sound() => {
                refuse("its values have not one finite code each".to_owned())
            }
            Codes::Ordinal { .. } | Codes::OneHot { .. } | Codes::Hashed { .. } | Codes::Target { .. } => Ok(()),
        }
    }

    fn misfit(&self, value: &dyn std::fmt::Debug) -> FeatureError {
        FeatureError::Category {
            column: self.column.clone(),
            value: format!("{value:?}"),
            expected: self.categories().map_or("a text, an integer or a truth value", Categories::kind),
        }
    }

    fn categories(&self) -> Option<&Categories> {
        match &self.codes {
            Codes::Ordinal { categories } | Codes::OneHot { categories } => Some(categories),
            Codes::Target { statistics } => Some(statistics.categories()),
            Codes::Hashed { .. } => None,
        }
    }

    fn transform_column(&self, column: &Column) -> Vec<f64> {
        let width = self.width();
        let mut out = vec![0.0; column.len() * width];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            self.encode_category(column.get(row), out);
        }
        out
    }

    fn encode_category(&self, category: Category<'_>, out: &mut [f64]) {
        assert_eq!(out.len(), self.width(), "the encoder of {} writes that many numbers", self.column);
        match &self.codes {
            Codes::Ordinal { categories } => {
                out[0] = match category {
                    Category::Null => f64::NAN,
                    known => categories.find(known).map_or(-1.0, |position| position as f64),
                };
            }
            Codes::OneHot { categories } => {
                out.fill(0.0);
                let other = categories.len();
                let hot = match category {
                    Category::Null => other + 1,
                    known => categories.find(known).unwrap_or(other),
                };
                out[hot] = 1.0;
            }
            Codes::Hashed { buckets } => {
                out[0] = match category {
                    Category::Null => f64::NAN,
                    Category::Integer(value) => (fnv1a(&value.to_le_bytes()) % u64::from(*buckets)) as f64,
                    Category::Text(value) => (fnv1a(value.as_bytes()) % u64::from(*buckets)) as f64,
                };
            }
            Codes::Target { statistics } => out[0] = statistics.encode(category),
        }
    }
}

fn most_frequent(column: &Column, categories: Categories, categories_max: usize) -> Categories {
    if categories.len() <= categories_max {
        return categories;
    }
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for row in 0..column.len() {
        if let Some(position) = categories.find(column.get(row)) {
            *counts.entry(position).or_default() += 1;
        }
    }
    let mut by_count: Vec<(usize, usize)> = counts.into_iter().collect();
    // The sort is stable, so of equally frequent values the smaller come first.
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut kept: Vec<usize> = by_count.into_iter().take(categories_max).map(|(position, _)| position).collect();
    kept.sort_unstable();
    categories.pick(&kept)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): fixed for ever, because models depend on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
