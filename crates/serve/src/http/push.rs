//! `POST /v1/features/push`: a view's values from outside, durable before they are acknowledged.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use paceline_core::Timestamp;
use paceline_core::online::Pushed;
use serde::Serialize;

use super::events::permit;
use super::problem::Problem;
use crate::online_features::{CheckedPush, OnlineFeatures, PushError, PushRequest};
use crate::service::{Role, Service, now};

/// Longest body in bytes.
pub const BODY_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Serialize)]
struct Acknowledged {
    /// One per row, in order.
    rows: Vec<Acknowledgement>,
}

#[derive(Debug, Serialize)]
struct Acknowledgement {
    /// `written`, or `older` where the store holds something newer, which stays.
    status: &'static str,
    /// The time of what stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Timestamp>,
}

pub(super) async fn push(
    State((service, features)): State<(Arc<Service>, Arc<OnlineFeatures>)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::of_body(&rejection, BODY_BYTES_MAX))?;
    let request: PushRequest = serde_json::from_slice(&body).map_err(|error| {
        let form =
            "{\"view\": \"VIEW\", \"rows\": [{\"KEY\": 1, \"time\": \"2030-01-01T00:00:00Z\", \"FEATURE\": 0.5}]}";
        Problem::bad(format!("the body must be {form}: {error}"))
    })?;
    let count = request.rows.len();
    let refused = |error: PushError| {
        service.metrics.pushed("refused", count);
        match error {
            PushError::Rows { ref mistakes, .. } => Problem::bad(error.to_string()).with_mistakes(mistakes.clone()),
            PushError::View(_) => Problem::bad(error.to_string()),
            PushError::Store(ref cause) => {
                tracing::error!(error = %cause, "pushed rows were not taken");
                service.health().failed(&cause.to_string());
                let problem = format!("{error}; nothing was acknowledged: send the rows again");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, problem).retry_after(1)
            }
        }
    };
    let checked = Arc::new(features.check_push(&request, now()).map_err(refused)?);
    let permit = permit(&service).await?;
    let (writing, written) = (Arc::clone(&features), Arc::clone(&checked));
    let pushed = tokio::task::spawn_blocking(move || {
        let pushed = writing.push(&written);
        drop(permit);
        pushed
    });
    let pushed = pushed.await.map_err(|_| Problem::bug())?.map_err(|error| refused(error.into()))?;
    forget_answers(&service, &features, &checked);
    let acknowledge = |pushed: &Pushed| match pushed {
        Pushed::Written => Acknowledgement { status: "written", newest: None },
        Pushed::Older(newest) => Acknowledgement { status: "older", newest: Some(*newest) },
    };
    let rows: Vec<Acknowledgement> = pushed.iter().map(acknowledge).collect();
    let written = rows.iter().filter(|row| row.status == "written").count();
    service.metrics.pushed("written", written);
    service.metrics.pushed("older", rows.len() - written);
    Ok(Json(Acknowledged { rows }).into_response())
}

/// Answers that were made from the values before. After the write, before the acknowledgement: who is told of it never
/// meets them.
fn forget_answers(service: &Service, features: &OnlineFeatures, checked: &CheckedPush) {
    let Role::Recommender(role) = &service.role else { return };
    let [key] = &features.view_of(checked).entity[..] else { return };
    if let Some(cache) = role.cache.as_ref().filter(|_| key.name == role.user_column) {
        checked.keys().iter().for_each(|user| cache.invalidate(&user.0[0]));
    }
}
