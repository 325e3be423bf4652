//! Learning a recommender: what users did ([`Purchases`]), the tables of the candidate stage ([`fit_bought_next`],
//! [`fit_bought_together`], [`fit_similar_users`]), which (user, item) pairs a ranker learns from ([`sample_pairs`]), and
//! who is evaluated on what ([`Outcomes`]).

mod item_item;
mod outcomes;
mod purchases;
mod sample;
mod similar_users;

pub use item_item::{
    AlsoBoughtSpec, BoughtNextSpec, BoughtTogetherSpec, fit_also_bought, fit_bought_next, fit_bought_together,
};
pub use outcomes::{Outcomes, UserOutcome};
pub use purchases::{Purchase, Purchases};
pub use sample::{LabelledPair, SampleSpec, sample_pairs};
pub use similar_users::{SimilarUsersSpec, fit_similar_users};
