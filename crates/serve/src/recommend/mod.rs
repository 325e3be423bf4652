//! One answer of the recommender, in process: from a user's values and history to ranked items.
//!
//! Training, evaluation, latency measurement and the server call the same [`Recommender::answer`].

mod engine;
mod layout;

pub use engine::{Recommender, Request, Workspace};
pub use layout::{ItemTable, LayoutError, NamedType, RowLayout, RowScratch, candidate_column};
