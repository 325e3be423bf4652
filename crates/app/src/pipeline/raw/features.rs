//! `[features.*]` and `[encode]`.

use indexmap::IndexMap;
use paceline_core::Period;
use paceline_features::encode::EncoderSpec;
use paceline_features::{Aggregate, Placement};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::text::{AggregateName, ExpressionText, PeriodText, PlacementName};

/// Feature views by name, and the reserved name `request`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct RawFeatures {
    /// Request-time features: name to SQL scalar expression over `view.feature`, the request features above it as
    /// `request.name`, the entity keys, `time`, and for classify, regress and rank the columns of the model's source.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, ExpressionText>")]
    pub request: IndexMap<String, String>,
    /// The feature views.
    #[serde(flatten)]
    pub views: IndexMap<String, RawView>,
}

/// Windowed aggregates of one entity from one source. Its columns are called `view.feature`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RawView {
    /// Name of the source.
    #[schemars(required)]
    pub source: Option<String>,
    /// Key columns, the same in the source and in the rows for which features are wanted.
    #[schemars(required, length(min = 1))]
    pub entity: Option<Vec<String>>,
    /// When the newest known row of the entity is this old or older, every feature is null and every count 0. By
    /// default features never expire.
    #[schemars(with = "Option<PeriodText>")]
    pub ttl: Option<Period>,
    /// How often a batch-placed view is recomputed: its values are those of the last multiple of this period since
    /// 1970. Without it values are exact.
    #[schemars(with = "Option<PeriodText>")]
    pub schedule: Option<Period>,
    /// Where the features are computed. By default `batch` with a `schedule` and `request` without.
    #[schemars(with = "Option<PlacementName>")]
    pub placement: Option<Placement>,
    /// The features by name.
    #[serde(flatten)]
    pub features: IndexMap<String, RawFeature>,
}

/// One windowed aggregate, such as `{ agg = "sum", of = "amount", window = "30d" }`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawFeature {
    /// What is computed over the rows of the window. Nulls are skipped; an empty window gives null, a count 0.
    #[schemars(with = "AggregateName")]
    pub agg: Option<Aggregate>,
    /// The aggregated column. `count` without it counts rows; `seconds_since_last` takes none.
    pub of: Option<String>,
    /// The window before t: rows from `t - window` up to, not including, t. A fixed length.
    #[schemars(with = "PeriodText")]
    pub window: Option<Period>,
}

/// How a text, integer or truth-value column becomes numbers. Fitted on training rows and saved with the model; a value
/// not seen there has a code of its own.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(deny_unknown_fields)]
pub enum RawEncoder {
    /// The position among the fitted values, sorted.
    Ordinal {},
    /// One 0/1 column per fitted value, one for any other and one for null.
    OneHot {
        /// At most this many values have a column of their own: the most frequent ones.
        #[serde(default = "default_categories_max")]
        #[schemars(range(min = 1))]
        categories_max: u32,
    },
    /// A bucket by a fixed hash; nothing is fitted.
    Hashed {
        /// Number of buckets.
        #[schemars(range(min = 1))]
        buckets: u32,
    },
    /// The smoothed mean label of the value, fitted out of fold as known then.
    Target {
        /// How many rows the mean of all counts for.
        #[serde(default = "default_smoothing")]
        #[schemars(range(min = 0))]
        smoothing: f64,
    },
}

impl RawEncoder {
    /// The same as the features crate declares it.
    #[must_use]
    pub fn to_spec(&self) -> EncoderSpec {
        match *self {
            RawEncoder::Ordinal {} => EncoderSpec::Ordinal,
            RawEncoder::OneHot { categories_max } => EncoderSpec::OneHot { categories_max: categories_max as usize },
            RawEncoder::Hashed { buckets } => EncoderSpec::Hashed { buckets },
            RawEncoder::Target { smoothing } => EncoderSpec::Target { smoothing },
        }
    }
}

fn default_categories_max() -> u32 {
    64
}

fn default_smoothing() -> f64 {
    20.0
}
