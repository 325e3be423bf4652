//! Tests of the store crate through its public interface.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step fails the test; seeds and skips are said")]

mod conformance;
mod kill;
mod redis_faults;
mod redis_server;
mod sources;
