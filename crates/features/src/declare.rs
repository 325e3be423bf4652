//! What a pipeline declares about features, already checked.

use serde::{Deserialize, Serialize};

use paceline_core::Period;

/// Features of one entity from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureView {
    /// Name of the view; its columns are called `view.feature`.
    pub name: String,
    /// Name of the source.
    pub source: String,
    /// Key columns, the same in the source and in the spine; at least one.
    pub entity: Vec<String>,
    /// When the newest known row of the entity is at or before `t - ttl`, every feature is null (counts 0).
    pub ttl: Option<Period>,
    /// How often a batch-placed view is recomputed; `None` is exact as of t.
    pub schedule: Option<Period>,
    /// Where its features are computed.
    pub placement: Placement,
    /// In the order of the file.
    pub features: Vec<Feature>,
}

/// One windowed aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Name within the view.
    pub name: String,
    /// What is computed over the rows of the window.
    pub aggregate: Aggregate,
    /// The aggregated column. Required except for `count` (without it: rows) and `seconds_since_last`.
    pub of: Option<String>,
    /// The window is `[t - window, t)`; fixed length.
    pub window: Period,
}

/// What is computed over a window. Nulls are skipped by every one; an empty window gives null, a count 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Rows, or non-null values of a column. Never null.
    Count,
    /// Exact sum, rounded once.
    Sum,
    /// Exact sum divided by the count.
    Mean,
    /// Sample standard deviation; null below 2 values.
    Std,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Oldest non-null value.
    First,
    /// Newest non-null value.
    Last,
    /// Number of distinct non-null values. Never null.
    CountDistinct,
    /// Seconds from the newest row's event time to t.
    SecondsSinceLast,
}

impl Aggregate {
    /// Every aggregate with the name that a pipeline file uses.
    pub const ALL: [(&'static str, Aggregate); 10] = [
        ("count", Aggregate::Count),
        ("sum", Aggregate::Sum),
        ("mean", Aggregate::Mean),
        ("std", Aggregate::Std),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("first", Aggregate::First),
        ("last", Aggregate::Last),
        ("count_distinct", Aggregate::CountDistinct),
        ("seconds_since_last", Aggregate::SecondsSinceLast),
    ];

    /// The name that a pipeline file uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        Aggregate::ALL.iter().find(|(_, aggregate)| *aggregate == self).map_or("", |(name, _)| name)
    }
}

/// Where a feature is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Materialized on a schedule.
    Batch,
    /// Kept current by events.
    Stream,
    /// Computed from raw rows when a request comes.
    Request,
}

impl Placement {
    /// The name that a pipeline file uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Placement::Batch => "batch",
            Placement::Stream => "stream",
            Placement::Request => "request",
        }
    }
}
