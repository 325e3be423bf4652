//! The server over real connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use paceline_core::{Digest, EventLog, OnlineStore, Timestamp, Value};
use serde_json::{Value as Json, json};

use crate::online_features::{FeatureSet, KeyColumn, ServedView};
use crate::request_log::{LoggedRequest, LoggedRequests, RequestLog};
use crate::schedule::ScheduledRuns;
use crate::testing::{MemoryLog, MemoryStore, PIPELINE, materialize, model};
use crate::{EventRetention, EventSource, Options, Parts, Server, Subject};

struct Shop {
    server: Server,
    store: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
}

fn options() -> Options {
    Options {
        deadline: Duration::from_secs(60),
        requests_max: 8,
        cache_entries: 100,
        cache_ttl: Duration::from_secs(3600),
        items: 2,
        threads: 2,
        drain: Duration::from_secs(10),
        retention: EventRetention::default(),
    }
}

fn shop(options: Options) -> Shop {
    let (store, log) = (Arc::new(MemoryStore::default()), Arc::new(MemoryLog::default()));
    let digest = Digest::of(b"model");
    materialize(&*store, digest, Timestamp(1_000_000));
    let source = |name: &str, time: &str, number| EventSource {
        name: name.to_owned(),
        event_time: Some(time.to_owned()),
        time_is_number: number,
    };
    let parts = Parts {
        pipeline: PIPELINE.to_owned(),
        digest,
        subject: Subject::Recommender { model: Box::new(model()), user_column: "user_id".to_owned() },
        features: Some(features()),
        store: Arc::clone(&store) as Arc<dyn OnlineStore>,
        log: Arc::clone(&log) as Arc<dyn EventLog>,
        event_sources: vec![source("sales", "at", true), source("clicks", "time", false)],
        streams: Vec::new(),
        scheduled: ScheduledRuns::default(),
        request_log: None,
        options,
    };
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    Shop { server: Server::start(parts, listen(), listen()).unwrap(), store, log }
}

/// The user view of the recommender.
fn features() -> FeatureSet {
    let entity = vec![KeyColumn { name: "user_id".into(), is_number: true }];
    let views = model().description.user_views.into_iter();
    let views = views.map(|columns| ServedView { columns, entity: entity.clone(), is_pushed: false }).collect();
    FeatureSet { views, ..FeatureSet::default() }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn items(&self) -> Vec<i64> {
        self.json()["items"].as_array().unwrap().iter().map(|item| item["item"].as_i64().unwrap()).collect()
    }
}

fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
        .unwrap();
    // A server that refuses a body early may have closed already.
    let _ = stream.write_all(body.as_bytes());
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap() > 2 {}
    let mut body = String::new();
    reader.read_to_string(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body }
}

impl Shop {
    fn get(&self, path: &str) -> Reply {
        send(self.server.http_address(), "GET", path, "")
    }

    fn post(&self, path: &str, body: &Json) -> Reply {
        send(self.server.http_address(), "POST", path, &body.to_string())
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let text = send(self.server.admin_address(), "GET", "/metrics", "").body;
        text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }
}

/// Polls; the bound is generous because a test machine may be busy.
fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_recommendation_says_where_it_comes_from() {
    let shop = shop(options());
    let reply = shop.get("/v1/recommend/1?k=3&exclude=102,999,x&exclude=103");
    let answer = reply.json();
    assert_eq!((reply.status, reply.items()), (200, vec![101, 104, 105]));
    assert_eq!((&answer["user"], &answer["rung"], &answer["filled"]), (&json!(1), &json!("full"), &json!(0)));
    assert_eq!((&answer["as_of"], &answer["cached"]), (&json!("1970-01-01T00:00:01Z"), &json!(false)));
    assert!(answer["age_s"].as_f64().unwrap() > 1e9 && answer.get("reason").is_none());
    assert_eq!(answer["model"], Digest::of(b"model").to_string());
    assert_eq!(answer["items"][0]["score"], 5.0);
    assert_eq!(shop.get("/v1/recommend/1").items(), [101, 102], "two items by default");
    let unknown = shop.get("/v1/recommend/77?k=2").json();
    assert_eq!((&unknown["rung"], &unknown["reason"]), (&json!("popular"), &json!("unknown_user")));
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let shop = shop(options());
    let check = |method: &str, path: &str, body: &str, status: u16, part: &str| {
        let reply = send(shop.server.http_address(), method, path, body);
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{error}");
        reply.json()
    };
    check("GET", "/v1/recommend/bob", "", 400, "user \"bob\": users are whole numbers here");
    check("GET", "/v1/recommend/1?k=0", "", 400, "k is \"0\"; it must be a whole number from 1 to 1000");
    check("GET", "/v1/recommend/1?k=1001", "", 400, "k is \"1001\"");
    check("GET", "/v1/recommend/1?n=3", "", 400, "unknown parameter \"n\"");
    check("GET", &format!("/v1/recommend/1?exclude={}", "1,".repeat(1_001)), "", 400, "1001 items are excluded");
    check("GET", &format!("/v1/recommend/1?exclude={}", "1".repeat(40_000)), "", 414, "at most 32768");
    check("GET", &format!("/v1/recommend/{}", "1".repeat(1_025)), "", 400, "a user has 1025 bytes");
    check("GET", "/v1/recomend/1", "", 404, "there is no /v1/recomend/1; there are /v1/recommend/{user}");
    check("DELETE", "/v1/events", "", 405, "/v1/events does not take DELETE");
    check("POST", "/v1/events", "{", 400, "the body is not JSON");
    check("POST", "/v1/events", "[]", 400, "the body must be an object");
    check("POST", "/v1/events", "{\"events\": []}", 400, "0 events; a call has 1 to 1000");
    check("POST", "/v1/events", "{\"events\": [], \"x\": 1}", 400, "\"x\" stands beside");
    check("POST", "/v1/events", &" ".repeat((4 << 20) + 1), 413, "longer than 4194304 bytes");
    let events = |event: Json| json!({"events": [{"source": "outcome", "fields": {}}, event]}).to_string();
    let bad = |event: Json, field: &str, part: &str| {
        let problem = check("POST", "/v1/events", &events(event), 400, part);
        assert_eq!((&problem["event"], &problem["field"]), (&json!(1), &json!(field)));
    };
    bad(json!({"fields": {}}), "source", "events[1].source: it is missing");
    bad(json!({"source": "sale", "fields": {}}), "source", "there are: sales, clicks, exposure, prediction, outcome");
    bad(json!({"source": "sales"}), "fields", "events[1].fields: it is missing");
    bad(json!({"source": "sales", "fields": {}, "tim": 1}), "tim", "unknown key");
    bad(json!({"source": "sales", "fields": {}, "id": 7}), "id", "7 is not a text");
    bad(json!({"source": "sales", "fields": {}, "id": ""}), "id", "it has 0 bytes");
    bad(json!({"source": "sales", "fields": {"at": null}}), "fields.at", "it is missing; it is the event time");
    bad(json!({"source": "sales", "fields": {"at": "soon"}}), "fields.at", "it must be a whole number");
    bad(json!({"source": "clicks", "fields": {"time": 3}}), "fields.time", "it must be a text such as 2026");
    bad(json!({"source": "sales", "fields": {"at": 3, "x": [1]}}), "fields.x", "it is nested");
    assert!(shop.log.events.lock().unwrap().is_empty(), "nothing of a wrong call was taken");
}

#[test]
fn an_event_is_logged_and_forgets_her_cached_answers() {
    let shop = shop(options());
    let cached = |user: i64| shop.get(&format!("/v1/recommend/{user}?k=3")).json()["cached"] == true;
    assert!(!cached(1) && cached(1) && !cached(2) && cached(2));
    let event = json!({"id": "e1", "source": "sales", "fields": {"user_id": 1, "item_id": 101, "at": 7}});
    let reply = shop.post("/v1/events", &event);
    assert_eq!((reply.status, reply.json()), (200, json!({"events": [{"status": "new", "offset": 0}]})));
    assert!(!cached(1) && cached(1) && cached(2));
    let again = shop.post("/v1/events", &json!({"events": [event, {"source": "outcome", "fields": {"a": {}}}]}));
    let expected = json!({"events": [{"status": "duplicate", "offset": 0}, {"status": "new", "offset": 1}]});
    assert_eq!(again.json(), expected);
    assert_eq!(shop.log.events.lock().unwrap()[0].fields["item_id"], 101);
    assert!(shop.log.events.lock().unwrap()[0].received > Timestamp(0));
    assert_eq!(shop.metric("serve_prediction_cache_total{outcome=\"hit\"}"), Some(4.0));
    assert_eq!(shop.metric("serve_events_total{outcome=\"duplicate\"}"), Some(1.0));
}

#[test]
fn without_the_log_events_are_refused_and_nothing_else() {
    let shop = shop(options());
    shop.log.down.store(true, Ordering::SeqCst);
    let reply = shop.post("/v1/events", &json!({"source": "outcome", "fields": {}}));
    assert_eq!(reply.status, 503);
    assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
    assert!(reply.body.contains("nothing was acknowledged"), "{}", reply.body);
    assert_eq!(shop.get("/v1/recommend/1").status, 200);
}

#[test]
fn without_the_store_the_popular_list_answers_until_it_is_back() {
    let shop = shop(Options { cache_entries: 0, ..options() });
    assert_eq!(shop.get("/readyz").status, 200);
    shop.store.set_down(true);
    let answer = shop.get("/v1/recommend/1?k=2&exclude=100").json();
    assert_eq!((&answer["rung"], &answer["reason"]), (&json!("popular"), &json!("store_down")));
    let ready = shop.get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    assert!(ready.body.contains("cannot be reached"), "{}", ready.body);
    assert_eq!(shop.get("/healthz").status, 200);
    assert_eq!(shop.metric("serve_online_store_up"), Some(0.0));
    assert!(shop.metric("serve_online_store_errors") >= Some(1.0));
    assert_eq!(shop.metric("serve_rungs_total{rung=\"popular\",reason=\"store_down\"}"), Some(1.0));
    shop.store.set_down(false);
    until("full answers return", || shop.get("/v1/recommend/1").json()["rung"] == "full");
    assert_eq!(shop.get("/readyz").status, 200);
}

#[test]
fn past_the_deadline_a_lower_rung_answers() {
    let shop = shop(Options { deadline: Duration::ZERO, ..options() });
    let answer = shop.get("/v1/recommend/1?k=2").json();
    assert_ne!(answer["rung"], "full");
    assert_eq!(answer["reason"], "deadline");
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(2));
}

#[test]
fn metrics_are_on_both_addresses_and_probes_too() {
    let shop = shop(options());
    shop.get("/v1/recommend/1");
    shop.get("/v1/recommend/2");
    shop.get("/nothing");
    let route = "route=\"/v1/recommend/{user}\"";
    assert_eq!(shop.metric(&format!("serve_requests_total{{{route},status=\"200\"}}")), Some(2.0));
    assert_eq!(shop.metric("serve_requests_total{route=\"none\",status=\"404\"}"), Some(1.0));
    assert_eq!(shop.metric(&format!("serve_request_duration_seconds_count{{{route}}}")), Some(2.0));
    assert!(shop.metric("serve_table_age_seconds{table=\"shop.user_state\"}") > Some(1e9));
    assert!(shop.metric("process_start_time_seconds") > Some(1e9));
    let info = format!("serve_model_info{{pipeline=\"shop\",digest=\"{}\"}}", Digest::of(b"model"));
    assert_eq!(shop.metric(&info), Some(1.0));
    assert!(shop.get("/metrics").body.contains("serve_requests_total"));
    let admin = shop.server.admin_address();
    assert_eq!(send(admin, "GET", "/readyz", "").status, 200);
    assert_eq!(send(admin, "GET", "/v1/recommend/1", "").status, 404, "only what operators need is there");
}

#[test]
fn a_stop_answers_what_it_took_and_ends() {
    let shop = shop(options());
    let address = shop.server.http_address();
    let idle = TcpStream::connect(address).unwrap();
    assert_eq!(shop.get("/healthz").status, 200);
    assert!(shop.server.stop(), "an idle connection does not keep it");
    assert!(TcpStream::connect(address).is_err());
    drop(idle);
}

#[test]
fn rows_get_scores_and_wrong_ones_a_reason() {
    let (store, log) = (Arc::new(MemoryStore::default()), Arc::new(MemoryLog::default()));
    materialize(&*store, Digest::of(b"model"), Timestamp(1_000_000));
    let views = model().description.user_views.into_iter().map(|view| (view, vec!["id".to_owned()])).collect();
    let (log_requests, logged) = RequestLog::new(100, LoggedRequests::default());
    let parts = Parts {
        pipeline: PIPELINE.to_owned(),
        digest: Digest::of(b"model"),
        subject: Subject::Rows { predictor: crate::row_model::tests::predictor(), views },
        features: Some(features()),
        store: Arc::clone(&store) as Arc<dyn OnlineStore>,
        log: Arc::clone(&log) as Arc<dyn EventLog>,
        event_sources: Vec::new(),
        streams: Vec::new(),
        scheduled: ScheduledRuns::default(),
        request_log: Some(log_requests),
        options: options(),
    };
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let shop = Shop { server: Server::start(parts, listen(), listen()).unwrap(), store, log };
    let predict = |body: Json| shop.post("/v1/predict", &body);
    let reply = predict(json!({"rows": [{"id": 1, "price": 1.5}, {"id": 9, "price": 1.5}]}));
    assert_eq!((reply.status, &reply.json()["scores"]), (200, &json!([3.0, 0.0])), "{}", reply.body);
    assert_eq!(reply.json()["as_of"], "1970-01-01T00:00:01Z");
    let LoggedRequest { asked, views, .. } = logged.try_recv().unwrap();
    assert_eq!(asked.fields()["id"], [Value::Int(1), Value::Int(9)]);
    assert_eq!((views[0].0.as_str(), &views[0].1.values), ("user", &vec![Value::Int(3), Value::Int(0)]));
    assert_eq!(predict(json!({"rows": [{"price": 1.5, "user.orders": 4}]})).status, 200);
    assert!(logged.try_recv().is_err(), "who names features reads none");
    let looked_up = json!({"features": ["user:orders"], "entities": {"user_id": [1]}, "request_context": {"x": ["y"]}});
    assert_eq!(shop.post("/get-online-features", &looked_up).status, 200);
    let LoggedRequest { asked, views, .. } = logged.try_recv().unwrap();
    assert_eq!((&asked.fields()["x"], views.len()), (&vec![Value::Text("y".into())], 1));
    let check = |reply: Reply, status: u16, part: &str| {
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.json()["error"].as_str().unwrap().contains(part), "{}", reply.body);
    };
    let row = json!({"rows": [{"id": 1, "price": 1.5}]});
    assert_eq!(shop.post("/v1/predict/shop", &row).json()["scores"], json!([3.0]));
    check(shop.post("/v1/predict/mall", &row), 404, "there is no model \"mall\"; this server has \"shop\"");
    check(predict(json!({"row": []})), 400, "the body must be {\"rows\"");
    check(predict(json!({"rows": [{"id": 1, "prise": 1.5}]})), 400, "\"price\" is missing");
    check(predict(json!({"rows": [{"price": 1.5}]})), 400, "key column \"id\"");
    check(shop.get("/v1/recommend/1"), 404, "there are /v1/predict");
    shop.store.set_down(true);
    check(predict(json!({"rows": [{"id": 1, "price": 1.5}]})), 503, "features cannot be fetched");
    assert_eq!(shop.get("/readyz").status, 503);
    let outcome = json!({"source": "outcome", "fields": {}});
    assert_eq!(shop.post("/v1/events", &outcome).status, 200);
    assert_eq!(shop.log.events.lock().unwrap().len(), 1);
}

#[test]
fn features_are_looked_up_in_feast_s_form() {
    let shop = shop(options());
    let ask = |request: Json| shop.post("/get-online-features", &request);
    let reply = ask(json!({"features": ["user:orders"], "entities": {"user_id": [1, 7]}}));
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json()["metadata"]["feature_names"], json!(["user_id", "orders"]));
    assert_eq!(reply.json()["results"][1]["values"], json!([3, 0]));
    assert_eq!(reply.json()["results"][1]["statuses"], json!(["PRESENT", "NOT_FOUND"]));
    assert_eq!(ask(json!({"features": ["user:x"], "entities": {"user_id": [1]}})).status, 404);
    assert_eq!(ask(json!({"features": ["user:orders"], "entities": {"user_id": ["a"]}})).status, 400);
    let admin = |path: &str| send(shop.server.admin_address(), "GET", path, "");
    assert!(admin("/features").head.contains("text/html") && admin("/features").body.contains("features.json"));
    assert_eq!(admin("/features.json").json(), json!({"pipeline": "", "features": []}));
    assert_eq!(shop.get("/features.json").status, 404, "lineage is not public");
    let unreadable = ask(json!({"feature": []}));
    assert!(unreadable.status == 400 && unreadable.body.contains("VIEW:FEATURE"), "{}", unreadable.body);
    shop.store.set_down(true);
    let down = ask(json!({"features": ["user:orders"], "entities": {"user_id": [1]}}));
    assert!(down.status == 503 && down.head.contains("retry-after"), "{}", down.body);
}

#[test]
fn features_are_served_without_a_model() {
    let store = Arc::new(MemoryStore::default());
    let parts = Parts {
        pipeline: PIPELINE.to_owned(),
        digest: Digest::of(b"features"),
        subject: Subject::Features,
        features: Some(features()),
        store: Arc::clone(&store) as Arc<dyn OnlineStore>,
        log: Arc::new(MemoryLog::default()),
        event_sources: Vec::new(),
        streams: Vec::new(),
        scheduled: ScheduledRuns::default(),
        request_log: None,
        options: options(),
    };
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(parts, listen(), listen()).unwrap();
    let body = json!({"feature_service": "user", "entities": {"user_id": [1]}}).to_string();
    let ask = || send(server.http_address(), "POST", "/get-online-features", &body);
    assert!(ask().body.contains("was never written"), "{}", ask().body);
    materialize(&*store, Digest::of(b"any"), Timestamp(1_000_000));
    assert_eq!(ask().json()["results"][1]["values"], json!([3]));
    let lost = send(server.http_address(), "GET", "/v1/recommend/1", "");
    assert!(lost.status == 404 && lost.body.contains("/get-online-features"), "{}", lost.body);
    until("the tables are seen", || server.problem().is_none());
}
