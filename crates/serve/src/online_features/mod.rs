//! Feature values by entity key, from the tables of the pipeline's views, in the form of Feast's feature server.
//!
//! [`FeatureRequest`] names features and entities, [`OnlineFeatures`] reads and computes, [`FeatureAnswer`] is one column
//! per entity key and feature. Request-time features are computed by the programs that training ran.

mod answer;
mod catalog;
mod columns;
mod push;
mod request;
#[cfg(test)]
mod tests;

use paceline_core::KeyPart;
use paceline_features::expression::{Program, Type};
use serde_json::Value as Json;
use thiserror::Error;

pub use answer::FeatureAnswer;
pub use catalog::{Catalog, FeatureEntry, Read, SourceLineage};
pub use columns::Used;
pub(crate) use columns::typed;
pub use push::{CheckedPush, PUSH_ROWS_MAX, PushError, PushRequest, RowMistake};
pub use request::FeatureRequest;

use crate::recommend::artifact::RequestFeature;
use crate::recommend::tables::{TableError, ViewColumns};
use crate::views::Views;

/// Most entities of one request.
pub const ROWS_MAX: usize = 10_000;
/// Most values of one answer: entities times features.
pub const VALUES_MAX: usize = 1_000_000;
/// The name of the time of a request in request-time features; a spine calls its times so.
const TIME: &str = "time";
/// What separates view and name where `full_feature_names` asks for both, as in Feast.
const FULL_NAME_SEPARATOR: &str = "__";
/// The view that request-time features are named by.
const REQUEST: &str = "request";

/// Everything that may be asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureSet {
    /// The views, in the pipeline's order.
    pub views: Vec<ServedView>,
    /// Request-time features, in the pipeline's order; each may read those before it.
    pub request_features: Vec<RequestFeature>,
    /// Their lineage.
    pub catalog: Catalog,
}

/// A view in the online store.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedView {
    /// Its name and features.
    pub columns: ViewColumns,
    /// Its key columns.
    pub entity: Vec<KeyColumn>,
    /// Whether its values only come from outside: then no materialization is missed.
    pub is_pushed: bool,
}

/// A key column of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// Whether its keys are whole numbers; else they are texts.
    pub is_number: bool,
}

impl KeyColumn {
    /// A value of the column as a part of a key; `None` for one of another type.
    fn part(&self, value: &Json) -> Option<KeyPart> {
        match (value, self.is_number) {
            (Json::Number(number), true) => number.as_i64().map(KeyPart::Int),
            (Json::String(text), false) => Some(KeyPart::Text(text.clone())),
            _ => None,
        }
    }

    /// What a value of it must be.
    fn must_be(&self) -> &'static str {
        if self.is_number { "a whole number" } else { "a text" }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FeatureError {
    /// The request makes no sense: change it.
    #[error("{0}")]
    Request(String),
    /// It names something that the pipeline does not have: change it.
    #[error("{0}")]
    Unknown(String),
    /// The features cannot be read now: retrying may help.
    #[error("features cannot be fetched: {0}")]
    Tables(#[from] TableError),
}

/// The features of a pipeline, and where they are read.
pub struct OnlineFeatures {
    pipeline: String,
    set: FeatureSet,
    /// One per request-time feature that reads features, keys and the time alone; others are compiled when a request
    /// says of which types its fields are.
    programs: Vec<Option<Program>>,
    views: Views,
}

impl OnlineFeatures {
    /// Compiles what can be compiled before a request comes.
    #[must_use]
    pub fn new(pipeline: String, set: FeatureSet, views: Views) -> Self {
        let mut types: Vec<(String, Type)> = vec![(TIME.to_owned(), Type::Timestamp)];
        for view in &set.views {
            let key = |key: &KeyColumn| (key.name.clone(), if key.is_number { Type::Int } else { Type::Text });
            types.extend(view.entity.iter().map(key));
            let name = &view.columns.name;
            types.extend(view.columns.columns.iter().map(|column| (format!("{name}.{}", column.name), column.kind)));
        }
        let programs = set.request_features.iter().map(|feature| {
            let program = Program::compile(&feature.expression, &types).ok()?;
            types.push((format!("{REQUEST}.{}", feature.name), program.output_type()));
            Some(program)
        });
        let programs = programs.collect();
        OnlineFeatures { pipeline, set, programs, views }
    }

    /// The pipeline's name, which as a feature service means all its features.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// What may be asked for.
    #[must_use]
    pub fn set(&self) -> &FeatureSet {
        &self.set
    }
}
