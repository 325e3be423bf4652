//! Trees by LightGBM: gradient boosting, random forests and extremely randomised trees.
//!
//! The result is LightGBM's text, the standard file of such a model; `paceline-models` reads and compiles it.

use std::sync::{Mutex, PoisonError};

use paceline_core::{Rows, Scorer};
pub use paceline_lightgbm::{Booster, Library, Output, Search as LibrarySearch, SingleRow};
use paceline_lightgbm::{Dataset, DatasetSpec, LightGbmError, Parameters, TrainSpec, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// How the trees of a forest come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForestKind {
    /// Each tree corrects the sum of those before it (LightGBM's `gbdt`).
    Boosted,
    /// Averaged trees on samples of rows and columns (LightGBM's `rf`).
    RandomForest,
    /// A random forest whose thresholds are drawn at random (LightGBM's `rf` with `extra_trees`; Geurts et al. 2006). Unlike
    /// theirs, rows are sampled too when [`ForestSpec::bagging_fraction`] is below 1.
    ExtraTrees,
}

/// What a forest is fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForestObjective {
    /// Labels 0 and 1; the output is a probability.
    Binary,
    /// Labels from 0 to 1, such as a teacher's probabilities; the output is a probability.
    CrossEntropy,
    /// Any label, squared error.
    Regression,
    /// Labels are grades 0 to 30 within groups of rows; the output orders the rows of a group, higher first.
    LambdaRank,
    /// As lambdarank, with the cross-entropy loss of Bruch 2020; usually as good and faster.
    RankXendcg,
}

impl ForestObjective {
    fn name(self) -> &'static str {
        match self {
            ForestObjective::Binary => "binary",
            ForestObjective::CrossEntropy => "cross_entropy",
            ForestObjective::Regression => "regression",
            ForestObjective::LambdaRank => "lambdarank",
            ForestObjective::RankXendcg => "rank_xendcg",
        }
    }

    /// Whether the rows come in groups.
    #[must_use]
    pub fn needs_groups(self) -> bool {
        match self {
            ForestObjective::Binary | ForestObjective::CrossEntropy | ForestObjective::Regression => false,
            ForestObjective::LambdaRank | ForestObjective::RankXendcg => true,
        }
    }
}

/// A forest to fit. The defaults of [`ForestSpec::new`] are LightGBM's own where it has any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForestSpec {
    /// How the trees come about.
    pub kind: ForestKind,
    /// What they are fitted to.
    pub objective: ForestObjective,
    /// Number of trees; with a validation the largest number.
    pub trees: usize,
    /// Leaves of a tree at most, 2 to 131,072.
    pub leaves: usize,
    /// Depth of a tree at most; `None` for no bound but the leaves.
    pub depth: Option<usize>,
    /// Share of each tree's correction that is kept, above 0; boosted trees only.
    pub learning_rate: f64,
    /// Training rows in a leaf at least.
    pub min_rows_in_leaf: usize,
    /// Share of the columns that a tree may use, above 0 to 1.
    pub feature_fraction: f64,
    /// Share of the rows that a tree sees, above 0 to 1; drawn anew for each tree.
    pub bagging_fraction: f64,
    /// L2 penalty on leaf values, at least 0.
    pub l2: f64,
    /// Bins per column, 2 to 65,535: how many thresholds are tried.
    pub bins: usize,
    /// Of ranking objectives: positions that count.
    pub rank_at: usize,
    /// Rounds without improvement after which a validation ends the training.
    pub patience: usize,
    /// Draws rows, columns and thresholds.
    pub seed: u32,
    /// Threads of the training. The result does not depend on it.
    pub threads: usize,
}

impl ForestSpec {
    /// 100 trees of 31 leaves with every default written out.
    ///
    /// Boosted trees: learning rate 0.1, all rows and columns. Forests: 63 % of the rows (what a bootstrap sample holds of
    /// distinct rows) and, of the columns, 70 % at a tree (LightGBM samples per tree, not per node).
    #[must_use]
    pub fn new(kind: ForestKind, objective: ForestObjective) -> Self {
        let (feature_fraction, bagging_fraction) = match kind {
            ForestKind::Boosted => (1.0, 1.0),
            ForestKind::RandomForest | ForestKind::ExtraTrees => (0.7, 0.632),
        };
        ForestSpec {
            kind,
            objective,
            trees: 100,
            leaves: 31,
            depth: None,
            learning_rate: 0.1,
            min_rows_in_leaf: 20,
            feature_fraction,
            bagging_fraction,
            l2: 0.0,
            bins: 255,
            rank_at: 10,
            patience: 20,
            seed: 0,
            threads: 1,
        }
    }

    fn parameters(&self) -> Result<Parameters, FitForestError> {
        self.check()?;
        let mut parameters = Parameters::seeded(self.seed)
            .with("objective", self.objective.name())
            .with("num_threads", self.threads as i64)
            .with("num_leaves", self.leaves as i64)
            .with("max_depth", self.depth.map_or(-1, |depth| depth as i64))
            .with("min_data_in_leaf", self.min_rows_in_leaf as i64)
            .with("feature_fraction", self.feature_fraction)
            .with("lambda_l2", self.l2)
            .with("max_bin", self.bins as i64);
        if self.bagging_fraction < 1.0 {
            parameters = parameters.with("bagging_fraction", self.bagging_fraction).with("bagging_freq", 1);
        }
        if self.objective.needs_groups() {
            parameters = parameters
                .with("lambdarank_truncation_level", self.rank_at as i64 + 3)
                .with("metric", "ndcg")
                .with("eval_at", self.rank_at as i64);
        }
        Ok(match self.kind {
            ForestKind::Boosted => parameters.with("boosting", "gbdt").with("learning_rate", self.learning_rate),
            ForestKind::RandomForest => parameters.with("boosting", "rf"),
            ForestKind::ExtraTrees => parameters.with("boosting", "rf").with("extra_trees", true),
        })
    }

    fn check(&self) -> Result<(), FitForestError> {
        let refuse = |field, found: String, expected| Err(FitForestError::Spec { field, found, expected });
        let whole = [
            ("trees", self.trees, 1, 100_000, "1 to 100,000"),
            ("leaves", self.leaves, 2, 131_072, "2 to 131,072"),
            ("depth", self.depth.unwrap_or(1), 1, 100_000, "1 to 100,000, or none"),
            ("bins", self.bins, 2, 65_535, "2 to 65,535"),
            ("min_rows_in_leaf", self.min_rows_in_leaf, 0, i32::MAX as usize, "a 32-bit number"),
            ("rank_at", self.rank_at, 1, 10_000, "1 to 10,000"),
            ("patience", self.patience, 1, i32::MAX as usize, "at least 1"),
            ("threads", self.threads, 1, 1_024, "1 to 1,024"),
        ];
        for (field, found, low, high, expected) in whole {
            if !(low..=high).contains(&found) {
                return refuse(field, found.to_string(), expected);
            }
        }
        for (field, found) in [("feature_fraction", self.feature_fraction), ("bagging_fraction", self.bagging_fraction)]
        {
            if !(found > 0.0 && found <= 1.0) {
                return refuse(field, found.to_string(), "above 0, at most 1");
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("learning_rate", self.learning_rate.to_string(), "a number above 0");
        }
        if !(self.l2 >= 0.0 && self.l2.is_finite()) {
            return refuse("l2", self.l2.to_string(), "a number, at least 0");
        }
        if self.kind == ForestKind::Boosted {
            return Ok(());
        }
        if self.objective.needs_groups() {
            return refuse(
                "objective",
                self.objective.name().to_owned(),
                "binary, cross_entropy or regression in a forest",
            );
        }
        if self.bagging_fraction == 1.0 && self.feature_fraction == 1.0 {
            let expected = "bagging_fraction or feature_fraction below 1 in a forest, whose trees would else be equal";
            return refuse("bagging_fraction", "1".to_owned(), expected);
        }
        Ok(())
    }
}

/// Rows to fit on, or to stop early on.
#[derive(Debug, Clone, Copy)]
pub struct TrainingRows<'a> {
    /// The inputs; NaN is missing.
    pub rows: Rows<'a>,
    /// One per row, in the objective's range.
    pub labels: &'a [f32],
    /// One per row, not negative; `None` for equal weights.
    pub weights: Option<&'a [f32]>,
    /// Rows of each group, in row order; for ranking objectives, and only for them.
    pub groups: Option<&'a [u32]>,
    /// One name per column.
    pub names: &'a [String],
    /// Columns whose values are category codes (whole numbers from 0).
    pub categorical: &'a [usize],
}

/// Why a forest was not fitted.
#[derive(Debug, Error)]
pub enum FitForestError {
    /// The specification is outside its bounds.
    #[error("{field} = {found}: expected {expected}")]
    Spec {
        /// Field of [`ForestSpec`].
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// The rows do not fit the objective or each other.
    #[error("{what}: {problem}")]
    Rows {
        /// Labels, groups, names, or the validation's columns.
        what: &'static str,
        /// What is wrong, with the value.
        problem: String,
    },
    /// LightGBM refused.
    #[error(transparent)]
    LightGbm(#[from] LightGbmError),
}

/// Fits a forest and returns it as LightGBM's text. With a `validation`, training ends when the objective's own metric has
/// not improved on it for [`ForestSpec::patience`] rounds, and only the trees up to the best round are kept.
///
/// Equal inputs give equal texts, whatever the number of threads.
///
/// # Errors
/// [`FitForestError`]; nothing is kept of a failed training.
pub fn fit(
    library: &Library,
    spec: &ForestSpec,
    training: TrainingRows<'_>,
    validation: Option<TrainingRows<'_>>,
) -> Result<String, FitForestError> {
    let parameters = spec.parameters()?;
    let train_data = bin(library, spec, &parameters, training, None)?;
    let validation_data = match validation {
        None => None,
        Some(rows) if rows.rows.columns() != training.rows.columns() => {
            let problem = format!("{} columns, training has {}", rows.rows.columns(), training.rows.columns());
            return Err(FitForestError::Rows { what: "validation", problem });
        }
        Some(rows) => Some(bin(library, spec, &parameters, rows, Some(&train_data))?),
    };
    let rounds = TrainSpec {
        rounds: spec.trees,
        validation: validation_data.as_ref().map(|data| Validation { data, patience: spec.patience }),
    };
    let text = Booster::train(&parameters, &train_data, &rounds)?.to_text()?;
    Ok(without_threads(&text))
}

/// A forest scored by LightGBM itself, a block of rows per call on one thread: what a pipeline does before it is
/// optimised, to compare with. Threads wait for each other, since LightGBM's models are used by one at a time.
#[derive(Debug)]
pub struct LibraryForest {
    booster: Mutex<Booster>,
    column_count: usize,
}

impl LibraryForest {
    /// Reads what [`fit`] gave.
    ///
    /// # Errors
    /// [`LightGbmError::Refused`] when LightGBM cannot read it, [`LightGbmError::Argument`] for a model of several
    /// outputs. Only for texts from [`fit`]: LightGBM trusts them.
    pub fn from_text(library: &Library, text: &str) -> Result<Self, LightGbmError> {
        let booster = Booster::from_text(library, text)?;
        booster.single_row(Output::Normal)?;
        let column_count = booster.column_count();
        Ok(LibraryForest { booster: Mutex::new(booster), column_count })
    }
}

impl Scorer for LibraryForest {
    fn column_count(&self) -> usize {
        self.column_count
    }

    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.columns(), self.column_count, "columns");
        let booster = self.booster.lock().unwrap_or_else(PoisonError::into_inner);
        let scores = booster.predict(rows.values(), Output::Normal);
        out.copy_from_slice(&scores.expect("LightGBM refuses only rows of another width, which were refused above"));
    }
}

fn bin(
    library: &Library,
    spec: &ForestSpec,
    parameters: &Parameters,
    training: TrainingRows<'_>,
    reference: Option<&Dataset>,
) -> Result<Dataset, FitForestError> {
    check_labels(spec.objective, training)?;
    let groups = training.groups.map(|groups| groups.iter().map(|&rows| rows as i32).collect::<Vec<i32>>());
    let dataset = DatasetSpec {
        labels: training.labels,
        weights: training.weights,
        groups: groups.as_deref(),
        names: Some(training.names),
        categorical: training.categorical,
        reference,
    };
    Ok(Dataset::new(library, training.rows.values(), training.rows.columns(), &dataset, parameters)?)
}

/// What LightGBM would accept without a word, or refuse without naming the row.
fn check_labels(objective: ForestObjective, training: TrainingRows<'_>) -> Result<(), FitForestError> {
    let (ok, expected): (fn(f32) -> bool, _) = match objective {
        ForestObjective::Binary => (|label| label == 0.0 || label == 1.0, "0 or 1"),
        ForestObjective::CrossEntropy => (|label| (0.0..=1.0).contains(&label), "from 0 to 1"),
        ForestObjective::Regression => (f32::is_finite, "finite"),
        ForestObjective::LambdaRank | ForestObjective::RankXendcg => {
            (|label| label.fract() == 0.0 && (0.0..=30.0).contains(&label), "a whole grade from 0 to 30")
        }
    };
    if let Some(row) = training.labels.iter().position(|&label| !ok(label)) {
        let problem =
            format!("{} in row {row}; with objective {} a label is {expected}", training.labels[row], objective.name());
        return Err(FitForestError::Rows { what: "labels", problem });
    }
    let problem = match (objective.needs_groups(), training.groups.is_some()) {
        (true, false) => format!("objective {} needs the rows of each group", objective.name()),
        (false, true) => format!("objective {} has no groups", objective.name()),
        (true, true) | (false, false) => return Ok(()),
    };
    Err(FitForestError::Rows { what: "groups", problem })
}

/// The text without the line that records the number of threads: it changes nothing, and equal models have equal bytes.
fn without_threads(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("[num_threads:")).collect()
}
