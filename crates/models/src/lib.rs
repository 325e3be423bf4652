//! What runs in production: files in, scores out.
//!
//! - [`column`]: one input as the score.
//! - [`ensemble`]: several scorers combined by weights.
//! - [`factors`]: users and items as vectors; folding in a user from her interactions.
//! - [`forest`]: sums of decision trees.
//! - [`linear`]: weighted sums of standardised inputs.
//! - [`network`]: small dense networks.
//! - [`recommend`]: the recommender's two stages, candidates and rank.
//! - [`read_scorer`]: any of them from its files.

pub mod column;
pub mod ensemble;
mod error;
pub mod factors;
pub mod forest;
mod json;
pub mod linear;
pub mod network;
pub mod recommend;
mod scorer_file;
mod tensors;

pub use ensemble::Ensemble;
pub use error::ModelError;
pub use factors::Factors;
pub use linear::Linear;
pub use network::Network;
pub use scorer_file::{ScorerFileError, read_scorer};
