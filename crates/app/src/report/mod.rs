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

pub use types::*;
pub use validate::ReportError;
