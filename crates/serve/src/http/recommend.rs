//! `GET /v1/recommend/{user}?k=10&exclude=a,b`.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use paceline_core::{KeyPart, Timestamp};
use serde::Serialize;
use tokio::time::timeout_at;

use super::problem::Problem;
use crate::cache::Lookup;
use crate::ladder::{Answer, ITEMS_MAX, Question, Reason, Rung};
use crate::service::{Recommending, Service, Unanswered, now};
use crate::workers::Workspace;

/// Most items that one request excludes.
pub const EXCLUDED_MAX: usize = 1_000;
/// Longest user id in bytes.
pub const USER_BYTES_MAX: usize = 1_024;

/// A recommendation.
#[derive(Debug, Serialize)]
pub struct Recommendation<'a> {
    user: &'a KeyPart,
    items: Vec<Item<'a>>,
    /// `full`, `precomputed` or `popular`.
    rung: &'static str,
    /// Why not a higher rung.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// How many items, at the end, are popular ones that filled a short answer.
    filled: usize,
    /// The oldest time as of which a table is that the answer was made from.
    as_of: Option<Timestamp>,
    /// Seconds from then to now.
    age_s: Option<f64>,
    /// Digest of the artifact.
    model: &'a str,
    /// Whether the prediction cache answered.
    cached: bool,
}

#[derive(Debug, Serialize)]
struct Item<'a> {
    item: &'a KeyPart,
    /// Comparable within this answer only; null for an item that filled it.
    score: Option<f64>,
}

pub(super) async fn recommend(
    State((service, role)): State<(Arc<Service>, Arc<Recommending>)>,
    user: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(user) = user.map_err(|error| Problem::bad(error.body_text()))?;
    let Query(parameters) = parameters.map_err(|error| Problem::bad(error.body_text()))?;
    let question = question(&service, &role, &user, &parameters)?;
    let _permit = service.admit()?;
    let _in_work = service.metrics.enter();
    let (answer, cached) = answer(&service, &role, &question).await?;
    service.metrics.answer(&answer);
    Ok(Json(shown(&service, &role, &question.user, &answer, cached)).into_response())
}

/// Reads path and parameters.
fn question(
    service: &Service,
    role: &Recommending,
    user: &str,
    parameters: &[(String, String)],
) -> Result<Question, Problem> {
    if user.is_empty() || user.len() > USER_BYTES_MAX {
        return Err(Problem::bad(format!("a user has {} bytes; it must have 1 to {USER_BYTES_MAX}", user.len())));
    }
    let model = &role.ladder.model;
    let user = if model.users_are_numbers {
        let number = user.parse().map_err(|_| Problem::bad(format!("user {user:?}: users are whole numbers here")))?;
        KeyPart::Int(number)
    } else {
        KeyPart::Text(user.to_owned())
    };
    let (mut k, mut excluded, mut named) = (service.options.items, Vec::new(), 0);
    for (name, value) in parameters {
        match name.as_str() {
            "k" => {
                let number = value.parse().ok().filter(|number| (1..=ITEMS_MAX).contains(number));
                k = number.ok_or_else(|| {
                    Problem::bad(format!("k is {value:?}; it must be a whole number from 1 to {ITEMS_MAX}"))
                })?;
            }
            "exclude" => {
                for item in value.split(',').filter(|item| !item.is_empty()) {
                    named += 1;
                    excluded.extend(role.item(item));
                }
            }
            other => return Err(Problem::bad(format!("unknown parameter {other:?}; there are k and exclude"))),
        }
    }
    if named > EXCLUDED_MAX {
        return Err(Problem::bad(format!("{named} items are excluded; at most {EXCLUDED_MAX} may be")));
    }
    excluded.sort_unstable();
    excluded.dedup();
    Ok(Question { user, k, excluded: excluded.into() })
}

/// From the cache, else from the workers; past the deadline the popular list.
async fn answer(
    service: &Service,
    role: &Arc<Recommending>,
    question: &Question,
) -> Result<(Arc<Answer>, bool), Problem> {
    let deadline = Instant::now() + service.options.deadline;
    let late = || Ok((Arc::new(role.ladder.popular(question, Reason::Deadline)), false));
    let Some(cache) = &role.cache else { return compute(service, role, question, deadline).await };
    let key = cache.key(question, role.ladder.digest, role.ladder.memory().generation);
    match timeout_at(deadline.into(), cache.get(&key)).await {
        Err(_) => late(),
        Ok(Lookup::Hit(answer)) => {
            service.metrics.cache(true);
            Ok((answer, true))
        }
        Ok(Lookup::Miss(flight)) => {
            service.metrics.cache(false);
            let (answer, cached) = compute(service, role, question, deadline).await?;
            // A lower rung is for want of something better; the next request shall have the chance.
            if answer.rung == Rung::Full {
                flight.keep(&answer);
            }
            Ok((answer, cached))
        }
    }
}

async fn compute(
    service: &Service,
    role: &Arc<Recommending>,
    question: &Question,
    deadline: Instant,
) -> Result<(Arc<Answer>, bool), Problem> {
    let (asking, asked) = (Arc::clone(role), question.clone());
    let work = move |workspace: &mut Workspace| asking.ladder.answer(&asked, deadline, &mut workspace.recommend);
    let answer = match service.work_by(deadline, work).await {
        Ok(answer) => answer,
        Err(Unanswered::Late) => role.ladder.popular(question, Reason::Deadline),
        Err(Unanswered::Bug) => return Err(Problem::bug()),
    };
    Ok((Arc::new(answer), false))
}

fn shown<'a>(
    service: &'a Service,
    role: &'a Recommending,
    user: &'a KeyPart,
    answer: &Answer,
    cached: bool,
) -> Recommendation<'a> {
    let catalogue = &role.ladder.model.catalogue;
    let items = answer.items.iter().map(|item| Item { item: catalogue.item(item.item), score: item.score });
    Recommendation {
        user,
        items: items.collect(),
        rung: answer.rung.name(),
        reason: answer.reason.map(Reason::name),
        filled: answer.filled,
        as_of: answer.as_of,
        age_s: answer.as_of.map(|as_of| now().seconds_since(as_of)),
        model: &service.digest,
        cached,
    }
}
