//! Paceline
