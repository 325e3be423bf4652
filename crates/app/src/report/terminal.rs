//! The ladder as `demo` and `run` print it at their end.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::format::{age, bytes, latency, metric, percent, percent_down, significant, times};
use super::types::{Interval, Latency, RejectedBecause, Report, SliceRole};

/// Rejected candidates beyond this many are counted, not listed.
const REJECTED_LINES: usize = 6;
/// The narrowest screen that nothing is wrapped on.
const WIDTH_MIN: usize = 80;
/// Sentences are not drawn out beyond this.
const SENTENCE_WIDTH_MAX: usize = 100;

/// The ladder, precomputed lists, what was rejected, and the verdict, in lines of at most `width` columns (at least 80
/// are taken). What does not fit a narrow screen, the metric and the size, stands in the report. `color` adds ANSI
/// colors; without them nothing is lost.
#[must_use]
pub fn ladder(report: &Report, width: usize, color: bool) -> String {
    let table = Table { report, width: width.max(WIDTH_MIN) };
    let paint = Paint { color };
    let mut out = String::new();
    line(&mut out, &paint.dim(&table.header()));
    for step in &report.ladder {
        let chosen = report.chosen.as_deref() == Some(step.step.as_str());
        let row = Row {
            mark: if chosen { ">" } else { " " },
            name: &step.step,
            latency: Some(&step.latency_ms),
            metric: Some((step.metric, step.ci)),
            kept: Some((step.retention, step.retention_ci)),
            last: bytes(step.bytes),
        };
        let text = table.row(&row);
        line(&mut out, &if chosen { paint.strong(&text) } else { text });
    }
    if !report.precomputed.is_empty() {
        line(&mut out, "");
        line(&mut out, &paint.dim("  precomputed lists, a different promise: as fresh as their age"));
        for list in &report.precomputed {
            let row = Row {
                mark: " ",
                name: &format!("{} old, {}", age(list.age_s), list.place),
                latency: Some(&list.latency_ms),
                metric: Some((list.metric, list.ci)),
                kept: Some((list.retention, list.retention_ci)),
                last: String::new(),
            };
            line(&mut out, &table.row(&row));
        }
    }
    rejected(&mut out, &table, &paint);
    line(&mut out, "");
    for text in verdict(report) {
        for wrapped in wrap(&text, table.width.min(SENTENCE_WIDTH_MAX)) {
            line(&mut out, &if report.held { paint.good(&wrapped) } else { paint.bad(&wrapped) });
        }
    }
    out
}

/// The fastest way of each idea that was rejected; ways of one idea have the same name up to a comma.
fn rejected(out: &mut String, table: &Table<'_>, paint: &Paint) {
    let report = table.report;
    if report.rejected.is_empty() {
        return;
    }
    line(out, "");
    line(out, &paint.dim("  tried and rejected, as on tuning data"));
    let p50 = |at: usize| report.rejected[at].latency_ms.map_or(f64::INFINITY, |latency| latency.p50);
    let mut fastest: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, rejected) in report.rejected.iter().enumerate() {
        let idea = idea(&rejected.candidate);
        let known = fastest.entry(idea).or_insert(at);
        if p50(at) < p50(*known) {
            *known = at;
        }
    }
    let mut shown: Vec<usize> = fastest.into_values().collect();
    shown.sort_unstable();
    shown.truncate(REJECTED_LINES);
    for at in &shown {
        let rejected = &report.rejected[*at];
        let row = Row {
            mark: "-",
            name: &rejected.candidate,
            latency: rejected.latency_ms.as_ref(),
            metric: rejected.metric.zip(rejected.ci),
            kept: rejected.retention.zip(rejected.retention_ci),
            last: rejected.because.map_or("", RejectedBecause::words).to_owned(),
        };
        line(out, &table.row(&row));
    }
    if report.rejected.len() > shown.len() {
        line(out, &format!("  and {} more, with reasons, in the report", report.rejected.len() - shown.len()));
    }
}

/// `distilled forest` of `distilled forest, 113 candidates`; `candidates` of `450 candidates`.
fn idea(candidate: &str) -> &str {
    let name = candidate.split(',').next().unwrap_or(candidate);
    name.trim_start_matches(|character: char| character.is_ascii_digit()).trim_start()
}

/// One line of the table.
struct Row<'a> {
    mark: &'static str,
    name: &'a str,
    latency: Option<&'a Latency>,
    metric: Option<(f64, Interval)>,
    kept: Option<(f64, Interval)>,
    last: String,
}

/// Columns that fit the width: names take what figures leave.
struct Table<'a> {
    report: &'a Report,
    width: usize,
}

const LATENCY_WIDTH: usize = 8;
const FASTER_WIDTH: usize = 9;
const KEPT_WIDTH: usize = 16;
const METRIC_WIDTH: usize = 25;
const LAST_WIDTH: usize = 14;

impl Table<'_> {
    fn has_last(&self) -> bool {
        self.width >= 92
    }

    fn has_metric(&self) -> bool {
        self.width >= 116
    }

    fn name_width(&self) -> usize {
        let metric = if self.has_metric() { METRIC_WIDTH } else { 0 };
        let last = if self.has_last() { LAST_WIDTH } else { 0 };
        // Beyond this a name only moves away from its figures.
        (self.width - 2 - 2 * LATENCY_WIDTH - FASTER_WIDTH - KEPT_WIDTH - metric - last).min(44)
    }

    fn line(&self, cells: [&str; 8]) -> String {
        let [mark, name, p50, p99, faster, metric, kept, last] = cells;
        let name_width = self.name_width();
        let mut text = format!(
            "{mark} {}{p50:>LATENCY_WIDTH$}{p99:>LATENCY_WIDTH$}{faster:>FASTER_WIDTH$}",
            fit_padded(name, name_width)
        );
        if self.has_metric() {
            let _ = write!(text, "  {metric:<23}");
        }
        let _ = write!(text, "  {kept:<14}");
        if self.has_last() {
            let _ = write!(text, " {last:>13}");
        }
        text
    }

    fn header(&self) -> String {
        let name = format!("{} [95 %]", self.report.teacher.metric.to_uppercase());
        self.line([" ", "step", "p50", "p99", "faster", &name, "kept % [95 %]", "size"])
    }

    fn row(&self, row: &Row<'_>) -> String {
        let time = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| latency(ms, "u"));
        let faster =
            row.latency.map_or_else(|| "-".to_owned(), |time| format!("{}x", times(self.report.times_faster(time))));
        let measured = row.metric.map_or_else(String::new, |(value, ci)| {
            format!("{} [{}, {}]", metric(value), metric(ci.low), metric(ci.high))
        });
        let kept = row.kept.map_or_else(String::new, |(value, ci)| {
            format!("{:>3.0} [{:.0}, {:.0}]", 100.0 * value, floor_percent(ci.low), 100.0 * ci.high)
        });
        let latency = row.latency;
        self.line([
            row.mark,
            row.name,
            &time(latency.map(|latency| latency.p50)),
            &time(latency.map(|latency| latency.p99)),
            &faster,
            &measured,
            &kept,
            &row.last,
        ])
    }
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
        percent_down(step.retention_ci.low),
    );
    if report.held {
        let mut sentences = vec![format!("Held: {figures}"), format!("Asked: {asked}.")];
        sentences.extend(report.http_latency_ms.map(|http| {
            format!("Over HTTP on this machine: p50 {}, p99 {}.", latency(http.p50, "u"), latency(http.p99, "u"))
        }));
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
