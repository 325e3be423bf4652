//! Paceline

pub mod report;
