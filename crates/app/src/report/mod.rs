//! The report of a budget search: `report.json`, `report.html` and the ladder on the screen.

mod format;
pub mod html;
pub mod openings;
pub mod place;
pub mod reference;
mod svg;
pub mod terminal;
mod types;
mod validate;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

/// Milliseconds in the unit that reads best: 1.94 ms, 412 us.
#[must_use]
pub fn latency_text(ms: f64) -> String {
    format::latency(ms, "u")
}

pub use types::*;
pub use validate::ReportError;
