//! Rows to scores by a published row model: the pure part of `/v1/predict`.
//!
//! A [`Predictor`] is read from an artifact's files. A request names columns; derived columns, request-time features and
//! encoders are computed by the program that training used ([`RowInputs`]), so offline and online scores are equal to the
//! bit. A batch and its rows one by one are equal too.
//!
//! ```text
//! named values ─▶ request columns ─▶ derived columns, request features ─▶ encoders ─▶ model inputs ─▶ score
//! ```
//!
//! Nulls are allowed in every column; a column that is left out is not a null but a mistake.

mod error;
mod inputs;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use paceline_core::{Rows, Scorer, Timestamp, Value};
use paceline_features::expression::{Input, Type};
use paceline_models::read_scorer;
use serde_json::{Map, Value as Json};

pub use error::{ArtifactError, PredictError};
pub use inputs::{RowInputs, Workspace};
pub use spec::{MODEL_FILE, ModelInput, ModelSpec, NamedExpression, RequestColumn, RowTask, ViewFeatures};

/// Most rows of one call. At this size a call still takes milliseconds, so it cannot hold up others for long.
pub const ROWS_MAX: usize = 4_096;

/// A row of a request: named values, and features that were fetched for it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Values by column.
    pub fields: &'a Map<String, Json>,
    /// The features of all views in the order of [`ModelSpec::views`]. Empty: `fields` names them as `view.feature`.
    pub features: &'a [Value],
}

/// A published row model.
#[derive(Clone)]
pub struct Predictor {
    spec: Arc<ModelSpec>,
    inputs: Arc<RowInputs>,
    scorer: Arc<dyn Scorer>,
}

impl std::fmt::Debug for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Predictor").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Predictor {
    /// Reads an artifact: `model.json` and the model files that it names.
    ///
    /// # Errors
    /// [`ArtifactError`] naming the file; no content makes it panic.
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, ArtifactError> {
        let bytes = files.get(MODEL_FILE).ok_or_else(|| ArtifactError::Missing {
            file: MODEL_FILE.to_owned(),
            known: files.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })?;
        let spec = ModelSpec::from_bytes(bytes)?;
        let inputs = RowInputs::new(&spec.columns, &spec.expressions, &spec.inputs)?;
        spec.check_views()?;
        let scorer = read_scorer(&spec.scorer, files)?;
        if scorer.column_count() != inputs.names().len() {
            return Err(ArtifactError::Inconsistent {
                part: format!("number of inputs of {}", spec.scorer),
                found: scorer.column_count().to_string(),
                must: format!("{}, as {MODEL_FILE} lays them out", inputs.names().len()),
            });
        }
        Ok(Predictor { spec: Arc::new(spec), inputs: Arc::new(inputs), scorer })
    }

    /// What `model.json` says.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// How a row becomes the model's inputs.
    #[must_use]
    pub fn inputs(&self) -> &RowInputs {
        &self.inputs
    }

    /// Scores rows that name every column: a probability, a value or a ranking score (higher is earlier) each.
    ///
    /// # Errors
    /// [`PredictError`] for the first row that does not fit; then nothing is scored.
    pub fn predict(&self, rows: &[Map<String, Json>]) -> Result<Vec<f64>, PredictError> {
        let rows: Vec<Row<'_>> = rows.iter().map(|fields| Row { fields, features: &[] }).collect();
        self.predict_rows(&rows, &mut Workspace::default())
    }

    /// As [`Predictor::predict`], with features that were fetched, in memory that can be kept.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_rows(&self, rows: &[Row<'_>], workspace: &mut Workspace) -> Result<Vec<f64>, PredictError> {
        limit_rows(rows.len())?;
        let width = self.inputs.names().len();
        let mut matrix = vec![0.0; rows.len() * width];
        let mut values = Vec::with_capacity(self.spec.columns.len());
        for (number, (row, out)) in rows.iter().zip(matrix.chunks_exact_mut(width)).enumerate() {
            values.clear();
            self.read(*row, number, &mut values)?;
            self.inputs.fill(&values, number, workspace, out)?;
        }
        Ok(self.score(&matrix))
    }

    /// Scores typed rows: `values` holds the request columns of row after row, in their order.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    ///
    /// # Panics
    /// When `values` is not a whole number of rows: the caller's bug.
    pub fn predict_values(&self, values: &[Input<'_>], workspace: &mut Workspace) -> Result<Vec<f64>, PredictError> {
        let columns = self.spec.columns.len();
        assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values, {columns} columns", values.len());
        limit_rows(values.len() / columns)?;
        let width = self.inputs.names().len();
        let mut matrix = vec![0.0; values.len() / columns * width];
        for (number, (row, out)) in values.chunks_exact(columns).zip(matrix.chunks_exact_mut(width)).enumerate() {
            self.inputs.fill(row, number, workspace, out)?;
        }
        Ok(self.score(&matrix))
    }

    /// Reads the request columns of one row, in their order.
    ///
    /// # Errors
    /// As [`Predictor::predict`]; `number` is the row's position for messages.
    pub fn read<'r>(&self, row: Row<'r>, number: usize, values: &mut Vec<Input<'r>>) -> Result<(), PredictError> {
        let named = self.spec.columns.len() - if row.features.is_empty() { 0 } else { self.spec.feature_count() };
        if !row.features.is_empty() && row.features.len() != self.spec.feature_count() {
            let (found, must) = (row.features.len(), self.spec.feature_count());
            return Err(PredictError::FeatureCount { row: number, found, must });
        }
        let mut matched = 0;
        for column in &self.spec.columns[..named] {
            let Some(json) = row.fields.get(&column.name) else {
                let (column, expected) = (column.name.clone(), column.kind);
                return Err(PredictError::MissingColumn { row: number, column, expected });
            };
            matched += 1;
            let value = value_of(column.kind, json).ok_or_else(|| PredictError::WrongType {
                row: number,
                column: column.name.clone(),
                value: shortened(json),
                expected: expected(column.kind),
            })?;
            values.push(value);
        }
        if matched < row.fields.len() {
            self.refuse_unknown(row.fields, named, number)?;
        }
        values.extend(row.features.iter().map(Input::from));
        Ok(())
    }

    /// Entity keys may stand beside the columns: whoever fetched features needed them.
    fn refuse_unknown(&self, fields: &Map<String, Json>, named: usize, number: usize) -> Result<(), PredictError> {
        let columns = &self.spec.columns[..named];
        let is_key = |name: &String| self.spec.views.iter().any(|view| view.entity.contains(name));
        let unknown = fields.keys().find(|name| !columns.iter().any(|column| column.name == **name) && !is_key(name));
        match unknown {
            None => Ok(()),
            Some(column) => Err(PredictError::UnknownColumn {
                row: number,
                column: column.clone(),
                known: columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn score(&self, matrix: &[f64]) -> Vec<f64> {
        let width = self.inputs.names().len();
        let mut scores = vec![0.0; matrix.len() / width];
        self.scorer.score(Rows::new(matrix, width), &mut scores);
        scores
    }
}

fn limit_rows(found: usize) -> Result<(), PredictError> {
    if found > ROWS_MAX { Err(PredictError::TooManyRows { found, limit: ROWS_MAX }) } else { Ok(()) }
}

/// `None` when the JSON value is neither null nor of the type. A whole number written as `3.0` is one.
fn value_of(kind: Type, json: &Json) -> Option<Input<'_>> {
    /// Up to here every whole number has its own float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    Some(match (kind, json) {
        (_, Json::Null) => Input::Null,
        (Type::Bool, Json::Bool(value)) => Input::Bool(*value),
        (Type::Int, Json::Number(number)) => {
            let whole = || number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() <= EXACT);
            Input::Int(number.as_i64().or_else(|| whole().map(|value| value as i64))?)
        }
        (Type::Float, Json::Number(number)) => Input::Float(number.as_f64()?),
        (Type::Text, Json::String(text)) => Input::Text(text),
        (Type::Timestamp, Json::String(text)) => Input::Timestamp(text.parse::<Timestamp>().ok()?),
        _ => return None,
    })
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "true, false or null",
        Type::Int => "a whole number or null",
        Type::Float => "a number or null",
        Type::Text => "a text or null",
        Type::Timestamp => "a time as ISO 8601 text, such as 2024-03-01T12:00:00Z, or null",
    }
}

/// The value as JSON, cut to what a message bears.
fn shortened(json: &Json) -> String {
    const CHARACTERS_MAX: usize = 60;
    let text = json.to_string();
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
