//! A published recommender from the outside: both stores, failures, and what survives a kill.
//!
//! Its scorer is a weighted sum of columns, so that nothing needs to be trained; everything else is what a run publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use paceline::pipeline::{self, Pipeline};
use paceline::run::recommend::{Snapshot, World};
use paceline::serving::{
    Artifact, HttpClient, Materialization, Publication, Reply, ScorerFiles, demo_http, end_of_data, goal_of,
    load_current, options, parts, publish_recommender,
};
use paceline_core::event::{Event, EventLog, Offset};
use paceline_core::{Digest, OnlineStore, Timestamp};
use paceline_models::column::Column;
use paceline_models::ensemble::{EnsembleOutput, EnsembleSpec, Member, ScoreTransform};
use paceline_models::recommend::CandidateCounts;
use paceline_serve::recommend::{Request, RowLayout, Workspace};
use paceline_serve::{Options, Server};
use paceline_store::{
    EmbeddedEventLog, EmbeddedOnlineStore, RedisEventLog, RedisOnlineStore, RedisOptions, SourceReader, SourceSpec,
};
use paceline_testkit::shop::{Shop, ShopSpec};
use serde_json::{Value as Json, json};

use crate::binary;
use crate::recommender::PIPELINE;
use crate::redis_server::RedisServer;

/// Longest wait for another process; a busy machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const K: usize = 10;

pub(crate) struct Published {
    pub(crate) folder: tempfile::TempDir,
    pipeline: Pipeline,
    world: World,
    snapshot: Snapshot,
    digest: Digest,
}

impl Published {
    fn models(&self) -> PathBuf {
        self.folder.path().join("out").join("models")
    }

    /// A server of what is published, over tables that are materialized first. Deadlines do not matter here.
    fn serve(&self, store: Arc<dyn OnlineStore>, log: Arc<dyn EventLog>) -> Server {
        self.serve_as_of(end_of_data(&self.world), store, log)
    }

    fn serve_as_of(&self, until: Timestamp, store: Arc<dyn OnlineStore>, log: Arc<dyn EventLog>) -> Server {
        let goal = goal_of(&self.pipeline).unwrap();
        let (digest, model) = load_current(&self.pipeline, &self.models()).unwrap();
        let tables = Materialization {
            pipeline: &self.pipeline,
            goal,
            world: &self.world,
            digest,
            model: &model,
            until,
            store: &*store,
            threads: 2,
        };
        tables.write(&|_| ()).unwrap();
        let options = Options { deadline: PATIENCE, ..options(&self.pipeline, 2) };
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let parts =
            parts(&self.pipeline, (digest, Artifact::Recommender(Box::new(model))), store, log, options).unwrap();
        Server::start(parts, listen(), listen()).unwrap()
    }

    /// What the process itself answers, from what was known at the end of the data.
    fn answer(&self, user: u32) -> Vec<(Json, u64)> {
        let (_, model) = load_current(&self.pipeline, &self.models()).unwrap();
        let state = self.snapshot.state(&self.world.purchases, user);
        let request = Request {
            user: self.snapshot.user(user),
            state: &state,
            items: &self.snapshot.items,
            now: self.snapshot.cut,
            k: K,
            excluded: &[],
        };
        let ranked = model.recommender.answer(request, &mut Workspace::default());
        ranked.iter().map(|r| (json!(self.world.catalogue.item(r.item)), r.score.to_bits())).collect()
    }
}

/// The shop's pipeline with a teacher of factors that are not fitted as they would be without it.
fn pipeline_with(teacher: &str) -> String {
    PIPELINE.replace("teacher = [\n", &format!("teacher = [\n  {teacher},\n"))
}

const ALS: &str = "{ kind = \"als\", factors = 24, iterations = 4, alpha = 15.0, regularization = 2.5 }";

fn shop_with(text: &str) -> (tempfile::TempDir, Pipeline, World, RowLayout) {
    let folder = tempfile::tempdir().unwrap();
    Shop::generate(&ShopSpec::small()).write(folder.path()).unwrap();
    let path = folder.path().join("pipeline.toml");
    std::fs::write(&path, text).unwrap();
    let (pipeline, _) = pipeline::open(&path).unwrap();
    let world = World::load(&pipeline, goal_of(&pipeline).unwrap()).unwrap();
    let expressions: Vec<_> =
        pipeline.request_features.iter().map(|named| (named.name.clone(), named.expression.clone())).collect();
    let layout = RowLayout::new(world.user_side.types(), world.item_side.types(), &expressions).unwrap();
    (folder, pipeline, world, layout)
}

/// The shop's recommender in `out/models` beside its pipeline file.
pub(crate) fn published() -> Published {
    let (folder, pipeline, world, layout) = shop_with(&pipeline_with(ALS));
    let goal = goal_of(&pipeline).unwrap();
    let as_of = end_of_data(&world);
    let snapshot = Snapshot::at(&world, &layout, goal, as_of, 1, 2).unwrap();
    let publication = Publication {
        pipeline: &pipeline,
        goal,
        world: &world,
        layout: &layout,
        retriever: &snapshot.retriever,
        as_of,
        candidates: Some(CandidateCounts { als: 20, item_item: 0, last_basket: 0, similar_users: 20, popular: 20 }),
        scorer: scorer(&layout),
    };
    let digest = publish_recommender(&publication, &folder.path().join("out").join("models")).unwrap();
    Published { folder, pipeline, world, snapshot, digest }
}

#[test]
fn the_options_of_a_teacher_of_factors_decide_the_factors() {
    let factors = |text: &str| {
        let (_folder, pipeline, world, layout) = shop_with(text);
        let snapshot = Snapshot::at(&world, &layout, goal_of(&pipeline).unwrap(), end_of_data(&world), 1, 2).unwrap();
        (snapshot.retriever.dimensions, snapshot.retriever.item_factors.clone())
    };
    let without = factors(PIPELINE);
    assert_eq!(without.0, 64);
    assert!(factors(&pipeline_with("{ kind = \"als\" }")) == without, "its defaults are what is fitted without it");
    let narrow = factors(&pipeline_with("{ kind = \"als\", factors = 24 }"));
    assert_eq!(narrow.0, 24);
    let others = factors(&pipeline_with(ALS));
    assert!(others.0 == 24 && others.1 != narrow.1);
}

/// Candidate scores, a feature of the item, one of the user and one of both.
fn scorer(layout: &RowLayout) -> ScorerFiles {
    let weights = [
        ("candidate.als", 1.0),
        ("candidate.similar_users", 2.0),
        ("item.users_90d", 0.001),
        ("user.orders_90d", 0.01),
        ("request.price_ratio", 0.01),
    ];
    let (mut members, mut files) = (Vec::new(), Vec::new());
    for (name, weight) in weights {
        let index = layout.names().iter().position(|known| known == name).unwrap();
        let file = format!("{name}.column.json");
        members.push(Member { file: file.clone(), weight, transform: ScoreTransform::Identity });
        files.push((file, Column { index, column_count: layout.names().len() }.to_bytes()));
    }
    ScorerFiles::ensemble(&EnsembleSpec::new(members, EnsembleOutput::Identity).unwrap(), files)
}

fn client(server: &Server) -> HttpClient {
    HttpClient::new(server.http_address(), PATIENCE)
}

fn json_of(reply: &Reply) -> Json {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&reply.body)))
}

fn recommend(client: &mut HttpClient, user: &str) -> Json {
    let reply = client.get(&format!("/v1/recommend/{user}?k={K}")).unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    json_of(&reply)
}

fn scored(answer: &Json) -> Vec<(Json, u64)> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| (item["item"].clone(), item["score"].as_f64().unwrap().to_bits())).collect()
}

/// Polls `condition` until it holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn answers_over_http_are_those_of_the_process_from_either_store() {
    let shop = published();
    let data = tempfile::tempdir().unwrap();
    let embedded = Arc::new(EmbeddedOnlineStore::open(&data.path().join("store")).unwrap());
    let log = Arc::new(EmbeddedEventLog::open(&data.path().join("events")).unwrap());
    let server = shop.serve(embedded, log);
    let mut asked = client(&server);
    let mut answers = Vec::new();
    for (number, user) in (0u32..).zip(&shop.world.users).step_by(3) {
        let answer = recommend(&mut asked, &user.to_string());
        if answer["reason"] == "unknown_user" {
            assert!(shop.snapshot.state(&shop.world.purchases, number).history.is_empty(), "user {user}");
            continue;
        }
        assert_eq!((&answer["rung"], &answer["model"]), (&json!("full"), &json!(shop.digest)));
        assert_eq!(scored(&answer), shop.answer(number), "user {user}");
        answers.push((user.to_string(), answer));
    }
    assert!(answers.len() > 150, "{} users", answers.len());
    let repeated = recommend(&mut asked, &answers[0].0);
    assert_eq!((&repeated["cached"], &repeated["items"]), (&json!(true), &answers[0].1["items"]));
    server.stop();

    let Some(mut redis) = RedisServer::start() else { return };
    let patience = RedisOptions { answer_timeout: PATIENCE, ..RedisOptions::default() };
    let store = Arc::new(RedisOnlineStore::connect(&redis.url(), patience.clone()).unwrap());
    let log = Arc::new(RedisEventLog::connect(&redis.url(), patience).unwrap());
    let server = shop.serve(store, log);
    let mut asked = client(&server);
    for (user, expected) in &answers {
        let answer = recommend(&mut asked, user);
        for part in ["items", "rung", "as_of", "filled", "model"] {
            assert_eq!(answer[part], expected[part], "{part} of user {user}");
        }
    }
    survives_a_killed_store(&server, &mut redis, &answers);
    server.stop();
}

/// Which user, place, item and score: the rows of a written table.
type ListRow = (Option<i64>, i64, String, Option<u64>);

/// Runs `predict` over `spine` and reads what it wrote.
fn predicted(folder: &Path, spine: &str, k: usize) -> (Vec<RecordBatch>, String) {
    std::fs::write(folder.join("spine.csv"), spine).unwrap();
    let mut command = binary::paceline(folder);
    command.args(["predict", "pipeline.toml", "--spine", "spine.csv", "--out", "lists.parquet", "--k"]);
    let output = command.arg(k.to_string()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let spec = SourceSpec { allow_empty: true, ..SourceSpec::new("lists", "lists.parquet") };
    let table = SourceReader::open(&spec, folder).unwrap();
    (table.map(Result::unwrap).collect(), said)
}

fn list_rows(table: &[RecordBatch]) -> Vec<ListRow> {
    let rows_of = |batch: &RecordBatch| -> Vec<ListRow> {
        let users = batch["user_id"].as_primitive::<Int64Type>();
        let ranks = batch["rank"].as_primitive::<Int64Type>();
        let (items, scores) = (batch["item_id"].as_string::<i64>(), batch["score"].as_primitive::<Float64Type>());
        let score = |row: usize| scores.is_valid(row).then(|| scores.value(row).to_bits());
        (0..batch.num_rows())
            .map(|row| {
                let user = users.is_valid(row).then(|| users.value(row));
                (user, ranks.value(row), items.value(row).to_owned(), score(row))
            })
            .collect()
    };
    table.iter().flat_map(rows_of).collect()
}

#[test]
fn lists_written_offline_are_what_the_server_answers_at_that_time() {
    // More than there are candidates, so that lists are filled up.
    const LONG: usize = 90;
    let shop = published();
    let folder = shop.folder.path();
    let times: [Timestamp; 2] = [end_of_data(&shop.world), "2011-09-15T10:30:00Z".parse().unwrap()];
    let data = tempfile::tempdir().unwrap();
    let servers = times.map(|time| {
        let place = data.path().join(time.0.to_string());
        std::fs::create_dir(&place).unwrap();
        let store = Arc::new(EmbeddedOnlineStore::open(&place).unwrap());
        shop.serve_as_of(time, store, Arc::new(EmbeddedEventLog::open(&place.join("events")).unwrap()))
    });
    // A known user, one who was not known yet at the earlier time, an unknown one, nobody.
    let mut users: Vec<String> = shop.world.users.iter().step_by(7).map(ToString::to_string).collect();
    users.extend(["999999".to_owned(), String::new()]);

    let answered = |at: usize, user: &str| -> Vec<ListRow> {
        let asked = if user.is_empty() { "999999" } else { user };
        let reply = client(&servers[at]).get(&format!("/v1/recommend/{asked}?k={LONG}")).unwrap();
        let answer = json_of(&reply);
        let item = |(rank, item): (i64, &Json)| {
            let score = item["score"].as_f64().map(f64::to_bits);
            (user.parse().ok(), rank, item["item"].as_str().unwrap().to_owned(), score)
        };
        (1..).zip(answer["items"].as_array().unwrap()).map(item).collect()
    };

    let spine: String = users.iter().map(|user| format!("a note,{user}\n")).collect();
    let (table, said) = predicted(folder, &format!("note,user_id\n{spine}"), LONG);
    let names: Vec<&str> = table[0].schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["note", "user_id", "rank", "item_id", "score"]);
    assert_eq!(table[0]["item_id"].data_type(), &DataType::LargeUtf8, "the type that the source has");
    assert!(
        said.contains("no column \"time\"") && said.contains("popular list") && !said.contains("warning"),
        "{said}"
    );
    let rows = list_rows(&table);
    let expected: Vec<ListRow> = users.iter().flat_map(|user| answered(0, user)).collect();
    assert!(rows == expected, "as of the end of the data");
    assert!(rows.iter().any(|row| row.3.is_none()), "some lists are filled up");

    let at = |row: usize| row % 2;
    let spine: String = users.iter().enumerate().map(|(row, user)| format!("{user},{}\n", times[at(row)])).collect();
    let (table, said) = predicted(folder, &format!("user_id,time\n{spine}"), LONG);
    assert!(said.contains("know what came later"), "{said}");
    let expected: Vec<ListRow> = users.iter().enumerate().flat_map(|(row, user)| answered(at(row), user)).collect();
    assert!(list_rows(&table) == expected, "as of two times in turn");

    let command = |arguments: &str| {
        let output = binary::paceline(folder).args(arguments.split(' ')).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = command("predict pipeline.toml --spine spine.csv --out lists.csv --threads 1");
    assert_eq!(code, Some(0), "{said}");
    let text = std::fs::read_to_string(folder.join("lists.csv")).unwrap();
    assert!(text.starts_with("user_id,time,rank,item_id,score\n"), "{text}");
    assert_eq!(text.lines().count(), 1 + 10 * users.len(), "ten items for each row");
    // An empty table has empty lists.
    assert!(list_rows(&predicted(folder, "user_id\n", 3).0).is_empty());
    let refused = |spine: &str, message: &str| {
        std::fs::write(folder.join("spine.csv"), spine).unwrap();
        let (code, said) = command("predict pipeline.toml --spine spine.csv --out none.csv");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(message), "{message:?} was not said, but:\n{said}");
        assert!(!folder.join("none.csv").exists());
    };
    refused("user_id,rank\n1,2\n", "there is a column \"rank\" already");
    refused("user_id,item_id\n1,2\n", "there is a column \"item_id\" already");
    refused("user,time\n1,2011-10-01\n", "no column \"user_id\", the users of [model]; it has user, time");
    refused("user_id\nabc\n", "\"abc\"");
    let changed = pipeline_with(ALS).replace("orders_90d = ", "orders_91d = ");
    std::fs::write(folder.join("pipeline.toml"), changed).unwrap();
    refused("user_id\n1\n", "[features.user] is not as it was when the model was published");
    for server in servers {
        server.stop();
    }
}

/// Requests go on while Redis dies and comes back: every one is answered, from the popular list meanwhile.
fn survives_a_killed_store(server: &Server, redis: &mut RedisServer, answers: &[(String, Json)]) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut asked = client(server);
            let mut rungs = BTreeSet::new();
            // Another number of items each time, so that the cache does not answer.
            for number in 0.. {
                let (user, k) = (&answers[number % answers.len()].0, 11 + number / answers.len() % 500);
                let reply = asked.get(&format!("/v1/recommend/{user}?k={k}")).unwrap();
                assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
                rungs.insert(json_of(&reply)["rung"].as_str().unwrap().to_owned());
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
            rungs
        });
        let mut asked = client(server);
        let fresh = |asked: &mut HttpClient, k: usize| {
            json_of(&asked.get(&format!("/v1/recommend/{}?k={k}", answers[0].0)).unwrap())
        };
        redis.kill();
        until("the store is found to be down", || asked.get("/readyz").unwrap().status == 503);
        let answer = fresh(&mut asked, 601);
        assert_eq!((&answer["rung"], &answer["reason"]), (&json!("popular"), &json!("store_down")));
        assert!(answer["items"].as_array().is_some_and(|items| items.len() > 100));
        let events = json!({"source": "outcome", "fields": {}}).to_string();
        assert_eq!(asked.post("/v1/events", &events).unwrap().status, 503, "the log is on the same server");
        redis.restart();
        until("the store is found again", || asked.get("/readyz").unwrap().status == 200);
        assert_eq!(fresh(&mut asked, 602)["rung"], "full");
        assert_eq!(asked.post("/v1/events", &events).unwrap().status, 200);
        stop.store(true, Ordering::SeqCst);
        let rungs = traffic.join().unwrap();
        assert!(rungs.contains("full") && rungs.contains("popular"), "{rungs:?}");
    });
}

#[test]
fn a_demo_is_asked_over_http_and_answers_fully() {
    let shop = published();
    let data = tempfile::tempdir().unwrap();
    let seen = demo_http(&shop.pipeline, &shop.models(), data.path(), 200, 2, &|_| ()).unwrap();
    assert_eq!(seen.requests, 200);
    assert!(seen.latency.p50 > 0.0 && seen.latency.p50 <= seen.latency.p99);
    assert!(seen.rungs["full"] > 0.9, "{seen:?}");
    let shares: f64 = seen.rungs.values().sum();
    assert!((shares - 1.0).abs() < 1e-9, "{seen:?}");
}

pub(crate) struct ServeProcess {
    pub(crate) process: Child,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl ServeProcess {
    /// Ends it by a signal, such as `-TERM`, and waits for that.
    pub(crate) fn end(&mut self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.process.wait().unwrap();
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        // A test may have killed it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = binary::paceline(folder);
    command.args(["serve", "pipeline.toml", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(arguments).env_remove("PACELINE_LOG");
    command
}

/// A served pipeline that anybody may ask.
pub(crate) fn serve_process(folder: &Path, arguments: &[&str]) -> ServeProcess {
    let mut process = command(folder, &[&["--json"], arguments].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let [http, admin] = loop {
        said += &lines.next().expect("it says its addresses before it ends").unwrap();
        if let Ok(announced) = serde_json::from_str::<Json>(&said) {
            break ["http", "admin"]
                .map(|name| announced[name].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap());
        }
    };
    ServeProcess { process, http, admin }
}

/// Posts two events a call until the server is gone; gives the ids that were acknowledged with their offsets.
fn write_events(address: SocketAddr, writer: &str, acknowledged: &AtomicUsize) -> Vec<(String, u64)> {
    let mut asked = HttpClient::new(address, PATIENCE);
    let mut known = Vec::new();
    for number in 0.. {
        let ids = [format!("{writer}-{number}-a"), format!("{writer}-{number}-b")];
        let event = |id: &String| json!({"id": id, "source": "outcome", "fields": {"number": number}});
        let body = json!({"events": [event(&ids[0]), event(&ids[1])]}).to_string();
        let Ok(reply) = asked.post("/v1/events", &body) else { break };
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let answer = json_of(&reply);
        let offsets = answer["events"].as_array().unwrap().iter().map(|event| event["offset"].as_u64().unwrap());
        known.extend(ids.into_iter().zip(offsets));
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    known
}

#[test]
fn acknowledged_events_survive_a_killed_server_and_the_next_one_goes_on() {
    let shop = published();
    let folder = shop.folder.path();
    let user = shop.world.users[0].to_string();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        // The first materializes by itself, the others find its tables.
        let mut server = serve_process(folder, &[]);
        let answer = recommend(&mut HttpClient::new(server.http, PATIENCE), &user);
        assert_eq!(answer["model"], json!(shop.digest));
        let calls = AtomicUsize::new(0);
        let address = server.http;
        std::thread::scope(|scope| {
            let write = |writer: u32| {
                let name = format!("{round}-{writer}");
                let calls = &calls;
                scope.spawn(move || write_events(address, &name, calls))
            };
            let writers: Vec<_> = (0..3).map(write).collect();
            until("events are acknowledged", || calls.load(Ordering::SeqCst) >= 30);
            server.process.kill().unwrap();
            server.process.wait().unwrap();
            acknowledged.extend(writers.into_iter().flat_map(|writer| writer.join().unwrap()));
        });
    }
    let log = EmbeddedEventLog::open(&folder.join(".paceline").join("events")).unwrap();
    let logged: BTreeMap<String, u64> =
        read_all(&log).into_iter().map(|(offset, event)| (event.id.unwrap(), offset.0)).collect();
    assert!(acknowledged.len() >= 3 * 60, "{} events", acknowledged.len());
    for (id, offset) in &acknowledged {
        assert_eq!(logged.get(id), Some(offset), "{id} was acknowledged");
    }
}

fn read_all(log: &dyn EventLog) -> Vec<(Offset, Event)> {
    let mut all: Vec<(Offset, Event)> = Vec::new();
    loop {
        let from = all.last().map_or(Offset(0), |(offset, _)| Offset(offset.0 + 1));
        let more = log.read(from, 1_000).unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[test]
fn what_cannot_be_served_is_told_and_ends_with_exit_code_2() {
    let shop = published();
    let folder = shop.folder.path();
    let check = |arguments: &[&str], parts: &[&str]| {
        let output: Output = command(folder, arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} was not said, but:\n{said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    };
    check(&["--models", "nowhere"], &["nothing was published for pipeline \"shop\" yet", "paceline run", "--models"]);
    check(&["--store", "redis://me:hunter2@127.0.0.1:1"], &["127.0.0.1:1", "cannot be reached"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut again = binary::paceline(folder);
    let output = again.args(["serve", "pipeline.toml", "--http", &address]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("--http"), "{said}");
    assert!(!folder.join(".paceline").exists(), "nothing was made");
}
