//! `[pushed.*]`.

use indexmap::IndexMap;
use paceline_features::expression::Type;
use schemars::JsonSchema;
use serde::Deserialize;

/// A feature view without a source: its values are computed elsewhere and sent to `POST /v1/features/push` of the server.
/// They can be looked up online; no training set has them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["entity", "features"]))]
pub struct RawPushed {
    /// Key columns with their types.
    #[serde(default)]
    pub entity: IndexMap<String, KeyType>,
    /// The features with their types.
    #[serde(default)]
    pub features: IndexMap<String, FeatureType>,
}

/// The type of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// A whole number.
    Int,
    /// A text.
    Text,
}

/// The type of a feature's values, any of which may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// A time, as an ISO 8601 text.
    Timestamp,
}

impl KeyType {
    /// The same as expressions know it.
    #[must_use]
    pub fn to_type(self) -> Type {
        match self {
            KeyType::Int => Type::Int,
            KeyType::Text => Type::Text,
        }
    }
}

impl FeatureType {
    /// The same as expressions know it.
    #[must_use]
    pub fn to_type(self) -> Type {
        match self {
            FeatureType::Int => Type::Int,
            FeatureType::Float => Type::Float,
            FeatureType::Bool => Type::Bool,
            FeatureType::Text => Type::Text,
            FeatureType::Timestamp => Type::Timestamp,
        }
    }
}
