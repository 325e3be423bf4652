use std::fmt::{self, Write as _};

use crate::LightGbmError;

/// One parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number, written so that it reads back to the same bits.
    Float(f64),
    /// A word, such as an objective; no white space.
    Text(String),
}

impl fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParameterValue::Bool(value) => write!(f, "{value}"),
            ParameterValue::Int(value) => write!(f, "{value}"),
            ParameterValue::Float(value) => write!(f, "{value:?}"),
            ParameterValue::Text(value) => f.write_str(value),
        }
    }
}

impl From<bool> for ParameterValue {
    fn from(value: bool) -> Self {
        ParameterValue::Bool(value)
    }
}

impl From<i32> for ParameterValue {
    fn from(value: i32) -> Self {
        ParameterValue::Int(i64::from(value))
    }
}

impl From<u32> for ParameterValue {
    fn from(value: u32) -> Self {
        ParameterValue::Int(i64::from(value))
    }
}

impl From<i64> for ParameterValue {
    fn from(value: i64) -> Self {
        ParameterValue::Int(value)
    }
}

impl From<f64> for ParameterValue {
    fn from(value: f64) -> Self {
        ParameterValue::Float(value)
    }
}

impl From<&str> for ParameterValue {
    fn from(value: &str) -> Self {
        ParameterValue::Text(value.to_owned())
    }
}

impl From<String> for ParameterValue {
    fn from(value: String) -> Self {
        ParameterValue::Text(value)
    }
}

/// LightGBM's parameters under their own names, in the order set. Setting a name again replaces its value.
///
/// Pass the same parameters to the dataset and to the training: binning and the pre-filter of features read them too.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters(Vec<(String, ParameterValue)>);

impl Parameters {
    /// Parameters under which equal inputs give equal models: `seed`, `deterministic`, `force_row_wise` (the layout
    /// is otherwise chosen by a timing), one thread, and a log of warnings only.
    #[must_use]
    pub fn seeded(seed: u32) -> Self {
        // LightGBM reads seeds as signed 32-bit numbers.
        Parameters(Vec::new())
            .with("seed", i64::from(seed & 0x7fff_ffff))
            .with("deterministic", true)
            .with("force_row_wise", true)
            .with("num_threads", 1)
            .with("verbosity", 0)
    }

    /// These parameters with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<ParameterValue>) -> Self {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// The value of `name`, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ParameterValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// LightGBM's form: `name=value` separated by spaces.
    ///
    /// # Errors
    /// [`LightGbmError::Argument`] for a name or value that this form cannot carry: empty, with white space, `=` in a
    /// name, NUL or `#`; LightGBM would silently read something else.
    pub(crate) fn to_text(&self) -> Result<String, LightGbmError> {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let value = value.to_string();
            let breaks = |c: char| c.is_whitespace() || c == '\0' || c == '#';
            if name.is_empty() || value.is_empty() || name.contains(|c| breaks(c) || c == '=') || value.contains(breaks)
            {
                return Err(LightGbmError::Argument {
                    what: "parameter",
                    found: format!("{name:?} = {value:?}"),
                    expected: "a name and a value without white space, NUL and #".to_owned(),
                });
            }
            if !text.is_empty() {
                text.push(' ');
            }
            write!(text, "{name}={value}").expect("a String takes every write");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type_and_the_last_one_counts() {
        let parameters = Parameters(Vec::new())
            .with("learning_rate", 0.5)
            .with("num_leaves", 31)
            .with("metric", "auc")
            .with("boost", true)
            .with("learning_rate", 0.1);
        assert_eq!(parameters.to_text().unwrap(), "learning_rate=0.1 num_leaves=31 metric=auc boost=true");
        assert_eq!(parameters.get("metric"), Some(&"auc".into()));
        assert_eq!(parameters.get("seed"), None);
    }

    #[test]
    fn what_the_text_form_cannot_carry_is_refused() {
        for (name, value) in
            [("a b", "1"), ("a", "1 b=2"), ("a", ""), ("", "1"), ("a=b", "1"), ("a", "1#"), ("a", "1\0")]
        {
            let error = Parameters(Vec::new()).with(name, value).to_text().unwrap_err();
            assert!(matches!(error, LightGbmError::Argument { what: "parameter", .. }), "{name:?} {value:?}: {error}");
        }
    }
}
