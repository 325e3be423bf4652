//! What a right file means.

use std::path::Path;

use paceline_core::Period;
use paceline_features::Placement;
use paceline_features::encode::EncoderSpec;

use super::super::{
    Cuts, Format, Goal, Pipeline, PipelineFile, RandomSplit, Serve, SourceInput, Split, Teacher, TunePart, Weight,
};
use super::schemas_of;

const SALES: &str = "name = \"shop\"\n[sources.sales]\npath = \"sales.parquet\"\nevent_time = \"at\"\n";

const RECOMMENDER: &str = "[model]\ntask = \"recommend\"\nuser = \"user_id\"\nitem = \"item_id\"
label = { source = \"sales\", horizon = \"1mo\" }
teacher = [{ kind = \"lightgbm\" }, { kind = \"lightgbm\", trees = 10 }, { kind = \"als\", name = \"lightgbm_2\" }]\n";

fn right(parts: &[&str]) -> (Pipeline, String) {
    let file = PipelineFile::parse(Path::new("folder/p.toml"), parts.concat());
    match file.check(Some(&schemas_of(&file))) {
        Ok((pipeline, warnings)) => (pipeline, file.answer(warnings).render_plain(Weight::Warning)),
        Err(mistakes) => panic!("{mistakes}"),
    }
}

#[test]
fn features_alone_need_name_sources_and_features() {
    let view = "[features.user]\nsource = \"sales\"\nentity = [\"user_id\"]\n";
    let (pipeline, warnings) = right(&[
        SALES,
        view,
        "n = { agg = \"count\", window = \"7d\" }\nb = { agg = \"last\", of = \"country\", window = \"1d\" }\na = { agg = \"max\", of = \"price\", window = \"1d\" }\n",
    ]);
    assert_eq!(warnings, "");
    assert_eq!((pipeline.seed, pipeline.model.is_none(), pipeline.optimize.is_none()), (1, true, true));
    assert_eq!(pipeline.serve, Serve::default());
    assert!(matches!(pipeline.sources[0].input, SourceInput::Files { format: Format::Parquet, .. }));
    let view = &pipeline.views[0];
    assert_eq!((view.placement, view.schedule, view.ttl), (Placement::Request, None, None));
    let names: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["n", "b", "a"], "features keep the order of the file");
    assert_eq!(pipeline.resolve("sales.parquet"), Path::new("folder").join("sales.parquet").display().to_string());
    assert_eq!(pipeline.resolve("s3://bucket/x"), "s3://bucket/x");
}

#[test]
fn a_database_is_a_source_and_its_password_is_no_part_of_it() {
    let file = |user: &str| {
        format!(
            "name = \"shop\"\n[sources.sales]\nadbc = {{ driver = \"postgresql\", uri = \"postgresql://{user}db/shop\", query = \"select 1\" }}\nevent_time = \"at\"\n[features.user]\nsource = \"sales\"\nentity = [\"user_id\"]\nn = {{ agg = \"count\", window = \"7d\" }}\n"
        )
    };
    let (pipeline, warnings) = right(&[&file("ada:${PASSWORD}@")]);
    assert_eq!((warnings.as_str(), pipeline.sources[0].place().as_str()), ("", "postgresql://db/shop"));
    let (open, warnings) = right(&[&file("ada:word@")]);
    assert!(warnings.contains("the password of [sources.sales] stands in the file"), "{warnings}");
    assert_eq!(open.digest(), pipeline.digest());
    assert!(!serde_json::to_string(&open).unwrap().contains("word"));
}

#[test]
fn a_schedule_means_batch() {
    let (pipeline, _) = right(&[
        SALES,
        "[features.user]\nsource = \"sales\"\nentity = [\"user_id\"]\nschedule = \"1d\"\nn = { agg = \"count\", window = \"7d\" }\n",
    ]);
    assert_eq!(pipeline.views[0].placement, Placement::Batch);
}

#[test]
fn a_recommender_gets_names_cuts_and_a_metric() {
    let (pipeline, warnings) = right(&[
        SALES,
        RECOMMENDER,
        "[split]\ntrain_until = 2011-07-01\ntune_until = \"2011-10-01\"\nreport_until = \"2011-11-01T00:00:00Z\"\n",
    ]);
    assert_eq!(warnings, "");
    let model = pipeline.model.unwrap();
    assert_eq!(model.metric.to_string(), "ndcg@10");
    let Teacher::Train(teachers) = &model.teacher else { panic!("a teacher is trained") };
    let names: Vec<&str> = teachers.iter().map(|teacher| teacher.name.as_str()).collect();
    assert_eq!(names, ["lightgbm", "lightgbm_3", "lightgbm_2"], "a given name is never taken");
    let Split::Time(split) = &model.split else { panic!("by time") };
    assert_eq!(split.cuts, Some(Cuts { every: Period::Months(1), train: 6, tune: 3 }));
    let Goal::Recommend(goal) = &model.goal else { panic!("a recommender") };
    assert!(!goal.label.new_only);
}

#[test]
fn rows_know_what_is_no_input() {
    let (pipeline, _) = right(&[
        SALES,
        "event_id = \"invoice\"\ncolumns.late = \"price > 3\"\n[model]\ntask = \"classify\"\nsource = \"sales\"\nlabel = \"late\"\nexclude = [\"price\"]\nteacher = [{ kind = \"lightgbm\" }]\n[encode]\nitem_id = { kind = \"target\" }\ncountry = { kind = \"hashed\", buckets = 8 }\n[split]\ncolumn = { name = \"country\", train = [\"a\"], report = [\"b\"] }\n",
    ].map(|part| part.replace("country = { kind = \"hashed\", buckets = 8 }\n", "")).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(pipeline.encoders["item_id"], EncoderSpec::Target { smoothing: 20.0 });
    let model = pipeline.model.unwrap();
    let Goal::Classify(rows) = &model.goal else { panic!("a classifier") };
    assert_eq!(rows.not_inputs, ["late", "at", "invoice", "country", "price"]);
    let Split::Column(split) = &model.split else { panic!("by column") };
    assert_eq!(split.tune, TunePart::FractionOfTrain(0.25));
    assert_eq!(model.metric.to_string(), "auc");
}

#[test]
fn a_random_split_takes_the_pipelines_seed() {
    let model = "[model]\ntask = \"regress\"\nsource = \"sales\"\nlabel = \"price\"\ncolumns = [\"quantity\"]\nteacher = [{ kind = \"linear\" }]\n[split.random]\n";
    let (pipeline, _) = right(&["seed = 9\n", SALES, model]);
    let split = Split::Random(RandomSplit { group: None, seed: 9, train: 0.6, tune: 0.2, report: 0.2 });
    assert_eq!(pipeline.model.unwrap().split, split);
}

#[test]
fn what_is_suspicious_is_said_and_stops_nothing() {
    let (_, warnings) = right(&[
        "name = \"shop\"\n[sources.items]\npath = \"items.csv\"\n",
        "[features.item]\nsource = \"items\"\nentity = [\"item_id\"]\nplacement = \"batch\"\nname = { agg = \"last\", of = \"country\", window = \"1d\" }\n",
    ]);
    assert_eq!(
        warnings,
        "folder/p.toml:2:10: warning: [sources.items] has no `event_time`, so its rows count as known at any time
  help: if its rows have a time, name the column: otherwise training may see the future
folder/p.toml:7:1: warning: [features.item] is batch-placed without `schedule`, so training sees exact values
  help: say how often it is materialized, such as schedule = \"1d\", so that training sees what serving will
"
    );
}

#[test]
fn the_digest_is_of_what_is_meant() {
    let digest = |text: String| right(&[&text]).0.digest();
    let plain = digest(SALES.to_owned());
    assert_eq!(
        plain,
        digest(format!("# a comment\n{SALES}\n[serve]\nitems = 10\n")),
        "defaults written out change nothing"
    );
    assert_ne!(plain, digest(format!("seed = 2\n{SALES}")));
}
