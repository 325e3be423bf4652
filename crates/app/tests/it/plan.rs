//! `paceline plan` on rows of which it is known what they need: an event of the last hour, and a habit that stays.

use std::fmt::Write as _;
use std::path::Path;

use paceline_core::Timestamp;
use rand::RngExt as _;
use serde_json::Value;

use crate::binary;

const PIPELINE: &str = r#"
name = "alarms"

[sources.events]
path = "events.csv"
event_time = "at"

[sources.rows]
path = "rows.csv"
event_time = "at"

[features.lately]
source = "events"
entity = ["user_id"]
hits_1h = { agg = "count", window = "1h" }

[features.habit]
source = "events"
entity = ["user_id"]
size_90d = { agg = "mean", of = "size", window = "90d" }

[features.week]
source = "events"
entity = ["user_id"]
schedule = "1d"
hits_7d = { agg = "count", window = "7d" }

[features.request]
busy = "lately.hits_1h * 2 + ln(1 + week.hits_7d)"

[model]
task = "classify"
source = "rows"
label = "label"
teacher = [ { kind = "lightgbm", trees = 40, leaves = 15 } ]

[split]
train_until = "2026-03-01"
tune_until = "2026-04-01"
report_until = "2026-05-01"

[optimize]
metric = "auc"
keep = 0.97
p99_ms = 5
"#;

/// Users have sizes of their own; whoever had an event in the last hour, or is large, is likely to be labelled.
fn write(folder: &Path) {
    let mut random = paceline_core::random::stream(1, "plan test");
    let begin = "2026-01-01".parse::<Timestamp>().unwrap();
    let micros = |hours: f64| Timestamp(begin.0 + (hours * 3.6e9) as i64);
    let users = 60;
    let mut events = "user_id,size,at\n".to_owned();
    let mut rows = "user_id,label,at\n".to_owned();
    for user in 0..users {
        let size = f64::from(user % 10);
        for _ in 0..400 {
            let hour = random.random_range(0.0..120.0 * 24.0);
            let noise: f64 = random.random();
            writeln!(events, "{user},{},{}", size + noise, micros(hour)).unwrap();
            for recent in [true, false] {
                let after = if recent { random.random_range(0.05..0.9) } else { random.random_range(2.0..20.0) };
                let chance = if recent { 0.7 } else { 0.05 } + 0.025 * size;
                let label = u8::from(random.random_bool(chance));
                if hour > 24.0 * 20.0 && random.random_bool(0.2) {
                    writeln!(rows, "{user},{label},{}", micros(hour + after)).unwrap();
                }
            }
        }
    }
    std::fs::write(folder.join("events.csv"), events).unwrap();
    std::fs::write(folder.join("rows.csv"), rows).unwrap();
    std::fs::write(folder.join("p.toml"), PIPELINE).unwrap();
}

#[test]
fn what_must_be_fresh_goes_to_a_stream_and_what_stays_to_batch() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let plan = |more: &[&str]| {
        let arguments = [&["plan", "p.toml", "--schedules", "1h,1d,7d"], more].concat();
        let output = binary::paceline_that_trains(folder.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let found: Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    let view = |name: &str| found["views"].as_array().unwrap().iter().find(|view| view["view"] == name).unwrap();
    let kept = |name: &str, at: usize| view(name)["staleness"][at]["retention"]["value"].as_f64().unwrap();
    assert_eq!(view("lately")["placement"], "stream", "{found:#}");
    assert!(kept("lately", 1) < 0.9 && kept("lately", 2) < 0.9, "{found:#}");
    assert_eq!((&view("habit")["placement"], &view("habit")["schedule"]), (&"batch".into(), &"7d".into()), "{found:#}");
    assert!((kept("habit", 2) - 1.0).abs() < 0.02, "{found:#}");
    let week = view("week");
    assert_eq!(
        (&week["pinned"], &week["schedule"], &week["staleness"]),
        (&true.into(), &"1d".into(), &serde_json::json!([]))
    );
    let age = view("habit")["staleness"][1]["mean_age_s"].as_f64().unwrap();
    assert!((30_000.0..60_000.0).contains(&age), "half a day on average: {age}");
    assert!(found["together"]["ci"][0].as_f64().unwrap() >= 0.97);
    for feature in found["features"].as_array().unwrap() {
        assert!(feature["request_us"].as_f64().unwrap() > 0.0, "{feature}");
    }
    let text = plan(&[]);
    for part in [
        "feature  ",
        "lately.hits_1h  stream",
        "habit.size_90d  batch, 7d",
        "request.busy",
        "[features.habit]  schedule = \"7d\"",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn without_a_model_costs_alone_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let (features, _) = PIPELINE.split_once("[model]").unwrap();
    std::fs::write(folder.path().join("p.toml"), features).unwrap();
    let output = binary::paceline(folder.path()).args(["plan", "p.toml"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("There is no [model]") && text.contains("was not measured"), "{text}");
    let wrong = binary::paceline(folder.path()).args(["plan", "p.toml", "--schedules", "1mo"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
