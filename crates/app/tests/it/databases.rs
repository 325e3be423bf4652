//! Queries as sources, in real databases.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use paceline_store::write_table;

use crate::bad_input::free_port;
use crate::binary;
use crate::postgres_server::{PASSWORD, PostgresServer, USER};

/// More than one batch of every driver.
const ROWS: i64 = 40_000;

struct Sale {
    user: Option<i64>,
    country: Option<&'static str>,
    quantity: i64,
    cents: i64,
    seconds: i64,
}

/// Prices end on any cent, so that sums are not whole; two sales happen at a time.
fn sale(id: i64) -> Sale {
    Sale {
        user: (id % 11 != 0).then_some(id * 7 % 40),
        country: [Some("United Kingdom"), Some("Norge, \"Øst\""), None][(id % 3) as usize],
        quantity: id * 13 % 5 - 1,
        cents: id * 37 % 10_007,
        seconds: 1_300_000_000 + id / 2 * 60,
    }
}

/// A folder with the sales as Parquet, as `sales.csv` with a column that nobody wants, and with a spine.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sales: Vec<_> = (0..ROWS).map(sale).collect();
    let integers = |of: fn(&Sale) -> Option<i64>| Arc::new(Int64Array::from_iter(sales.iter().map(of))) as ArrayRef;
    let table = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter(0..ROWS)) as ArrayRef, true),
        ("user_id", integers(|sale| sale.user), true),
        ("country", Arc::new(StringArray::from_iter(sales.iter().map(|sale| sale.country))) as ArrayRef, true),
        ("quantity", integers(|sale| Some(sale.quantity)), true),
        ("price", Arc::new(Float64Array::from_iter(sales.iter().map(|sale| Some(sale.cents as f64 / 100.0)))), true),
        ("timestamp", integers(|sale| Some(sale.seconds)), true),
    ])
    .unwrap();
    write_table(&folder.path().join("sales.parquet"), &table.schema(), &[table]).unwrap();
    let mut rows = String::new();
    for (id, Sale { user, country, quantity, cents, seconds }) in sales.iter().enumerate() {
        let user = user.map_or(String::new(), |user| user.to_string());
        let country = country.map_or(String::new(), |name| format!("\"{}\"", name.replace('"', "\"\"")));
        writeln!(rows, "{id},{user},{country},{quantity},{}.{:02},{seconds},wide", cents / 100, cents % 100).unwrap();
    }
    fs::write(folder.path().join("sales.csv"), rows).unwrap();
    let mut spine = String::from("user_id,time\n");
    for user in 0..45 {
        writeln!(spine, "{user},2011-03-{:02}T07:00:00Z", 14 + user % 15).unwrap();
    }
    fs::write(folder.path().join("spine.csv"), spine).unwrap();
    folder
}

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
lines_7d = {{ agg = "count", window = "7d" }}
spend_7d = {{ agg = "sum", of = "amount", window = "7d" }}
spread_30d = {{ agg = "std", of = "price", window = "30d" }}
country = {{ agg = "last", of = "country", window = "365d" }}
"#
    )
}

fn adbc(driver: &str, uri: &str, query: &str) -> String {
    format!("adbc = {{ driver = \"{driver}\", uri = \"{uri}\", query = '''{query}''' }}")
}

/// A driver that `make setup` brought; `None`, with a printed reason, where it did not.
#[expect(clippy::print_stdout, reason = "skips are said")]
fn driver(name: &str) -> Option<PathBuf> {
    let library = format!("../../.runtime/lib/libadbc_driver_{name}.so");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(library);
    if !path.exists() {
        println!("skipped: the ADBC driver of {name} is not there; `make setup` brings it");
        return None;
    }
    Some(path)
}

fn run(folder: &Path, place: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    fs::write(folder.join("p.toml"), pipeline(place)).unwrap();
    let mut command = binary::paceline(folder);
    for (name, variable) in [("postgresql", "PACELINE_ADBC_POSTGRESQL"), ("sqlite", "PACELINE_ADBC_SQLITE")] {
        if let Some(library) = driver(name) {
            command.env(variable, library);
        }
    }
    command.args(arguments).envs(variables.iter().copied()).output().expect("the binary starts")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    for secret in [PASSWORD, "p%40ss", "w/rd", "hidden"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

/// The training set that `place` gives.
fn built(folder: &Path, place: &str, variables: &[(&str, &str)]) -> String {
    let output =
        run(folder, place, &["features", "build", "p.toml", "--spine", "spine.csv", "--out", "out.csv"], variables);
    assert!(output.status.success(), "{place}: {}", said(&output));
    fs::read_to_string(folder.join("out.csv")).unwrap()
}

/// What `check` says against `place`, which it must refuse.
fn refused(folder: &Path, place: &str, variables: &[(&str, &str)], parts: &[&str]) {
    let output = run(folder, place, &["check", "p.toml", "--json"], variables);
    let message = said(&output);
    assert_eq!(output.status.code(), Some(2), "{place}: {message}");
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

const SALES: &str = "select * from sales order by id -- all of it";

#[test]
fn postgresql_gives_what_the_same_rows_in_parquet_give_and_mistakes_are_told() {
    if driver("postgresql").is_none() {
        return;
    }
    let Some(server) = PostgresServer::start() else { return };
    let folder = folder();
    let folder = folder.path();
    server.run(&format!(
        "create table sales (id bigint, user_id integer, country text, quantity smallint, price double precision, \
         timestamp bigint, note varchar(9));\n\\copy sales from '{}' csv\n",
        folder.join("sales.csv").display()
    ));
    let expected = built(folder, "path = \"sales.parquet\"", &[]);
    let known = [("SHOP_PASSWORD", PASSWORD)];
    let uri = server.url(&format!("{USER}:${{SHOP_PASSWORD}}"));
    assert_eq!(built(folder, &adbc("postgresql", &uri, SALES), &known), expected);
    let settings = uri.replace("postgresql://", "");
    let (host, port) = (settings.split(['@', ':', '/']).nth(2).unwrap(), settings.rsplit([':', '/']).nth(1).unwrap());
    let settings = format!("host={host} port={port} user={USER} password='${{SHOP_PASSWORD}}' dbname=postgres");
    let settings = adbc("postgresql", &settings, SALES);
    assert_eq!(built(folder, &settings, &known), expected, "key=value settings");
    let decimals = "select id, user_id, country, quantity, price::numeric(9, 2), timestamp from sales order by id;";
    assert_eq!(built(folder, &adbc("postgresql", &uri, decimals), &known), expected, "decimals are numbers");
    let large = "select s.*, repeat('x', 1000) as filler from sales s order by id";
    assert_eq!(built(folder, &adbc("postgresql", &uri, large), &known), expected, "only what is needed is read");

    let check = |uri: &str, query: &str, password: &str, parts: &[&str]| {
        refused(folder, &adbc("postgresql", uri, query), &[("SHOP_PASSWORD", password)], parts);
    };
    check(&uri, SALES, "hidden", &["password authentication failed for user", "sources.sales.adbc"]);
    check(&uri, "select * from sale", PASSWORD, &["relation \\\"sale\\\" does not exist", "correct `query`"]);
    check(
        &uri,
        "select 1 as user_id",
        PASSWORD,
        &["the rows of the query of [sources.sales] have no column \\\"timestamp\\\""],
    );
    check(&uri, "select *, '{1}'::int[] as list from sales", PASSWORD, &["column \\\"list\\\" has type List"]);
    check(&uri, "select * from sales where false", PASSWORD, &["the table has no rows"]);
    check(&uri.replace("SHOP_PASSWORD", "NOWHERE"), SALES, "", &["environment variable NOWHERE is not set"]);
    let down = format!("postgresql://ada:hidden@127.0.0.1:{}/shop", free_port());
    check(&down, SALES, "", &["cannot be opened", "Connection refused", "is it up"]);
    let output = run(
        folder,
        &adbc("postgresql", &uri, SALES),
        &["check", "p.toml"],
        &[("SHOP_PASSWORD", PASSWORD), ("PACELINE_ADBC_POSTGRESQL", "/nowhere/driver.so")],
    );
    let message = said(&output);
    assert!(message.contains("/nowhere/driver.so (no such file)"), "{message}");
}

#[test]
fn sqlite_gives_what_the_same_rows_in_parquet_give_and_mistakes_are_told() {
    if driver("sqlite").is_none() {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    if !make_sqlite(folder) {
        return;
    }
    let expected = built(folder, "path = \"sales.parquet\"", &[]);
    let place = |query: &str| adbc("sqlite", "shop.db", query);
    assert_eq!(built(folder, &place(SALES), &[]), expected);
    assert_eq!(built(folder, &adbc("sqlite", "${SHOP_FILE}", SALES), &[("SHOP_FILE", "shop.db")]), expected);

    let check = |place: &str, parts: &[&str]| refused(folder, place, &[], parts);
    check(&place("select * from sale"), &["no such table: sale", "correct `query`"]);
    check(&place("select user_id from sales"), &["have no column \\\"timestamp\\\""]);
    check(&adbc("sqlite", "shap.db", SALES), &["shap.db: no such file", "did you mean shop.db?"]);
    check(&place("delete from sales"), &["readonly database"]);
    assert!(!folder.join("shap.db").exists(), "reading makes nothing");
    let mixed =
        "select id, user_id, country, quantity, timestamp, iif(id < 39000, 1, 'dear') as price from sales order by id";
    check(&place(mixed), &["the query on shop.db failed"]);
}

/// `shop.db` with the sales in it; `false`, with a printed reason, where sqlite3 is not installed.
#[expect(clippy::print_stdout, reason = "skips are said")]
fn make_sqlite(folder: &Path) -> bool {
    let started = Command::new("sqlite3").arg("shop.db").current_dir(folder).stdin(Stdio::piped()).spawn();
    let Ok(mut client) = started else {
        println!("skipped: sqlite3 is not installed; `make setup` installs it");
        return false;
    };
    let script = ".bail on\n\
        create table sales (id integer, user_id integer, country text, quantity integer, price real, timestamp integer, note text);\n\
        .mode csv\n.import sales.csv sales\n\
        update sales set user_id = nullif(user_id, ''), country = nullif(country, '');\n";
    client.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(client.wait().unwrap().success());
    true
}
