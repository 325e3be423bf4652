//! Features of entities from the online store, as `/get-online-features` gives them: one entity with 250 features of five
//! views, and 100 entities with 50 features of one view; embedded and Redis, in process and over HTTP.
//!
//! ```text
//! cargo run --release -p paceline-bench --bin online_reads
//! ```
//!
//! In process is request to JSON text; over HTTP one client on one kept connection of the same machine. Redis is a server
//! of its own, where one is installed. Rounds are interleaved.
#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paceline::measure::Samples;
use paceline::serving::HttpClient;
use paceline_core::value::encode_values;
use paceline_core::{Digest, EntityKey, EventLog, OnlineStore, Timestamp, Value};
use paceline_features::expression::Type;
use paceline_serve::online_features::{FeatureRequest, FeatureSet, KeyColumn, OnlineFeatures, ServedView};
use paceline_serve::recommend::tables::{ViewColumn, ViewColumns, view_table};
use paceline_serve::views::Views;
use paceline_serve::{Options, Parts, Server, Subject};
use paceline_store::{EmbeddedEventLog, EmbeddedOnlineStore, RedisOnlineStore, RedisOptions};
use rand::RngExt as _;
use serde_json::json;

const PIPELINE: &str = "bench";
const VIEWS: usize = 5;
const FEATURES: usize = 50;
const ENTITIES: i64 = 100_000;
const ROUNDS: usize = 10;
const REQUESTS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let embedded: Arc<dyn OnlineStore> = Arc::new(EmbeddedOnlineStore::open(&folder.path().join("store"))?);
    let redis = Redis::start(folder.path())?;
    let mut stores = vec![("embedded", embedded)];
    match &redis {
        Some(redis) => {
            stores.push(("redis", Arc::new(RedisOnlineStore::connect(&redis.url, RedisOptions::default())?)))
        }
        None => println!("redis-server is not installed; embedded alone"),
    }
    let mut places = Vec::new();
    for (name, store) in stores {
        write(&*store)?;
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedEventLog::open(&folder.path().join(format!("log-{name}")))?);
        places.push(Place::new(name, store, log)?);
    }
    let mut random = paceline_core::random::stream(1, "online reads bench");
    for _ in 0..ROUNDS {
        for place in &mut places {
            for (at, case) in CASES.iter().enumerate() {
                for _ in 0..REQUESTS {
                    let entities: Vec<i64> = (0..case.entities).map(|_| random.random_range(0..ENTITIES)).collect();
                    place.ask(at, &entities)?;
                }
            }
        }
    }
    println!("{ENTITIES} entities, {} requests each, us", ROUNDS * REQUESTS);
    println!("{:<10}{:<12}{:<12}{:>8}{:>8}{:>8}", "store", "request", "", "p50", "p99", "mean");
    for place in &places {
        for (case, [inside, over_http]) in CASES.iter().zip(&place.samples) {
            for (way, samples) in [("in process", inside), ("HTTP", over_http)] {
                let latency = samples.latency();
                let [p50, p99, mean] = [latency.p50, latency.p99, latency.mean].map(|ms| 1e3 * ms);
                println!("{:<10}{:<12}{way:<12}{p50:>8.0}{p99:>8.0}{mean:>8.0}", place.name, case.name);
            }
        }
    }
    Ok(())
}

struct Case {
    name: &'static str,
    entities: usize,
    views: usize,
}

const CASES: [Case; 2] =
    [Case { name: "1 x 250", entities: 1, views: VIEWS }, Case { name: "100 x 50", entities: 100, views: 1 }];

/// A store with what reads it.
struct Place {
    name: &'static str,
    features: OnlineFeatures,
    client: HttpClient,
    _server: Server,
    /// Of each case, in process and over HTTP.
    samples: [[Samples; 2]; 2],
}

impl Place {
    fn new(name: &'static str, store: Arc<dyn OnlineStore>, log: Arc<dyn EventLog>) -> Result<Place> {
        let parts = Parts {
            pipeline: PIPELINE.to_owned(),
            digest: Digest::of(b"none"),
            subject: Subject::Features,
            features: Some(feature_set()),
            store: Arc::clone(&store),
            log,
            event_sources: Vec::new(),
            streams: Vec::new(),
            scheduled: paceline_serve::schedule::ScheduledRuns::default(),
            request_log: None,
            options: Options {
                deadline: PATIENCE,
                requests_max: 64,
                cache_entries: 0,
                cache_ttl: PATIENCE,
                items: 10,
                threads: 2,
                drain: PATIENCE,
                retention: paceline_serve::EventRetention::default(),
            },
        };
        let server = Server::start(parts, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?)?;
        let client = HttpClient::new(server.http_address(), PATIENCE);
        let features = OnlineFeatures::new(PIPELINE.to_owned(), feature_set(), Views::of_store(PIPELINE, store));
        Ok(Place { name, features, client, _server: server, samples: Default::default() })
    }

    fn ask(&mut self, case: usize, entities: &[i64]) -> Result<()> {
        let wanted = (0..CASES[case].views).flat_map(|view| (0..FEATURES).map(move |at| format!("v{view}:f{at}")));
        let names: Vec<String> = wanted.collect();
        let text = json!({"features": names, "entities": {"id": entities}, "full_feature_names": true}).to_string();
        let [inside, over_http] = &mut self.samples[case];
        let features = &self.features;
        let answer = inside.time(|| -> Result<String> {
            let request: FeatureRequest = serde_json::from_str(&text)?;
            Ok(serde_json::to_string(&features.answer(&request, Timestamp(0))?)?)
        })?;
        let client = &mut self.client;
        let reply = over_http.time(|| client.post("/get-online-features", &text))?;
        ensure!(reply.status == 200, "status {}", reply.status);
        ensure!(black_box(answer.as_bytes()) == reply.body.as_slice(), "both ways answer alike");
        Ok(())
    }
}

fn feature_set() -> FeatureSet {
    let column = |at: usize| ViewColumn { name: format!("f{at}"), kind: Type::Float, missing: Value::Null };
    let view = |view: usize| ServedView {
        columns: ViewColumns { name: format!("v{view}"), columns: (0..FEATURES).map(column).collect() },
        entity: vec![KeyColumn { name: "id".to_owned(), is_number: true }],
        is_pushed: false,
    };
    FeatureSet { views: (0..VIEWS).map(view).collect(), ..FeatureSet::default() }
}

fn write(store: &dyn OnlineStore) -> Result<()> {
    let mut random = paceline_core::random::stream(2, "online reads bench");
    for view in 0..VIEWS {
        let mut rows = (0..ENTITIES).map(|entity| {
            let values: Vec<Value> = (0..FEATURES).map(|_| Value::Float(random.random::<f64>() * 100.0)).collect();
            (EntityKey::single(entity).to_bytes(), encode_values(&values))
        });
        store.publish(&view_table(PIPELINE, &format!("v{view}")), Timestamp(1), &mut rows)?;
    }
    Ok(())
}

/// A server of the benchmark's own.
struct Redis {
    process: Child,
    url: String,
}

impl Redis {
    fn start(folder: &Path) -> Result<Option<Redis>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
        let mut process = match command.stdout(Stdio::piped()).spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut log = BufReader::new(process.stdout.take().context("its log")?).lines();
        let is_ready = log.any(|line| line.is_ok_and(|line| line.contains("Ready to accept connections")));
        ensure!(is_ready, "redis-server did not start");
        std::thread::spawn(move || log.for_each(drop));
        Ok(Some(Redis { process, url: format!("redis://127.0.0.1:{port}") }))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
