//! `report.html`: one page for people, without script and without any outside request.

mod parts;
mod sections;

use std::fmt::Write;

use super::format::escape;
use super::types::Report;

const STYLE: &str = include_str!("../../../../../web/report.css");

/// The whole page. Every name in the report is escaped.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    let name = escape(&report.pipeline);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{name}: Paceline report</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    sections::headline(&mut page, report);
    sections::ladder(&mut page, report);
    sections::latency_against_quality(&mut page, report);
    sections::precomputed(&mut page, report);
    sections::metrics(&mut page, report);
    sections::rejected(&mut page, report);
    sections::features(&mut page, report);
    sections::judged(&mut page, report);
    sections::provenance(&mut page, report);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}
