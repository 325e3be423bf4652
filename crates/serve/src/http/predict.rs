//! `POST /v1/predict` and `POST /v1/predict/{model}`: rows in, scores out.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use paceline_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json_};

use super::problem::Problem;
use crate::request_log::{Asked, LoggedRequest};
use crate::row_model::{RowError, RowModel};
use crate::service::{Service, now};

/// Longest body in bytes.
pub const BODY_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    rows: Vec<Map<String, Json_>>,
}

#[derive(Debug, Serialize)]
struct Predictions<'a> {
    /// One per row, in order.
    scores: Vec<f64>,
    /// The oldest time as of which a table is that features were fetched from.
    as_of: Option<Timestamp>,
    /// Seconds from then to now.
    age_s: Option<f64>,
    /// Digest of the artifact.
    model: &'a str,
}

/// The same with the model's name in the path, so that a client of several servers cannot ask the wrong one unnoticed.
pub(super) async fn predict_by(
    State((service, role)): State<(Arc<Service>, Arc<RowModel>)>,
    model: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Path(model) = model.map_err(|error| Problem::bad(error.body_text()))?;
    if model != role.name() {
        let problem = format!("there is no model {model:?}; this server has {:?}", role.name());
        return Err(Problem::new(StatusCode::NOT_FOUND, problem));
    }
    predict(State((service, role)), body).await
}

pub(super) async fn predict(
    State((service, role)): State<(Arc<Service>, Arc<RowModel>)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::of_body(&rejection, BODY_BYTES_MAX))?;
    let Rows { rows } = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the body must be {{\"rows\": [{{COLUMN: VALUE}}]}}: {error}")))?;
    let _permit = service.admit()?;
    let _in_work = service.metrics.enter();
    let log = service.request_log.clone();
    let scored = service
        .work(move |workspace| {
            let time = now();
            let (scores, views) = role.score_and_read(&rows, &mut workspace.predict)?;
            // Rows that name their features themselves read none.
            if let Some(log) = log.filter(|_| !views.is_empty()) {
                log.take(LoggedRequest { time, asked: Asked::Rows(rows), views, computed: Vec::new() });
            }
            Ok::<_, RowError>(scores)
        })
        .await?;
    let scored = scored.map_err(|error| match error {
        RowError::Rows(_) | RowError::Key { .. } => Problem::bad(error.to_string()),
        RowError::Features(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(1),
    })?;
    let age_s = scored.as_of.map(|as_of| now().seconds_since(as_of));
    let predictions = Predictions { scores: scored.scores, as_of: scored.as_of, age_s, model: &service.digest };
    Ok(Json(predictions).into_response())
}
