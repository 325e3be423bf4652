//! `POST /v1/events`: rows of sources, exposures and outcomes, durable before they are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use paceline_core::event::{Appended, Event, EventLogError};
use paceline_core::{KeyPart, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value as Json_};
use tokio::sync::OwnedSemaphorePermit;

use super::problem::Problem;
use crate::service::{EventSource, Recommending, Role, Service, now};

/// Longest body in bytes.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Most events of one call.
pub const EVENTS_MAX: usize = 1_000;
/// Longest id in bytes.
pub const ID_BYTES_MAX: usize = 1_024;
/// Most fields of an event.
pub const FIELDS_MAX: usize = 1_000;

/// Kinds of events besides rows of a source.
pub const KINDS: [&str; 3] = ["exposure", "prediction", "outcome"];

#[derive(Debug, Serialize)]
struct Acknowledged {
    /// One per event, in order: `new` or `duplicate`.
    events: Vec<Acknowledgement>,
}

#[derive(Debug, Serialize)]
struct Acknowledgement {
    status: &'static str,
    /// Its place in the log: a larger one came later.
    offset: u64,
}

pub(super) async fn events(
    State(service): State<Arc<Service>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::of_body(&rejection, BODY_BYTES_MAX))?;
    let events = parse(&service, &body, now())?;
    // Before they are acknowledged: afterwards nobody can be told.
    let checked = service.streams.check(&events);
    checked.map_err(|bad| Problem::bad_event(bad.index, &format!("fields.{}", bad.field), &bad.problem))?;
    let role = match &service.role {
        Role::Recommender(role) => Some(role),
        Role::Rows(_) | Role::Features(_) => None,
    };
    let users: Vec<KeyPart> =
        role.iter().flat_map(|role| events.iter().filter_map(|event| user_of(role, event))).collect();
    let appended = append(&service, events).await?;
    // After the append, before the answer: who is told of the event never meets an answer from before it.
    if let Some(cache) = role.and_then(|role| role.cache.as_ref()) {
        users.iter().for_each(|user| cache.invalidate(user));
    }
    let events: Vec<Acknowledgement> = appended
        .iter()
        .map(|appended| match appended {
            Appended::New(offset) => Acknowledgement { status: "new", offset: offset.0 },
            Appended::Duplicate(offset) => Acknowledgement { status: "duplicate", offset: offset.0 },
        })
        .collect();
    let new = events.iter().filter(|event| event.status == "new").count();
    service.metrics.events("new", new);
    service.metrics.events("duplicate", events.len() - new);
    Ok(Json(Acknowledged { events }).into_response())
}

/// Appends on a thread that may wait for the disk; so many at once as permits allow, and all of them share syncs.
async fn append(service: &Arc<Service>, events: Vec<Event>) -> Result<Vec<Appended>, Problem> {
    let permit = permit(service).await?;
    let (log, streams, count) = (Arc::clone(&service.log), Arc::clone(&service.streams), events.len());
    let appended = tokio::task::spawn_blocking(move || {
        let appended = log.append(&events);
        if let Ok(appended) = &appended {
            let offset = |appended: &Appended| match appended {
                Appended::New(offset) | Appended::Duplicate(offset) => *offset,
            };
            // They are durable; if the log cannot be read now, the thread that follows it applies them.
            if let Some(last) = appended.iter().map(offset).max()
                && let Err(error) = streams.follow(Some(last))
            {
                tracing::warn!(%error, "appended events are not applied yet");
            }
        }
        drop(permit);
        appended
    });
    let unavailable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "events were not taken");
        service.metrics.events("refused", count);
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{error}; nothing was acknowledged: send the events again, with ids nothing is taken twice"),
        )
        .retry_after(1)
    };
    match appended.await {
        Ok(Ok(appended)) => Ok(appended),
        Ok(Err(EventLogError::Refused { index, cause })) => Err(Problem::bad_event(index, "fields", &cause)),
        Ok(Err(error)) => Err(unavailable(&error)),
        Err(error) => Err(unavailable(&error)),
    }
}

/// One of the permits to wait for the disk.
pub(super) async fn permit(service: &Service) -> Result<OwnedSemaphorePermit, Problem> {
    match tokio::time::timeout(APPEND_WAIT, Arc::clone(&service.appends).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => {
            let problem = "the disk, or Redis, does not keep up; send the same again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, problem).retry_after(1))
        }
    }
}

/// A call waits for its turn at the log no longer than this.
const APPEND_WAIT: Duration = Duration::from_secs(2);

/// Checks a body and makes events of it, received at `received`.
fn parse(service: &Service, body: &[u8], received: Timestamp) -> Result<Vec<Event>, Problem> {
    let body: Json_ =
        serde_json::from_slice(body).map_err(|error| Problem::bad(format!("the body is not JSON: {error}")))?;
    let Json_::Object(mut object) = body else {
        return Err(Problem::bad("the body must be an object: one event, or {\"events\": [...]}"));
    };
    let list = match object.remove("events") {
        None => vec![Json_::Object(object)],
        Some(Json_::Array(list)) if object.is_empty() => list,
        Some(Json_::Array(_)) => {
            let other = object.keys().next().expect("it is not empty");
            return Err(Problem::bad(format!("{other:?} stands beside \"events\"; put it into the events")));
        }
        Some(_) => return Err(Problem::bad("\"events\" must be a list")),
    };
    if list.is_empty() || list.len() > EVENTS_MAX {
        return Err(Problem::bad(format!("{} events; a call has 1 to {EVENTS_MAX}", list.len())));
    }
    list.into_iter().enumerate().map(|(index, event)| event_of(service, index, event, received)).collect()
}

fn event_of(service: &Service, index: usize, event: Json_, received: Timestamp) -> Result<Event, Problem> {
    let bad = |field: &str, error: String| Problem::bad_event(index, field, &error);
    let Json_::Object(mut event) = event else { return Err(Problem::bad(format!("events[{index}] is not an object"))) };
    let id = match event.remove("id") {
        None | Some(Json_::Null) => None,
        Some(Json_::String(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => Some(id),
        Some(Json_::String(id)) => {
            return Err(bad("id", format!("it has {} bytes; it must have 1 to {ID_BYTES_MAX}", id.len())));
        }
        Some(other) => return Err(bad("id", format!("{other} is not a text"))),
    };
    let source = match event.remove("source") {
        Some(Json_::String(source)) => source,
        Some(other) => return Err(bad("source", format!("{other} is not a text"))),
        None => return Err(bad("source", "it is missing".to_owned())),
    };
    let fields = match event.remove("fields") {
        Some(Json_::Object(fields)) => fields,
        Some(_) => return Err(bad("fields", "it is not an object".to_owned())),
        None => return Err(bad("fields", "it is missing".to_owned())),
    };
    if let Some(other) = event.keys().next() {
        return Err(bad(other, "unknown key; an event has id, source and fields".to_owned()));
    }
    if fields.len() > FIELDS_MAX {
        return Err(bad("fields", format!("{} fields; at most {FIELDS_MAX} are taken", fields.len())));
    }
    match service.event_sources.iter().find(|known| known.name == source) {
        Some(known) => check_row(index, known, &fields)?,
        None if KINDS.contains(&source.as_str()) => {}
        None => {
            let known = service.event_sources.iter().map(|known| known.name.as_str()).chain(KINDS);
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(bad("source", format!("there is no source {source:?}; there are: {known}")));
        }
    }
    Ok(Event { id, source, received, fields })
}

/// A row of a source: plain values, and a time that can be read.
fn check_row(index: usize, source: &EventSource, fields: &Map<String, Json_>) -> Result<(), Problem> {
    let bad = |field: &str, error: String| Problem::bad_event(index, &format!("fields.{field}"), &error);
    if let Some((name, _)) = fields.iter().find(|(_, value)| value.is_object() || value.is_array()) {
        return Err(bad(name, "it is nested; a row holds texts, numbers, truth values and null".to_owned()));
    }
    let Some(column) = &source.event_time else { return Ok(()) };
    let time = fields.get(column).filter(|time| !time.is_null());
    let time = time.ok_or_else(|| bad(column, "it is missing; it is the event time".to_owned()))?;
    let is_time = match time {
        Json_::Number(number) => source.time_is_number && number.is_i64(),
        Json_::String(text) => !source.time_is_number && text.parse::<Timestamp>().is_ok(),
        _ => false,
    };
    if is_time {
        return Ok(());
    }
    let wanted = if source.time_is_number { "a whole number" } else { "a text such as 2026-07-20T08:00:00Z" };
    Err(bad(column, format!("{time} is no event time; it must be {wanted}")))
}

/// The user whom an event is about.
fn user_of(role: &Recommending, event: &Event) -> Option<KeyPart> {
    match event.fields.get(role.user_column.as_str())? {
        Json_::Number(number) => number.as_i64().map(KeyPart::Int),
        Json_::String(text) if role.ladder.model.users_are_numbers => text.parse().ok().map(KeyPart::Int),
        Json_::String(text) => Some(KeyPart::Text(text.clone())),
        _ => None,
    }
}
