use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why LightGBM could not be found or did not do what was asked.
#[derive(Debug, Error)]
pub enum LightGbmError {
    /// No place of the search has a loadable library.
    #[error("LightGBM's library was not found; run `make setup` or `pip install lightgbm`. Tried:{}", Tried(tried))]
    NotFound {
        /// Each place with what was wrong there, in the order tried.
        tried: Vec<(PathBuf, String)>,
    },
    /// The library is too old or too new: a function of the C API is missing.
    #[error("{path:?} has no function {function}: use LightGBM 4.0 or later (tested with 4.6.0)")]
    Incompatible {
        /// The library.
        path: PathBuf,
        /// What it lacks.
        function: &'static str,
    },
    /// The arguments contradict each other or LightGBM's limits; nothing was called.
    #[error("{what}: {found} (expected {expected})")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// Its value or size.
        found: String,
        /// What would do.
        expected: String,
    },
    /// LightGBM refused; its own message.
    #[error("LightGBM ({function}): {message}")]
    Refused {
        /// The function of the C API.
        function: &'static str,
        /// LightGBM's last error.
        message: String,
    },
}

struct Tried<'a>(&'a [(PathBuf, String)]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(path, problem)| write!(f, "\n  {}: {problem}", path.display()))
    }
}
