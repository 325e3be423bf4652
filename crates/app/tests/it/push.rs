//! Features that are computed elsewhere and pushed to a real server, in either store.

use std::path::Path;
use std::time::Duration;

use paceline::serving::HttpClient;
use serde_json::{Value as Json, json};

use crate::binary;
use crate::redis_server::RedisServer;
use crate::serving::{ServeProcess, serve_process};

const PIPELINE: &str = r#"
name = "shop"

[sources.sales]
path = "sales.csv"
event_time = "at"
time_unit = "s"

[features.user]
source = "sales"
entity = ["user_id"]
orders = { agg = "count", window = "36500d" }
last_price = { agg = "last", of = "price", window = "36500d" }

[pushed.taste]
entity = { user_id = "int", item_id = "text" }
features = { score = "float", kind = "text", liked = "bool", since = "timestamp" }
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sales.csv"), "user_id,price,at\n1,2.5,1000\n2,3.5,2000\n").unwrap();
    std::fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
    folder
}

fn run_json(folder: &Path, arguments: &[&str], store: &[&str]) -> Json {
    let output = binary::paceline(folder).args(arguments).args(store).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn materialize(folder: &Path, until: &str, store: &[&str]) {
    run_json(folder, &["features", "materialize", "pipeline.toml", "--until", until], store);
}

fn post(server: &ServeProcess, path: &str, body: &Json) -> (u16, Json) {
    let reply = HttpClient::new(server.http, Duration::from_secs(120)).post(path, &body.to_string()).unwrap();
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn push(server: &ServeProcess, body: Json) -> Json {
    let (status, answer) = post(server, "/v1/features/push", &body);
    assert_eq!(status, 200, "{answer}");
    answer["rows"].clone()
}

/// Values, statuses and times of all features of a view for one entity.
fn look_up(server: &ServeProcess, view: &str, entities: Json) -> Vec<Json> {
    let keys = entities.as_object().unwrap().len();
    let (status, answer) =
        post(server, "/get-online-features", &json!({"feature_service": view, "entities": entities}));
    assert_eq!(status, 200, "{answer}");
    let of = |column: &Json| json!([column["values"][0], column["statuses"][0], column["event_timestamps"][0]]);
    answer["results"].as_array().unwrap().iter().skip(keys).map(of).collect()
}

fn pushed_values_are_served(url: Option<&str>) {
    let store: Vec<&str> = url.iter().flat_map(|url| ["--store", *url]).collect();
    let folder = folder();
    let folder = folder.path();
    let (early, middle, late) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "2022-01-01T00:00:00Z");
    materialize(folder, early, &store);
    let server = serve_process(folder, &store);

    // A view with a source: newer than its materialization, then older.
    let user = |time: &str, orders: i64| json!({"user_id": 1, "time": time, "orders": orders, "last_price": null});
    let rows = push(&server, json!({"view": "user", "rows": [user(middle, 7), user("2019-01-01", 5)]}));
    assert_eq!(rows, json!([{"status": "written"}, {"status": "older", "newest": middle}]));
    let of_user = |server: &ServeProcess, user: i64| look_up(server, "user", json!({"user_id": [user]}));
    assert_eq!(of_user(&server, 1), [json!([7, "PRESENT", middle]), json!([null, "NULL_VALUE", middle])]);
    assert_eq!(of_user(&server, 2), [json!([1, "PRESENT", early]), json!([3.5, "PRESENT", early])]);

    // A view without one: unknown at first.
    let of_taste =
        |server: &ServeProcess, item: &str| look_up(server, "taste", json!({"item_id": [item], "user_id": [1]}));
    assert_eq!(of_taste(&server, "a")[0], json!([null, "NOT_FOUND", "1970-01-01T00:00:00Z"]));
    let row =
        json!({"user_id": 1, "item_id": "a", "time": middle, "score": 3, "kind": "ü", "liked": true, "since": early});
    assert_eq!(push(&server, json!({"view": "taste", "rows": [row]})), json!([{"status": "written"}]));
    let expected = [json!(3.0), json!("ü"), json!(true), json!(early)].map(|value| json!([value, "PRESENT", middle]));
    assert_eq!(of_taste(&server, "a"), expected);
    assert_eq!(of_taste(&server, "b")[0][1], "NOT_FOUND");

    // All mistakes at once, by row and column; nothing of the call is written.
    let bad = json!({"view": "taste", "rows": [
        {"user_id": 2, "item_id": "a", "time": middle, "score": 1, "kind": null, "liked": null, "since": null},
        {"user_id": "2", "time": "yesterday", "score": "high", "kind": 1, "liked": null, "since": 5, "scor": 1},
        {"user_id": 2, "item_id": "a", "time": "2999-01-01", "score": 0.5, "kind": null, "liked": null},
    ]});
    let (status, answer) = post(&server, "/v1/features/push", &bad);
    assert_eq!(status, 400, "{answer}");
    let places: Vec<(u64, &str)> = answer["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake| (mistake["row"].as_u64().unwrap(), mistake["column"].as_str().unwrap()))
        .collect();
    let columns = ["scor", "user_id", "item_id", "time", "score", "kind", "since"].map(|column| (1, column));
    assert_eq!(places, [&columns[..], &[(2, "time"), (2, "since")]].concat());
    assert!(answer["error"].as_str().unwrap().starts_with("9 mistakes in the rows, nothing was written"), "{answer}");
    let user_2 = look_up(&server, "taste", json!({"item_id": ["a"], "user_id": [2]}));
    assert_eq!(user_2[0][1], "NOT_FOUND");
    let (status, answer) = post(&server, "/v1/features/push", &json!({"view": "tast", "rows": []}));
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("there are: user, taste"), "{answer}");

    // Killed, not stopped: what was acknowledged is there.
    drop(server);
    let found = run_json(
        folder,
        &["features", "get", "pipeline.toml", "--entity", "user_id=1", "--entity", "item_id=a"],
        &store,
    );
    assert_eq!(found["features"]["user.orders"], 7);
    assert_eq!(found["features"]["taste.since"], early);
    assert_eq!(found["views"]["taste"], json!({"status": "known", "as_of": middle}));

    // A later materialization takes the place of what is older; a view without a source stays.
    materialize(folder, late, &store);
    let server = serve_process(folder, &store);
    assert_eq!(of_user(&server, 1)[0], json!([1, "PRESENT", late]));
    let older = push(&server, json!({"view": "user", "rows": [user(middle, 9)]}));
    assert_eq!(older, json!([{"status": "older", "newest": late}]));
    assert_eq!(of_taste(&server, "a"), expected);
    drop(server);
    let forgotten = run_json(folder, &["events", "forget", "pipeline.toml", "--entity", "user_id=1"], &store);
    let tables = json!([
        {"table": "shop.user", "removed": 1, "left": 0},
        {"table": "shop.taste", "removed": 1, "left": 0},
    ]);
    assert_eq!(forgotten["forgotten"]["tables"], tables);
}

#[test]
fn pushed_values_are_served_from_disk() {
    pushed_values_are_served(None);
}

#[test]
fn pushed_values_are_served_from_redis() {
    let Some(redis) = RedisServer::start() else { return };
    pushed_values_are_served(Some(&redis.url()));
}
