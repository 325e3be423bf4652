//! End-to-end tests: one binary, so that it is linked once.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod arrows;
mod bad_input;
mod bad_runs;
mod binary;
mod command_line;
mod databases;
mod events;
mod features;
mod object_server;
mod plan;
mod postgres_server;
mod push;
mod recommender;
#[path = "../../../store/tests/it/redis_server.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "it serves the tests of the store too; skips are said")]
mod redis_server;
mod requests;
mod schedules;
mod serving;
mod sources;
mod streams;
mod tabular;
