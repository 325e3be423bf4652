//! Synthetic worlds with known truth, conformance suites, numeric comparison.

pub mod random_tables;
