//! One answer of the recommender, in process: from a user's values and history to ranked items.
//!
//! Training, evaluation, latency measurement and the server call the same [`Recommender::answer`].

pub mod artifact;
mod engine;
mod layout;
pub mod tables;

pub use engine::{Recommender, Request, Workspace};
pub use layout::{ItemTable, LayoutError, NamedType, RowLayout, RowScratch, candidate_column};
