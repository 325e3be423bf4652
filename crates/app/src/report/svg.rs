//! Latency against quality as one SVG: every step, list and rejected candidate with its intervals, and the budget.

use std::fmt::Write;

use super::format::{escape, latency, percent, percent_range};
use super::types::{Interval, Latency, Report};

/// Size of a drawing in its own units. Text keeps its size, so a narrow screen gets a narrow drawing, not a shrunken one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    pub width: f64,
    pub height: f64,
}

impl Canvas {
    pub(super) const WIDE: Canvas = Canvas { width: 1040.0, height: 460.0 };
    pub(super) const NARROW: Canvas = Canvas { width: 360.0, height: 380.0 };
}

const MARGIN_LEFT: f64 = 52.0;
const MARGIN_RIGHT: f64 = 14.0;
const MARGIN_TOP: f64 = 26.0;
const MARGIN_BOTTOM: f64 = 46.0;

/// What a mark stands for; decides its shape and color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A ladder step and its number from 1.
    Step {
        number: usize,
        chosen: bool,
    },
    List,
    Rejected,
}

struct Mark {
    name: String,
    kind: Kind,
    latency: Latency,
    retention: f64,
    interval: Interval,
}

/// Positions of the plot area. Latency runs logarithmically to the right, retention linearly upwards.
struct Scales {
    canvas: Canvas,
    decades: (i32, i32),
    retention: (f64, f64),
    /// Distance of the retention grid lines.
    tick: f64,
}

impl Scales {
    fn new(canvas: Canvas, marks: &[Mark], keep: f64, p99_ms: f64) -> Self {
        let times = marks.iter().flat_map(|mark| [mark.latency.p50, mark.latency.p99]).chain([p99_ms]);
        let (first, last) = times.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), ms| (low.min(ms), high.max(ms)));
        let decades =
            (first.log10().floor() as i32, (last.log10().ceil() as i32).max(first.log10().floor() as i32 + 1));
        let qualities = marks.iter().flat_map(|mark| [mark.interval.low, mark.interval.high]).chain([keep, 1.0]);
        let (low, high) = qualities.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let tick =
            [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0].into_iter().find(|tick| (high - low) / tick <= 8.0).unwrap_or(5.0);
        let retention = (((low / tick).floor() * tick - tick / 4.0).max(0.0), (high / tick).ceil() * tick + tick / 4.0);
        Scales { canvas, decades, retention, tick }
    }

    fn x(&self, ms: f64) -> f64 {
        let (first, last) = (f64::from(self.decades.0), f64::from(self.decades.1));
        let share = (ms.log10() - first) / (last - first);
        MARGIN_LEFT + share * (self.right() - MARGIN_LEFT)
    }

    fn y(&self, retention: f64) -> f64 {
        let (low, high) = self.retention;
        self.bottom() - (retention - low) / (high - low) * (self.bottom() - MARGIN_TOP)
    }

    fn right(&self) -> f64 {
        self.canvas.width - MARGIN_RIGHT
    }

    fn bottom(&self) -> f64 {
        self.canvas.height - MARGIN_BOTTOM
    }
}

/// The drawing, with a title and a description for readers that do not see it. `id` must be unique on the page.
pub(super) fn latency_against_quality(report: &Report, canvas: Canvas, id: &str) -> String {
    let marks = collect(report);
    let scales = Scales::new(canvas, &marks, report.budget.keep, report.budget.p99_ms);
    let mut svg = String::new();
    let _ = write!(
        svg,
        r#"<svg viewBox="0 0 {:.0} {:.0}" role="img" aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">Latency against quality kept</title><desc id="{id}-desc">{}</desc>"#,
        canvas.width,
        canvas.height,
        escape(&describe(report))
    );
    draw_grid(&mut svg, &scales);
    draw_budget(&mut svg, &scales, report);
    // Steps last: they lie on top.
    for kind in [0, 1, 2] {
        let layer = |mark: &&Mark| {
            kind == match mark.kind {
                Kind::Rejected => 0,
                Kind::List => 1,
                Kind::Step { .. } => 2,
            }
        };
        marks.iter().filter(layer).for_each(|mark| draw_mark(&mut svg, &scales, mark));
    }
    svg.push_str("</svg>");
    svg
}

fn collect(report: &Report) -> Vec<Mark> {
    let steps = report.ladder.iter().enumerate().map(|(index, step)| Mark {
        name: step.step.clone(),
        kind: Kind::Step { number: index + 1, chosen: report.chosen.as_deref() == Some(step.step.as_str()) },
        latency: step.latency_ms,
        retention: step.retention,
        interval: step.retention_ci,
    });
    let lists = report.precomputed.iter().map(|list| Mark {
        name: format!("precomputed list, {} old, {}", super::format::age(list.age_s), list.place),
        kind: Kind::List,
        latency: list.latency_ms,
        retention: list.retention,
        interval: list.retention_ci,
    });
    let rejected = report.rejected.iter().filter_map(|rejected| {
        let retention = rejected.retention?;
        Some(Mark {
            name: format!("rejected: {}", rejected.candidate),
            kind: Kind::Rejected,
            latency: rejected.latency_ms?,
            retention,
            interval: rejected.retention_ci.unwrap_or(Interval { low: retention, high: retention }),
        })
    });
    steps.chain(lists).chain(rejected).collect()
}

fn describe(report: &Report) -> String {
    let mut text =
        String::from("Median latency of one request on a logarithmic axis against retention with its 95 % interval. ");
    for (index, step) in report.ladder.iter().enumerate() {
        let _ = write!(
            text,
            "Step {}, {}: {}, keeps {} %. ",
            index + 1,
            step.step,
            latency(step.latency_ms.p50, "µ"),
            percent(step.retention)
        );
    }
    match &report.chosen {
        Some(chosen) => {
            let _ = write!(text, "Chosen: {chosen}. ");
        }
        None => text.push_str("No step was chosen. "),
    }
    text.push_str("The tables on this page hold all figures.");
    text
}

fn draw_grid(svg: &mut String, scales: &Scales) {
    let (top, bottom, left, right) = (MARGIN_TOP, scales.bottom(), MARGIN_LEFT, scales.right());
    let (first, last) = scales.decades;
    // On a narrow drawing every second decade is named.
    let every = if f64::from(last - first) * 62.0 > right - left { 2 } else { 1 };
    for decade in first..=last {
        let ms = 10f64.powi(decade);
        let x = scales.x(ms);
        let _ = write!(svg, r#"<line class="grid" x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}"/>"#);
        if (decade - first) % every == 0 {
            let anchor = if decade == last {
                "end"
            } else if decade == first {
                "start"
            } else {
                "middle"
            };
            let name = decade_name(decade);
            let _ = write!(
                svg,
                r#"<text class="tick" x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{name}</text>"#,
                bottom + 18.0
            );
        }
    }
    let steps = ((scales.retention.1 - scales.retention.0) / scales.tick) as i32 + 2;
    let start = (scales.retention.0 / scales.tick).ceil() as i32;
    for tick in
        (start..start + steps).map(|index| f64::from(index) * scales.tick).filter(|tick| *tick <= scales.retention.1)
    {
        let y = scales.y(tick);
        let class = if (tick - 1.0).abs() < 1e-9 { "whole" } else { "grid" };
        let _ = write!(
            svg,
            r#"<line class="{class}" x1="{left:.1}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{:.0} %</text>"#,
            left - 8.0,
            y + 4.0,
            100.0 * tick
        );
    }
    let _ = write!(
        svg,
        r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="end">latency of one request, log scale →</text><text class="axis" x="0" y="14">quality kept ↑</text>"#,
        right,
        bottom + 38.0
    );
}

fn decade_name(decade: i32) -> String {
    let ms = 10f64.powi(decade);
    let (count, unit) = match decade {
        3.. => (ms / 1_000.0, "s"),
        0..=2 => (ms, "ms"),
        -3..=-1 => (ms * 1_000.0, "µs"),
        _ => (ms * 1_000_000.0, "ns"),
    };
    if count < 0.95 { format!("{count} {unit}") } else { format!("{count:.0} {unit}") }
}

/// The reference, the floor, the bound, and the corner where both hold.
fn draw_budget(svg: &mut String, scales: &Scales, report: &Report) {
    let (top, bottom, left, right) = (MARGIN_TOP, scales.bottom(), MARGIN_LEFT, scales.right());
    let (floor, bound) = (scales.y(report.budget.keep), scales.x(report.budget.p99_ms));
    let _ = write!(
        svg,
        r#"<rect class="holds" x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
        bound - left,
        floor - top
    );
    let _ = write!(svg, r#"<line class="bound" x1="{left:.1}" y1="{floor:.1}" x2="{right:.1}" y2="{floor:.1}"/>"#);
    let _ = write!(svg, r#"<line class="bound" x1="{bound:.1}" y1="{top:.1}" x2="{bound:.1}" y2="{bottom:.1}"/>"#);
    let _ = write!(
        svg,
        r#"<text class="bound-name" x="{:.1}" y="{:.1}" text-anchor="end">floor {} %</text>"#,
        right - 4.0,
        floor + 15.0,
        percent(report.budget.keep)
    );
    // Long names of references are cut: the provenance section has them in full.
    let reference: String = report.reference.name.chars().take(28).collect();
    let _ = write!(
        svg,
        r#"<text class="tick" x="{:.1}" y="{:.1}">{} = 100 %</text>"#,
        left + 6.0,
        scales.y(1.0) - 6.0,
        escape(&reference)
    );
    let beside = if bound > (left + right) / 2.0 { (bound - 5.0, "end") } else { (bound + 5.0, "start") };
    let _ = write!(
        svg,
        r#"<text class="bound-name" x="{:.1}" y="{:.1}" text-anchor="{}">p99 bound {}</text>"#,
        beside.0,
        bottom - 7.0,
        beside.1,
        latency(report.budget.p99_ms, "µ")
    );
}

fn draw_mark(svg: &mut String, scales: &Scales, mark: &Mark) {
    let (x, tail, y) = (scales.x(mark.latency.p50), scales.x(mark.latency.p99), scales.y(mark.retention));
    let (low, high) = (scales.y(mark.interval.low), scales.y(mark.interval.high));
    let class = match mark.kind {
        Kind::Step { chosen: true, .. } => "mark chosen",
        Kind::Step { chosen: false, .. } => "mark step",
        Kind::List => "mark list",
        Kind::Rejected => "mark rejected",
    };
    let _ = write!(
        svg,
        r#"<g class="{class}"><title>{}: {} (p99 {}), keeps {} % [{}]</title>"#,
        escape(&mark.name),
        latency(mark.latency.p50, "µ"),
        latency(mark.latency.p99, "µ"),
        percent(mark.retention),
        percent_range(mark.interval)
    );
    // Of what was rejected the tail to p99 stands in the title alone: there may be twenty of them in one place.
    let tail = if mark.kind == Kind::Rejected { String::new() } else { format!("M{x:.1} {y:.1}H{tail:.1}") };
    let _ = write!(
        svg,
        r#"<path class="range" d="M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8{tail}"/>"#,
        x - 4.0,
        x - 4.0
    );
    match mark.kind {
        Kind::Step { number, chosen } => {
            let radius = if chosen { 12.0 } else { 10.0 };
            let _ = write!(
                svg,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{number}</text>"#,
                y + 4.2
            );
        }
        Kind::List => {
            let _ = write!(svg, r#"<path class="shape" d="M{x:.1} {:.1}l6 6l-6 6l-6 -6z"/>"#, y - 6.0);
        }
        Kind::Rejected => {
            let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.5"/>"#);
        }
    }
    svg.push_str("</g>");
}
