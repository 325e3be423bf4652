//! A pipeline for a table that nobody has described yet.
//!
//! [`Table`] reads a sample of the rows, [`propose`] guesses the roles of its columns and finds out which of them know
//! the label, [`Proposal::to_toml`] writes the pipeline, with the reason beside each guess. A guess is made from names,
//! types and values alone, so the file is a start to read and correct, not a verdict.

mod leakage;
mod roles;
mod table;
mod time;
mod words;
mod write;

#[cfg(test)]
mod tests;

pub use roles::{Proposal, propose};
pub use table::Table;

/// What is guessed, and why, in words that end no sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess<T> {
    /// What it is.
    pub value: T,
    /// Why.
    pub reason: String,
}

impl<T> Guess<T> {
    fn new(value: T, reason: impl Into<String>) -> Self {
        Guess { value, reason: reason.into() }
    }
}
