//! Safe wrapper over LightGBM's C API, loaded at run time.
//!
//! - [`Search`] and [`Library`]: where the shared library is looked for, and the loaded library.
//! - [`Dataset`]: binned training rows.
//! - [`Parameters`]: LightGBM's own parameters as typed values.
//! - [`Booster`]: a model; trained from datasets, read from or written to LightGBM's text format.
//! - [`SingleRow`]: LightGBM's fastest call for one row, to compare with.
//!
//! Results repeat: `deterministic`, `force_row_wise`, one thread and a seed are set unless the caller says otherwise.
//! LightGBM's log goes nowhere but into [`Booster::warnings`].
//!
//! ```no_run
//! use paceline_lightgbm::{Booster, Dataset, DatasetSpec, Library, Parameters, TrainSpec};
//!
//! let library = Library::open("lib_lightgbm.so".as_ref())?;
//! let parameters = Parameters::seeded(7).with("objective", "binary").with("num_leaves", 31);
//! let rows = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
//! let labels = [0.0, 1.0, 0.0, 1.0];
//! let data = Dataset::new(&library, &rows, 2, &DatasetSpec { labels: &labels, ..DatasetSpec::default() }, &parameters)?;
//! let booster = Booster::train(&parameters, &data, &TrainSpec { rounds: 10, validation: None })?;
//! println!("{}", booster.to_text()?);
//! # Ok::<(), paceline_lightgbm::LightGbmError>(())
//! ```

mod api;
mod booster;
mod dataset;
mod error;
mod library;
mod log;
mod parameters;
mod search;

#[cfg(test)]
mod tests;

pub use booster::{Booster, Output, SingleRow, TrainSpec, Validation};
pub use dataset::{Dataset, DatasetSpec};
pub use error::LightGbmError;
pub use library::Library;
pub use parameters::{ParameterValue, Parameters};
pub use search::Search;
