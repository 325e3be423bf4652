//! The checked pipeline: every default written out, every name resolved.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use paceline_core::metrics::Metric;
use paceline_core::{Digest, Period, Timestamp};
use paceline_features::FeatureView;
use paceline_features::encode::EncoderSpec;
use paceline_features::expression::Type;
use paceline_store::{DatabaseQuery, Location, SourceSpec};
use serde::Serialize;

use super::raw::{
    Als, Candidates, Experiment, Format, FutureLabel, Monitor, RawTeacher, Retrain, Serve, Task, TimeUnit,
};
use crate::stores::without_password;

/// A pipeline without mistakes, as far as the file alone can tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pipeline {
    /// Name of the pipeline and of its artifact.
    pub name: String,
    /// Seed of every random draw.
    pub seed: u64,
    /// Folder of the pipeline file, where relative paths begin. Not part of the digest.
    #[serde(skip)]
    pub folder: PathBuf,
    /// In the order of the file; at least one.
    pub sources: Vec<Source>,
    /// In the order of the file.
    pub views: Vec<FeatureView>,
    /// Views of which the file says where they are computed. Not part of the digest: placements are.
    #[serde(skip)]
    pub pinned: BTreeSet<String>,
    /// Views whose values come from outside, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pushed: Vec<PushedView>,
    /// In the order of the file; a later one may use earlier ones.
    pub request_features: Vec<NamedExpression>,
    /// Column or `view.feature` to its encoder.
    pub encoders: IndexMap<String, EncoderSpec>,
    /// What is predicted, `None` for a pipeline of features only.
    pub model: Option<Model>,
    /// The budget; `None` publishes the teacher as it is. Only with a model.
    pub optimize: Option<Optimize>,
    /// How the server answers.
    pub serve: Serve,
    /// What is watched.
    pub monitor: Option<Monitor>,
    /// A split of traffic.
    pub experiment: Option<Experiment>,
    /// When a new run starts by itself.
    pub retrain: Option<Retrain>,
}

/// A view whose values are computed elsewhere; at least one key column and one feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushedView {
    /// Its name.
    pub name: String,
    /// Key columns with their types, whole numbers or texts.
    pub entity: Vec<(String, Type)>,
    /// Features with their types.
    pub features: Vec<(String, Type)>,
}

/// A table of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where its rows are.
    #[serde(flatten)]
    pub input: SourceInput,
    /// Column of the event time; `None` for a static source.
    pub event_time: Option<String>,
    /// Unit of integer time columns.
    pub time_unit: Option<TimeUnit>,
    /// Column of the available time; `None` means the event time.
    pub available_time: Option<String>,
    /// Column that identifies an event.
    pub event_id: Option<String>,
    /// How far behind the newest event one may lie that a stream takes.
    pub max_lateness: Period,
    /// Rows for which it is false or null are dropped. Sees derived columns too.
    pub filter: Option<String>,
    /// Derived columns in order; each sees the file's columns and those before it.
    pub columns: Vec<NamedExpression>,
}

/// Where the rows of a source are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SourceInput {
    /// In files.
    Files {
        /// File, directory, pattern or URL, as the pipeline file says it.
        path: String,
        /// File format.
        format: Format,
    },
    /// In a database. Written out, it holds no password.
    Database {
        /// What it is asked.
        adbc: DatabaseQuery,
    },
}

impl Source {
    /// What the store reads.
    #[must_use]
    pub fn to_spec(&self) -> SourceSpec {
        match &self.input {
            SourceInput::Files { path, format } => {
                SourceSpec { format: Some(format.to_store()), ..SourceSpec::new(&self.name, path) }
            }
            SourceInput::Database { adbc } => SourceSpec::at(&self.name, Location::Query(adbc.clone())),
        }
    }

    /// Where its rows are, without user and password.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.input {
            SourceInput::Files { path, .. } => shown(path),
            SourceInput::Database { adbc } => adbc.shown(),
        }
    }
}

/// A SQL scalar expression with the name of its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedExpression {
    /// Name of the result.
    pub name: String,
    /// The expression.
    pub expression: String,
}

/// What is predicted, from what, on which rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// The task and its columns.
    pub goal: Goal,
    /// Where the model comes from.
    pub teacher: Teacher,
    /// The metric of quality.
    pub metric: Metric,
    /// Which rows train, tune and report.
    pub split: Split,
}

impl Model {
    /// The task.
    #[must_use]
    pub fn task(&self) -> Task {
        match &self.goal {
            Goal::Recommend(_) => Task::Recommend,
            Goal::Rank(_) => Task::Rank,
            Goal::Classify(_) => Task::Classify,
            Goal::Regress(_) => Task::Regress,
        }
    }
}

/// The task with the columns that it needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Goal {
    /// Which items each user takes up next.
    Recommend(Recommend),
    /// The order of each list's rows; `group` is given.
    Rank(RowModel),
    /// The probability of a label of two classes.
    Classify(RowModel),
    /// A number.
    Regress(RowModel),
}

/// Columns and choices of a recommender.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommend {
    /// Key column of users.
    pub user: String,
    /// Key column of items.
    pub item: String,
    /// What counts as taken up.
    pub label: FutureLabel,
    /// Users with fewer distinct earlier items neither train nor count.
    pub history_items_min: u32,
    /// Column of the label source with the kind of the item.
    pub item_group: Option<String>,
    /// Sampled items without the label for each user and training window.
    pub negatives_per_user: u32,
    /// How many items each generator proposes.
    pub candidates: Candidates,
    /// How the factors of users and items are fitted; its name means nothing.
    pub factors: Als,
}

/// Columns of a model that learns from the rows of one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowModel {
    /// The source.
    pub source: String,
    /// The column to predict.
    pub label: String,
    /// Column of lists, for `rank` only.
    pub group: Option<String>,
    /// The columns that the model sees, `None` for all but `not_inputs`.
    pub columns: Option<Vec<String>>,
    /// Columns that the model must not see: label, times, event id, group, the split's column and what is excluded.
    pub not_inputs: Vec<String>,
}

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// Trained here; at least one, names are unique.
    Train(Vec<NamedTeacher>),
    /// A model file, relative to the pipeline file.
    Import(String),
}

/// One model of the ensemble.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedTeacher {
    /// Name in the report.
    pub name: String,
    /// Its kind and options.
    pub options: RawTeacher,
}

/// Which rows train, tune and report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// By time.
    Time(TimeSplit),
    /// By a column of the model's source.
    Column(ColumnSplit),
    /// By a seeded draw.
    Random(RandomSplit),
}

/// `train_until < tune_until < report_until`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimeSplit {
    /// Rows before it train; for `recommend`, label windows that end by it.
    pub train_until: Timestamp,
    /// Rows from `train_until` up to it tune.
    pub tune_until: Timestamp,
    /// Rows from `tune_until` up to it report.
    pub report_until: Timestamp,
    /// Label windows of `recommend`; `None` for other tasks.
    pub cuts: Option<Cuts>,
}

/// Label windows of a recommender: where each begins is a cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cuts {
    /// Distance between cuts.
    pub every: Period,
    /// Windows, ending at `train_until` and earlier, that train.
    pub train: u32,
    /// Windows, ending at `tune_until` and earlier, that tune.
    pub tune: u32,
}

/// Values of a column that mean a part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnSplit {
    /// The column.
    pub column: String,
    /// Values of training rows.
    pub train: Vec<String>,
    /// Which rows tune.
    pub tune: TunePart,
    /// Values of report rows.
    pub report: Vec<String>,
}

/// Which rows tune, where a column decides.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TunePart {
    /// Rows with these values.
    Values(Vec<String>),
    /// This share of the training rows, drawn by the seed.
    FractionOfTrain(f64),
}

/// Parts drawn by a seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RandomSplit {
    /// Column whose equal values stay in one part.
    pub group: Option<String>,
    /// Seed of the draw.
    pub seed: u64,
    /// Share of training rows.
    pub train: f64,
    /// Share of tuning rows.
    pub tune: f64,
    /// Share of report rows.
    pub report: f64,
}

/// The budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Optimize {
    /// Lower end of the 95 % interval of retention, at least.
    pub keep: f64,
    /// 99th percentile of one request on one thread in process, at most, in milliseconds.
    pub p99_ms: f64,
    /// Memory of the served pipeline at most, in MiB.
    pub memory_mb_max: Option<f64>,
    /// Requests per second on one thread, at least.
    pub rps_min: Option<f64>,
    /// Size of the published model files at most, in bytes.
    pub bytes_max: Option<u64>,
}

impl Pipeline {
    /// The source of that name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// The goal of a recommender; `None` for any other pipeline.
    #[must_use]
    pub fn recommend(&self) -> Option<&Recommend> {
        match &self.model.as_ref()?.goal {
            Goal::Recommend(goal) => Some(goal),
            Goal::Rank(_) | Goal::Classify(_) | Goal::Regress(_) => None,
        }
    }

    /// Where `path` of the pipeline file points: URLs and absolute paths as they are, others below the file's folder.
    #[must_use]
    pub fn resolve(&self, path: &str) -> String {
        resolve(&self.folder, path)
    }

    /// Digest of everything that decides results, defaults included: moving the file or its comments changes nothing.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("a pipeline is plain data"))
    }
}

/// Where `path` points when it is written in a file of `folder`.
#[must_use]
pub fn resolve(folder: &Path, path: &str) -> String {
    if path.contains("://") || Path::new(path).is_absolute() {
        return path.to_owned();
    }
    folder.join(path).display().to_string()
}

/// Local paths and the keys of a bucket may hold an `@`; the user and password of a URL are not shown.
fn shown(path: &str) -> String {
    match path.split_once("://") {
        Some(("s3", place)) => match place.split_once('/') {
            Some((bucket, key)) => format!("{}/{key}", without_password(&format!("s3://{bucket}"))),
            None => without_password(path),
        },
        Some(_) => without_password(path),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_place_of_files_is_shown_without_passwords() {
        for (path, shown) in [
            ("sales.parquet", "sales.parquet"),
            ("week@home/sales.parquet", "week@home/sales.parquet"),
            ("s3://key:secret@bucket/sales", "s3://bucket/sales"),
            ("s3://bucket/week@home/sales", "s3://bucket/week@home/sales"),
        ] {
            assert_eq!(super::shown(path), shown);
        }
    }
}
