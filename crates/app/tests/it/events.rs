//! The event log of a real server, in either store: what is dropped from it for its age, and what is forgotten.

use std::path::Path;
use std::time::Duration;

use paceline::serving::HttpClient;
use paceline_core::event::{EventLog, EventLogError, Offset};
use paceline_store::{EmbeddedEventLog, RedisEventLog, RedisOptions};
use serde_json::{Value as Json, json};

use crate::binary;
use crate::redis_server::RedisServer;
use crate::serving::{ServeProcess, serve_process, until};

const PIPELINE: &str = r#"
name = "shop"

[sources.sales]
path = "sales.csv"
event_time = "at"
time_unit = "s"

[features.user]
source = "sales"
entity = ["user_id"]
orders = { agg = "count", window = "365d" }

[features.taste]
source = "sales"
entity = ["item_id", "user_id"]
spent = { agg = "sum", of = "price", window = "365d" }

[features.item]
source = "sales"
entity = ["item_id"]
sold = { agg = "count", window = "365d" }
"#;

/// A folder with a pipeline that `more` is added to.
fn folder(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("sales.csv"),
        "user_id,item_id,price,at\n1,a,2.5,1000\n2,a,3.5,2000\n1,b,4.5,3000\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("pipeline.toml"), format!("{PIPELINE}\n{more}")).unwrap();
    folder
}

fn client(server: &ServeProcess) -> HttpClient {
    HttpClient::new(server.http, Duration::from_secs(120))
}

fn post(server: &ServeProcess, path: &str, body: &Json) -> Json {
    let reply = client(server).post(path, &body.to_string()).unwrap();
    let said = String::from_utf8(reply.body).unwrap();
    assert_eq!(reply.status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// A figure of `/metrics`.
fn metric(server: &ServeProcess, name: &str) -> Option<u64> {
    let text = String::from_utf8(client(server).get("/metrics").unwrap().body).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn open_log(folder: &Path, url: Option<&str>) -> Box<dyn EventLog> {
    match url {
        Some(url) => Box::new(RedisEventLog::connect(url, RedisOptions::default()).unwrap()),
        None => Box::new(EmbeddedEventLog::open(&folder.join(".paceline").join("events")).unwrap()),
    }
}

fn the_server_drops_old_events(url: Option<&str>) {
    let store: Vec<&str> = url.iter().flat_map(|url| ["--store", *url]).collect();
    let folder = folder("[serve]\nevents_keep = \"1s\"\nevents_bytes_max = 1000000\n");
    let sale = |id: &str| json!({"id": id, "source": "sales", "fields": {"user_id": 1, "item_id": "a", "price": 1.5, "at": 3000}});
    let server = serve_process(folder.path(), &store);
    let first = post(&server, "/v1/events", &json!({"events": [sale("a"), sale("b")]}));
    until("old events are dropped", || metric(&server, "serve_events_dropped_total") == Some(2));
    until("the log is empty", || metric(&server, "serve_event_log_bytes") == Some(0));
    // The id is forgotten, the position is not.
    let again = post(&server, "/v1/events", &json!({"events": [sale("a")]}));
    assert_eq!(again["events"][0]["status"], "new");
    assert!(again["events"][0]["offset"].as_u64() > first["events"][1]["offset"].as_u64(), "{again}");
    drop(server);
    let log = open_log(folder.path(), url);
    let asked = Offset(first["events"][1]["offset"].as_u64().unwrap());
    assert!(matches!(log.read(asked, 1), Err(EventLogError::Gone { .. })), "who asks for it is told");
}

fn run(folder: &Path, arguments: &[&str], url: Option<&str>) -> (Option<i32>, String, String) {
    let store: Vec<&str> = url.iter().flat_map(|url| ["--store", *url]).collect();
    let output = binary::paceline(folder).args(arguments).args(store).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn run_json(folder: &Path, arguments: &[&str], url: Option<&str>) -> Json {
    let (code, result, said) = run(folder, &[arguments, &["--json"]].concat(), url);
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&result).unwrap()
}

fn an_entity_is_forgotten_everywhere(url: Option<&str>) {
    let store: Vec<&str> = url.iter().flat_map(|url| ["--store", *url]).collect();
    let folder = folder("[serve]\nlog_requests = true\n");
    let folder = folder.path();
    let materialize = ["features", "materialize", "pipeline.toml", "--until", "2030-01-01"];
    run_json(folder, &materialize, url);
    let events = json!({"events": [
        {"id": "a", "source": "sales", "fields": {"user_id": 1, "item_id": "a", "price": 1.5, "at": 4000}},
        {"id": "b", "source": "sales", "fields": {"user_id": 2, "item_id": "a", "price": 1.5, "at": 4000}},
        {"source": "exposure", "fields": {"shown": [{"user_id": "1", "items": ["a"]}, {"user_id": 2}]}},
        {"id": "c", "source": "outcome", "fields": {"user_id": 11}},
    ]});
    let mut server = serve_process(folder, &store);
    post(&server, "/v1/events", &events);
    let asked = json!({"feature_service": "user", "entities": {"user_id": [1, 2, 1]}});
    post(&server, "/get-online-features", &asked);
    post(&server, "/get-online-features", &json!({"feature_service": "user", "entities": {"user_id": [1]}}));
    server.end("-TERM");

    let forget = ["events", "forget", "pipeline.toml", "--entity", "user_id=1"];
    let forgotten = run_json(folder, &forget, url)["forgotten"].clone();
    assert_eq!(forgotten["entity"], json!({"user_id": "1"}));
    assert_eq!(forgotten["events"], json!({"removed": 2, "left": 0}));
    let tables = json!([
        {"table": "shop.user", "removed": 1, "left": 0},
        {"table": "shop.taste", "removed": 2, "left": 0},
    ]);
    assert_eq!(forgotten["tables"], tables);
    assert_eq!(forgotten["requests"], json!({"removed": 3, "left": 0}));
    let logged = ["features", "verify", "pipeline.toml", "--requests", ".paceline/requests", "--json"];
    let output = binary::paceline(folder).args(logged).output().unwrap();
    let replayed: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(replayed["rows"], 1, "only the other user's request is left: {replayed}");
    assert!(forgotten["not_reached"][0].as_str().unwrap().contains("[sources.sales] at sales.csv"), "{forgotten}");
    let found = |user: &str, item: &str| {
        let (user, item) = (format!("user_id={user}"), format!("item_id={item}"));
        let found = run_json(folder, &["features", "get", "pipeline.toml", "--entity", &user, "--entity", &item], url);
        ["user", "taste", "item"].map(|view| found["views"][view]["status"].as_str().unwrap() == "known")
    };
    assert_eq!(found("1", "a"), [false, false, true]);
    assert_eq!(found("1", "b"), [false, false, true]);
    assert_eq!(found("2", "a"), [true, true, true]);
    {
        let log = open_log(folder, url);
        let left = log.read(log.extent().unwrap().first, 10).unwrap();
        let left: Vec<Option<&str>> = left.iter().map(|(_, event)| event.id.as_deref()).collect();
        assert_eq!(left, [Some("b"), Some("c")]);
    }
    // Once more finds nothing; of the sources it comes back when everything is written again, as was said.
    let (code, said, _) = run(folder, &forget, url);
    assert_eq!(code, Some(0));
    assert!(said.contains("nothing is left") && said.contains("0 removed") && said.contains("not reached: rows of"));
    run_json(folder, &["features", "materialize", "pipeline.toml", "--until", "2030-01-02", "--full"], url);
    assert_eq!(found("1", "a"), [true, true, true]);

    let check = |entity: &[&str], part: &str| {
        let arguments = [&["events", "forget", "pipeline.toml"], entity].concat();
        let (code, _, said) = run(folder, &arguments, url);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part), "{part:?} was not said, but:\n{said}");
    };
    check(&["--entity", "user=1"], "known: item_id, user_id");
    check(&["--entity", "user_id"], "is not COLUMN=VALUE");
    check(&["--entity", "user_id=1", "--entity", "user_id=2"], "twice");
}

#[test]
fn an_entity_is_forgotten_on_disk() {
    an_entity_is_forgotten_everywhere(None);
}

#[test]
fn an_entity_is_forgotten_in_redis() {
    let Some(redis) = RedisServer::start() else { return };
    an_entity_is_forgotten_everywhere(Some(&redis.url()));
}

#[test]
fn what_was_never_written_is_forgotten_without_making_it() {
    let folder = folder("");
    let (code, said, _) = run(folder.path(), &["events", "forget", "pipeline.toml", "--entity", "user_id=1"], None);
    assert_eq!(code, Some(0), "{said}");
    assert!(!folder.path().join(".paceline").exists());
}

#[test]
fn old_events_are_dropped_from_the_disk() {
    the_server_drops_old_events(None);
}

#[test]
fn old_events_are_dropped_from_redis() {
    let Some(redis) = RedisServer::start() else { return };
    the_server_drops_old_events(Some(&redis.url()));
}
