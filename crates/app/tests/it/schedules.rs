//! Schedules as a server runs them: short ones, by the real clock.

use std::path::Path;

use paceline::report::place::now;
use paceline::serving::HttpClient;
use paceline_core::Timestamp;
use serde_json::{Value, json};

use crate::redis_server::RedisServer;
use crate::serving::{PATIENCE, ServeProcess, serve_process, until};

const PIPELINE: &str = r#"
name = "live"

[sources.clicks]
path = "clicks.csv"
event_time = "at"
time_unit = "us"

[features.user]
source = "clicks"
entity = ["user_id"]
schedule = "1s"
clicks_1h = { agg = "count", window = "1h" }
"#;

/// Replaces the clicks of user 7, so that a reader sees all of them or all of those before.
fn write_clicks(folder: &Path, times: &[Timestamp]) {
    let rows: String = times.iter().map(|at| format!("7,{}\n", at.0)).collect();
    std::fs::write(folder.join("clicks.csv.new"), format!("user_id,at\n{rows}")).unwrap();
    std::fs::rename(folder.join("clicks.csv.new"), folder.join("clicks.csv")).unwrap();
}

struct Client(HttpClient);

impl Client {
    fn of(server: &ServeProcess) -> Client {
        Client(HttpClient::new(server.http, PATIENCE))
    }

    /// The clicks that are served, and as of when.
    fn clicks(&mut self) -> (u64, Timestamp) {
        let body = json!({"features": ["user:clicks_1h"], "entities": {"user_id": [7]}});
        let reply = self.0.post("/get-online-features", &body.to_string()).unwrap();
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{answer}");
        let result = &answer["results"][1];
        let as_of = result["event_timestamps"][0].as_str().unwrap().parse().unwrap();
        (result["values"][0].as_u64().unwrap(), as_of)
    }

    /// A metric of the table; 0 where it is not there yet.
    fn metric(&mut self, name: &str) -> f64 {
        let reply = self.0.get("/metrics").unwrap();
        let text = String::from_utf8(reply.body).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }
}

const WRITTEN: &str = "serve_schedule_runs_total{table=\"live.user\",outcome=\"written\"}";
const UNCHANGED: &str = "serve_schedule_runs_total{table=\"live.user\",outcome=\"unchanged\"}";
const MISSED: &str = "serve_schedule_missed_runs_total{table=\"live.user\"}";
const LAST_SUCCESS: &str = "serve_schedule_last_success_timestamp_seconds{table=\"live.user\"}";

#[test]
fn a_server_keeps_its_schedule_and_makes_up_for_what_it_missed() {
    let redis = RedisServer::start();
    let url = redis.as_ref().map(RedisServer::url);
    for store in [None, url.as_deref()].into_iter().take(1 + usize::from(redis.is_some())) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
        let store = store.map_or(vec![], |url| vec!["--store", url]);
        let first = Timestamp(now().0 - 60_000_000);
        write_clicks(folder.path(), &[first]);
        let server = serve_process(folder.path(), &store);
        let mut client = Client::of(&server);
        let (clicks, started) = client.clicks();
        assert_eq!((clicks, started.0 % 1_000_000), (1, 0), "materialized at the start, as of a point of the schedule");
        write_clicks(folder.path(), &[first, now()]);
        until("the second click is served", || client.clicks().0 == 2);
        let (_, last) = client.clicks();
        assert!(last > started);
        until("both runs are counted", || client.metric(WRITTEN) >= 2.0 && client.metric(LAST_SUCCESS) > 1e9);

        drop((client, server));
        until("points of the schedule pass", || now().0 > last.0 + 3_500_000);
        let server = serve_process(folder.path(), &store);
        let mut client = Client::of(&server);
        assert!(client.clicks().1.0 >= last.0 + 3_000_000, "one run to the newest point");
        assert!(client.metric(MISSED) >= 1.0, "the points between were missed");
    }
}

#[test]
fn servers_on_one_store_share_the_work() {
    let Some(redis) = RedisServer::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
    let first = Timestamp(now().0 - 60_000_000);
    write_clicks(folder.path(), &[first]);
    let url = redis.url();
    let servers = [(); 2].map(|()| serve_process(folder.path(), &["--store", &url]));
    let mut clients = servers.each_ref().map(Client::of);
    until("one finds what the other wrote", || clients.iter_mut().any(|client| client.metric(UNCHANGED) >= 1.0));
    write_clicks(folder.path(), &[first, now()]);
    for client in &mut clients {
        until("both serve the second click", || client.clicks().0 == 2);
    }
}
