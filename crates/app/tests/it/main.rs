//! End-to-end tests: one binary, so that it is linked once.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod arrows;
mod command_line;
mod recommender;
