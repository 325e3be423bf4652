//! No row learns what it could not have known.

use std::path::Path;

use rand::RngExt;

use paceline_core::metrics::{Measured, RowMetric, ScoredRows, Units};
use paceline_core::random;
use paceline_features::expression::{Input, Type};

use super::frame::Frame;
use super::plan::Plan;
use super::split::Parts;
use super::{encode, needs};
use crate::pipeline::{Pipeline, PipelineFile};

/// A checked pipeline over CSV files in a folder.
fn pipeline(files: &[(&str, &str)], text: &str) -> (Pipeline, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let mut file = PipelineFile::parse(&folder.path().join("p.toml"), text.to_owned());
    let schemas = file.read_schemas();
    let (pipeline, _) = file.check(Some(&schemas)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (pipeline, folder)
}

fn load(pipeline: &Pipeline) -> anyhow::Result<(Plan<'_>, Frame)> {
    let plan = Plan::of(pipeline)?;
    let frame = Frame::load(&plan, 1, &|_| ())?;
    Ok((plan, frame))
}

fn auc(scores: &[f64], labels: &[f32]) -> f64 {
    let scores: Vec<f64> = scores.iter().map(|score| if score.is_nan() { 0.5 } else { *score }).collect();
    let rows = ScoredRows::new(&scores, labels, None).unwrap();
    Measured::rows(RowMetric::Auc, rows, &Units::each(labels.len())).unwrap().value()
}

/// 4,000 rows whose label is a coin and whose tag is one of 1,500: any gain from the tag is a leak.
fn coins(with_times: bool) -> (Pipeline, tempfile::TempDir) {
    let mut random = random::stream(5, "coins");
    let mut rows = "tag,at,label,part\n".to_owned();
    for row in 0..4_000 {
        let (tag, label) = (random.random_range(0..1_500), u8::from(random.random_bool(0.5)));
        let part = ["train", "train", "tune", "report"][row % 4];
        rows += &format!("t{tag},{row},{label},{part}\n");
    }
    let time = if with_times { "event_time = \"at\"\ntime_unit = \"s\"\n" } else { "" };
    let text = format!(
        "name = \"coins\"\n[sources.coins]\npath = \"coins.csv\"\n{time}[model]\ntask = \"classify\"\nsource = \"coins\"\n\
         label = \"label\"\ncolumns = [\"tag\"]\nteacher = [{{ kind = \"linear\" }}]\n[encode]\ntag = {{ kind = \"target\" }}\n\
         [split]\ncolumn = \"part\"\n[optimize]\nkeep = 0.9\np99_ms = 1\n"
    );
    pipeline(&[("coins.csv", &rows)], &text)
}

#[test]
fn target_encoding_of_pure_noise_tells_training_rows_nothing_of_their_labels() {
    for with_times in [true, false] {
        let (pipeline, _folder) = coins(with_times);
        let (plan, frame) = load(&pipeline).unwrap();
        let parts = Parts::of(&plan, &frame).unwrap();
        let (inputs, training) = encode::fit(&plan, &frame, &parts.train, &|_| ()).unwrap();
        let labels = frame.labels_of(&parts.train);
        // 2,000 coins: the standard deviation of a blind AUC is 0.013.
        let out_of_fold = auc(&training, &labels);
        assert!((out_of_fold - 0.5).abs() < 0.05, "times: {with_times}, training rows: {out_of_fold}");
        let leaking = auc(&frame.matrix(&inputs.layout, &parts.train).unwrap(), &labels);
        assert!(leaking > 0.7, "in fold it would have shown: {leaking}");
        let tuning = auc(&frame.matrix(&inputs.layout, &parts.tune).unwrap(), &frame.labels_of(&parts.tune));
        assert!((tuning - 0.5).abs() < 0.08, "tuning rows: {tuning}");
    }
}

const LOANS: &str = "name = \"loans\"
[sources.loans]
path = \"loans.csv\"
event_time = \"at\"
available_time = \"settled\"
time_unit = \"s\"
columns.double = \"amount * 2\"
[sources.letters]
path = \"letters.csv\"
event_time = \"at\"
available_time = \"seen\"
time_unit = \"s\"
[features.person]
source = \"letters\"
entity = [\"person\"]
outcome = { agg = \"last\", of = \"outcome\", window = \"30d\" }
[features.request]
twice = \"double + extract(hour from time)\"
[model]
task = \"classify\"
source = \"loans\"
label = \"outcome\"
columns = [\"amount\"]
teacher = [{ kind = \"linear\" }]
[split]
train_until = \"1970-01-01T00:10:00\"
tune_until = \"1970-01-01T00:20:00\"
report_until = \"1970-01-01T00:30:00\"
[optimize]
keep = 0.9
p99_ms = 1
";

/// Loans every 30 s, their labels settled 200 s later; letters that tell each label a second before the loan but are
/// seen `delay` later.
fn loans(delay: i64) -> (Pipeline, tempfile::TempDir) {
    let mut loans = "person,amount,outcome,at,settled\n".to_owned();
    let mut letters = "person,outcome,at,seen\n".to_owned();
    for row in 1..60_i64 {
        let (at, outcome) = (30 * row, row % 3 % 2);
        loans += &format!("{row},{}.5,{outcome},{at},{}\n", row % 7, at + 200);
        letters += &format!("{row},{outcome},{},{}\n", at - 1, at - 1 + delay);
    }
    pipeline(&[("loans.csv", &loans), ("letters.csv", &letters)], LOANS)
}

#[test]
fn a_column_that_is_known_after_the_row_is_null_at_the_row() {
    let feature = |delay: i64| {
        let (pipeline, _folder) = loans(delay);
        let (_, frame) = load(&pipeline).unwrap();
        let known = (0..frame.len()).filter(|&row| *frame.request(row).last().unwrap() != Input::Null).count();
        (known, frame.len())
    };
    assert_eq!(feature(3_600), (0, 59), "letters that arrive later tell nothing");
    assert_eq!(feature(0), (59, 59), "letters that had arrived do");
}

#[test]
fn labels_that_are_settled_after_a_part_ends_teach_nothing_in_it() {
    let (pipeline, _folder) = loans(0);
    let (plan, frame) = load(&pipeline).unwrap();
    let parts = Parts::of(&plan, &frame).unwrap();
    let times: Vec<i64> = frame.times.as_ref().unwrap().event.iter().map(|at| at.0 / 1_000_000).collect();
    let range = |rows: &[usize]| (times[rows[0]], times[rows[rows.len() - 1]]);
    // Settled before 600 s means lent before 400 s; at exactly 400 s no loan falls.
    assert_eq!(range(&parts.train), (30, 390));
    assert_eq!(range(&parts.tune), (600, 990));
    assert_eq!(range(&parts.refit), (30, 990), "what was settled by the end of tuning, the gap included");
    assert_eq!(range(&parts.report), (1_200, 1_770));
    assert_eq!(parts.refit.len(), 33);
    assert_eq!(parts.late, 12);
}

#[test]
fn a_request_names_file_columns_and_everything_else_is_computed() {
    let (pipeline, _folder) = loans(0);
    let (_, frame) = load(&pipeline).unwrap();
    let columns: Vec<(&str, Type)> =
        frame.needs.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
    assert_eq!(columns, [("amount", Type::Float), (needs::TIME, Type::Timestamp), ("person.outcome", Type::Int)]);
    let expressions: Vec<&str> = frame.needs.expressions.iter().map(|expression| expression.name.as_str()).collect();
    assert_eq!(expressions, ["double", "request.twice"]);
    let inputs: Vec<&str> = frame.needs.inputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(inputs, ["amount", "person.outcome", "request.twice"]);
    assert!(Path::new(&pipeline.folder).exists());
}

#[test]
fn drawn_parts_keep_groups_whole_and_have_the_shares_asked_for() {
    let mut rows = "household,x,label\n".to_owned();
    (0..900).for_each(|row| rows += &format!("{},{row},{}\n", row / 3, row % 2));
    let text = "name = \"h\"\n[sources.rows]\npath = \"rows.csv\"\n[model]\ntask = \"classify\"\nsource = \"rows\"\nlabel = \
                \"label\"\nteacher = [{ kind = \"linear\" }]\n[split.random]\ngroup = \"household\"\nfractions = [0.5, 0.2, \
                0.3]\n[optimize]\nkeep = 0.9\np99_ms = 1\n";
    let (pipeline, _folder) = pipeline(&[("rows.csv", &rows)], text);
    let (plan, frame) = load(&pipeline).unwrap();
    let parts = Parts::of(&plan, &frame).unwrap();
    assert_eq!([parts.train.len(), parts.tune.len(), parts.report.len()], [450, 180, 270]);
    for rows in [&parts.train, &parts.tune, &parts.report] {
        assert!(rows.chunks(3).all(|household| household[0] % 3 == 0 && household[2] == household[0] + 2));
    }
    let again = Parts::of(&plan, &frame).unwrap();
    assert_eq!(parts, again);
}
