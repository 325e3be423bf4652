use std::path::Path;

use super::sample::{closed, held, interval, not_held};
use super::*;

fn check_broken(what: &str, change: impl FnOnce(&mut Report), expected: &str) {
    let mut report = held();
    change(&mut report);
    match report.validate() {
        Err(ReportError::Invalid(broken)) => {
            assert!(broken.iter().any(|text| text.contains(expected)), "{what}: {broken:?} does not say {expected:?}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_contradiction_is_named() {
    held().validate().unwrap();
    not_held().validate().unwrap();
    check_broken("empty ladder", |report| report.ladder.clear(), "ladder is empty");
    check_broken("a name twice", |report| report.ladder[1].step = "as written".into(), "used twice");
    check_broken("unknown choice", |report| report.chosen = Some("else".into()), "\"else\" is no step of the ladder");
    check_broken("held without choice", |report| report.chosen = None, "nothing is chosen");
    check_broken(
        "held below the floor",
        |report| report.ladder[4].retention_ci = interval(0.9699, 1.0),
        "reaches 0.9699 of keep 0.97",
    );
    check_broken("held above the bound", |report| report.budget.p99_ms = 0.5, "reaches 0.561 of p99_ms 0.5");
    check_broken("held above the size", |report| report.budget.bytes_max = Some(5), "bytes_max 5");
    check_broken("held below the rate", |report| report.budget.rps_min = Some(1e9), "rps_min 1000000000");
    check_broken("not held without misses", |report| report.held = false, "nearest_misses is empty");
    check_broken(
        "value outside",
        |report| report.ladder[2].ci = interval(0.2, 0.3),
        "is not within its interval [0.2, 0.3]",
    );
    check_broken("interval backwards", |report| report.teacher.ci = interval(0.2, 0.1), "teacher");
    check_broken("NaN", |report| report.ladder[0].metric = f64::NAN, "metric NaN");
    check_broken("infinite", |report| report.precomputed[0].latency_ms.p99 = f64::INFINITY, "precomputed at 86400 s");
    check_broken("p50 above p99", |report| report.ladder[0].latency_ms.p50 = 600.0, "0 < p50 <= p99");
    check_broken("share", |report| report.features.share_of_compute_moved_to_batch = 1.01, "not between 0 and 1");
    check_broken("placements", |report| report.features.batch = 30, "is not total 38");
    check_broken("no look", |report| report.report_slice_opened = 0, "report_slice_opened is 0");
    check_broken("judged where fitted", |report| report.judged_on = SliceRole::Fit, "judged_on is fit");
    check_broken("a metric", |report| report.metrics[0].teacher.value = 2.0, "teacher's recall@10");
    check_broken("no reason", |report| report.rejected[0].reason = " ".into(), "no reason");
    check_broken("interval alone", |report| report.rejected[0].metric = None, "an interval but no value");
    check_broken("slice", |report| report.slices[0].steps[0].metric = 9.0, "slice \"2011-07\"");
    check_broken("part", |report| report.split.parts[0].until = report.split.parts[0].from, "ends before it begins");
}

#[test]
fn every_contradiction_is_named_at_once() {
    let mut report = held();
    report.chosen = Some("else".into());
    report.ladder[0].rps = f64::NAN;
    report.features.total = 0;
    let ReportError::Invalid(broken) = report.validate().unwrap_err() else { panic!("not invalid") };
    assert!(broken.len() >= 3, "{broken:?}");
}

#[test]
fn a_report_reads_back_as_it_was() {
    for report in [held(), not_held()] {
        assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
    }
}

#[test]
fn the_layout_is_the_promised_one() {
    let json: serde_json::Value = serde_json::from_str(&held().to_json()).unwrap();
    for key in [
        "data",
        "split",
        "teacher",
        "ladder",
        "chosen",
        "precomputed",
        "rejected",
        "features",
        "machine",
        "versions",
        "seed",
        "report_slice_opened",
        "http_latency_ms",
        "schema",
        "budget",
        "held",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
    let step = &json["ladder"][4];
    assert_eq!(step["latency_ms"]["p50"], 0.412);
    assert_eq!(step["ci"].as_array().map(Vec::len), Some(2));
    assert_eq!(step["retention_ci"][0], 0.974);
    assert_eq!(json["chosen"], "compiled forest");
    assert_eq!(json["precomputed"][1]["store"], "redis");
    assert_eq!(json["split"]["by"], "time");
    let none: serde_json::Value = serde_json::from_str(&not_held().to_json()).unwrap();
    assert!(none["chosen"].is_null() && none.get("chosen").is_some(), "a missing choice is written as null");
}

#[test]
fn a_newer_or_foreign_file_is_refused_by_name() {
    let message = |json: &str| Report::from_json(json).unwrap_err().to_string();
    assert!(message(r#"{"schema": 99}"#).contains("schema version 99"));
    assert!(message("{}").contains("not a report"));
    assert!(message("hello").contains("not a report"));
}

#[test]
fn both_files_are_written_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("a/b");
    held().write(&out).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["report.html", "report.json"]);
    assert_eq!(Report::from_json(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap(), held());

    let mut broken = held();
    broken.seed = 2;
    broken.chosen = Some("else".into());
    assert!(broken.write(&directory.path().join("c")).is_err());
    assert!(!directory.path().join("c").exists(), "nothing half-written");
    let occupied = out.join("report.json");
    assert!(held().write(&occupied).unwrap_err().to_string().contains("report.json"));
}

/// The page as a browser sees it: balanced, self-contained, every name escaped.
#[test]
fn the_page_is_whole_and_asks_nothing_of_the_network() {
    for report in [held(), not_held()] {
        let page = html::render(&report);
        check_balanced(&page);
        for outside in ["http://", "https://", "src=", "url(", "@import", "<script", "<link", "javascript:"] {
            assert!(!page.contains(outside), "{outside} in the page");
        }
        assert!(page.contains("retail &lt;b&gt;gifts&lt;/b&gt; &amp; &quot;more&quot;"));
        assert!(!page.contains("<b>gifts") && !page.contains("<script>"));
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "an id twice: {ids:?}");
        for referred in page.split("aria-labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(referred.split(' ').all(|id| ids.contains(&id)), "{referred} refers to nothing");
        }
        assert!(!page.contains("NaN") && !page.contains("inf%"));
    }
}

/// Every element that is opened is closed in order.
fn check_balanced(page: &str) {
    let mut open: Vec<String> = Vec::new();
    let body = page.split_once("</style>").expect("a style").1;
    for tag in body.split('<').skip(1).map(|rest| rest.split('>').next().expect("a tag ends")) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default().to_owned();
        let void = ["br", "meta", "line", "rect", "circle", "path"].contains(&name.as_str());
        match tag.strip_prefix('/') {
            Some(_) if open.is_empty() || name == "head" || name == "html" => {}
            Some(_) => assert_eq!(open.pop().as_deref(), Some(name.as_str()), "closing <{tag}>"),
            None if void || name == "body" => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

#[test]
fn the_page_says_what_was_chosen_and_what_was_not() {
    let page = html::render(&held());
    for text in [
        "1,090 times faster, keeping 99.2\u{a0}% of the quality",
        "Budget held",
        "compiled forest",
        "floor 97.0 %",
        "p99 bound 35.0 ms",
        "similarity cache, cosine 0.9",
        "int8 network &lt;script&gt;",
        "7 days",
        "opened once",
        "paceline run examples/retail/pipeline.toml",
        "coverage@10",
        "1 way that would do, but another way",
        "popularity of the last 7 days alone reaches 0.0677, 51.6\u{a0}%",
    ] {
        assert!(page.contains(text), "{text:?} is missing");
    }
    assert_eq!(page.matches("class=\"mark chosen\"").count(), 2, "one chosen mark in each drawing");
    let page = html::render(&not_held());
    for text in [
        "Budget not held",
        "Nothing cheaper holds the budget",
        "lower end of retention is 95.1\u{a0}%, asked 97.0\u{a0}%",
        "p99 latency is 204 ms, asked 35.0 ms",
    ] {
        assert!(page.contains(text), "{text:?} is missing");
    }
    assert!(!page.contains("class=\"mark chosen\""));
}

/// Figures that strain the scales: one step, equal numbers, a loss-like retention far above 1, times of a nanosecond.
#[test]
fn extreme_reports_still_draw_inside_their_frame() {
    let mut report = not_held();
    report.ladder.truncate(1);
    report.rejected.clear();
    report.ladder[0].latency_ms = Latency { p50: 1e-6, p99: 1e-6, mean: 1e-6 };
    report.ladder[0].retention = 40.0;
    report.ladder[0].retention_ci = interval(0.0, 41.0);
    report.budget.p99_ms = 1e6;
    report.validate().unwrap();
    let page = html::render(&report);
    check_balanced(&page);
    for coordinate in page.split(" cx=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let x: f64 = coordinate.parse().unwrap();
        assert!((0.0..=1040.0).contains(&x), "{x}");
    }
    for coordinate in page.split(" cy=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let y: f64 = coordinate.parse().unwrap();
        assert!((0.0..=460.0).contains(&y), "{y}");
    }
}

#[test]
fn the_ladder_fits_the_screen_and_needs_no_color() {
    for (report, width) in [held(), not_held(), closed()]
        .iter()
        .flat_map(|report| [60, 80, 94, 100, 120, 200].map(|width| (report, width)))
    {
        let plain = terminal::ladder(report, width, false);
        println!("{plain}");
        assert!(plain.lines().all(|line| line.chars().count() <= width.max(80)), "{plain}");
        assert!(!plain.contains('\x1b'));
        let colored = terminal::ladder(report, width, true);
        let mut stripped = String::new();
        let mut rest = colored.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            stripped.push_str(before);
            rest = after.split_once('m').expect("a color code ends with m").1;
        }
        stripped.push_str(rest);
        let trim = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trim(&stripped), trim(&plain), "colors add nothing but colors");
    }
    let text = terminal::ladder(&held(), 100, false);
    assert!(text.lines().any(|line| line.starts_with("> compiled forest") && line.contains("1,090x")), "{text}");
    assert!(text.contains("Held: compiled forest answers in 412 us"), "{text}");
    assert!(text.contains("Over HTTP on this machine: p50 580 us, p99 1.31 ms."), "{text}");
    let text = terminal::ladder(&not_held(), 100, false);
    assert!(text.contains("Not held: no live step holds the budget"), "{text}");
    assert!(
        text.contains("Nearest: candidates, then forest 100 x 31 reaches keep 0.951 where 0.970 is asked."),
        "{text}"
    );
}

#[test]
fn a_closed_report_slice_is_never_passed_off_as_opened() {
    let report = closed();
    report.validate().unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!((&json["judged_on"], &json["report_slice_opened"]), (&"tune".into(), &0.into()));
    let page = html::render(&report);
    assert!(page.contains("The report slice is closed.") && page.contains("was never opened by runs"));
    assert!(terminal::ladder(&report, 100, false).contains("The report slice is closed"));
    assert!(!html::render(&held()).contains("The report slice is closed"));
    let old = held().to_json().replace("\"judged_on\": \"report\",", "");
    assert_eq!(Report::from_json(&old).unwrap().judged_on, SliceRole::Report, "reports before the field");
}

#[test]
fn names_cannot_move_the_cursor() {
    let mut report = held();
    report.ladder[0].step = "as\x1b[2Jwritten\tso".into();
    let text = terminal::ladder(&report, 100, false);
    assert!(!text.contains('\x1b') && text.contains("as [2Jwritten so"), "{text}");
}

/// `PACELINE_WRITE_DOCS=1 cargo test --workspace --lib -- report::` writes the pages anew.
#[test]
fn the_reference_pages_are_fresh() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let schema = format!("{}\n", serde_json::to_string_pretty(&reference::json_schema()).unwrap());
    for (name, content) in [("report.md", reference::markdown()), ("report.schema.json", schema)] {
        let path = docs.join(name);
        if std::env::var_os("PACELINE_WRITE_DOCS").is_some() {
            std::fs::write(&path, &content).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == content,
            "docs/{name} is stale; run PACELINE_WRITE_DOCS=1 cargo test --workspace --lib -- report::"
        );
    }
}

/// `REPORT_SAMPLES=DIR cargo test -p paceline report_samples` writes the sample pages, to look at in a browser.
#[test]
fn report_samples() {
    let directory = match std::env::var_os("REPORT_SAMPLES") {
        Some(directory) => std::path::PathBuf::from(directory),
        None => tempfile::tempdir().unwrap().path().to_owned(),
    };
    for (name, report) in [("held", held()), ("not_held", not_held()), ("closed", closed())] {
        report.write(&directory.join(name)).unwrap();
    }
}
