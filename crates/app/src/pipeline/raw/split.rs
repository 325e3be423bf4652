//! `[split]`.

use paceline_core::{Period, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::text::{PeriodText, TimeText};

/// By time (`train_until`, `tune_until`, `report_until`), by a `column`, or `random`: exactly one of the three.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawSplit {
    /// Rows before it train; for `recommend`, label windows that end by it.
    #[schemars(with = "Option<TimeText>")]
    pub train_until: Option<Timestamp>,
    /// Rows from `train_until` up to it tune: they choose, and are never reported on.
    #[schemars(with = "Option<TimeText>")]
    pub tune_until: Option<Timestamp>,
    /// Rows from `tune_until` up to it report: they are opened once the choice is made.
    #[schemars(with = "Option<TimeText>")]
    pub report_until: Option<Timestamp>,
    /// `recommend`: distance between label windows. By default the label's horizon.
    #[schemars(with = "Option<PeriodText>")]
    pub cuts: Option<Period>,
    /// `recommend`: number of label windows, ending at `train_until` and each a `cuts` apart, that train. By default 6.
    #[schemars(range(min = 1))]
    pub train_cuts: Option<u32>,
    /// `recommend`: number of label windows, ending at `tune_until` and each a `cuts` apart, that are pooled for
    /// tuning. By default as many as fit after `train_until`.
    #[schemars(range(min = 1))]
    pub tune_cuts: Option<u32>,
    /// A column that names each row's part, or a table that also says which values mean which part.
    pub column: Option<RawSplitColumn>,
    /// Parts drawn by a seed.
    pub random: Option<RawRandomSplit>,
}

/// A column of the model's source that names each row's part.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawSplitColumn {
    /// Its values are `train`, `tune` and `report`.
    Name(String),
    /// Its values are given.
    Values(RawColumnSplit),
}

/// Which values of a column mean which part. Rows with any other value are an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawColumnSplit {
    /// The column.
    #[schemars(required)]
    pub name: Option<String>,
    /// Values of training rows.
    #[schemars(required, length(min = 1))]
    pub train: Option<Vec<String>>,
    /// Values of tuning rows. Without them `tune_fraction` of the training rows, drawn by the seed, tune instead.
    pub tune: Option<Vec<String>>,
    /// Values of report rows.
    #[schemars(required, length(min = 1))]
    pub report: Option<Vec<String>>,
    /// Share of the training rows that tune when no value says so. By default 0.25.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub tune_fraction: Option<f64>,
}

/// Parts drawn by a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct RawRandomSplit {
    /// Column whose equal values stay in one part, such as a customer. By default each row is drawn by itself.
    pub group: Option<String>,
    /// Seed of the draw. By default the pipeline's.
    pub seed: Option<u64>,
    /// Shares of train, tune and report; they sum to 1.
    #[schemars(length(min = 3, max = 3))]
    pub fractions: Vec<f64>,
}

impl Default for RawRandomSplit {
    fn default() -> Self {
        RawRandomSplit { group: None, seed: None, fractions: vec![0.6, 0.2, 0.2] }
    }
}
