//! `[model]`: the task, its columns and its teachers.

use paceline_core::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::text::PeriodText;

/// What is predicted, from which columns, by which teachers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawModel {
    /// What the model does.
    #[schemars(required)]
    pub task: Option<Task>,
    /// `classify`, `regress`, `rank`: the source whose rows are learned from. Their time is its `event_time`.
    pub source: Option<String>,
    /// `recommend`: key column of users.
    pub user: Option<String>,
    /// `recommend`: key column of items.
    pub item: Option<String>,
    /// `rank`: column whose equal values form one list.
    pub group: Option<String>,
    /// `classify`, `regress`, `rank`: the column to predict. `recommend`: a table that says which later rows count.
    pub label: Option<RawLabel>,
    /// Columns of the source that the model sees. By default all but the label, the times, the event id, the group and
    /// the split's column. Features of views and of requests are always seen.
    pub columns: Option<Vec<String>>,
    /// Columns that the model must not see, taken from what `columns` gives.
    pub exclude: Option<Vec<String>>,
    /// `recommend`: users with fewer distinct earlier items neither train nor count. By default 1.
    #[schemars(range(min = 1))]
    pub history_items_min: Option<u32>,
    /// `recommend`: column of the label source with the kind of the item, such as a product line or a genre. What a user
    /// took up of an item's group is a score of the item; its group is that of its earliest row.
    pub item_group: Option<String>,
    /// `recommend`: sampled items without the label for each user and training window, drawn uniformly. By default 40.
    #[schemars(range(min = 1, max = 10_000))]
    pub negatives_per_user: Option<u32>,
    /// `recommend`: how many items each generator proposes before ranking.
    pub candidates: Option<Candidates>,
    /// Models that set the quality; with several, their blend does, by weights found on tuning rows.
    #[schemars(length(min = 1))]
    pub teacher: Option<Vec<RawTeacher>>,
    /// A model file instead of `teacher`: `.onnx`, `.txt` (LightGBM) or `.json` (XGBoost).
    pub import: Option<String>,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Which items each user takes up next.
    Recommend,
    /// The order of each list's rows.
    Rank,
    /// The probability of a label of two classes.
    Classify,
    /// A number.
    Regress,
}

impl Task {
    /// The word that a pipeline file uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::Recommend => "recommend",
            Task::Rank => "rank",
            Task::Classify => "classify",
            Task::Regress => "regress",
        }
    }
}

/// The label: a column, or what a user does later.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawLabel {
    /// The column.
    Column(String),
    /// Rows of a source that come later.
    Future(RawFutureLabel),
}

/// Items that a user takes up within a horizon.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawFutureLabel {
    /// The source whose later rows are labels.
    #[schemars(required)]
    pub source: Option<String>,
    /// How far ahead: a calendar period such as `1mo`, or a fixed one such as `28d`.
    #[schemars(with = "PeriodText")]
    pub horizon: Option<Period>,
    /// Whether only items that are new to the user count, and owned ones are never recommended.
    #[schemars(extend("default" = false))]
    pub new_only: Option<bool>,
}

/// [`RawFutureLabel`], checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FutureLabel {
    /// Name of the source whose later rows are labels.
    pub source: String,
    /// How far ahead.
    pub horizon: Period,
    /// Whether only items that are new to the user count.
    pub new_only: bool,
}

/// How many items each generator proposes. 0 switches it off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Candidates {
    /// Nearest items by alternating least squares.
    pub als: u32,
    /// Items taken up by those who took up the user's items.
    pub item_item: u32,
    /// Items that go with the user's last basket.
    pub last_basket: u32,
    /// Items that users with a similar history bought lately.
    pub similar_users: u32,
    /// Most popular items of `popular_window`.
    pub popular: u32,
    /// How far back popularity looks.
    #[schemars(with = "PeriodText")]
    pub popular_window: Period,
}

impl Default for Candidates {
    fn default() -> Self {
        Candidates {
            als: 75,
            item_item: 0,
            last_basket: 0,
            similar_users: 75,
            popular: 75,
            popular_window: Period::days(7),
        }
    }
}

/// One model of the ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RawTeacher {
    /// Gradient-boosted trees.
    Lightgbm(Boosted),
    /// Trees on bootstrapped rows, averaged.
    RandomForest(Forest),
    /// Trees with random thresholds, averaged.
    ExtraTrees(Forest),
    /// A dense network.
    Mlp(Network),
    /// Matrix factors by alternating least squares (`recommend` only).
    Als(Als),
    /// A linear or logistic model.
    Linear(Linear),
}

impl RawTeacher {
    /// The word that a pipeline file uses.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            RawTeacher::Lightgbm(_) => "lightgbm",
            RawTeacher::RandomForest(_) => "random_forest",
            RawTeacher::ExtraTrees(_) => "extra_trees",
            RawTeacher::Mlp(_) => "mlp",
            RawTeacher::Als(_) => "als",
            RawTeacher::Linear(_) => "linear",
        }
    }

    /// The name given to it, if any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            RawTeacher::Lightgbm(options) => options.name.as_deref(),
            RawTeacher::RandomForest(options) | RawTeacher::ExtraTrees(options) => options.name.as_deref(),
            RawTeacher::Mlp(options) => options.name.as_deref(),
            RawTeacher::Als(options) => options.name.as_deref(),
            RawTeacher::Linear(options) => options.name.as_deref(),
        }
    }
}

/// What boosted trees minimise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Log loss of two classes.
    Binary,
    /// NDCG over the lists of a group.
    Lambdarank,
    /// Squared error.
    Regression,
    /// Log loss against probabilities.
    CrossEntropy,
}

/// Options of boosted trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Boosted {
    /// Name in the report. By default the kind, numbered when it repeats.
    pub name: Option<String>,
    /// What is minimised. By default `binary` for recommend and classify, `lambdarank` for rank, `regression` for regress.
    pub objective: Option<Objective>,
    /// Number of trees.
    #[schemars(range(min = 1, max = 100_000))]
    pub trees: u32,
    /// Leaves of one tree, at most.
    #[schemars(range(min = 2, max = 65_536))]
    pub leaves: u32,
    /// Weight of each tree.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub learning_rate: f64,
    /// Training rows in a leaf, at least.
    #[schemars(range(min = 1))]
    pub min_rows_in_leaf: u32,
    /// Share of the features that each tree may use.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub feature_fraction: f64,
    /// Share of the rows that each tree sees.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub row_fraction: f64,
    /// L2 penalty on leaf values.
    #[schemars(range(min = 0))]
    pub regularization: f64,
}

impl Default for Boosted {
    fn default() -> Self {
        Boosted {
            name: None,
            objective: None,
            trees: 300,
            leaves: 63,
            learning_rate: 0.05,
            min_rows_in_leaf: 20,
            feature_fraction: 1.0,
            row_fraction: 1.0,
            regularization: 0.0,
        }
    }
}

/// Options of averaged trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Forest {
    /// Name in the report. By default the kind, numbered when it repeats.
    pub name: Option<String>,
    /// Number of trees.
    #[schemars(range(min = 1, max = 100_000))]
    pub trees: u32,
    /// Leaves of one tree, at most.
    #[schemars(range(min = 2, max = 65_536))]
    pub leaves: u32,
    /// Training rows in a leaf, at least.
    #[schemars(range(min = 1))]
    pub min_rows_in_leaf: u32,
    /// Share of the features tried at each split.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub feature_fraction: f64,
    /// Share of the rows that each tree sees.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub row_fraction: f64,
}

impl Default for Forest {
    fn default() -> Self {
        Forest { name: None, trees: 300, leaves: 255, min_rows_in_leaf: 10, feature_fraction: 0.5, row_fraction: 0.632 }
    }
}

/// Options of a dense network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Network {
    /// Name in the report. By default the kind, numbered when it repeats.
    pub name: Option<String>,
    /// Width of each hidden layer.
    #[schemars(length(min = 1), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<u32>,
    /// Passes over the training rows.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u32,
    /// Rows per step.
    #[schemars(range(min = 1))]
    pub batch_rows: u32,
    /// Step size of Adam.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub learning_rate: f64,
    /// Decoupled weight decay.
    #[schemars(range(min = 0))]
    pub regularization: f64,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            name: None,
            hidden: vec![128, 64],
            epochs: 10,
            batch_rows: 256,
            learning_rate: 0.001,
            regularization: 0.00001,
        }
    }
}

/// Options of alternating least squares. A recommender has one set of factors: its candidates and the score
/// `candidate.als` come from the same fit, so two such teachers must agree. Without one the defaults apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Als {
    /// Name in the report. By default the kind, numbered when it repeats.
    pub name: Option<String>,
    /// Length of a user's and an item's vector.
    #[schemars(range(min = 1, max = 1_024))]
    pub factors: u32,
    /// L2 penalty on the vectors.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub regularization: f64,
    /// Passes over users and items.
    #[schemars(range(min = 1, max = 10_000))]
    pub iterations: u32,
    /// Confidence that one interaction of now adds; older ones add less.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
}

impl Default for Als {
    fn default() -> Self {
        Als { name: None, factors: 64, regularization: 1.0, iterations: 6, alpha: 40.0 }
    }
}

/// Options of a linear or logistic model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Linear {
    /// Name in the report. By default the kind, numbered when it repeats.
    pub name: Option<String>,
    /// L2 penalty on the weights of standardized inputs.
    #[schemars(range(min = 0))]
    pub regularization: f64,
}

impl Default for Linear {
    fn default() -> Self {
        Linear { name: None, regularization: 0.001 }
    }
}
