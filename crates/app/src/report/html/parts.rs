//! Small pieces that several sections share: bars, interval strips, stacked bars.

use std::fmt::Write;

use crate::report::format::{escape, latency, percent, percent_down, percent_range, significant};
use crate::report::types::{Interval, Latency, Report};

/// A logarithmic scale over all latencies of the ladder, for bars in a table.
pub(super) struct LatencyScale {
    first: f64,
    last: f64,
}

impl LatencyScale {
    /// Whole decades around the ladder and the bound.
    pub(super) fn new(report: &Report) -> Self {
        let steps = report.ladder.iter().flat_map(|step| [step.latency_ms.p50, step.latency_ms.p99]);
        let (low, high) = steps
            .chain([report.budget.p99_ms])
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), ms| (low.min(ms), high.max(ms)));
        let first = low.log10().floor();
        LatencyScale { first, last: high.log10().ceil().max(first + 1.0) }
    }

    /// Where `ms` lies, in percent of the bar's room.
    pub(super) fn place(&self, ms: f64) -> f64 {
        (100.0 * (ms.log10() - self.first) / (self.last - self.first)).clamp(0.0, 100.0)
    }

    /// Width of a decade in percent.
    pub(super) fn decade(&self) -> f64 {
        100.0 / (self.last - self.first)
    }

    /// What the scale spans.
    pub(super) fn span(&self) -> String {
        format!("{} to {}", latency(10f64.powf(self.first), "µ"), latency(10f64.powf(self.last), "µ"))
    }
}

/// A bar up to the median with a whisker to p99, and the two figures above it.
pub(super) fn latency_bar(time: &Latency, scale: &LatencyScale, bound_ms: f64) -> String {
    format!(
        "<div class=\"figure\"><b>{}</b> <span class=\"soft\">p99 {}</span></div>\
         <div class=\"bar\" aria-hidden=\"true\" style=\"--p50:{:.2}%;--p99:{:.2}%;--bound:{:.2}%;--decade:{:.3}%\"><i></i><s></s><u></u></div>",
        latency(time.p50, "µ"),
        latency(time.p99, "µ"),
        scale.place(time.p50),
        scale.place(time.p99),
        scale.place(bound_ms),
        scale.decade()
    )
}

/// A linear scale for retention strips that all tables of the page share.
pub(super) struct RetentionScale {
    low: f64,
    high: f64,
    keep: f64,
}

impl RetentionScale {
    /// Around every interval of the page, the floor and 1.
    pub(super) fn new(report: &Report) -> Self {
        let ladder = report.ladder.iter().map(|step| step.retention_ci);
        let lists = report.precomputed.iter().map(|list| list.retention_ci);
        let rejected = report.rejected.iter().filter_map(|rejected| rejected.retention_ci);
        let slices = report.slices.iter().flat_map(|slice| &slice.steps).map(|step| step.retention_ci);
        let keep = report.budget.keep;
        let (low, high) = ladder
            .chain(lists)
            .chain(rejected)
            .chain(slices)
            .fold((keep.min(1.0), keep.max(1.0)), |(low, high), ci| (low.min(ci.low), high.max(ci.high)));
        let room = (0.04 * (high - low)).max(0.005);
        RetentionScale { low: low - room, high: high + room, keep }
    }

    fn place(&self, retention: f64) -> f64 {
        (100.0 * (retention - self.low) / (self.high - self.low)).clamp(0.0, 100.0)
    }
}

/// Retention in figures and as a strip with its interval, the floor and 100\u{a0}% marked.
pub(super) fn retention_strip(retention: f64, interval: Interval, scale: &RetentionScale) -> String {
    format!(
        "<div class=\"figure\"><b>{}\u{a0}%</b> <span class=\"soft\">{}</span></div>\
         <div class=\"strip{}\" aria-hidden=\"true\" style=\"--low:{:.2}%;--at:{:.2}%;--high:{:.2}%;--keep:{:.2}%;--whole:{:.2}%\"><s></s><u></u><i></i><b></b></div>",
        percent(retention),
        percent_range(interval),
        if interval.low < scale.keep { " below" } else { "" },
        scale.place(interval.low),
        scale.place(retention),
        scale.place(interval.high),
        scale.place(scale.keep),
        scale.place(1.0)
    )
}

/// One part of a stacked bar.
pub(super) struct Share {
    /// CSS class, which gives the color.
    pub class: &'static str,
    /// What stands in the legend; already HTML.
    pub legend: String,
    /// Relative size.
    pub size: f64,
}

/// A stacked bar with its legend, which also says everything in words.
pub(super) fn stacked(page: &mut String, shares: &[Share]) {
    let total: f64 = shares.iter().map(|share| share.size).sum();
    page.push_str("<div class=\"stack\" aria-hidden=\"true\">");
    for share in shares.iter().filter(|share| share.size > 0.0) {
        let _ = write!(page, "<i class=\"{}\" style=\"width:{:.2}%\"></i>", share.class, 100.0 * share.size / total);
    }
    page.push_str("</div>\n<ul class=\"legend\">\n");
    for share in shares {
        let _ = writeln!(page, "<li><i class=\"{}\" aria-hidden=\"true\"></i>{}</li>", share.class, share.legend);
    }
    page.push_str("</ul>\n");
}

/// A figure with its name for the row of cards.
pub(super) fn card(page: &mut String, name: &str, figure: &str, note: &str) {
    let _ = writeln!(
        page,
        "<div class=\"card\"><dt>{}</dt><dd>{}</dd><dd class=\"soft\">{}</dd></div>",
        escape(name),
        escape(figure),
        escape(note)
    );
}

/// A bound of the budget with its unit.
pub(super) fn bound_figure(bound: &str, value: f64) -> String {
    match bound {
        "keep" => format!("{}\u{a0}%", percent_down(value)),
        "p99_ms" => latency(value, "µ"),
        "memory_mb_max" => format!("{} MiB", significant(value)),
        "rps_min" => format!("{} requests/s", significant(value)),
        "bytes_max" => crate::report::format::bytes(value as u64),
        _ => significant(value),
    }
}

/// What a bound is called for people.
pub(super) fn bound_name(bound: &str) -> &str {
    match bound {
        "keep" => "lower end of retention",
        "p99_ms" => "p99 latency",
        "memory_mb_max" => "memory",
        "rps_min" => "throughput",
        "bytes_max" => "size",
        other => other,
    }
}
