//! Why rows were not scored, and why an artifact cannot be used.

use paceline_features::expression::Type;
use paceline_models::ScorerFileError;
use thiserror::Error;

/// What is wrong with a request. Rows are counted from 0. Change the request; retrying does not help.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PredictError {
    /// More rows than one call may have.
    #[error("{found} rows in one request; at most {limit}, so send several")]
    TooManyRows {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A name that the model does not know.
    #[error("row {row}: unknown column {column:?}; the model's columns are {known}")]
    UnknownColumn {
        /// The row.
        row: usize,
        /// The name.
        column: String,
        /// What there is.
        known: String,
    },
    /// A column was left out.
    #[error("row {row}: column {column:?} is missing; it is {expected}, and null where it is not known")]
    MissingColumn {
        /// The row.
        row: usize,
        /// The column.
        column: String,
        /// Its type.
        expected: Type,
    },
    /// A value that is not of the column's type.
    #[error("row {row}, column {column:?}: {value} is not {expected}")]
    WrongType {
        /// The row.
        row: usize,
        /// The column.
        column: String,
        /// The value, shortened.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Not as many fetched features as the views have.
    #[error("row {row}: {found} features were fetched, the model's views have {must}")]
    FeatureCount {
        /// The row.
        row: usize,
        /// How many there are.
        found: usize,
        /// How many there must be.
        must: usize,
    },
}

/// Why an artifact is not a row model that can be used: publish it again.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ArtifactError {
    /// A file is not there.
    #[error("the artifact has no file {file:?}; it has {known}")]
    Missing {
        /// The file.
        file: String,
        /// What there is.
        known: String,
    },
    /// The bytes are not of the format.
    #[error("{file} is damaged or not one: {cause}")]
    Malformed {
        /// The file.
        file: String,
        /// What the reader found.
        cause: String,
    },
    /// Written by a version of the format that this one does not read.
    #[error("{file} has format version {found}, this program reads version {known}; run the pipeline again")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// What is read here.
        known: u32,
    },
    /// The parts of the artifact contradict each other.
    #[error("artifact: {part} is {found}, but must be {must}")]
    Inconsistent {
        /// Which part.
        part: String,
        /// What was found.
        found: String,
        /// What it has to be.
        must: String,
    },
    /// A model file cannot be read.
    #[error(transparent)]
    Scorer(#[from] ScorerFileError),
}
