//! `model.json`: what a row model reads, how it becomes inputs, and which file scores them.

use paceline_features::encode::Encoder;
use paceline_features::expression::Type;
use serde::{Deserialize, Serialize};

use super::ArtifactError;

/// Name of the file in an artifact.
pub const MODEL_FILE: &str = "model.json";

const VERSION: u32 = 1;

/// What a row model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowTask {
    /// The probability that the label is 1.
    Classify,
    /// The label's value.
    Regress,
    /// A score that orders the rows of a list, higher first.
    Rank,
}

/// A column of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestColumn {
    /// Its name; a view's feature is called `view.feature`.
    pub name: String,
    /// Its type. Every value may also be null.
    #[serde(rename = "type")]
    pub kind: Type,
}

/// A column that is computed from those before it: a derived column of the source, or a request-time feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedExpression {
    /// Name of the result; a request-time feature is called `request.name`.
    pub name: String,
    /// The SQL scalar expression.
    pub expression: String,
}

/// A column that the model sees, as a number or encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInput {
    /// A column of the request, or the result of an expression.
    pub column: String,
    /// How it becomes numbers; a number or a truth value needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Encoder>,
}

/// The features of one view that the model reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewFeatures {
    /// Name of the view.
    pub name: String,
    /// Key columns: a request may name them beside the model's columns.
    pub entity: Vec<String>,
    /// Its features in declaration order.
    pub features: Vec<String>,
}

/// The content of `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    version: u32,
    /// What is predicted.
    pub task: RowTask,
    /// The metric that the model was chosen by.
    pub metric: String,
    /// The column that it predicts.
    pub label: String,
    /// What a request names, in order; the features of `views` come last, view after view.
    pub columns: Vec<RequestColumn>,
    /// What is computed from them, in order.
    pub expressions: Vec<NamedExpression>,
    /// What the model sees, in order.
    pub inputs: Vec<ModelInput>,
    /// The views whose features are among `columns`.
    pub views: Vec<ViewFeatures>,
    /// The file of the model that scores.
    pub scorer: String,
}

impl ModelSpec {
    /// A specification of the current version without columns, inputs and views; the caller adds them.
    #[must_use]
    pub fn new(task: RowTask, label: &str, metric: String, scorer: &str) -> Self {
        ModelSpec {
            version: VERSION,
            task,
            metric,
            label: label.to_owned(),
            columns: Vec::new(),
            expressions: Vec::new(),
            inputs: Vec::new(),
            views: Vec::new(),
            scorer: scorer.to_owned(),
        }
    }

    /// The file's bytes: JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a specification is plain data")
    }

    /// Reads what [`ModelSpec::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ArtifactError::Malformed`] and [`ArtifactError::Version`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArtifactError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: serde_json::Error| ArtifactError::Malformed {
            file: MODEL_FILE.to_owned(),
            cause: error.to_string(),
        };
        let Version { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version != VERSION {
            let file = MODEL_FILE.to_owned();
            return Err(ArtifactError::Version { file, found: version, known: VERSION });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }

    /// Number of features of all views.
    #[must_use]
    pub fn feature_count(&self) -> usize {
        self.views.iter().map(|view| view.features.len()).sum()
    }

    /// The views' features are the last columns.
    pub(super) fn check_views(&self) -> Result<(), ArtifactError> {
        let features: Vec<String> = self
            .views
            .iter()
            .flat_map(|view| view.features.iter().map(|feature| format!("{}.{feature}", view.name)))
            .collect();
        let last = self.columns.len().saturating_sub(features.len());
        let found: Vec<String> = self.columns[last..].iter().map(|column| column.name.clone()).collect();
        if found != features {
            let part = "the last columns".to_owned();
            let (found, must) = (format!("{found:?}"), format!("{features:?}, the features of the views"));
            return Err(ArtifactError::Inconsistent { part, found, must });
        }
        Ok(())
    }
}
