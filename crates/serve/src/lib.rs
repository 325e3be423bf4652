//! The serving path: in-process answers and, around them, HTTP.
//!
//! - [`recommend`]: one answer in process, its artifact and its tables.
//! - [`ladder`]: the highest rung that can answer now: full, precomputed, popular.
//! - [`predict`]: rows scored by a published row model, in process; [`row_model`] fetches their features.
//! - [`online_features`]: feature values by entity key.
//! - [`views`]: where features are read, from the online store or from [`streams`], which events keep current.
//! - [`retention`]: drops events that are older or more than `[serve]` says.
//! - [`Server`]: all over HTTP, with [`cache`], [`workers`] and [`metrics`].
//!
//! Tokio moves bytes; plain threads wait for stores and compute. Everything that waits is bounded: connections by the
//! system's files, recommendations by `requests_max`, appends by permits, and every answer by its deadline.

mod background;
pub mod cache;
pub mod health;
mod http;
pub mod ladder;
pub mod metrics;
pub mod online_features;
pub mod predict;
pub mod recommend;
pub mod refresh;
pub mod request_log;
pub mod retention;
pub mod row_model;
pub mod schedule;
mod server;
mod service;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod views;
pub mod workers;

pub use http::EVENT_KINDS;
pub use retention::EventRetention;
pub use server::Server;
pub use service::{EventSource, Options, Parts, Subject};
