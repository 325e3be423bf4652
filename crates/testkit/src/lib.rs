//! Synthetic worlds with known truth, conformance suites, numeric comparison.
//!
//! - [`shop`]: users with tastes, products, invoices: the recommender's world, in the layout of a public data set.
//! - [`public_layouts`]: small tables in the layout of public data sets, for the examples.
//! - [`tabular`]: rows with a known best possible answer, for classification and regression.
//! - [`random_tables`]: tables that strain the feature operators.
//! - [`online_suite`], [`push_suite`], [`event_log_suite`]: what every implementation of the stores' traits must do.

pub mod event_log_suite;
pub mod online_suite;
pub mod public_layouts;
pub mod push_suite;
pub mod random_tables;
pub mod shop;
pub mod tabular;

mod sampling;
