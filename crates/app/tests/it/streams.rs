//! Features that events keep current, as a served pipeline shows them: equal to a training set's, at once, after a kill,
//! and where they do not fit into memory.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use paceline::report::place::now;
use paceline::serving::HttpClient;
use paceline_core::Timestamp;
use serde_json::{Value as Json, json};

use crate::binary;
use crate::redis_server::RedisServer;
use crate::serving::{ServeProcess, serve_process};

const PIPELINE: &str = r#"
name = "shop"

[sources.sales]
path = "sales.csv"
event_time = "at"
event_id = "line_id"
where = "quantity > 0"
columns.amount = "quantity * price"
max_lateness = "2d"

[features.user]
source = "sales"
entity = ["user_id"]
placement = "stream"
lines_1h = { agg = "count", window = "1h" }
spend_7d = { agg = "sum", of = "amount", window = "7d" }
spread_7d = { agg = "std", of = "price", window = "7d" }

[features.habit]
source = "sales"
entity = ["user_id"]
placement = "stream"
ttl = "5d"
last_item = { agg = "last", of = "item", window = "7d" }
items = { agg = "count_distinct", of = "item", window = "7d" }

[features.item]
source = "sales"
entity = ["item"]
placement = "stream"
price = { agg = "mean", of = "price", window = "7d" }
newest = { agg = "max", of = "at", window = "7d" }

[features.request]
dear = "item.price > user.spend_7d"
"#;

const FEATURES: [&str; 8] = [
    "user:lines_1h",
    "user:spend_7d",
    "user:spread_7d",
    "habit:last_item",
    "habit:items",
    "item:price",
    "item:newest",
    "request:dear",
];
const HEADER: &str = "line_id,user_id,item,quantity,price,at\n";

fn minutes_ago(minutes: i64) -> Timestamp {
    Timestamp(now().0 - minutes * 60_000_000)
}

/// A line as the file and as an event has it.
struct Line(String, Json);

fn line(id: i64, user: i64, item: &str, quantity: i64, price: f64, at: Timestamp) -> Line {
    let fields = json!({
        "line_id": id, "user_id": user, "item": item, "quantity": quantity, "price": price, "at": at.to_string(),
    });
    Line(format!("{id},{user},{item},{quantity},{price},{at}\n"), json!({"source": "sales", "fields": fields}))
}

struct Served<'a> {
    process: ServeProcess,
    client: HttpClient,
    folder: &'a Path,
}

impl Served<'_> {
    fn start<'a>(folder: &'a Path, store: &[&str]) -> Served<'a> {
        let process = serve_process(folder, store);
        let client = HttpClient::new(process.http, Duration::from_secs(60));
        Served { process, client, folder }
    }

    fn post(&mut self, lines: &[&Line]) -> (u16, Json) {
        let events: Vec<&Json> = lines.iter().map(|line| &line.1).collect();
        let reply = self.client.post("/v1/events", &json!({ "events": events }).to_string()).unwrap();
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    /// The values of pairs of user and item.
    fn read(&mut self, pairs: &[(i64, &str)]) -> Vec<Vec<Json>> {
        let (users, items): (Vec<i64>, Vec<&str>) = pairs.iter().copied().unzip();
        let body = json!({"features": FEATURES, "entities": {"user_id": users, "item": items}});
        let reply = self.client.post("/get-online-features", &body.to_string()).unwrap();
        let answer: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{answer}");
        let results = &answer["results"].as_array().unwrap()[2..];
        (0..pairs.len()).map(|row| results.iter().map(|result| result["values"][row].clone()).collect()).collect()
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let mut client = HttpClient::new(self.process.admin, Duration::from_secs(60));
        let text = String::from_utf8(client.get("/metrics").unwrap().body).unwrap();
        text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    /// That what is read now is what a training set of `lines` says of now.
    fn check(&mut self, lines: &[&Line], pairs: &[(i64, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        let text: String = lines.iter().map(|line| line.0.as_str()).collect();
        std::fs::write(folder.path().join("sales.csv"), format!("{HEADER}{text}")).unwrap();
        std::fs::copy(self.folder.join("pipeline.toml"), folder.path().join("p.toml")).unwrap();
        let now = now();
        let spine: String = pairs.iter().fold(String::new(), |mut spine, (user, item)| {
            writeln!(spine, "{user},{item},{now}").unwrap();
            spine
        });
        std::fs::write(folder.path().join("spine.csv"), format!("user_id,item,time\n{spine}")).unwrap();
        let arguments = ["features", "build", "p.toml", "--spine", "spine.csv", "--out", "built.csv"];
        let output = binary::paceline(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = std::fs::read_to_string(folder.path().join("built.csv")).unwrap();
        let read = self.read(pairs);
        for ((row, values), pair) in built.lines().skip(1).zip(&read).zip(pairs) {
            let shown: Vec<String> = values.iter().map(shown).collect();
            let cells: Vec<&str> = row.split(',').skip(3).collect();
            assert_eq!(cells.len(), FEATURES.len());
            for ((name, cell), shown) in FEATURES.iter().zip(cells).zip(shown) {
                let is_same = cell == shown || cell.parse::<f64>().is_ok_and(|cell| shown.parse() == Ok(cell));
                assert!(is_same, "{pair:?}: {name} is {shown}, in a training set {cell:?}");
            }
        }
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn what_is_acknowledged_is_read_at_once_and_as_a_training_set_has_it() {
    let redis = RedisServer::start();
    let url = redis.as_ref().map(RedisServer::url);
    for store in [None, url.as_deref()] {
        let store = store.map_or_else(Vec::new, |url| vec!["--store", url]);
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::write(folder.join("pipeline.toml"), PIPELINE).unwrap();
        let before = [
            line(1, 7, "ball", 2, 0.1, minutes_ago(4_000)),
            line(2, 7, "cube", 1, 0.2, minutes_ago(20)),
            line(3, 8, "ball", 3, 0.7, minutes_ago(30)),
            line(4, 7, "cone", 0, 9.0, minutes_ago(40)),
        ];
        let text: String = before.iter().map(|line| line.0.as_str()).collect();
        std::fs::write(folder.join("sales.csv"), format!("{HEADER}{text}")).unwrap();
        let pairs = [(7, "ball"), (8, "cube"), (9, "none")];

        let mut served = Served::start(folder, &store);
        let mut all: Vec<&Line> = before.iter().collect();
        served.check(&all, &pairs);
        let late = minutes_ago(300);
        let came = [
            line(5, 9, "none", 1, 0.3, minutes_ago(2)),
            // Late, and again.
            line(6, 7, "ball", 5, 0.4, late),
            line(6, 7, "ball", 5, 0.4, late),
            // Other versions of what was there; the second is taken away by `where`.
            line(3, 8, "cube", 3, 0.6, minutes_ago(25)),
            line(2, 7, "cube", 0, 0.2, minutes_ago(20)),
        ];
        let (status, answer) = served.post(&came.iter().collect::<Vec<_>>());
        assert_eq!(status, 200, "{answer}");
        all.extend(&came[..2]);
        all.extend(&came[3..]);
        served.check(&all, &pairs);
        assert_eq!(served.read(&[(7, "cube")])[0][3], json!("ball"), "the cube was taken back");

        // Too late: durable, but of no use to a stream.
        let late = line(10, 7, "ball", 1, 5.0, minutes_ago(3 * 1_440));
        assert_eq!(served.post(&[&late]).0, 200);
        served.check(&all, &pairs);
        let outcome = |outcome: &str| {
            served.metric(&format!("serve_stream_rows_total{{source=\"sales\",outcome=\"{outcome}\"}}"))
        };
        assert_eq!((outcome("late"), outcome("correction"), outcome("duplicate")), (Some(1.0), Some(2.0), Some(1.0)));

        let mut bad = line(11, 7, "ball", 1, 5.0, minutes_ago(1));
        bad.1["fields"]["price"] = json!("dear");
        let (status, answer) = served.post(&[&came[0], &bad]);
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 400, "{answer}");
        assert!(error.contains("fields.price") && error.contains("\"dear\" is not a number"), "{error}");
        served.check(&all, &pairs);

        // A kill loses nothing, nor does an end that saves.
        for signal in ["-KILL", "-TERM", "-KILL"] {
            served.process.end(signal);
            served = Served::start(folder, &store);
            served.check(&all, &pairs);
        }
        let more = line(12, 9, "ball", 1, 0.9, minutes_ago(1));
        served.post(&[&more]);
        all.push(&more);
        served.check(&all, &pairs);

        if let [_, _] = store[..] {
            // Another server of the same log sees it, too, if not at once.
            let other_folder = tempfile::tempdir().unwrap();
            for file in ["pipeline.toml", "sales.csv"] {
                std::fs::copy(folder.join(file), other_folder.path().join(file)).unwrap();
            }
            let mut other = Served::start(other_folder.path(), &store);
            other.check(&all, &pairs);
            let last = line(13, 8, "cone", 1, 0.9, minutes_ago(0));
            other.post(&[&last]);
            all.push(&last);
            other.check(&all, &pairs);
            let started = std::time::Instant::now();
            while served.read(&[(8, "cone")])[0][3] != json!("cone") {
                assert!(started.elapsed() < Duration::from_secs(60), "the other server's event never came");
                std::thread::sleep(Duration::from_millis(20));
            }
            served.check(&all, &pairs);
        }
    }
}

#[test]
fn entities_that_do_not_fit_into_memory_are_read_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Ids of events cannot leave memory.
    let pipeline = PIPELINE.replace("event_id = \"line_id\"\n", "");
    let pipeline = format!("{pipeline}\n[serve]\nstream_memory_mb = 1\n");
    std::fs::write(folder.join("pipeline.toml"), pipeline).unwrap();
    let lines: Vec<Line> =
        (0..9_000).map(|id| line(id, id % 3_000, "ball", 1 + id % 4, 0.1, minutes_ago(5_000 - id / 2))).collect();
    let text: String = lines.iter().map(|line| line.0.as_str()).collect();
    std::fs::write(folder.join("sales.csv"), format!("{HEADER}{text}")).unwrap();
    let mut all: Vec<&Line> = lines.iter().collect();
    let pairs: Vec<(i64, &str)> = (0..3_000).step_by(61).map(|user| (user, "ball")).collect();
    let mut served = Served::start(folder, &[]);
    served.check(&all, &pairs);
    let bytes = served.metric("serve_stream_bytes{source=\"sales\"}").unwrap();
    assert!(bytes < 3e6, "{bytes}");
    let came: Vec<Line> = (0..500).map(|id| line(10_000 + id, id * 6, "cube", 2, 0.7, minutes_ago(1))).collect();
    served.post(&came.iter().collect::<Vec<_>>());
    all.extend(&came);
    served.check(&all, &pairs);
    served.process.end("-TERM");
    let kept = std::fs::metadata(folder.join(".paceline/streams/sales.user_id/snapshot")).unwrap();
    assert!(kept.len() > 0);
    let mut served = Served::start(folder, &[]);
    served.check(&all, &pairs);
    served.process.end("-KILL");

    // What was saved is damaged: it is said, and everything is read again.
    let snapshot = folder.join(".paceline/streams/sales.user_id/snapshot");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    Served::start(folder, &[]).check(&all, &pairs);
}
