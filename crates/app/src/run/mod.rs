//! From a checked pipeline to a measured one.

pub mod recommend;
pub mod trials;
