//! Answers that say what is wrong.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::online_features::RowMistake;

/// `{"error": "...", "event": 3, "field": "fields.at"}` with a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    body: Body,
    retry_after_s: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Body {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<RowMistake>,
}

impl Problem {
    /// A status with a sentence that says what was wrong and what to try.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Problem {
        let body = Body { error: error.into(), event: None, field: None, mistakes: Vec::new() };
        Problem { status, body, retry_after_s: None }
    }

    /// 400.
    pub fn bad(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error)
    }

    /// 500 for a panic; the log says where.
    pub fn bug() -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "answering failed; this is a bug, and the server's log says where",
        )
    }

    /// 413 or 400 for a body that cannot be read.
    pub fn of_body(rejection: &BytesRejection, bytes_max: usize) -> Problem {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let problem = format!("the body is longer than {bytes_max} bytes; send less at once");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem)
            }
            _ => Problem::bad(rejection.body_text()),
        }
    }

    /// 400 for one event of a call.
    pub fn bad_event(event: usize, field: &str, error: &str) -> Problem {
        let problem = Problem::bad(format!("events[{event}].{field}: {error}"));
        Problem { body: Body { event: Some(event), field: Some(field.to_owned()), ..problem.body }, ..problem }
    }

    /// With every mistake by row and column.
    #[must_use]
    pub fn with_mistakes(self, mistakes: Vec<RowMistake>) -> Problem {
        Problem { body: Body { mistakes, ..self.body }, ..self }
    }

    /// The caller may try again after so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Problem {
        Problem { retry_after_s: Some(seconds), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
