//! Features as known then: view declarations, the point-in-time operator, request-time expressions, encoders.
//!
//! A [`FeatureView`] declares windowed aggregates of one entity from one source. The rules that hold in every
//! execution are written in `docs/features.md`.

pub mod declare;
pub mod encode;
pub mod error;
pub mod expression;
pub mod partition;
pub mod point_in_time;
pub mod source;
pub mod stream;
#[cfg(test)]
mod time_honesty_tests;
pub mod window;

pub use declare::{Aggregate, Feature, FeatureView, Placement};
pub use error::FeatureError;
pub use source::SourceTable;
pub use stream::{Stream, StreamOptions};
