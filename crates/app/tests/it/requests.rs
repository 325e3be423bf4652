//! Requests that a server logged, replayed through batch.

use std::path::Path;
use std::process::{Command, Output};

use paceline::report::place::now;
use paceline::serving::HttpClient;
use paceline_core::{Period, Timestamp};
use serde_json::{Value, json};

use crate::binary;
use crate::serving::{PATIENCE, ServeProcess, serve_process};

/// One point of the schedule a year, so that none passes while the test runs.
const PIPELINE: &str = r#"
name = "live"

[sources.clicks]
path = "clicks.csv"
event_time = "at"
time_unit = "us"

[features.user]
source = "clicks"
entity = ["user_id"]
schedule = "365d"
clicks = { agg = "count", window = "3650d" }
paid = { agg = "sum", of = "price", window = "3650d" }

[features.request]
twice = "2 * user.clicks + offer"

[serve]
log_requests = true
"#;

const DAY: i64 = 86_400_000_000;

/// Clicks as user, time, price.
fn write_clicks(folder: &Path, clicks: &[(i64, i64, &str)]) {
    let rows: String = clicks.iter().map(|(user, at, price)| format!("{user},{at},{price}\n")).collect();
    std::fs::write(folder.join("clicks.csv"), format!("user_id,at,price\n{rows}")).unwrap();
}

/// Asks the server to stop, and waits for it.
fn stop(mut server: ServeProcess) {
    let id = server.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(server.process.wait().unwrap().success());
}

fn verify(folder: &Path, more: &[&str]) -> Output {
    let mut command = binary::paceline(folder);
    command.args(["features", "verify", "pipeline.toml", "--requests", ".paceline/requests"]);
    command.args(more).output().unwrap()
}

#[test]
fn logged_requests_are_what_training_sees_until_the_sources_say_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("pipeline.toml"), PIPELINE).unwrap();
    let point: Timestamp = now().last_scheduled_before(Period::days(365)).unwrap();
    // User 8 clicked once more since the last point of the schedule.
    let clicks =
        [(7, point.0 - 20 * DAY, "0.1"), (7, point.0 - 10 * DAY, "0.2"), (8, point.0 - DAY, ""), (8, point.0, "3")];
    write_clicks(folder, &clicks);
    let server = serve_process(folder, &[]);
    let mut client = HttpClient::new(server.http, PATIENCE);
    let mut ask = |body: Value| {
        let reply = client.post("/get-online-features", &body.to_string()).unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    };
    let features = ["user:clicks", "user:paid", "request:twice"];
    ask(
        json!({"features": features, "entities": {"user_id": [7, 8, 99, null]}, "request_context": {"offer": [1, 2.5, null, 0]}}),
    );
    ask(json!({"features": ["user:paid"], "entities": {"user_id": [8, 7]}}));
    drop(client);
    stop(server);

    let found = |more: &[&str], code: i32| -> Value {
        let output = verify(folder, &[more, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let equal = found(&[], 0);
    // Two features of six rows, and the request-time feature of four.
    assert_eq!((&equal["rows"], &equal["values"], &equal["unequal"]), (&json!(6), &json!(16), &json!(0)), "{equal}");

    // A row comes late, for a time that the table had seen.
    let late = [&clicks[..], &[(7, point.0 - 5 * DAY, "0.3")]].concat();
    write_clicks(folder, &late);
    let changed = found(&[], 1);
    assert_eq!(changed["causes"], json!({"source_changed": 4, "inputs_differ": 1}), "{changed}");
    let differences = changed["differences"].as_array().unwrap();
    let count = differences.iter().find(|difference| difference["feature"] == "user.clicks").unwrap();
    assert_eq!((&count["entity"], &count["batch"], &count["online"]), (&json!("7"), &json!(3), &json!(2)));
    assert_eq!((&count["recomputed"], count["rows"].as_array().unwrap().len()), (&json!(3), 3));
    let twice = differences.iter().find(|difference| difference["feature"] == "request.twice").unwrap();
    assert_eq!((&twice["inputs"], &twice["entity"]), (&json!({"offer": 1.0, "user.clicks": 3}), &json!("user_id=7")));
    let said = String::from_utf8(verify(folder, &[]).stdout).unwrap();
    assert!(said.contains("the request was answered with 2") && said.contains("rows came late"), "{said}");

    // Training takes values of the second before, and the table had those of the last point.
    write_clicks(folder, &clicks);
    std::fs::write(folder.join("pipeline.toml"), PIPELINE.replace("365d", "1s")).unwrap();
    let stale = found(&[], 1);
    assert_eq!(stale["causes"], json!({"stale_table": 4, "inputs_differ": 1}), "{stale}");

    let output = verify(folder, &["--spine", "clicks.csv"]);
    assert_eq!(output.status.code(), Some(2), "one or the other");
}
