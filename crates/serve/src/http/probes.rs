//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::metrics::CONTENT_TYPE;
use crate::service::Service;

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// Why not.
    reasons: Vec<String>,
}

/// Whether full answers can be given.
pub(super) async fn readyz(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let mut reasons = Vec::new();
    if service.stopping.load(Ordering::Acquire) {
        reasons.push("the server is stopping".to_owned());
    }
    reasons.extend(service.problem());
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons }))
}

pub(super) async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    service.observe();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], service.metrics.encode())
}
