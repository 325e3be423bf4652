//! What each feature is, where it comes from and who uses it.

use std::collections::HashMap;

use paceline_core::{Period, Timestamp};
use paceline_features::Placement;
use paceline_features::expression::Type;
use serde::Serialize;

use crate::recommend::tables::view_table;

/// One feature of a pipeline with its lineage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureEntry {
    /// `view.feature`, or `request.name`.
    pub name: String,
    /// Type of its values.
    pub kind: Option<Type>,
    /// What is computed: an aggregate, or the expression.
    pub what: String,
    /// Length of its window; `None` for a request-time feature.
    pub window: Option<Period>,
    /// Key columns of its view; empty for a request-time feature.
    pub entity: Vec<String>,
    /// The source of its view.
    pub source: Option<SourceLineage>,
    /// What it reads: columns of the source with the expressions of derived ones, or features and fields.
    pub reads: Vec<Read>,
    /// Where it is computed.
    pub placement: Placement,
    /// How often it is materialized.
    pub schedule: Option<Period>,
    /// How long the newest row of an entity counts.
    pub ttl: Option<Period>,
    /// Request-time features that read it, and `model` when the published model does.
    pub used_by: Vec<String>,
    /// As of when the online store holds it; `None` when it does not, or for a request-time feature.
    pub as_of: Option<Timestamp>,
}

/// Where the rows of a view come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceLineage {
    /// Its name.
    pub name: String,
    /// Where it lies, as the pipeline file says it.
    pub location: String,
    /// Which of its rows count.
    pub filter: Option<String>,
}

/// Something that a feature reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Its name.
    pub name: String,
    /// How it is derived; `None` for a column of the files.
    pub expression: Option<String>,
}

/// The features of a pipeline, views first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Catalog {
    /// The pipeline's name.
    pub pipeline: String,
    /// In the order of the pipeline file.
    pub features: Vec<FeatureEntry>,
}

impl Catalog {
    /// The same with the times as of which tables are.
    #[must_use]
    pub fn as_of(&self, tables: &[(String, Option<Timestamp>)]) -> Catalog {
        let tables: HashMap<&str, Option<Timestamp>> =
            tables.iter().map(|(table, as_of)| (table.as_str(), *as_of)).collect();
        let mut known = self.clone();
        for feature in known.features.iter_mut().filter(|feature| feature.source.is_some()) {
            let view = feature.name.split('.').next().unwrap_or_default();
            feature.as_of = tables.get(view_table(&self.pipeline, view).as_str()).copied().flatten();
        }
        known
    }
}
