//! `POST /get-online-features`: Feast's request and answer; the registry page of the admin address.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};

use super::problem::Problem;
use crate::online_features::{Catalog, FeatureError, FeatureRequest, OnlineFeatures, Used};
use crate::recommend::tables::TableError;
use crate::request_log::{Asked, LoggedRequest};
use crate::service::{Service, now};
use crate::workers::Workspace;

/// Longest body in bytes.
pub const BODY_BYTES_MAX: usize = 8 << 20;

pub(super) async fn get_online_features(
    State((service, features)): State<(Arc<Service>, Arc<OnlineFeatures>)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::of_body(&rejection, BODY_BYTES_MAX))?;
    let request: FeatureRequest = serde_json::from_slice(&body).map_err(|error| {
        let form = "{\"features\": [\"VIEW:FEATURE\"], \"entities\": {\"COLUMN\": [KEY]}}";
        Problem::bad(format!("the body must be {form}: {error}"))
    })?;
    let _permit = service.admit()?;
    let _in_work = service.metrics.enter();
    let log = service.request_log.clone();
    // Written where it is computed: the threads of connections only move bytes.
    let written = move |_: &mut Workspace| {
        let time = now();
        let (answer, Used { views, computed }) = features.answer_and_used(&request, time)?;
        let body = serde_json::to_vec(&answer);
        if let Some(log) = log {
            let mut fields = request.entities;
            fields.extend(request.request_context);
            log.take(LoggedRequest { time, asked: Asked::Columns(fields), views, computed });
        }
        Ok::<_, FeatureError>(body)
    };
    let answer = service.work(written).await?;
    let answer = answer.map_err(|error| match &error {
        FeatureError::Request(_) => Problem::bad(error.to_string()),
        FeatureError::Unknown(_) => Problem::new(StatusCode::NOT_FOUND, error.to_string()),
        FeatureError::Tables(cause) => {
            if let TableError::Store(cause) = cause {
                service.health().failed(&cause.to_string());
            }
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(1)
        }
    })?;
    let body = answer.map_err(|_| Problem::bug())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The registry page; it reads `features.json`.
pub(super) async fn page() -> Html<String> {
    const PAGE: &str = include_str!("../../../../web/features.html");
    const STYLE: &str = include_str!("../../../../web/report.css");
    Html(PAGE.replacen("/*STYLE*/", STYLE, 1))
}

/// Every feature with its lineage, and as of when the online store holds it.
pub(super) async fn catalog(State((service, features)): State<(Arc<Service>, Arc<OnlineFeatures>)>) -> Json<Catalog> {
    Json(features.set().catalog.as_of(&service.refresher.tables().as_of))
}
