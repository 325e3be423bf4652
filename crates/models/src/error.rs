//! Why a model file cannot be used.

use thiserror::Error;

/// What is wrong with a model file. None of these is helped by retrying: get the right file, or train again.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ModelError {
    /// The bytes are not of the format: cut short, damaged, or another kind of file.
    #[error("{kind} file is damaged or not one: {cause}")]
    Malformed {
        /// What was expected: "network", "factors", "ensemble", ...
        kind: &'static str,
        /// What the reader found.
        cause: String,
    },
    /// Written by a version of the format that this one does not read.
    #[error("{kind} file has format version {found}, this program reads version {known}; train the model again")]
    Version {
        /// What was expected.
        kind: &'static str,
        /// The file's version.
        found: u32,
        /// What is read here.
        known: u32,
    },
    /// The parts of the file contradict each other.
    #[error("{kind} file: {part} is {found}, but must be {must}")]
    Inconsistent {
        /// What was expected.
        kind: &'static str,
        /// Which part of the file.
        part: String,
        /// What was found there.
        found: String,
        /// What it has to be.
        must: String,
    },
}
