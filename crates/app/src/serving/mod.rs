//! From a finished run to a server: published, materialized, over HTTP.
//!
//! - [`publish_recommender`]: what `run` chose, as an artifact.
//! - [`Materialization`]: users, items and precomputed lists of a published recommender, into any online store.
//! - [`Known`]: users and popular items at one time, as a published recommender reads them.
//! - [`parts`]: artifact, store and log as a server wants them.
//! - [`streamed_sources`]: sources whose events keep features current.
//! - [`RequestWriter`]: the features that answers were made from, as files.
//! - [`Scheduler`]: what a server does by the clock.
//! - [`demo_http`]: a server asked over real connections.

mod demo;
mod http_client;
mod known;
mod materialize;
mod publish;
mod request_log;
mod schedule;
mod start;
mod streams;

pub use demo::{HttpLatency, demo_http};
pub use http_client::{HttpClient, Reply};
pub use known::Known;
pub use materialize::{LIST_ITEMS, Materialization, end_of_data, materialized_until};
pub use publish::{
    Artifact, MODELS_FOLDER, Publication, ScorerFiles, check_views, goal_of, load_artifact, load_current,
    publish_recommender,
};
pub use request_log::{COMPUTED, FIELDS, REQUESTS_FOLDER, RequestWriter, as_of_column};
pub use schedule::{Due, Replace, Schedule, Scheduler, due, materialize_due};
pub use start::{make_pushed_tables, options, parts};
pub use streams::{STREAMS_FOLDER, stream_folder, streamed_sources};
