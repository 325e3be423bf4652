//! The sections of the page, in its order.

use std::fmt::Write;

use super::parts::{
    LatencyScale, RetentionScale, Share, bound_figure, bound_name, card, latency_bar, retention_strip, stacked,
};
use crate::report::format::{
    age, bytes, escape, latency, metric, metric_range, percent, percent_down, thousands, times,
};
use crate::report::svg::{Canvas, latency_against_quality as draw};
use crate::report::types::{Figure, Rejected, RejectedBecause, Report, SliceRole, SplitBy, SplitPart};

/// What was chosen, how much faster, how much quality it keeps, and whether that holds.
pub(super) fn headline(page: &mut String, report: &Report) {
    let (badge, class) = if report.held { ("Budget held", "held") } else { ("Budget not held", "missed") };
    let _ = write!(
        page,
        "<header>\n<p class=\"eyebrow\"><span>Paceline report</span> <span>{}</span> <span>{}</span> <span class=\"badge {class}\">{badge}</span></p>\n",
        escape(&report.pipeline),
        escape(&report.task)
    );
    let asked = format!(
        "Asked: keep at least {}\u{a0}% of the quality and answer within {} at p99.",
        percent(report.budget.keep),
        latency(report.budget.p99_ms, "µ")
    );
    if let Some(step) = report.chosen_step() {
        let factor = times(report.times_faster(&step.latency_ms));
        let _ = write!(
            page,
            "<h1>{factor} times faster, keeping {}\u{a0}% of the quality</h1>\n<p class=\"lead\"><strong>{}</strong> answers in {} where the pipeline as written takes {}. Its retention lies between {}\u{a0}% and {}\u{a0}%. {asked}{}</p>\n",
            percent(step.retention),
            escape(&step.step),
            latency(step.latency_ms.p50, "µ"),
            latency(report.ladder[0].latency_ms.p50, "µ"),
            percent_down(step.retention_ci.low),
            percent(step.retention_ci.high),
            if report.held {
                ""
            } else {
                " Chosen on tuning data, it did not hold on the report slice and was not published."
            }
        );
    } else {
        let _ = write!(
            page,
            "<h1>Nothing cheaper holds the budget</h1>\n<p class=\"lead\">{asked} No live step does both, so none was chosen and nothing was published.</p>\n"
        );
    }
    if report.judged_on == SliceRole::Tune {
        page.push_str(CLOSED);
    }
    nearest_misses(page, report);
    cards(page, report);
    page.push_str("</header>\n");
}

/// Stands above every figure of a run that kept the report slice closed.
const CLOSED: &str = "<p class=\"closed\"><strong>The report slice is closed.</strong> All figures on this page are of the tuning slice, on which the choice was made, so they flatter it. Run without <code>--no-report</code> before believing them.</p>\n";

fn nearest_misses(page: &mut String, report: &Report) {
    if report.nearest_misses.is_empty() {
        return;
    }
    page.push_str("<h2 class=\"small\">Nearest misses</h2>\n<ul class=\"misses\">\n");
    for miss in &report.nearest_misses {
        let _ = writeln!(
            page,
            "<li><strong>{}</strong>: {} is {}, asked {}</li>",
            escape(&miss.candidate),
            escape(bound_name(&miss.bound)),
            bound_figure(&miss.bound, miss.reached),
            bound_figure(&miss.bound, miss.required)
        );
    }
    page.push_str("</ul>\n");
}

fn cards(page: &mut String, report: &Report) {
    page.push_str("<dl class=\"cards\">\n");
    let name = report.teacher.metric.to_uppercase();
    if let Some(step) = report.chosen_step() {
        let bound = format!("bound {}", latency(report.budget.p99_ms, "µ"));
        card(page, "p99 in process", &latency(step.latency_ms.p99, "µ"), &bound);
        let reference = format!("{} has {}", report.reference.name, metric(report.reference.value));
        card(page, &name, &metric(step.metric), &reference);
        card(page, "size", &bytes(step.bytes), &format!("as written {}", bytes(report.ladder[0].bytes)));
    } else {
        card(page, &format!("{name} of the reference"), &metric(report.reference.value), &report.reference.name);
    }
    if let Some(http) = &report.http_latency_ms {
        card(page, "p99 over HTTP", &latency(http.p99, "µ"), &format!("p50 {}", latency(http.p50, "µ")));
    }
    let share = report.features.share_of_compute_moved_to_batch;
    let note = format!("{} of {} features", report.features.batch, report.features.total);
    card(page, "feature compute in batch", &format!("{}\u{a0}%", percent(share)), &note);
    page.push_str("</dl>\n");
}

/// The ladder: a table that is its own chart.
pub(super) fn ladder(page: &mut String, report: &Report) {
    let (times_scale, quality_scale) = (LatencyScale::new(report), RetentionScale::new(report));
    let name = escape(&report.teacher.metric.to_uppercase());
    let _ = write!(
        page,
        "<section aria-labelledby=\"ladder\">\n<h2 id=\"ladder\">The ladder</h2>\n<p>From the pipeline as written down to what is served, each step measured. Bars: median latency on a log scale from {}, the thin line reaches p99, the dashed line is the bound. Strips: quality kept with its 95\u{a0}% interval; the dashed line is the floor, the dotted one 100\u{a0}%.</p>\n\
         <table class=\"ladder\">\n<thead><tr><th scope=\"col\">Step</th><th scope=\"col\">Latency</th><th scope=\"col\" class=\"number\">Times faster</th><th scope=\"col\" class=\"number\">{name}</th><th scope=\"col\">Quality kept</th><th scope=\"col\" class=\"number\">Size</th></tr></thead>\n<tbody>\n",
        times_scale.span()
    );
    for (index, step) in report.ladder.iter().enumerate() {
        let chosen = report.chosen.as_deref() == Some(step.step.as_str());
        let _ = writeln!(
            page,
            "<tr{}><th scope=\"row\"><div class=\"rung-name\"><span class=\"rung\">{}</span><span><span class=\"name\">{}{}</span><span class=\"what\">{}</span></span></div></th>\
             <td data-name=\"Latency\">{}</td><td data-name=\"Times faster\" class=\"number\"><b>{}</b></td>\
             <td data-name=\"{name}\" class=\"number\"><b>{}</b><br><span class=\"soft\">{}</span></td>\
             <td data-name=\"Quality kept\">{}</td><td data-name=\"Size\" class=\"number\">{}</td></tr>",
            if chosen { " class=\"chosen\"" } else { "" },
            index + 1,
            escape(&step.step),
            if chosen { " <em class=\"tag\">chosen</em>" } else { "" },
            escape(&step.what),
            latency_bar(&step.latency_ms, &times_scale, report.budget.p99_ms),
            times(report.times_faster(&step.latency_ms)),
            metric(step.metric),
            metric_range(step.ci),
            retention_strip(step.retention, step.retention_ci, &quality_scale),
            bytes(step.bytes)
        );
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

/// The scatter, wide and narrow: the style shows the one that fits.
pub(super) fn latency_against_quality(page: &mut String, report: &Report) {
    let _ = write!(
        page,
        "<section aria-labelledby=\"scatter\">\n<h2 id=\"scatter\">Latency against quality</h2>\n<p>The tinted corner holds both bounds: a step belongs to it when its whole interval lies above the floor and its p99, the thin line to the right, lies left of the bound.</p>\n\
         <figure>\n<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n<figcaption>\n<ul class=\"legend\">\n",
        draw(report, Canvas::WIDE, "wide"),
        draw(report, Canvas::NARROW, "narrow")
    );
    for (index, step) in report.ladder.iter().enumerate() {
        let class = if report.chosen.as_deref() == Some(step.step.as_str()) { "rung chosen" } else { "rung" };
        let _ = writeln!(page, "<li><span class=\"{class}\">{}</span>{}</li>", index + 1, escape(&step.step));
    }
    if !report.precomputed.is_empty() {
        page.push_str("<li><span class=\"diamond\"></span>precomputed list</li>\n");
    }
    if report.rejected.iter().any(|rejected| rejected.retention.is_some() && rejected.latency_ms.is_some()) {
        page.push_str("<li><span class=\"ring\"></span>rejected (quality on tuning data)</li>\n");
    }
    page.push_str("</ul>\n");
    if let Some(baseline) = &report.baseline {
        let _ = writeln!(
            page,
            "<p>Read retention on a scale that does not start at zero: {} alone reaches {}, {}\u{a0}% of the reference.</p>",
            escape(&baseline.name),
            metric(baseline.value),
            percent(baseline.retention)
        );
    }
    page.push_str("</figcaption>\n</figure>\n</section>\n");
}

/// The other metrics, teacher beside chosen.
pub(super) fn metrics(page: &mut String, report: &Report) {
    if report.metrics.is_empty() {
        return;
    }
    let chosen = report.chosen.as_deref().unwrap_or("chosen");
    let _ = write!(
        page,
        "<section aria-labelledby=\"metrics\">\n<h2 id=\"metrics\">By other metrics</h2>\n<p>Only {} decides. Coverage is the share of the available items that appear in any list.</p>\n\
         <table class=\"metrics\">\n<thead><tr><th scope=\"col\">Metric</th><th scope=\"col\" class=\"number\">Teacher</th><th scope=\"col\" class=\"number\">{}</th></tr></thead>\n<tbody>\n",
        escape(&report.teacher.metric),
        escape(chosen)
    );
    let cell = |name: &str, figure: Option<&Figure>| match figure {
        Some(Figure { value, ci }) => format!(
            "<td data-name=\"{name}\" class=\"number\"><b>{}</b> <span class=\"soft\">{}</span></td>",
            metric(*value),
            metric_range(*ci)
        ),
        None => format!("<td data-name=\"{name}\" class=\"number\">–</td>"),
    };
    for row in &report.metrics {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th>{}{}</tr>",
            escape(&row.metric),
            cell("Teacher", Some(&row.teacher)),
            cell("Chosen", row.chosen.as_ref())
        );
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

/// Lists by age.
pub(super) fn precomputed(page: &mut String, report: &Report) {
    if report.precomputed.is_empty() {
        return;
    }
    let scale = RetentionScale::new(report);
    let name = escape(&report.teacher.metric.to_uppercase());
    let _ = write!(
        page,
        "<section aria-labelledby=\"lists\">\n<h2 id=\"lists\">Precomputed lists</h2>\n<p>A different promise: an answer computed before the request, as old as stated. It knows nothing that happened since.</p>\n\
         <table>\n<thead><tr><th scope=\"col\">Age</th><th scope=\"col\">Read from</th><th scope=\"col\" class=\"number\">p50</th><th scope=\"col\" class=\"number\">p99</th><th scope=\"col\" class=\"number\">{name}</th><th scope=\"col\">Quality kept</th></tr></thead>\n<tbody>\n"
    );
    for list in &report.precomputed {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td data-name=\"Read from\">{}</td><td data-name=\"p50\" class=\"number\">{}</td><td data-name=\"p99\" class=\"number\">{}</td>\
             <td data-name=\"{name}\" class=\"number\"><b>{}</b><br><span class=\"soft\">{}</span></td><td data-name=\"Quality kept\">{}</td></tr>",
            age(list.age_s),
            escape(&list.place),
            latency(list.latency_ms.p50, "µ"),
            latency(list.latency_ms.p99, "µ"),
            metric(list.metric),
            metric_range(list.ci),
            retention_strip(list.retention, list.retention_ci, &scale)
        );
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

/// What was tried and why it is not there. Ways that would do but were outrun by another way of the same idea are folded
/// away: they say little that the ladder does not.
pub(super) fn rejected(page: &mut String, report: &Report) {
    if report.rejected.is_empty() {
        return;
    }
    let was_outrun =
        |rejected: &&Rejected| matches!(rejected.because, Some(RejectedBecause::Outrun | RejectedBecause::Outdone));
    let (outrun, failed): (Vec<&Rejected>, Vec<&Rejected>) = report.rejected.iter().partition(was_outrun);
    page.push_str(
        "<section aria-labelledby=\"rejected\">\n<h2 id=\"rejected\">Tried and rejected</h2>\n<p>Quality on tuning data, where the choice was made.</p>\n",
    );
    if !failed.is_empty() {
        rejected_table(page, report, &failed);
    }
    if !outrun.is_empty() {
        let ways = if outrun.len() == 1 { "1 way".to_owned() } else { format!("{} ways", outrun.len()) };
        let _ = writeln!(
            page,
            "<details>\n<summary>{ways} that would do, but another way of the same idea does better</summary>"
        );
        rejected_table(page, report, &outrun);
        page.push_str("</details>\n");
    }
    page.push_str("</section>\n");
}

fn rejected_table(page: &mut String, report: &Report, rejected: &[&Rejected]) {
    let scale = RetentionScale::new(report);
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\">Candidate</th><th scope=\"col\">Why not</th><th scope=\"col\" class=\"number\">p50</th><th scope=\"col\">Quality kept</th></tr></thead>\n<tbody>\n",
    );
    for rejected in rejected {
        let time = rejected.latency_ms.as_ref().map_or_else(|| "–".to_owned(), |time| latency(time.p50, "µ"));
        let kept = match (rejected.retention, rejected.retention_ci) {
            (Some(retention), Some(interval)) => retention_strip(retention, interval, &scale),
            (Some(retention), None) => format!("{}\u{a0}%", percent(retention)),
            (None, _) => "–".to_owned(),
        };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td data-name=\"Why not\">{}</td><td data-name=\"p50\" class=\"number\">{time}</td><td data-name=\"Quality kept\">{kept}</td></tr>",
            escape(&rejected.candidate),
            escape(&rejected.reason)
        );
    }
    page.push_str("</tbody>\n</table>\n");
}

/// Where features are computed and what that saves.
pub(super) fn features(page: &mut String, report: &Report) {
    let features = &report.features;
    page.push_str("<section aria-labelledby=\"features\">\n<h2 id=\"features\">Features by placement</h2>\n");
    let _ = write!(
        page,
        "<p>{}\u{a0}% of the CPU time of features no longer falls into a request",
        percent(features.share_of_compute_moved_to_batch)
    );
    if let (Some(before), Some(after)) = (features.cpu_ms_as_written, features.cpu_ms_as_served) {
        let _ = write!(page, ": {} per request as written, {} as served", latency(before, "µ"), latency(after, "µ"));
    }
    page.push_str(".</p>\n");
    let share =
        |class, count: u64, what: &str| Share { class, legend: format!("<b>{count}</b> {what}"), size: count as f64 };
    stacked(
        page,
        &[
            share("first", features.batch, "batch, materialised on a schedule"),
            share("second", features.stream, "stream, kept current by events"),
            share("third", features.request, "request, computed while answering"),
        ],
    );
    page.push_str("</section>\n");
}

/// The split and the quality on single slices.
pub(super) fn judged(page: &mut String, report: &Report) {
    let by = match report.split.by {
        SplitBy::Time => "by time: what is judged lies after everything that was learned or chosen from",
        SplitBy::Column => "by a column of the data",
        SplitBy::Random => "at random, whole groups together",
    };
    let opened = report.report_slice_opened;
    let _ = write!(
        page,
        "<section aria-labelledby=\"judged\">\n<h2 id=\"judged\">How it was judged</h2>\n<p>Cut {by}. The report slice was {} by runs into this folder, whatever the model was.</p>\n",
        opened_times(opened)
    );
    let unit = &report.split.unit;
    let shares: Vec<Share> = report.split.parts.iter().map(|part| part_share(part, unit, report.split.by)).collect();
    stacked(page, &shares);
    slices(page, report);
    page.push_str("</section>\n");
}

/// `never opened`, `opened once`, `opened 3 times`.
fn opened_times(opened: u32) -> String {
    match opened {
        0 => "never opened".to_owned(),
        1 => "opened once".to_owned(),
        more => format!("opened {more} times"),
    }
}

fn part_share(part: &SplitPart, unit: &str, by: SplitBy) -> Share {
    let (class, role) = match part.role {
        SliceRole::Fit => ("first", "fit"),
        SliceRole::Tune => ("second", "tune"),
        SliceRole::Report => ("third", "report"),
    };
    let date = |at: paceline_core::Timestamp| at.to_string().chars().take(10).collect::<String>();
    let span = match (part.from, part.until) {
        (Some(from), Some(until)) => format!(" {} to {}", date(from), date(until)),
        (None, Some(until)) => format!(" until {}", date(until)),
        (Some(from), None) => format!(" from {}", date(from)),
        (None, None) => String::new(),
    };
    let size = match (by, part.from, part.until) {
        (SplitBy::Time, Some(from), Some(until)) => until.seconds_since(from),
        _ => part.units as f64,
    };
    Share { class, legend: format!("<b>{role}</b>{span}, {} {}", thousands(part.units), escape(unit)), size }
}

fn slices(page: &mut String, report: &Report) {
    if report.slices.is_empty() {
        return;
    }
    let scale = RetentionScale::new(report);
    let name = escape(&report.teacher.metric.to_uppercase());
    let unit = escape(&report.split.unit);
    let _ = write!(
        page,
        "<details open>\n<summary>Quality on each slice</summary>\n<table>\n<thead><tr><th scope=\"col\">Slice</th><th scope=\"col\">Step</th><th scope=\"col\" class=\"number\">{unit}</th><th scope=\"col\" class=\"number\">{name}, reference</th><th scope=\"col\" class=\"number\">{name}</th><th scope=\"col\">Quality kept</th></tr></thead>\n<tbody>\n"
    );
    for slice in &report.slices {
        let role = match slice.role {
            SliceRole::Fit => "fit",
            SliceRole::Tune => "tune",
            SliceRole::Report => "report",
        };
        for step in &slice.steps {
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{} <span class=\"soft\">{role}</span></th><td data-name=\"Step\">{}</td><td data-name=\"{unit}\" class=\"number\">{}</td><td data-name=\"{name}, reference\" class=\"number\">{}</td>\
                 <td data-name=\"{name}\" class=\"number\">{}</td><td data-name=\"Quality kept\">{}</td></tr>",
                escape(&slice.name),
                escape(&step.step),
                thousands(slice.units),
                metric(slice.reference),
                metric(step.metric),
                retention_strip(step.retention, step.retention_ci, &scale)
            );
        }
    }
    page.push_str("</tbody>\n</table>\n</details>\n");
}

/// Data, teacher, machine, versions, seed, commands.
pub(super) fn provenance(page: &mut String, report: &Report) {
    page.push_str("<section aria-labelledby=\"made\">\n<h2 id=\"made\">What it was made from, and how to repeat it</h2>\n<dl class=\"facts\">\n");
    for source in &report.data.sources {
        let span = match (source.first, source.last) {
            (Some(first), Some(last)) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let text = format!(
            "{}: {} rows, {} used{span}, digest {}",
            source.path,
            thousands(source.rows),
            thousands(source.rows_used),
            source.digest
        );
        fact(page, &format!("source {}", source.name), &text);
    }
    for (entity, count) in &report.data.entities {
        fact(page, &format!("distinct {entity}"), &thousands(*count));
    }
    let teacher = &report.teacher;
    let value = format!("{} {} [{}]", teacher.metric, metric(teacher.value), metric_range(teacher.ci));
    fact(page, "teacher", &if teacher.what.is_empty() { value } else { format!("{value}: {}", teacher.what) });
    let reference = &report.reference;
    fact(
        page,
        "reference",
        &format!("{}, {} [{}]", reference.name, metric(reference.value), metric_range(reference.ci)),
    );
    let machine = &report.machine;
    let place = format!("{}, {} cores, {}, {}", machine.cpu, machine.cores, bytes(machine.memory_bytes), machine.os);
    fact(page, "machine", &place);
    let versions: Vec<String> = report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    fact(page, "versions", &versions.join(", "));
    fact(page, "seed", &report.seed.to_string());
    fact(page, "written", &report.written_at.to_string());
    page.push_str("</dl>\n");
    if !report.commands.is_empty() {
        let commands: Vec<String> = report.commands.iter().map(|command| escape(command)).collect();
        let _ = writeln!(
            page,
            "<pre tabindex=\"0\" aria-label=\"Commands to repeat this report\"><code>{}</code></pre>",
            commands.join("\n")
        );
    }
    let _ = writeln!(
        page,
        "<p class=\"soft\">Latency is the wall time of one request on one thread in process, from decoded request to answer. Intervals are 95\u{a0}% intervals of a paired bootstrap over {}. Every figure stands in <code>report.json</code> beside this page.</p>\n</section>",
        escape(&report.split.unit)
    );
}

fn fact(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(text));
}
