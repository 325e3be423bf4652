//! The words every room speaks. No I/O, no clock, no threads.
//!
//! - [`time`]: [`Timestamp`], [`Period`]; "as of t" means strictly before t.
//! - [`key`]: [`EntityKey`], what a feature describes.
//! - [`value`]: [`Value`], one feature value of one entity, and [`Rows`], a block of model inputs.
//! - [`digest`] and [`manifest`]: content hashes and what a published artifact was made from.
//! - [`metrics`]: the quality of a ranking, a classifier, a regressor, with bootstrap intervals and retention.
//! - [`random`]: one seeded generator and how independent streams are derived from a seed.
//! - [`online`], [`event`], [`scorer`]: the traits that cross rooms.
//!
//! ```
//! use paceline_core::{Period, Timestamp};
//!
//! let cut: Timestamp = "2011-09-01".parse()?;
//! let label_end = cut + "1mo".parse::<Period>()?;
//! assert_eq!(label_end.to_string(), "2011-10-01T00:00:00Z");
//! # Ok::<(), paceline_core::time::TimeError>(())
//! ```

pub mod digest;
pub mod event;
pub mod key;
pub mod manifest;
pub mod metrics;
pub mod online;
pub mod random;
pub mod scorer;
pub mod time;
pub mod value;

pub use digest::{Digest, Digester};
pub use event::{Event, EventLog, Offset};
pub use key::{EntityKey, KeyPart};
pub use manifest::Manifest;
pub use online::OnlineStore;
pub use scorer::Scorer;
pub use time::{Period, Timestamp};
pub use value::{Rows, Value};
