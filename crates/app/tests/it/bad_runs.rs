//! The same for `run`, `predict` and `serve`, all of whose mistakes are found before anything is trained.
//!
//! `bad_runs.txt` holds the messages.

use std::any::Any;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use paceline_store::EmbeddedOnlineStore;

use crate::bad_input::{Case, check_snapshot, free_port, refused, said_about};
use crate::serving::published;

/// Two users who buy two items each month.
const SALES: &str = "user_id,item_id,price,at
1,a,2.5,2024-01-03
2,b,1.5,2024-01-04
1,b,2.5,2024-02-03
2,a,1.5,2024-02-04
1,c,2.5,2024-03-03
2,c,1.5,2024-03-04
1,d,2.5,2024-04-03
2,d,1.5,2024-04-04
";

const RECOMMEND: &str = r#"name = "shop"

[sources.sales]
path = "sales.csv"
event_time = "at"

[features.user]
source = "sales"
entity = ["user_id"]
schedule = "1d"
spend_30d = { agg = "sum", of = "price", window = "30d" }

[model]
task = "recommend"
user = "user_id"
item = "item_id"
label = { source = "sales", horizon = "1mo" }
teacher = [{ kind = "lightgbm" }]

[split]
train_until = "2024-03-01"
tune_until = "2024-04-01"
report_until = "2024-05-01"

[optimize]
p99_ms = 10
"#;

const LOANS: &str = "income,city,bad,at
10,x,0,2024-01-03
20,y,1,2024-01-04
30,x,0,2024-02-03
40,y,1,2024-02-04
50,x,0,2024-03-03
60,y,1,2024-03-04
";

const CLASSIFY: &str = r#"name = "loans"

[sources.loans]
path = "loans.csv"
event_time = "at"

[features.city]
source = "loans"
entity = ["city"]
loans_30d = { agg = "count", window = "30d" }

[model]
task = "classify"
source = "loans"
label = "bad"
teacher = [{ kind = "lightgbm" }]

[encode]
city = { kind = "one_hot" }

[split]
train_until = "2024-02-01"
tune_until = "2024-03-01"
report_until = "2024-04-01"

[optimize]
p99_ms = 10
"#;

const FILES: &[(&str, &str)] =
    &[("sales.csv", SALES), ("shop.toml", RECOMMEND), ("loans.csv", LOANS), ("loans.toml", CLASSIFY)];

fn cases(port: u16) -> Vec<Case> {
    let recommend = || Case::of(FILES, "run shop.toml");
    let classify = || Case::of(FILES, "run loans.toml");
    let sales = |text: &str| recommend().with("sales.csv", text);
    let loans = |text: &str| classify().with("loans.csv", text);
    let shop = |from: &str, to: &str| recommend().change("shop.toml", from, to);
    let changed = |from: &str, to: &str| classify().change("loans.toml", from, to);
    let only_first_user: String =
        SALES.lines().filter(|line| !line.starts_with('2')).map(|l| format!("{l}\n")).collect();
    let column = |text: &str, at: usize, value: &str| -> String {
        let cell = |(place, cell): (usize, &str)| if place == at { value.to_owned() } else { cell.to_owned() };
        let line = |line: &str| line.split(',').enumerate().map(cell).collect::<Vec<_>>().join(",") + "\n";
        let (head, rows) = text.split_once('\n').unwrap();
        format!("{head}\n{}", rows.lines().map(line).collect::<String>())
    };
    let dates = "train_until = \"2024-03-01\"\ntune_until = \"2024-04-01\"\nreport_until = \"2024-05-01\"";
    let years = |year: &str| dates.replace("2024", year);
    vec![
        Case::of(FILES, "run none.toml"),
        // A recommender.
        shop("\"sales.csv\"", "\"none.csv\""),
        shop("item = \"item_id\"", "item = \"itm_id\""),
        shop("of = \"price\"", "of = \"item_id\""),
        shop("\"30d\"", "\"0d\""),
        shop("teacher =", "techer ="),
        shop("horizon = \"1mo\"", "horizon = \"soon\""),
        shop("event_time = \"at\"\n", ""),
        shop("event_time = \"at\"", "event_time = \"at\"\nwhere = \"price > 99\""),
        shop(dates, &years("2034")),
        shop(dates, &years("2014")),
        shop("tune_until = \"2024-04-01\"", "tune_until = \"2024-02-01\""),
        shop("label = {", "history_items_min = 9\nlabel = {"),
        shop("{ kind = \"lightgbm\" }", "{ kind = \"lightgbm\", objective = \"lambdarank\" }"),
        shop("{ kind = \"lightgbm\" }", "{ kind = \"linear\" }"),
        shop("teacher = [{ kind = \"lightgbm\" }]", "import = \"model.txt\""),
        shop("entity = [\"user_id\"]", "entity = [\"price\"]"),
        shop("p99_ms = 10", "p99_ms = 10\nmemory_mb_max = 100"),
        sales("user_id,item_id,price,at\n"),
        sales(""),
        sales(&only_first_user),
        sales(&column(SALES, 0, "")),
        sales(&column(SALES, 1, "")),
        sales(&column(SALES, 3, "")),
        sales(&column(SALES, 0, "1.5")),
        sales(&SALES.replace("2024-04-03", "soon")),
        sales(&SALES.replace("2024-04-03", "")),
        Case::of(FILES, &format!("run shop.toml --store redis://me:secret@127.0.0.1:{port}")),
        Case::of(FILES, "run shop.toml --replay-trials none.json"),
        Case::of(FILES, "run shop.toml --out sales.csv"),
        Case::of(FILES, "run shop.toml --out sales.csv/out"),
        // A model of rows.
        changed("\"loans.csv\"", "\"none.csv\""),
        changed("label = \"bad\"", "label = \"bd\""),
        changed("label = \"bad\"", "label = \"city\""),
        changed("label = \"bad\"", "label = \"income\""),
        changed("\"30d\"", "\"0d\""),
        changed("source = \"loans\"\nlabel", "source = \"lones\"\nlabel"),
        changed("{ kind = \"lightgbm\" }", "{ kind = \"als\" }"),
        changed("label = \"bad\"", "label = \"bad\"\nexclude = [\"income\", \"city\", \"cty\"]"),
        changed("2024", "2034"),
        changed("2024", "2014"),
        changed("teacher = [{ kind = \"lightgbm\" }]", "import = \"none.txt\""),
        changed("teacher = [{ kind = \"lightgbm\" }]", "import = \"loans.csv\""),
        changed("teacher = [{ kind = \"lightgbm\" }]", "import = \"model.txt\"")
            .with("model.txt", "tree\nnot a model\n"),
        loans("income,city,bad,at\n"),
        loans("income,city,bad,at\n10,x,0,2024-01-03\n"),
        loans(&column(LOANS, 2, "")),
        loans(&column(LOANS, 2, "0")),
        // Two rows in each part are too few to judge by.
        classify(),
        loans(&column(LOANS, 1, "")),
        loans(&LOANS.replace("2024-03-04", "soon")),
        loans(&LOANS.replace("60,y,1,", "60,y,,")),
        Case::of(FILES, "run loans.toml --out loans.csv"),
        // Nothing is published yet.
        Case::of(FILES, "predict loans.toml --spine loans.csv --out scored.csv"),
        Case::of(FILES, "predict loans.toml --spine loans.csv --out scored.csv --k 5"),
        Case::of(FILES, "predict shop.toml --spine sales.csv --out lists.csv"),
        Case::of(FILES, "predict shop.toml --spine sales.csv --out lists.csv --k 0"),
        Case::of(FILES, "predict shop.toml --spine sales.csv --out none/lists.csv"),
        Case::of(FILES, "predict shop.toml --spine sales.csv --out lists.txt"),
        Case::of(FILES, "serve shop.toml"),
        Case::of(FILES, "serve loans.toml"),
        Case::of(FILES, "serve none.toml"),
    ]
}

#[test]
fn each_mistake_of_a_run_has_its_message_and_leaves_nothing_behind() {
    let port = free_port();
    check_snapshot("bad_runs.txt", &said_about(cases(port)).replace(&port.to_string(), "PORT"));
}

/// Makes something wrong; what comes back is kept until the command has ended.
type Prepare = fn(&Path) -> Box<dyn Any>;
/// What is wrong, how it becomes so, and the command.
type PublishedCase = (&'static str, Prepare, String);

fn published_cases(taken: u16, free: u16) -> Vec<PublishedCase> {
    fn nothing(_: &Path) -> Box<dyn Any> {
        Box::new(())
    }
    fn spine(folder: &Path, text: &str) -> Box<dyn Any> {
        fs::write(folder.join("spine.csv"), text).unwrap();
        Box::new(())
    }
    fn version(folder: &Path) -> std::path::PathBuf {
        let versions = fs::read_dir(folder.join("out/models/shop")).unwrap().map(|entry| entry.unwrap().path());
        versions.into_iter().find(|path| path.is_dir()).unwrap()
    }
    fn truncated(folder: &Path) -> Box<dyn Any> {
        let path = version(folder).join("items.json");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        spine(folder, "user_id\n1\n")
    }
    fn without_manifest(folder: &Path) -> Box<dyn Any> {
        fs::remove_file(version(folder).join("manifest.json")).unwrap();
        spine(folder, "user_id\n1\n")
    }
    fn unreadable_current(folder: &Path) -> Box<dyn Any> {
        fs::write(folder.join("out/models/shop/current"), "latest").unwrap();
        spine(folder, "user_id\n1\n")
    }
    fn held(folder: &Path) -> Box<dyn Any> {
        let store = folder.join(".paceline/store");
        fs::create_dir_all(&store).unwrap();
        Box::new(EmbeddedOnlineStore::open(&store).unwrap())
    }
    fn other_factors(folder: &Path) -> Box<dyn Any> {
        let path = folder.join("pipeline.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("alpha = 15.0"));
        fs::write(&path, text.replace("alpha = 15.0", "alpha = 16.0")).unwrap();
        Box::new(())
    }
    fn without_source(folder: &Path) -> Box<dyn Any> {
        fs::remove_file(folder.join("transactions.parquet")).unwrap();
        Box::new(())
    }
    let predict = || "predict pipeline.toml --spine spine.csv --out lists.csv".to_owned();
    let addresses = "--http 127.0.0.1:0 --admin 127.0.0.1:0";
    let serve = |more: &str| format!("serve pipeline.toml {addresses}{more}");
    let case = |note: &'static str, prepare: Prepare, command: String| (note, prepare, command);
    vec![
        case("items.json of the artifact is cut in half", truncated, predict()),
        case("items.json of the artifact is cut in half", truncated, serve("")),
        case("the artifact has no manifest.json", without_manifest, serve("")),
        case("out/models/shop/current says: latest", unreadable_current, serve("")),
        case("alpha of the als teacher is changed", other_factors, serve("")),
        case("the source is gone", without_source, serve("")),
        case("another process holds .paceline/store", held, serve("")),
        case("", nothing, serve(" --models none")),
        case("", nothing, serve(" --data-dir pipeline.toml")),
        case("", nothing, serve(&format!(" --store redis://me:secret@127.0.0.1:{free}"))),
        case("", nothing, serve(" --store pipeline.toml")),
        case(
            "port PORT is taken",
            nothing,
            format!("serve pipeline.toml --http 127.0.0.1:{taken} --admin 127.0.0.1:0"),
        ),
        case(
            "port PORT is taken",
            nothing,
            format!("serve pipeline.toml --http 127.0.0.1:0 --admin 127.0.0.1:{taken}"),
        ),
        case("", nothing, "serve pipeline.toml --http localhost".to_owned()),
        case("", nothing, "predict pipeline.toml --spine none.csv --out lists.csv".to_owned()),
        case("spine.csv: ", |folder| spine(folder, ""), predict()),
        case("spine.csv: usr_id | 1", |folder| spine(folder, "usr_id\n1\n"), predict()),
        case("spine.csv: user_id | abc", |folder| spine(folder, "user_id\nabc\n"), predict()),
        case("spine.csv: user_id,time | 1,soon", |folder| spine(folder, "user_id,time\n1,soon\n"), predict()),
        case("spine.csv: user_id,time | 1,", |folder| spine(folder, "user_id,time\n1,2011-09-01\n2,\n"), predict()),
        case("spine.csv: user_id,rank | 1,2", |folder| spine(folder, "user_id,rank\n1,2\n"), predict()),
        case("spine.csv: user_id,score | 1,2", |folder| spine(folder, "user_id,score\n1,2\n"), predict()),
        case("spine.csv: user_id,item_id | 1,2", |folder| spine(folder, "user_id,item_id\n1,2\n"), predict()),
    ]
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Digests change with the model's form.
fn without_digests(text: &str) -> String {
    let mut shown = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let is_digest = word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
        shown.push_str(if is_digest { "DIGEST" } else { &word });
        word.clear();
        shown.push(c);
    }
    shown
}

#[test]
fn what_is_published_and_cannot_be_used_is_told() {
    let shop = published();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_port, port) = (taken.local_addr().unwrap().port(), free_port());
    let mut said = String::new();
    for (note, prepare, command) in published_cases(taken_port, port) {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(shop.folder.path(), folder.path());
        let kept = prepare(folder.path());
        let message = refused(folder.path(), &command);
        drop(kept);
        if !note.is_empty() {
            said.push_str(&format!("# {note}\n"));
        }
        said.push_str(&format!("$ paceline {command}\n{message}\n"));
    }
    let said = said.replace(&taken_port.to_string(), "PORT").replace(&port.to_string(), "PORT");
    check_snapshot("bad_published.txt", without_digests(&said).trim_end_matches('\n'));
}
