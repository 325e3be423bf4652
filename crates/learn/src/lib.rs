//! What never ships to the request path: fit, evaluate, distill, the budget search.
//!
//! - [`als`]: matrix factors from [`Interactions`].
//! - [`blend`]: weights of an ensemble.
//! - [`forest`]: boosted trees, random forests and extra trees.
//! - [`linear`]: linear and logistic regression from [`TrainingRows`].
//! - [`network`]: small dense networks from [`TrainingRows`].
//! - [`recommend`]: what a recommender learns from and is evaluated on.

pub mod als;
pub mod blend;
mod error;
pub mod forest;
pub mod interactions;
pub mod linear;
pub mod network;
pub mod recommend;
pub mod search;
mod training_rows;

pub use als::{AlsSpec, als_objective, fit_als};
pub use blend::{Blend, BlendGoal, CandidateLists, find_blend};
pub use error::LearnError;
pub use interactions::{Interaction, Interactions};
pub use linear::{LinearFit, LinearSpec, fit_linear};
pub use network::{NetworkFit, NetworkLoss, NetworkSpec, fit_network};
pub use training_rows::TrainingRows;
