//! Sources that are no local files, as a user names them.

use std::fs;
use std::path::Path;
use std::process::Output;

use paceline_testkit::shop::{Shop, ShopSpec};

use crate::bad_input::free_port;
use crate::binary;
use crate::object_server::{BUCKET, ObjectServer, SECRET_KEY};

/// The pipeline of a shop whose sales are at `place`, a line of `[sources.sales]`.
fn pipeline(place: &str) -> String {
    format!(
        r#"name = "shop"

[sources.sales]
{place}
event_time = "timestamp"
time_unit = "s"
where = "user_id is not null and quantity > 0"
columns.amount = "quantity * price"

[features.user]
source = "sales"
entity = ["user_id"]
schedule = "1d"
lines_30d = {{ agg = "count", window = "30d" }}
spend_30d = {{ agg = "sum", of = "amount", window = "30d" }}
spread_90d = {{ agg = "std", of = "price", window = "90d" }}
country = {{ agg = "last", of = "country", window = "365d" }}
"#
    )
}

/// A folder with `transactions.parquet` and a spine of its users.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::generate(&ShopSpec { users: 60, items: 40, months: 4, ..ShopSpec::small() });
    shop.write(folder.path()).unwrap();
    let mut spine = String::from("user_id,time\n");
    for line in shop.lines().iter().step_by(7) {
        if let Some(user) = line.user_id {
            spine += &format!("{user},{}\n", paceline_core::Timestamp::from_seconds(line.timestamp_s + 1));
        }
    }
    fs::write(folder.path().join("spine.csv"), spine).unwrap();
    folder
}

const BUILD: [&str; 7] = ["features", "build", "p.toml", "--spine", "spine.csv", "--out", "out.csv"];

fn run(folder: &Path, server: &ObjectServer, place: &str, arguments: &[&str]) -> Output {
    fs::write(folder.join("p.toml"), pipeline(place)).unwrap();
    let mut command = binary::paceline(folder);
    server.ask(command.args(arguments)).output().expect("the binary starts")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(!text.contains(SECRET_KEY), "{text}");
    text
}

/// The training set that `place` gives.
fn built(folder: &Path, server: &ObjectServer, place: &str) -> String {
    let output = run(folder, server, place, &BUILD);
    assert!(output.status.success(), "{place}: {}", said(&output));
    fs::read_to_string(folder.join("out.csv")).unwrap()
}

/// Mistakes of `place`, on one line.
fn refused(folder: &Path, server: &ObjectServer, place: &str) -> String {
    let output = run(folder, server, place, &["check", "p.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{place}: {}", said(&output));
    said(&output)
}

#[test]
fn objects_give_what_the_same_files_give_and_mistakes_are_told() {
    let Some(server) = ObjectServer::start() else { return };
    let folder = shop();
    let folder = folder.path();
    let local = built(folder, &server, "path = \"transactions.parquet\"");
    assert!(local.lines().count() > 20, "{local}");

    let table = fs::read(folder.join("transactions.parquet")).unwrap();
    server.put("raw/2011/sales.parquet", &table);
    server.put("raw/2011/_SUCCESS", b"");
    server.put("raw/2011/", b"");
    for key in ["raw/2011/sales.parquet", "raw/2011", "raw/*/sales.parquet", "raw/**/*.parquet"] {
        assert_eq!(built(folder, &server, &format!("path = \"s3://{BUCKET}/{key}\"")), local, "{key}");
    }

    let rows = ["1,UK,2,1.5,1000\n1,FR,1,NaN,2000\n", "2,UK,3,0.1,3000\n", "1,UK,1,2.5,4000\n"];
    fs::create_dir(folder.join("csv")).unwrap();
    for (part, rows) in rows.iter().enumerate() {
        let text = format!("user_id,country,quantity,price,timestamp\n{rows}");
        fs::write(folder.join(format!("csv/{part}.csv")), &text).unwrap();
        server.put(&format!("csv/{part}.csv"), text.as_bytes());
    }
    fs::write(folder.join("spine.csv"), "user_id,time\n1,1970-01-02\n2,1970-01-03\n3,1970-01-03\n").unwrap();
    let local = built(folder, &server, "path = \"csv\"\nformat = \"csv\"");
    assert_eq!(built(folder, &server, &format!("path = \"s3://{BUCKET}/csv/*.csv\"")), local);

    let check = |place: &str, parts: &[&str]| {
        let message = refused(folder, &server, &format!("path = \"{place}\""));
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    check("s3://shop/raw/2011/sale.parquet", &["no such file", "did you mean sales.parquet?"]);
    check("s3://shop/raw/2012/*.parquet", &["s3://shop/raw/2012/*.parquet: no such file"]);
    check("s3://shpo/raw/2011/sales.parquet", &["has no bucket \\\"shpo\\\"", "check its name", "sources.sales.path"]);
    server.refuse_everybody();
    check("s3://shop/raw/2011/sales.parquet", &["denies access: InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"]);
    check("s3://shop/raw/*/sales.parquet", &["s3://shop/raw", "denies access: InvalidAccessKeyId"]);
}

#[test]
fn a_server_that_is_down_is_named() {
    let folder = shop();
    fs::write(folder.path().join("p.toml"), pipeline("path = \"s3://shop/sales.parquet\"")).unwrap();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let check = |allows_http: &str, part: &str| {
        let mut command = binary::paceline(folder.path());
        command.args(BUILD).env("AWS_ENDPOINT_URL", &endpoint).env("AWS_ALLOW_HTTP", allows_http);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("NO_PROXY", "127.0.0.1");
        let output = command.output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let message = said(&output);
        assert!(message.contains(part) && message.contains(&endpoint), "{part}: {message}");
        assert!(!folder.path().join("out.csv").exists());
    };
    check("true", "Connection refused");
    check("false", "set AWS_ALLOW_HTTP=true");
}
