//! The paths of the server.

mod events;
mod features;
mod predict;
mod probes;
mod problem;
mod push;
mod recommend;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::service::{Role, Service};
pub use events::KINDS as EVENT_KINDS;
pub(crate) use problem::Problem;

/// Longest path and query in bytes.
pub const URI_BYTES_MAX: usize = 32 << 10;

/// The public paths.
pub(crate) fn public(service: Arc<Service>) -> Router {
    let answers = match &service.role {
        Role::Recommender(role) => {
            let shared = (Arc::clone(&service), Arc::clone(role));
            Router::new().route("/v1/recommend/{user}", get(recommend::recommend).with_state(shared))
        }
        Role::Rows(role) => {
            let shared = (Arc::clone(&service), Arc::clone(role));
            let limited = post(predict::predict).layer(DefaultBodyLimit::max(predict::BODY_BYTES_MAX));
            let named = post(predict::predict_by).layer(DefaultBodyLimit::max(predict::BODY_BYTES_MAX));
            Router::new()
                .route("/v1/predict", limited.with_state(shared.clone()))
                .route("/v1/predict/{model}", named.with_state(shared))
        }
        Role::Features(_) => Router::new(),
    };
    let answers = match &service.features {
        Some(features) => {
            let shared = (Arc::clone(&service), Arc::clone(features));
            let limited = post(features::get_online_features).layer(DefaultBodyLimit::max(features::BODY_BYTES_MAX));
            let pushed = post(push::push).layer(DefaultBodyLimit::max(push::BODY_BYTES_MAX));
            answers
                .route("/get-online-features", limited.with_state(shared.clone()))
                .route("/v1/features/push", pushed.with_state(shared))
        }
        None => answers,
    };
    let events = post(events::events).layer(DefaultBodyLimit::max(events::BODY_BYTES_MAX));
    finish(answers.route("/v1/events", events), service)
}

/// The paths of the admin address.
pub(crate) fn admin(service: Arc<Service>) -> Router {
    let pages = match &service.features {
        Some(features) => {
            let shared = (Arc::clone(&service), Arc::clone(features));
            let catalog = get(features::catalog).with_state(shared);
            Router::new().route("/features", get(features::page)).route("/features.json", catalog)
        }
        None => Router::new(),
    };
    finish(pages, service)
}

fn finish(router: Router<Arc<Service>>, service: Arc<Service>) -> Router {
    router
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&service), measure))
        .with_state(service)
}

async fn no_such_path(State(service): State<Arc<Service>>, request: Request) -> Problem {
    let mut paths = match &service.role {
        Role::Recommender(_) => vec!["/v1/recommend/{user}"],
        Role::Rows(_) => vec!["/v1/predict"],
        Role::Features(_) => Vec::new(),
    };
    paths.extend(service.features.iter().flat_map(|_| ["/get-online-features", "/v1/features/push"]));
    paths.extend(["/v1/events", "/healthz", "/readyz", "/metrics"]);
    let paths = paths.join(", ");
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {}; there are {paths}", request.uri().path()))
}

async fn wrong_method(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}"))
}

/// Counts and times every request. The route is the pattern, so that labels are bounded.
async fn measure(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let uri_bytes = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    let response = if uri_bytes > URI_BYTES_MAX {
        let problem = format!("the address has {uri_bytes} bytes; at most {URI_BYTES_MAX} are taken");
        Problem::new(StatusCode::URI_TOO_LONG, problem).into_response()
    } else {
        next.run(request).await
    };
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    service.metrics.request(route, response.status().as_u16(), started.elapsed());
    response
}
