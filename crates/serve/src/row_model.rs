//! Rows to scores, with the features that a request leaves to the server.
//!
//! There is no lower rung: a score without its features would be a guess. When the store does not answer, the request is
//! told so.

use std::sync::Arc;

use paceline_core::{EntityKey, KeyPart, OnlineStore, Timestamp, Value};
use serde_json::{Map, Value as Json};
use thiserror::Error;

use crate::health::StoreHealth;
use crate::predict::{PredictError, Predictor, Row, Workspace};
use crate::recommend::tables::{TableError, ViewColumns, ViewRows};
use crate::refresh::{Tables, look_at_views};
use crate::service::now;
use crate::views::Views;

/// Why rows get no scores.
#[derive(Debug, Error)]
pub enum RowError {
    /// A row does not fit the model: change the request.
    #[error(transparent)]
    Rows(#[from] PredictError),
    /// A row names neither a view's features nor its key: change the request.
    #[error(
        "row {row}: key column {column:?} of view {view} is missing or no key; name it, so that the view's features are \
         fetched, or name all features yourself"
    )]
    Key {
        /// The row.
        row: usize,
        /// The view.
        view: String,
        /// Its column.
        column: String,
    },
    /// Features cannot be fetched: retrying may help.
    #[error("features cannot be fetched: {0}")]
    Features(#[from] TableError),
}

/// Scores, and as of when the features are that were fetched for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// One per row.
    pub scores: Vec<f64>,
    /// The oldest time of a table that was read; `None` when none was.
    pub as_of: Option<Timestamp>,
}

/// A published row model with the tables of its views.
pub struct RowModel {
    pipeline: String,
    predictor: Predictor,
    views: Vec<(ViewColumns, Vec<String>)>,
    store: Arc<dyn OnlineStore>,
    sources: Views,
    /// Whether the store answers.
    pub health: StoreHealth,
}

impl RowModel {
    /// `views` are those of the model with their key columns, `sources` is where they are read.
    #[must_use]
    pub fn new(
        pipeline: String,
        predictor: Predictor,
        views: Vec<(ViewColumns, Vec<String>)>,
        store: Arc<dyn OnlineStore>,
        sources: Views,
    ) -> Self {
        RowModel { pipeline, predictor, views, store, sources, health: StoreHealth::default() }
    }

    /// The pipeline's name, which is the model's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pipeline
    }

    /// Scores rows. When the first row names any feature of a view, all rows must name all of them; otherwise they are
    /// read from the store by the key columns, each view from one version of its table.
    ///
    /// # Errors
    /// [`RowError`]; then nothing is scored.
    pub fn score(&self, rows: &[Map<String, Json>], workspace: &mut Workspace) -> Result<Scores, RowError> {
        self.score_and_read(rows, workspace).map(|(scores, _)| scores)
    }

    /// As [`RowModel::score`], with the views that were read, by name.
    ///
    /// # Errors
    /// As [`RowModel::score`].
    pub fn score_and_read(
        &self,
        rows: &[Map<String, Json>],
        workspace: &mut Workspace,
    ) -> Result<(Scores, Vec<(String, ViewRows)>), RowError> {
        if self.views.is_empty() || rows.first().is_none_or(|row| self.names_features(row)) {
            let rows: Vec<Row<'_>> = rows.iter().map(|fields| Row { fields, features: &[] }).collect();
            return Ok((Scores { scores: self.predictor.predict_rows(&rows, workspace)?, as_of: None }, Vec::new()));
        }
        let mut features: Vec<Vec<Value>> = vec![Vec::new(); rows.len()];
        let (mut oldest, mut views) = (None, Vec::with_capacity(self.views.len()));
        let keys = |(view, entity): &(ViewColumns, Vec<String>)| {
            let key = |(row, fields)| key_of(fields, entity).map_err(|column| key_error(row, view, column));
            rows.iter().enumerate().map(key).collect::<Result<Vec<_>, RowError>>()
        };
        let keys: Vec<Vec<Vec<u8>>> = self.views.iter().map(keys).collect::<Result<_, _>>()?;
        for ((view, _), read) in self.views.iter().zip(self.fetch(&keys)?) {
            oldest = Some(oldest.map_or(read.as_of, |known: Timestamp| known.min(read.as_of)));
            for (row, values) in features.iter_mut().zip(read.values.chunks(view.columns.len().max(1))) {
                row.extend_from_slice(values);
            }
            views.push((view.name.clone(), read));
        }
        let rows: Vec<Row<'_>> =
            rows.iter().zip(&features).map(|(fields, features)| Row { fields, features }).collect();
        Ok((Scores { scores: self.predictor.predict_rows(&rows, workspace)?, as_of: oldest }, views))
    }

    /// The rows of all views, each for its keys.
    fn fetch(&self, keys: &[Vec<Vec<u8>>]) -> Result<Vec<ViewRows>, TableError> {
        let wanted: Vec<(&ViewColumns, &[Vec<u8>])> =
            self.views.iter().zip(keys).map(|((view, _), keys)| (view, keys.as_slice())).collect();
        let read = self.sources.read_all(&wanted, now());
        if let Err(TableError::Store(error)) = &read {
            self.health.failed(&error.to_string());
        }
        read
    }

    fn names_features(&self, row: &Map<String, Json>) -> bool {
        let named = |view: &ViewColumns, name: &str| {
            name.strip_prefix(view.name.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        row.keys().any(|name| self.views.iter().any(|(view, _)| named(view, name)))
    }

    /// As of when the views' tables are.
    pub(crate) fn look(&self, before: &Tables) -> Tables {
        let tables = self.sources.tables(self.views.iter().map(|(view, _)| view));
        look_at_views(&*self.store, tables.into_iter(), &self.health, before)
    }
}

fn key_error(row: usize, view: &ViewColumns, column: &str) -> RowError {
    RowError::Key { row, view: view.name.clone(), column: column.to_owned() }
}

/// The key of a row, or the column that has none.
fn key_of<'a>(fields: &Map<String, Json>, entity: &'a [String]) -> Result<Vec<u8>, &'a str> {
    let part = |column: &'a String| match fields.get(column) {
        Some(Json::Number(number)) => number.as_i64().map(KeyPart::Int).ok_or(column.as_str()),
        Some(Json::String(text)) => Ok(KeyPart::Text(text.clone())),
        _ => Err(column.as_str()),
    };
    Ok(EntityKey(entity.iter().map(part).collect::<Result<_, _>>()?).to_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use paceline_core::Digest;
    use serde_json::json;

    use super::*;
    use crate::predict::{MODEL_FILE, ModelInput, ModelSpec, RequestColumn, RowTask, ViewFeatures};
    use crate::testing::{MemoryStore, PIPELINE, materialize, model};
    use paceline_features::expression::Type;
    use paceline_models::column::Column;

    /// Scores by the orders of the user; the row's own column is there to be wrong.
    pub(crate) fn predictor() -> Predictor {
        let column = |name: &str, kind| RequestColumn { name: name.to_owned(), kind };
        let input = |column: &str| ModelInput { column: column.to_owned(), encoder: None };
        let mut spec = ModelSpec::new(RowTask::Regress, "spend", "rmse".into(), "model.column.json");
        spec.columns = vec![column("price", Type::Float), column("user.orders", Type::Int)];
        spec.inputs = vec![input("price"), input("user.orders")];
        spec.views =
            vec![ViewFeatures { name: "user".into(), entity: vec!["id".into()], features: vec!["orders".into()] }];
        let scorer = Column { index: 1, column_count: 2 };
        let files =
            [(MODEL_FILE.to_owned(), spec.to_bytes()), ("model.column.json".to_owned(), scorer.to_bytes())].into();
        Predictor::from_files(&files).expect("parts that fit")
    }

    fn row_model(store: &Arc<MemoryStore>) -> RowModel {
        let views = model().description.user_views.into_iter().map(|view| (view, vec!["id".to_owned()])).collect();
        let store = Arc::clone(store) as Arc<dyn OnlineStore>;
        let sources = Views::of_store(PIPELINE, Arc::clone(&store));
        RowModel::new(PIPELINE.to_owned(), predictor(), views, store, sources)
    }

    fn rows(rows: Json) -> Vec<Map<String, Json>> {
        rows.as_array().expect("rows").iter().map(|row| row.as_object().expect("a row").clone()).collect()
    }

    #[test]
    fn features_are_fetched_unless_rows_name_them() {
        let store = Arc::new(MemoryStore::default());
        materialize(&*store, Digest::of(b"any"), Timestamp(7));
        let model = row_model(&store);
        let score = |json: Json| model.score(&rows(json), &mut Workspace::default());
        // User 1 has three orders, user 2 is unknown to the view.
        let fetched = score(json!([{"id": 1, "price": 2.5}, {"id": 2, "price": null}])).expect("keys");
        assert_eq!(fetched, Scores { scores: vec![3.0, 0.0], as_of: Some(Timestamp(7)) });
        let named = score(json!([{"price": 2.5, "user.orders": 9}])).expect("features");
        assert_eq!(named, Scores { scores: vec![9.0], as_of: None });
        let wrong = |json: Json, part: &str| {
            let error = score(json).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        wrong(json!([{"id": 1, "price": 1.0}, {"price": 1.0}]), "row 1: key column \"id\" of view user is missing");
        wrong(json!([{"id": 1}]), "row 0: column \"price\" is missing");
        wrong(json!([{"id": 1, "price": "x"}]), "row 0, column \"price\"");
        store.set_down(true);
        wrong(json!([{"id": 1, "price": 1.0}]), "features cannot be fetched");
        assert!(model.health.is_down());
        assert!(score(json!([{"price": 2.5, "user.orders": 9}])).is_ok(), "named features need no store");
    }

    #[test]
    fn a_table_that_was_never_written_is_told() {
        let store = Arc::new(MemoryStore::default());
        let problem = row_model(&store).look(&Tables::default()).problem.expect("nothing is there");
        assert!(problem.contains("\"shop.user\" was never written"), "{problem}");
        materialize(&*store, Digest::of(b"any"), Timestamp(7));
        assert_eq!(row_model(&store).look(&Tables::default()).problem, None);
    }
}
