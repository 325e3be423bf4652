//! The recommender's two stages: candidates, then rank.
//!
//! [`Catalogue`] numbers the items. [`Retriever`] gives every item each [`CandidateScore`] for a user (matrix factors,
//! item-item similarities, the last basket, similar users, recent popularity) and picks the candidates that
//! [`CandidateCounts`] asks for; the scores go on as features of the rank stage. [`rank`] orders what a
//! [`paceline_core::Scorer`] scored.
//!
//! Nothing here reads a clock or a store: the user's state and the time are arguments.

mod catalogue;
mod file;
mod item_item;
mod rank;
mod retrieve;
mod similar_users;
mod similarity_cache;
mod stored;

pub use catalogue::Catalogue;
pub use item_item::ItemItem;
pub use rank::{Ranked, rank};
pub use retrieve::{CandidateCounts, CandidateScore, HistoryItem, Retriever, Scratch, UserState};
pub use similar_users::{Circles, Neighbour, SimilarUsers, Votes};
pub use similarity_cache::SimilarityCache;
pub use stored::{decode_list, decode_user, encode_list, encode_user};
