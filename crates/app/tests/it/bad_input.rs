//! What a new user gets wrong: each verb answers with one clear message, exit code 2, and nothing left behind.
//!
//! `bad_input.txt` holds every command with its message, word by word; `PACELINE_WRITE_DOCS=1` writes it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use crate::binary;

const SALES: &str = "user_id,price,at
1,2.5,2024-01-01T08:00:00Z
1,3.5,2024-01-09T08:00:00Z
2,2.5,2024-01-20T08:00:00Z
";

const PIPELINE: &str = "name = \"shop\"

[sources.sales]
path = \"sales.csv\"
event_time = \"at\"

[features.user]
source = \"sales\"
entity = [\"user_id\"]
spend = { agg = \"sum\", of = \"price\", window = \"30d\" }
";

const SPINE: &str = "user_id,time\n1,2024-02-01\n";

/// Right files that a case begins with: name and content.
type Base = &'static [(&'static str, &'static str)];

const FEATURES: Base = &[("sales.csv", SALES), ("p.toml", PIPELINE), ("spine.csv", SPINE)];

/// A message's case: what differs from right files, and the command.
pub(crate) struct Case {
    base: Base,
    files: Vec<(&'static str, String)>,
    folders: Vec<&'static str>,
    /// What was changed in a file, for the snapshot.
    changes: Vec<String>,
    changed: Vec<&'static str>,
    command: String,
}

fn case(command: &str) -> Case {
    Case::of(FEATURES, command)
}

impl Case {
    pub(crate) fn of(base: Base, command: &str) -> Self {
        let command = command.to_owned();
        Case { base, files: Vec::new(), folders: Vec::new(), changes: Vec::new(), changed: Vec::new(), command }
    }

    pub(crate) fn with(mut self, name: &'static str, content: impl Into<String>) -> Self {
        self.files.push((name, content.into()));
        self
    }

    /// Another text in a file.
    pub(crate) fn change(mut self, name: &'static str, from: &str, to: &str) -> Self {
        let before = self.files.iter().rev().find(|(known, _)| *known == name).map(|(_, text)| text.clone());
        let base = || self.base.iter().find(|(known, _)| *known == name).unwrap().1.to_owned();
        let before = before.unwrap_or_else(base);
        assert!(before.contains(from), "{from}");
        let shown = |text: &str| text.trim_end().replace('\n', " | ");
        self.changes.push(format!("{name}: {} -> {}", shown(from), shown(to)));
        self.changed.push(name);
        self.with(name, before.replace(from, to))
    }

    fn spine(self, content: &str) -> Self {
        self.with("spine.csv", content)
    }

    fn sales(self, content: &str) -> Self {
        self.with("sales.csv", content)
    }

    fn pipeline(self, from: &str, to: &str) -> Self {
        self.change("p.toml", from, to)
    }

    fn folder(mut self, name: &'static str) -> Self {
        self.folders.push(name);
        self
    }
}

const BUILD: &str = "features build p.toml --spine spine.csv --out out.parquet";
const MATERIALIZE: &str = "features materialize p.toml --until 2024-02-01";

fn cases(port: u16) -> Vec<Case> {
    let build = || case(BUILD);
    let materialize = || case(MATERIALIZE);
    vec![
        // The pipeline file.
        case("check none.toml"),
        case("check folder").folder("folder"),
        case("features build none.toml --spine spine.csv --out out.parquet"),
        build().pipeline("entity", "entty"),
        build().pipeline("\"30d\"", "\"0d\""),
        build().pipeline("\"30d\"", "\"1mo\""),
        build().pipeline("\"30d\"", "\"999999999999d\""),
        build().pipeline("path = \"sales.csv\"", "path = \"none.csv\""),
        build().pipeline("of = \"price\"", "of = \"cost\""),
        // The source.
        build().sales("user_id,price,at\n"),
        build().sales(""),
        build().sales(&SALES.replace(",at", ",price")),
        build().sales(&SALES.replace("2024-01-09T08:00:00Z", "soon")),
        build().sales(&SALES.replace("2024-01-09T08:00:00Z", "")),
        build().sales("user_id,price,at\n1,2,\n2,3,\n"),
        build().sales("user_id,price,at\n1,,2024-01-01\n2,,2024-01-02\n"),
        build().sales("user_id,price,at\n,1,2024-01-01\n,2,2024-01-02\n"),
        build().sales("user_id,price,at\n1,x,2024-01-01\n2,y,2024-01-02\n"),
        build().sales("user_id,price,at\n1.5,1,2024-01-01\n2.5,2,2024-01-02\n"),
        build().sales("user_id,price,at\n1,2,2024-01-01,9\n"),
        build().pipeline("event_time = \"at\"", "event_time = \"at\"\nwhere = \"price > 99\""),
        build()
            .pipeline("path = \"sales.csv\"", "path = \"broken.parquet\"")
            .with("broken.parquet", "PAR1 and no more"),
        build().pipeline("path = \"sales.csv\"", "path = \"folder\"").folder("folder"),
        // The spine.
        case("features build p.toml --spine none.csv --out out.parquet"),
        case("features build p.toml --spine spine.parquet --out out.parquet").with("spine.parquet", "PAR1 and no more"),
        case("features build p.toml --spine twice.parquet --out out.parquet"),
        case("features build p.toml --spine p.toml --out out.parquet"),
        build().spine("user_id,timestamp\n1,2024-01-01\n"),
        build().spine("usr_id,time\n1,2024-01-01\n"),
        build().spine("user_id,time\n1,2024-01-01\nx1,2024-01-01\n"),
        build().spine("user_id,time\n1,2024-01-01\n2,soon\n"),
        build().spine("user_id,time\n1,2024-01-01\n2,\n"),
        build().spine("user_id,time\n1,\n2,\n"),
        build().spine("user_id,time\n1,1700000000\n"),
        build().spine("user_id,time\n1,1.5\n"),
        build().spine("user_id,time,time\n1,2024-01-01,2024-01-01\n"),
        build().spine("user_id,time\n1,2024-01-01,7\n"),
        build().spine("user_id,time\n"),
        build().spine(""),
        build().spine("user_id,time,user.spend\n1,2024-01-01,3\n"),
        build().with("p.toml", format!("{PIPELINE}\n[features.request]\nx = \"user.spend / weight\"\n")),
        // Where to write.
        case("features build p.toml --spine spine.csv --out none/out.parquet"),
        case("features build p.toml --spine spine.csv --out out.txt"),
        case("features build p.toml --spine spine.csv --out folder").folder("folder"),
        case("features build p.toml --spine spine.csv --out out.csv --scratch none"),
        case("features build p.toml --spine spine.csv --out out.csv --memory-mb 0"),
        // The online store.
        case("features materialize p.toml --until yesterday"),
        materialize().with(".paceline", "a file where the folder should be"),
        materialize().with("p.toml", "name = \"x\"\n[sources.sales]\npath = \"sales.csv\"\nevent_time = \"at\"\n"),
        case(&format!("{MATERIALIZE} --store redis://me:secret@127.0.0.1:{port}")),
        case(&format!("{MATERIALIZE} --store http://127.0.0.1:{port}")),
        case("features get p.toml --entity user_id=1"),
        case("features get p.toml --entity user_id"),
        case("features get p.toml --entity usr_id=1"),
        case("features get p.toml --entity user_id=abc"),
        case("features get p.toml --entity user_id=1 --at soon"),
        case(&format!("features get p.toml --entity user_id=1 --store redis://127.0.0.1:{port}")),
        case("features verify p.toml --spine spine.csv --data-dir none"),
        case("features verify p.toml --spine none.csv"),
        // A first look.
        case("init none.csv"),
        case("init empty.csv").with("empty.csv", "a,b\n"),
        case("init wide.csv --out none/p.toml").with("wide.csv", wide_table()),
        case("init sales.csv --out p.toml"),
        case("init sales.csv --out new.toml --label prce"),
    ]
}

fn wide_table() -> String {
    let rows = (0..60).map(|row| format!("{},{},{}\n", row * 7 % 11, row * 5 % 13, row % 3));
    std::iter::once("size,weight,price\n".to_owned()).chain(rows).collect()
}

/// Files and folders below `folder`, with the files' sizes.
fn content(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            found.push(format!("{} {}", path.display(), if metadata.is_dir() { 0 } else { metadata.len() }));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn write_repeated_column(path: &Path) {
    let field = |name: &str| Field::new(name, DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![field("user_id"), field("time"), field("user_id")]));
    let columns = (0..3).map(|_| Arc::new(Int64Array::from(vec![1])) as ArrayRef).collect();
    let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

/// What a command that must fail says. It ends with exit code 2, shows no password, and leaves nothing behind.
pub(crate) fn refused(folder: &Path, command: &str) -> String {
    let before = content(folder);
    let output = binary::paceline_that_trains(folder).args(command.split(' ')).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{command}\n{message}");
    assert_eq!(content(folder), before, "{command} leaves something behind");
    assert!(!message.contains("secret"), "{message}");
    message
}

/// Each case's changes, command and message.
pub(crate) fn said_about(cases: Vec<Case>) -> String {
    let mut said = String::new();
    for case in cases {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in case.base {
            fs::write(folder.path().join(name), text).unwrap();
        }
        if case.command.contains("twice.parquet") {
            write_repeated_column(&folder.path().join("twice.parquet"));
        }
        for name in &case.folders {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (name, text) in &case.files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let message = refused(folder.path(), &case.command);
        said.extend(case.changes.iter().map(|change| format!("# {change}\n")));
        for (name, text) in case.files.iter().filter(|(name, _)| !case.changed.contains(name)) {
            let lines: Vec<&str> = text.lines().take(3).collect();
            said.push_str(&format!("# {name}: {}\n", lines.join(" | ")));
        }
        said.push_str(&format!("$ paceline {}\n{message}\n", case.command));
    }
    said
}

/// Compares with the snapshot `name`, or writes it where `PACELINE_WRITE_DOCS` asks for that.
pub(crate) fn check_snapshot(name: &str, said: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(name);
    if std::env::var_os("PACELINE_WRITE_DOCS").is_some() {
        fs::write(&path, said).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let first = said.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        said == expected,
        "{} differs, first in {first:?}; if the change is meant, write it with PACELINE_WRITE_DOCS=1",
        path.display()
    );
}

/// A port on which nothing listens: its listener is dropped.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn each_mistake_has_its_message_and_leaves_nothing_behind() {
    let port = free_port();
    check_snapshot("bad_input.txt", &said_about(cases(port)).replace(&port.to_string(), "PORT"));
}

#[test]
fn rows_without_key_and_one_user_are_no_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let one_user = "user_id,price,at\n1,2.5,2024-01-01\n1,3.5,2024-01-09\n";
    for (name, text) in [("sales.csv", one_user), ("p.toml", PIPELINE), ("spine.csv", "user_id,time\n,2024-02-01\n")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = binary::paceline(folder.path());
    let output = command.args(BUILD.replace("parquet", "csv").split(' ')).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 of 1 spine rows have no \"user_id\""), "{said}");
    assert_eq!(fs::read_to_string(folder.path().join("out.csv")).unwrap(), "user_id,time,user.spend\n,2024-02-01,\n");
}
