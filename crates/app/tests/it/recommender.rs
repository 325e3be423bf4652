//! A recommender from raw rows to its report, on a small synthetic shop: what is promised of every run.

use std::path::Path;
use std::process::Output;

use paceline::report::{Report, SliceRole, openings, terminal};
use paceline_testkit::shop::{Shop, ShopSpec};

use crate::binary;

/// Two short teachers, so that a run takes seconds. The shop is easy to rank and this budget easy to hold.
pub(crate) const PIPELINE: &str = r#"name = "shop"

[sources.sales]
path = "transactions.parquet"
event_time = "timestamp"
available_time = "loaded_at"
time_unit = "s"
where = "user_id is not null and quantity > 0 and price > 0 and item_id ~ '^[0-9]{5}'"
columns.amount = "quantity * price"

[features.user]
source = "sales"
entity = ["user_id"]
schedule = "1d"
orders_90d = { agg = "count_distinct", of = "invoice", window = "90d" }
price_mean = { agg = "mean", of = "price", window = "365d" }

[features.item]
source = "sales"
entity = ["item_id"]
schedule = "1d"
lines_30d  = { agg = "count", window = "30d" }
users_90d  = { agg = "count_distinct", of = "user_id", window = "90d" }
price_mean = { agg = "mean", of = "price", window = "90d" }

[features.request]
price_ratio = "item.price_mean / user.price_mean"

[model]
task = "recommend"
user = "user_id"
item = "item_id"
label = { source = "sales", horizon = "1mo", new_only = true }
history_items_min = 3
candidates = { als = 20, similar_users = 20, popular = 20, popular_window = "30d" }
teacher = [
  { kind = "lightgbm", trees = 20, leaves = 15 },
  { kind = "mlp", hidden = [8], epochs = 2, batch_rows = 512 },
]

[split]
train_until = "2011-08-01"
tune_until = "2011-10-01"
report_until = "2011-12-01"
cuts = "1mo"
train_cuts = 2

[optimize]
metric = "ndcg@10"
keep = 0.8
p99_ms = 1000
"#;

/// A folder with the shop's table and the pipeline, after some replacements.
fn shop(replacements: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Shop::generate(&ShopSpec::small()).write(folder.path()).unwrap();
    write_pipeline(folder.path(), replacements);
    folder
}

fn write_pipeline(folder: &Path, replacements: &[(&str, &str)]) {
    let mut pipeline = PIPELINE.to_owned();
    for (from, to) in replacements {
        assert!(pipeline.contains(from), "{from}");
        pipeline = pipeline.replace(from, to);
    }
    std::fs::write(folder.join("pipeline.toml"), pipeline).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = binary::paceline_that_trains(folder);
    command.args(["run", "pipeline.toml"]).args(arguments).output().expect("the binary starts")
}

/// Runs into `out` and wants `exit_code`; the report that was written.
fn report(folder: &Path, out: &str, arguments: &[&str], exit_code: i32) -> Report {
    let output = run(folder, &[&["--out", out], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(folder.join(out).join("report.html").exists());
    let text = std::fs::read_to_string(folder.join(out).join("report.json")).unwrap();
    Report::from_json(&text).expect("a written report is valid")
}

/// Everything that the stopwatch, the clock and the command line do not decide.
fn without_time(mut report: Report) -> Report {
    report.written_at = paceline_core::Timestamp(0);
    report.report_slice_opened = 1;
    report.commands.clear();
    report
}

#[test]
fn a_run_ends_in_a_report_that_repeats_whatever_the_threads() {
    let folder = shop(&[]);
    let folder = folder.path();
    let first = report(folder, "out", &["--threads", "2"], 0);

    let names: Vec<&str> = first.ladder.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(names[..2], ["as written", "batch features"], "{names:?}");
    assert!(first.held && first.nearest_misses.is_empty());
    assert_eq!(first.judged_on, SliceRole::Report);
    assert_eq!(first.report_slice_opened, 1);
    assert_eq!(first.teacher.metric, "ndcg@10");
    let chosen = first.chosen_step().expect("held");
    assert!(first.times_faster(&chosen.latency_ms) > 1.0);
    assert_eq!(first.ladder[0].metric, first.teacher.value, "as written, the teacher answers");
    let baseline = first.baseline.as_ref().expect("popularity is always measured");
    assert!(baseline.value < first.teacher.value, "{} is not below {}", baseline.value, first.teacher.value);

    let source = &first.data.sources[0];
    let bytes = std::fs::read(folder.join("transactions.parquet")).unwrap();
    assert_eq!(source.digest, paceline_core::Digest::of(&bytes).to_string());
    assert!(source.rows_used < source.rows && source.first < source.last);
    assert!(first.data.entities["user_id"] > 100 && first.data.entities["item_id"] > 100);
    let parts: Vec<SliceRole> = first.split.parts.iter().map(|part| part.role).collect();
    assert_eq!(parts, [SliceRole::Fit, SliceRole::Tune, SliceRole::Report]);
    assert!(first.split.parts.iter().all(|part| part.units > 20));
    // Two cuts and both together, of the tuning and of the report part.
    let slices: Vec<(&str, SliceRole)> = first.slices.iter().map(|slice| (slice.name.as_str(), slice.role)).collect();
    let expected = |role, cuts: [&'static str; 2]| [(cuts[0], role), (cuts[1], role), ("together", role)];
    assert_eq!(slices[..3], expected(SliceRole::Tune, ["2011-08-01", "2011-09-01"]));
    assert_eq!(slices[3..], expected(SliceRole::Report, ["2011-10-01", "2011-11-01"]));
    let features = &first.features;
    assert_eq!((features.total, features.batch, features.request), (6, 5, 1));
    assert!(features.share_of_compute_moved_to_batch > 0.5);
    let lists: Vec<(u64, &str)> = first.precomputed.iter().map(|list| (list.age_s, list.place.as_str())).collect();
    let day = 86_400;
    assert_eq!(lists, [(day, "in process"), (day, "embedded"), (7 * day, "in process"), (7 * day, "embedded")]);
    assert!(first.precomputed.iter().all(|list| list.latency_ms.p50 < chosen.latency_ms.p50));
    let cache = first.rejected.iter().find(|tried| tried.candidate == "similarity cache, cosine 0.9").expect("tried");
    assert!(cache.reason.contains("% of requests hit") && cache.latency_ms.is_some(), "{}", cache.reason);
    let metrics: Vec<&str> = first.metrics.iter().map(|row| row.metric.as_str()).collect();
    assert_eq!(metrics, ["recall@10", "mrr@10", "map@10", "hit_rate@10", "coverage@10"]);
    assert!(first.versions["lightgbm"].starts_with('4') && first.versions["rustc"].starts_with('1'));
    assert!(terminal::ladder(&first, 100, false).lines().all(|line| line.chars().count() <= 100));

    let replay = ["--threads", "1", "--replay-trials", "out/trials.json"];
    let second = report(folder, "out", &replay, 0);
    assert_eq!(second.report_slice_opened, 2, "the folder remembers its looks");
    assert_eq!(without_time(second), without_time(first), "one thread and two, the same trials");
}

#[test]
fn a_budget_that_nothing_holds_is_reported_with_the_nearest_misses() {
    let folder = shop(&[("p99_ms = 1000", "p99_ms = 0.000001")]);
    let missed = report(folder.path(), "out", &[], 1);
    assert!(!missed.held && missed.chosen.is_none());
    assert!(!missed.nearest_misses.is_empty());
    assert!(missed.nearest_misses.iter().all(|miss| miss.bound == "keep" || miss.bound == "p99_ms"));
    assert!(missed.metrics.iter().all(|row| row.chosen.is_none()));
    assert!(!folder.path().join("out/models").exists(), "nothing is published");
    assert!(terminal::ladder(&missed, 100, false).contains("Not held"));
}

#[test]
fn without_a_report_the_slice_stays_closed() {
    let folder = shop(&[]);
    let closed = report(folder.path(), "out", &["--no-report"], 0);
    assert_eq!((closed.judged_on, closed.report_slice_opened), (SliceRole::Tune, 0));
    assert!(closed.slices.iter().all(|slice| slice.role == SliceRole::Tune));
    assert!(!folder.path().join("out").join(openings::FILE_NAME).exists(), "nothing was opened");
    assert!(!folder.path().join("out/models").exists(), "nothing is published that only tuning data has judged");
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("The report slice is closed."));
    assert!(closed.commands[0].ends_with("--no-report"), "{:?}", closed.commands);
}

#[test]
fn what_cannot_be_run_is_said_before_anything_is_written() {
    let check = |replacements: &[(&str, &str)], arguments: &[&str], message: &str| {
        let folder = shop(replacements);
        let output = run(folder.path(), arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(message), "{message:?} was not said, but:\n{said}");
        assert!(!folder.path().join("out").exists(), "nothing is left");
    };
    check(
        &[("history_items_min = 3", "history_items_min = 9999")],
        &[],
        "the training part, until 2011-08-01T00:00:00Z, has 0 users",
    );
    check(&[("p99_ms = 1000", "p99_ms = 1000\nmemory_mb_max = 5")], &[], "memory_mb_max = 5");
    check(&[], &["--replay-trials", "none.json"], "cannot read none.json");
    check(&[], &["--store", "redis://127.0.0.1:1"], "start that Redis server");
    check(&[], &["--store", "sales.csv"], "is no online store");
}
