//! The `paceline` binary as a library: pipeline file, checked pipeline, verbs. Wiring only.
//!
//! - [`pipeline`]: from the text of a pipeline file to a checked [`pipeline::Pipeline`].
//! - [`tables`]: a pipeline's sources as Arrow batches, with their `where` and derived columns.
//! - [`training_set`]: the rows of a spine with every feature as known then; [`verify`] replays it online.
//! - [`materialize`]: the newest feature values, written to the online store; [`lookup`] reads them.
//! - [`plan`]: where each feature should be computed, with figures.
//! - [`forget`]: one entity taken out of log and store.
//! - [`predict`]: tables scored by a published model.
//! - [`init`]: a pipeline for a table that nobody has described yet.
//! - [`report`]: what was measured, as JSON, as a page and on the screen.
//! - [`serving`]: publishing a recommender, materializing it, serving it.
//! - [`stores`]: where a command keeps what outlives it.
//! - [`verbs`]: one module per command; [`cli`] chooses among them; [`messages`] is how they speak.

pub mod catalog;
pub mod cli;
pub mod forget;
pub mod init;
pub mod lookup;
pub mod materialize;
pub mod measure;
pub mod messages;
mod parallel;
pub mod pipeline;
pub mod plan;
pub mod predict;
pub mod report;
pub mod run;
pub mod serving;
pub mod stores;
pub mod tables;
pub mod training_set;
pub mod verbs;
pub mod verify;
