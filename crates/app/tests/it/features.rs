//! The `features` verbs as a user runs them, on a small synthetic shop.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use paceline::serving::HttpClient;
use paceline_testkit::shop::{Shop, ShopSpec};
use serde_json::{Value, json};

use crate::binary;
use crate::redis_server::RedisServer;
use crate::serving::serve_process;

const PIPELINE: &str = r#"
name = "shop"

[sources.sales]
path = "transactions.parquet"
event_time = "timestamp"
time_unit = "s"
where = "user_id is not null and quantity > 0"
columns.amount = "quantity * price"

[features.user]
source = "sales"
entity = ["user_id"]
schedule = "1d"
lines_30d = { agg = "count", window = "30d" }
spend_30d = { agg = "sum", of = "amount", window = "30d" }
country = { agg = "last", of = "country", window = "365d" }

[features.item]
source = "sales"
entity = ["item_id"]
price = { agg = "mean", of = "price", window = "90d" }
silence = { agg = "seconds_since_last", window = "90d" }

[features.request]
dear = "item.price > user.spend_30d"
"#;

/// Midnight, a point of the schedule.
const UNTIL: &str = "2011-12-01T00:00:00Z";

struct Case {
    folder: tempfile::TempDir,
    /// A user and an item of the last line before [`UNTIL`].
    user: i32,
    item: String,
    /// Everybody.
    users: BTreeSet<i32>,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::generate(&ShopSpec { users: 60, items: 40, months: 4, ..ShopSpec::small() });
        shop.write(folder.path()).unwrap();
        std::fs::write(folder.path().join("p.toml"), PIPELINE).unwrap();
        let until = UNTIL.parse::<paceline_core::Timestamp>().unwrap().0 / 1_000_000;
        let known = |line: &&paceline_testkit::shop::Line| {
            line.timestamp_s < until && line.user_id.is_some() && line.quantity > 0
        };
        let line = shop.lines().iter().rfind(known).unwrap();
        let users = shop.lines().iter().filter_map(|line| line.user_id).collect();
        Case { user: line.user_id.unwrap(), item: line.code.clone(), users, folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        binary::paceline(self.folder.path()).args(arguments).output().expect("the binary starts")
    }

    fn json(&self, arguments: &[&str], exit_code: i32) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn spine(&self, rows: &str) -> &'static str {
        std::fs::write(self.folder.path().join("spine.csv"), format!("user_id,item_id,time,label\n{rows}")).unwrap();
        "spine.csv"
    }

    /// The values of the one row of a training set at `time`, by name.
    fn built(&self, time: &str) -> Vec<(String, String)> {
        let spine = self.spine(&format!("{},{},{time},7\n", self.user, self.item));
        self.json(&["features", "build", "p.toml", "--spine", spine, "--out", "t.csv"], 0);
        let text = std::fs::read_to_string(self.folder.path().join("t.csv")).unwrap();
        let (names, values) = text.trim_end().split_once('\n').unwrap();
        names.split(',').map(str::to_owned).zip(values.split(',').map(str::to_owned)).collect()
    }

    fn get(&self, more: &[&str]) -> Value {
        let (user, item) = (format!("user_id={}", self.user), format!("item_id={}", self.item));
        self.json(&[&["features", "get", "p.toml", "--entity", &user, "--entity", &item], more].concat(), 0)
    }
}

/// A cell of a CSV file and a JSON value say the same.
fn is_same(cell: &str, value: &Value) -> bool {
    match value {
        Value::Null => cell.is_empty(),
        Value::Number(number) => cell.parse::<f64>().is_ok_and(|cell| Some(cell) == number.as_f64()),
        Value::Bool(value) => cell == value.to_string(),
        Value::String(text) => cell == text,
        _ => false,
    }
}

fn agree(built: &[(String, String)], found: &Value) {
    let features = found["features"].as_object().unwrap();
    assert_eq!(features.len(), 6, "{features:?}");
    for (name, value) in features {
        let (_, cell) = built.iter().find(|(column, _)| column == name).unwrap();
        assert!(is_same(cell, value), "{name}: {cell:?} was built, {value} found");
    }
}

#[test]
fn built_computed_and_stored_values_are_the_same_in_both_stores() {
    let case = Case::new();
    // One second after midnight a training set sees the user's values of midnight, and the item's of this second.
    let built = case.built("2011-12-01T00:00:01Z");
    assert_eq!(
        built[..4].iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["user_id", "item_id", "time", "label"]
    );
    assert_eq!(built[3].1, "7", "other columns are kept");
    assert!(built.iter().any(|(name, cell)| name == "user.lines_30d" && cell != "0"), "{built:?}");
    let computed = case.get(&["--at", "2011-12-01T00:00:01Z"]);
    agree(&built, &computed);
    assert_eq!(computed["views"]["user"]["as_of"], UNTIL);

    let written = case.json(&["features", "materialize", "p.toml", "--until", "2011-12-01T00:00:01Z"], 0);
    assert_eq!(written["views"][0]["as_of"], UNTIL, "a scheduled view is written as of its schedule");
    assert_eq!(written["views"][1]["as_of"], "2011-12-01T00:00:01Z");
    let stored = case.get(&[]);
    agree(&built, &stored);
    assert_eq!(stored["views"]["user"]["status"], "known");

    let unknown = case.json(&["features", "get", "p.toml", "--entity", "user_id=-5"], 0);
    assert_eq!(unknown["views"]["user"]["status"], "unknown");
    assert_eq!(
        (&unknown["features"]["user.lines_30d"], &unknown["features"]["user.country"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(unknown["views"]["item"]["missing"], "item_id");

    let older = case.run(&["features", "materialize", "p.toml", "--until", "2011-11-01"]);
    assert_eq!(older.status.code(), Some(2));
    let said = String::from_utf8(older.stderr).unwrap();
    assert!(said.contains("holds [features.user] as of 2011-12-01T00:00:00Z, newer than 2011-11-01"), "{said}");

    let Some(server) = RedisServer::start() else { return };
    let url = server.url();
    let never = case.get(&["--store", &url]);
    assert_eq!(never["views"]["user"]["status"], "not_materialized");
    case.json(&["features", "materialize", "p.toml", "--until", "2011-12-01T00:00:01Z", "--store", &url], 0);
    let shared = case.get(&["--store", &url]);
    assert_eq!((&shared["features"], &shared["views"]), (&stored["features"], &stored["views"]));
}

#[test]
fn a_list_says_where_features_come_from_and_who_uses_them() {
    let case = Case::new();
    let of = |listed: &Value, name: &str| {
        listed["features"].as_array().unwrap().iter().find(|feature| feature["name"] == name).unwrap().clone()
    };
    let before = case.json(&["features", "list", "p.toml"], 0);
    assert_eq!(before["features"].as_array().unwrap().len(), 6);
    let spend = of(&before, "user.spend_30d");
    assert_eq!(
        (&spend["what"], &spend["kind"], &spend["schedule"]),
        (&json!("sum(amount) over 30d"), &json!("float"), &json!("1d"))
    );
    let expected = [("amount", json!("quantity * price")), ("quantity", Value::Null), ("price", Value::Null)];
    for (at, (name, expression)) in expected.into_iter().enumerate() {
        assert_eq!(spend["reads"][at], json!({"name": name, "expression": expression}));
    }
    assert_eq!((&spend["used_by"], &spend["as_of"]), (&json!(["request.dear"]), &Value::Null));
    case.json(&["features", "materialize", "p.toml", "--until", UNTIL], 0);
    assert_eq!(of(&case.json(&["features", "list", "p.toml"], 0), "user.spend_30d")["as_of"], UNTIL);

    let text = |arguments: &[&str]| String::from_utf8(case.run(arguments).stdout).unwrap();
    let list = text(&["features", "list", "p.toml"]);
    assert!(list.lines().next().unwrap().starts_with("feature"), "{list}");
    let described = text(&["features", "describe", "p.toml", "user.spend_30d"]);
    assert!(described.contains("amount = quantity * price") && described.contains("batch, every 1d"), "{described}");
    assert_eq!(case.json(&["features", "describe", "p.toml", "user"], 0).as_array().unwrap().len(), 3);
    let unknown = case.run(&["features", "describe", "p.toml", "user.spend"]);
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(unknown.status.code() == Some(2) && said.contains("did you mean `user.spend_30d`"), "{said}");
}

/// A pipeline without a model is served for its features alone, from both stores.
#[test]
fn served_features_are_those_that_get_shows() {
    let case = Case::new();
    std::fs::rename(case.folder.path().join("p.toml"), case.folder.path().join("pipeline.toml")).unwrap();
    let redis = RedisServer::start();
    let url = redis.as_ref().map(RedisServer::url);
    let stores = [None, url.as_deref()].map(|url| url.map_or_else(Vec::new, |url| vec!["--store", url]));
    for store in &stores[..1 + usize::from(redis.is_some())] {
        let with = |arguments: &[&'static str]| -> Vec<&str> {
            arguments.iter().copied().chain(store.iter().copied()).collect()
        };
        // The server materializes by itself.
        let server = serve_process(case.folder.path(), store);
        let mut client = HttpClient::new(server.http, std::time::Duration::from_secs(60));
        let body = json!({
            "features": ["user:lines_30d", "user:spend_30d", "user:country", "item:price", "item:silence", "request:dear"],
            "full_feature_names": true,
            "entities": {"user_id": [case.user, -5], "item_id": [case.item, case.item]},
        });
        let reply = client.post("/get-online-features", &body.to_string()).unwrap();
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{answer}");
        drop(server);
        let (user, item) = (format!("user_id={}", case.user), format!("item_id={}", case.item));
        let get = with(&["features", "get", "pipeline.toml"]);
        let stored = case.json(&[get.as_slice(), &["--entity", &user, "--entity", &item]].concat(), 0);
        let names = answer["metadata"]["feature_names"].as_array().unwrap();
        for (at, name) in names.iter().enumerate().skip(2) {
            let name = name.as_str().unwrap().replacen("__", ".", 1);
            let (result, expected) = (&answer["results"][at], &stored["features"][&name]);
            assert_eq!(&result["values"][0], expected, "{name}");
            if name.starts_with("user.") {
                assert_eq!(
                    (&result["statuses"][1], &result["event_timestamps"][0]),
                    (&json!("NOT_FOUND"), &stored["views"]["user"]["as_of"])
                );
            }
        }
        assert_eq!(names.len(), 8);
    }
}

#[test]
fn a_replay_finds_what_a_changed_source_makes_of_stored_values() {
    let case = Case::new();
    let (user, item) = (case.user, &case.item);
    let spine =
        case.spine(&format!("{user},{item},2011-11-30T12:00:00Z,1\n-1,{item},2011-12-05,0\n,{item},2011-12-05,0\n"));
    let verify = ["features", "verify", "p.toml", "--spine", spine, "--data-dir", "data"];
    let alone = case.json(&verify[..5], 0);
    assert_eq!((&alone["rows"], &alone["unequal"]), (&3.into(), &0.into()));
    assert_eq!(case.run(&verify).status.code(), Some(2), "there is no store yet");
    case.json(&["features", "materialize", "p.toml", "--until", UNTIL, "--data-dir", "data"], 0);
    let stored = case.json(&verify, 0);
    assert!(stored["values"].as_u64() > alone["values"].as_u64());
    assert_eq!(stored["store_as_of"]["item"], UNTIL);

    // The shop's rows once more: every count and sum doubles, while the store still holds the old ones.
    let folder = case.folder.path();
    std::fs::create_dir(folder.join("sales")).unwrap();
    for copy in ["a.parquet", "b.parquet"] {
        std::fs::copy(folder.join("transactions.parquet"), folder.join("sales").join(copy)).unwrap();
    }
    let pipeline = PIPELINE.replace("transactions.parquet", "sales");
    std::fs::write(folder.join("p.toml"), pipeline).unwrap();
    let changed = case.json(&verify, 1);
    let differences = changed["differences"].as_array().unwrap();
    let count = differences.iter().find(|difference| difference["feature"] == "user.lines_30d").unwrap();
    assert_eq!((&count["path"], &count["entity"]), (&"store".into(), &user.to_string().into()));
    assert_eq!(count["batch"].as_i64(), count["online"].as_i64().map(|lines| 2 * lines));
    assert!(!count["rows"].as_array().unwrap().is_empty(), "the rows that explain it: {count}");
    let said = String::from_utf8(case.run(&verify).stdout).unwrap();
    assert!(said.contains("the batch join gives") && said.contains("the store holds"), "{said}");
}

#[test]
fn little_memory_gives_the_same_file() {
    let case = Case::new();
    let lines: String =
        (0..3_000).map(|row| format!("{},{},2011-11-{:02},{row}\n", row % 70, case.item, 1 + row % 28)).collect();
    let spine = case.spine(&lines);
    let read = |out: &str, more: &[&str]| {
        let arguments = ["features", "build", "p.toml", "--spine", spine, "--out", out];
        case.json(&[&arguments, more].concat(), 0);
        std::fs::read(case.folder.path().join(out)).unwrap()
    };
    let scratch = case.folder.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let spilled = read("a.parquet", &["--memory-mb", "1", "--threads", "1", "--scratch", "scratch"]);
    assert_eq!(spilled, read("b.parquet", &["--threads", "2"]));
    assert!(is_empty(&scratch), "nothing is left there");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn only_what_changed_is_materialized() {
    let server = RedisServer::start();
    let url = server.as_ref().map(RedisServer::url);
    for store in [None, url.as_deref()] {
        let case = Case::new();
        let materialize = |until: &str, more: &[&str]| {
            let store = store.map_or(vec![], |url| vec!["--store", url]);
            let arguments = [&["features", "materialize", "p.toml", "--until", until], &store[..], more].concat();
            let written = case.json(&arguments, 0)["views"].clone();
            let view = |at: usize| {
                let rows = written[at]["rows"].as_u64().unwrap();
                (written[at]["incremental"].as_bool().unwrap(), rows)
            };
            (view(0), view(1))
        };
        let verify = |time: &str| {
            let spine = case.spine(&format!("{},{},{time},7\n-5,none,{time},7\n", case.user, case.item));
            let store = store.map_or(vec!["--data-dir", ".paceline"], |url| vec!["--store", url]);
            let arguments = ["features", "verify", "p.toml", "--spine", spine];
            let found = case.json(&[&arguments[..], &store[..]].concat(), 0);
            assert_eq!(found["unequal"], 0, "{found}");
        };
        let (first, items) = materialize("2011-11-29", &[]);
        assert!(!first.0 && !items.0, "nothing was there: {first:?} {items:?}");
        let (user, item) = materialize("2011-11-30T00:00:01Z", &[]);
        assert!(user.0 && user.1 > 0 && user.1 < first.1, "{user:?} of {first:?}");
        assert!(item.0 && item.1 > 0, "silence grows for every item: {item:?} of {items:?}");
        verify("2011-11-30T00:00:01Z");
        // Again, as after a kill.
        let (user, item) = materialize("2011-11-30T00:00:01Z", &[]);
        assert_eq!((user, item), ((true, 0), (true, 0)));
        let ((is_incremental, all), _) = materialize("2011-11-30T00:00:01Z", &["--full"]);
        assert!(!is_incremental && all >= first.1);
        verify("2011-11-30T00:00:01Z");

        let declared = PIPELINE.replace(
            "lines_30d = { agg = \"count\", window = \"30d\" }",
            "lines_30d = { agg = \"count\", window = \"20d\" }",
        );
        std::fs::write(case.folder.path().join("p.toml"), declared).unwrap();
        let (user, item) = materialize("2011-12-01", &[]);
        assert!(!user.0 && item.0, "only the changed view is written whole: {user:?} {item:?}");
    }
}

/// Whatever the moment of the kill, the store holds one version or the next, and the next run goes on from there.
#[test]
fn a_killed_materialization_is_run_again() {
    const KILLS: u32 = 8;
    let server = RedisServer::start();
    let url = server.as_ref().map(RedisServer::url);
    for store in [None, url.as_deref()] {
        let case = Case::new();
        let store = store.map_or(vec!["--data-dir", ".paceline"], |url| vec!["--store", url]);
        let materialize =
            |until: &'static str| [&["features", "materialize", "p.toml", "--until", until], &store[..]].concat();
        let everybody: String = case.users.iter().map(|user| format!("{user},{},{UNTIL},0\n", case.item)).collect();
        let spine = case.spine(&everybody);
        let verify = [&["features", "verify", "p.toml", "--spine", spine], &store[..]].concat();
        let first = Instant::now();
        case.json(&materialize("2011-11-15"), 0);
        let usual = first.elapsed();
        for kill in 0..KILLS {
            let mut command = binary::paceline(case.folder.path());
            let started = Instant::now();
            let mut run = command.args(materialize(UNTIL)).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            while started.elapsed() < usual * kill / KILLS {
                std::hint::spin_loop();
            }
            // It may have ended already.
            let _ = run.kill();
            run.wait().unwrap();
            assert_eq!(case.json(&verify, 0)["unequal"], 0, "kill {kill}");
        }
        case.json(&materialize(UNTIL), 0);
        let found = case.json(&verify, 0);
        assert_eq!((&found["unequal"], &found["store_as_of"]["user"]), (&json!(0), &json!(UNTIL)));
    }
}

/// What a stream refuses is counted, and named where it makes a difference.
#[test]
fn a_replay_says_which_rows_come_too_late_for_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |lateness: &str, exit_code: i32| -> Value {
        let pipeline = format!(
            "name = \"late\"\n[sources.s]\npath = \"s.csv\"\nevent_time = \"at\"\navailable_time = \"seen\"\n\
             max_lateness = \"{lateness}\"\n[features.user]\nsource = \"s\"\nentity = [\"id\"]\nplacement = \"stream\"\n\
             rows = {{ agg = \"count\", window = \"30d\" }}\n"
        );
        std::fs::write(folder.path().join("p.toml"), pipeline).unwrap();
        let arguments = ["features", "verify", "p.toml", "--spine", "spine.csv", "--json"];
        let output = binary::paceline(folder.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(exit_code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let rows = "id,at,seen\n1,2026-01-01,2026-01-01\n1,2026-01-02,2026-01-09\n1,2026-01-08,2026-01-08\n";
    std::fs::write(folder.path().join("s.csv"), rows).unwrap();
    std::fs::write(folder.path().join("spine.csv"), "id,time\n1,2026-01-08T12:00:00Z\n1,2026-01-10\n2,2026-01-10\n")
        .unwrap();
    let waits = verify("10d", 0);
    assert_eq!((&waits["unequal"], &waits["late_for_stream"]["s"]), (&0.into(), &0.into()));
    let hurries = verify("1d", 1);
    assert_eq!((&hurries["unequal"], &hurries["late_for_stream"]["s"]), (&1.into(), &1.into()), "{hurries}");
    let difference = &hurries["differences"][0];
    assert_eq!((&difference["path"], &difference["time"]), (&"stream".into(), &"2026-01-10T00:00:00Z".into()));
    assert_eq!((&difference["batch"], &difference["online"]), (&3.into(), &2.into()));
    assert_eq!(difference["rows"].as_array().unwrap().len(), 3, "the rows that explain it");
}
