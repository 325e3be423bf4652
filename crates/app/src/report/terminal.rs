//! The ladder as `demo` and `run` print it at their end.

use std::fmt::Write;

use super::format::{age, bytes, latency, metric, percent, significant, times};
use super::types::{Interval, Latency, Report, SliceRole};

/// Rejected candidates beyond this many are counted, not listed.
const REJECTED_LINES: usize = 6;

/// Figures take this much of a line; names get the rest.
const FIGURES_WIDTH: usize = 76;

/// The ladder, precomputed lists, what was rejected, and the verdict, in lines of at most `width` columns (at least 92 is
/// needed, 100 is comfortable). `color` adds ANSI colors; without them nothing is lost.
#[must_use]
pub fn ladder(report: &Report, width: usize, color: bool) -> String {
    let width = width.max(92);
    let paint = Paint { color };
    let name_width = width - FIGURES_WIDTH;
    let mut out = String::new();
    let name = report.teacher.metric.to_uppercase();
    let header = format!(
        "  {:<name_width$}{:>8}{:>8}{:>9}  {:<24}{:<14}{:>9}",
        "step",
        "p50",
        "p99",
        "faster",
        format!("{name} [95 %]"),
        "kept % [95 %]",
        "size"
    );
    line(&mut out, &paint.dim(&fit(&header, width)));
    for step in &report.ladder {
        let chosen = report.chosen.as_deref() == Some(step.step.as_str());
        let text = format!(
            "{} {}{}{:>9}",
            if chosen { ">" } else { " " },
            fit_padded(&step.step, name_width),
            figures(report, &step.latency_ms, step.metric, step.ci, step.retention, step.retention_ci),
            bytes(step.bytes),
        );
        line(&mut out, &if chosen { paint.strong(&text) } else { text });
    }
    if !report.precomputed.is_empty() {
        line(&mut out, "");
        line(&mut out, &paint.dim("  precomputed lists (a different promise: as fresh as their age)"));
        for list in &report.precomputed {
            let name = format!("{} old, {}", age(list.age_s), list.place);
            let figures = figures(report, &list.latency_ms, list.metric, list.ci, list.retention, list.retention_ci);
            line(&mut out, &format!("  {}{figures}", fit_padded(&name, name_width)));
        }
    }
    if !report.rejected.is_empty() {
        line(&mut out, "");
        line(&mut out, &paint.dim("  tried and rejected"));
        for rejected in report.rejected.iter().take(REJECTED_LINES) {
            line(&mut out, &fit(&format!("  - {}: {}", clean(&rejected.candidate), clean(&rejected.reason)), width));
        }
        if report.rejected.len() > REJECTED_LINES {
            line(&mut out, &format!("  - and {} more, in the report", report.rejected.len() - REJECTED_LINES));
        }
    }
    line(&mut out, "");
    for text in verdict(report) {
        for wrapped in wrap(&text, width) {
            line(&mut out, &if report.held { paint.good(&wrapped) } else { paint.bad(&wrapped) });
        }
    }
    out
}

fn figures(report: &Report, time: &Latency, value: f64, ci: Interval, kept: f64, kept_ci: Interval) -> String {
    format!(
        "{:>8}{:>8}{:>9}  {:<24}{:<14}",
        latency(time.p50, "u"),
        latency(time.p99, "u"),
        format!("{}x", times(report.times_faster(time))),
        format!("{} [{}, {}]", metric(value), metric(ci.low), metric(ci.high)),
        format!("{:>3.0} [{:.0}, {:.0}]", 100.0 * kept, floor_percent(kept_ci.low), 100.0 * kept_ci.high),
    )
}

/// Rounded downwards, so that an interval just below a floor never looks as if it reached it.
fn floor_percent(share: f64) -> f64 {
    (100.0 * share + 1e-9).floor()
}

/// The verdict in sentences: what was chosen and whether it held, or what came closest.
pub(super) fn verdict(report: &Report) -> Vec<String> {
    let budget = &report.budget;
    let asked =
        format!("keep at least {} % of quality, p99 at most {}", percent(budget.keep), latency(budget.p99_ms, "u"));
    let Some(step) = report.chosen_step() else {
        let mut sentences = vec![format!("Not held: no live step holds the budget ({asked}).")];
        sentences.extend(misses(report));
        return sentences;
    };
    let figures = format!(
        "{} answers in {} (p99 {}), {} times faster than as written, and keeps {} % of the quality, at least {} %.",
        clean(&step.step),
        latency(step.latency_ms.p50, "u"),
        latency(step.latency_ms.p99, "u"),
        times(report.times_faster(&step.latency_ms)),
        percent(step.retention),
        percent(step.retention_ci.low),
    );
    if report.held {
        let mut sentences = vec![format!("Held: {figures}"), format!("Asked: {asked}.")];
        sentences.push(match (report.judged_on, report.report_slice_opened) {
            (SliceRole::Tune | SliceRole::Fit, _) => {
                "The report slice is closed: these are figures of the tuning slice, which flatter the choice."
                    .to_owned()
            }
            (SliceRole::Report, 1) => "The report slice was opened for the first time.".to_owned(),
            (SliceRole::Report, times) => {
                format!("The report slice was opened {times} times by now; each look makes it a little less untouched.")
            }
        });
        sentences
    } else {
        let mut sentences = vec![format!("Not held ({asked}), not published: {figures}")];
        sentences.extend(misses(report));
        sentences
    }
}

fn misses(report: &Report) -> impl Iterator<Item = String> {
    report.nearest_misses.iter().map(|miss| {
        format!(
            "Nearest: {} reaches {} {} where {} is asked.",
            clean(&miss.candidate),
            miss.bound,
            significant(miss.reached),
            significant(miss.required)
        )
    })
}

/// Names come from users: no control character, so no escape sequence, reaches the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Cut to `width` characters, the last one an ellipsis when something was cut.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn fit_padded(text: &str, width: usize) -> String {
    format!("{:<width$}", fit(&clean(text), width - 1))
}

/// Breaks at spaces; a longer word stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let current = lines.last_mut().expect("never empty");
        if current.is_empty() {
            current.push_str(word);
        } else if current.chars().count() + 1 + word.chars().count() <= width {
            current.push(' ');
            current.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end());
}

struct Paint {
    color: bool,
}

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn strong(&self, text: &str) -> String {
        self.wrap("1;32", text)
    }

    fn good(&self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.wrap("33", text)
    }
}
