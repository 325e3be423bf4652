//! Learning a recommender: what users did ([`Purchases`]), item-item similarities ([`fit_item_item`]), which
//! (user, item) pairs a ranker learns from ([`sample_pairs`]), and who is evaluated on what ([`Outcomes`]).

mod item_item;
mod outcomes;
mod purchases;
mod sample;

pub use item_item::{ItemItemSpec, fit_item_item};
pub use outcomes::{Outcomes, UserOutcome};
pub use purchases::{Purchase, Purchases};
pub use sample::{LabelledPair, SampleSpec, sample_pairs};
