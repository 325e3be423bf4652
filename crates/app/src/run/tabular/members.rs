//! The models that set the quality, one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use paceline_core::{Rows, Scorer};
use paceline_learn::blend::fit_score_transform;
use paceline_learn::forest::{self, ForestKind, ForestObjective, ForestSpec, Library};
use paceline_learn::{LinearSpec, NetworkLoss, NetworkSpec, TrainingRows, fit_linear, fit_network};
use paceline_models::ensemble::ScoreTransform;
use paceline_models::read_scorer;
use paceline_serve::predict::RowTask;

use crate::pipeline::NamedTeacher;
use crate::pipeline::raw::{Objective, RawTeacher};
use crate::run::specs;

/// Rows to learn from.
pub struct Training<'a> {
    /// Row-major inputs.
    pub rows: &'a [f64],
    /// One name per input, as LightGBM takes them.
    pub names: &'a [String],
    /// What to learn: labels, or a teacher's scores.
    pub targets: &'a [f32],
    /// Rows of each list of a ranking, which lie together.
    pub lists: Option<&'a [u32]>,
}

impl Training<'_> {
    /// The inputs.
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(self.rows, self.names.len())
    }
}

/// How training is carried out.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// LightGBM.
    pub library: &'a Library,
    /// Threads of LightGBM; results do not depend on them.
    pub threads: usize,
}

/// A model as it will be published.
#[derive(Clone)]
pub struct Member {
    /// Its name in the report.
    pub name: String,
    /// Name of its file; the ending says its kind.
    pub file: String,
    /// Content of its file.
    pub bytes: Vec<u8>,
    /// What was read back from the file.
    pub scorer: Arc<dyn Scorer>,
    /// What makes its scores comparable with the others'.
    pub transform: ScoreTransform,
}

impl Member {
    /// Reads back what would be published, so that what is measured is what is served.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(name: &str, file: String, bytes: Vec<u8>) -> Result<Member> {
        let files = BTreeMap::from([(file.clone(), bytes.clone())]);
        let scorer = read_scorer(&file, &files).with_context(|| format!("teacher {name}"))?;
        Ok(Member { name: name.to_owned(), file, bytes, scorer, transform: ScoreTransform::Identity })
    }

    /// The LightGBM text of a forest.
    pub fn forest_text(&self) -> Option<&str> {
        self.file.ends_with(".txt").then(|| std::str::from_utf8(&self.bytes).ok()).flatten()
    }

    /// Scores of row-major `rows`.
    pub fn score(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut scores = vec![0.0; rows.len()];
        self.scorer.score(rows, &mut scores);
        scores
    }

    /// With the transform that the task's ensemble needs; scores of a ranking are brought to one scale on `rows`.
    pub fn for_task(mut self, task: RowTask, rows: Rows<'_>) -> Member {
        self.transform = match task {
            RowTask::Classify => ScoreTransform::Logit,
            RowTask::Regress => ScoreTransform::Identity,
            RowTask::Rank => fit_score_transform(&self.score(rows)),
        };
        self
    }
}

/// Trains one model of the teacher; `number` makes its file name and its seed its own.
///
/// # Errors
/// When an option is out of bounds or a label does not suit the objective.
pub fn fit_teacher(
    means: Means<'_>,
    teacher: &NamedTeacher,
    task: RowTask,
    training: &Training<'_>,
    (number, seed): (usize, u64),
) -> Result<Member> {
    let seed = seed.wrapping_add(number as u64);
    let stem = format!("{}_{}", number + 1, plain(&teacher.name));
    let member = match &teacher.options {
        RawTeacher::Lightgbm(options) => {
            let objective = options.objective.map_or_else(
                || natural(task),
                |objective| match objective {
                    Objective::Binary => ForestObjective::Binary,
                    Objective::CrossEntropy => ForestObjective::CrossEntropy,
                    Objective::Lambdarank => ForestObjective::LambdaRank,
                    Objective::Regression => ForestObjective::Regression,
                },
            );
            let spec = specs::boosted(options, objective, seed);
            fit_forest(means, &spec, training, &teacher.name, &stem)
        }
        RawTeacher::RandomForest(options) | RawTeacher::ExtraTrees(options) => {
            let kind = match teacher.options {
                RawTeacher::ExtraTrees(_) => ForestKind::ExtraTrees,
                _ => ForestKind::RandomForest,
            };
            // A forest of averages has no ranking objective; it learns the grades.
            let objective = match task {
                RowTask::Classify => ForestObjective::Binary,
                RowTask::Regress | RowTask::Rank => ForestObjective::Regression,
            };
            let spec = specs::averaged(options, kind, objective, seed);
            fit_forest(means, &spec, training, &teacher.name, &stem)
        }
        RawTeacher::Mlp(options) => {
            let spec = specs::network(options, loss(task), seed);
            fit_dense(&spec, training, &teacher.name, &stem)
        }
        RawTeacher::Linear(options) => fit_sum(
            LinearSpec { loss: loss(task), regularization: options.regularization },
            training,
            &teacher.name,
            &stem,
        ),
        RawTeacher::Als(_) => bail!("als learns from users and items, not from rows"),
    };
    Ok(member.with_context(|| format!("teacher {}", teacher.name))?.for_task(task, training.rows()))
}

/// A forest by LightGBM.
///
/// # Errors
/// As [`forest::fit`].
pub fn fit_forest(
    means: Means<'_>,
    spec: &ForestSpec,
    training: &Training<'_>,
    name: &str,
    stem: &str,
) -> Result<Member> {
    let rows = forest::TrainingRows {
        rows: training.rows(),
        labels: training.targets,
        weights: None,
        groups: training.lists.filter(|_| spec.objective.needs_groups()),
        names: training.names,
        categorical: &[],
    };
    let spec = ForestSpec { threads: means.threads, ..spec.clone() };
    let text = forest::fit(means.library, &spec, rows, None)?;
    Member::new(name, format!("{stem}.txt"), text.into_bytes())
}

/// A dense network.
///
/// # Errors
/// As [`fit_network`].
pub fn fit_dense(spec: &NetworkSpec, training: &Training<'_>, name: &str, stem: &str) -> Result<Member> {
    let rows = TrainingRows::new(training.rows(), training.targets, None)?;
    let network = fit_network(rows, None, spec)?.network;
    Member::new(name, format!("{stem}.safetensors"), network.to_bytes())
}

/// A linear or logistic model.
///
/// # Errors
/// As [`fit_linear`].
pub fn fit_sum(spec: LinearSpec, training: &Training<'_>, name: &str, stem: &str) -> Result<Member> {
    let rows = TrainingRows::new(training.rows(), training.targets, None)?;
    let linear = fit_linear(rows, spec)?.model;
    Member::new(name, format!("{stem}.linear.json"), linear.to_bytes())
}

/// What networks and sums minimise.
pub fn loss(task: RowTask) -> NetworkLoss {
    match task {
        RowTask::Classify => NetworkLoss::CrossEntropy,
        RowTask::Regress | RowTask::Rank => NetworkLoss::SquaredError,
    }
}

fn natural(task: RowTask) -> ForestObjective {
    match task {
        RowTask::Classify => ForestObjective::Binary,
        RowTask::Regress => ForestObjective::Regression,
        RowTask::Rank => ForestObjective::LambdaRank,
    }
}

/// A name that can be a file's.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().take(60).map(plain).collect()
}

/// Names that LightGBM takes: its text separates them by spaces and refuses the characters of JSON.
pub fn lightgbm_names(names: &[String]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-=".contains(c) { c } else { '_' }).collect();
        let numbered = (2..).map(|number| format!("{plain}_{number}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name));
        taken.push(free.expect("numbers do not run out"));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_lightgbm_are_plain_and_distinct() {
        let names = ["city=Flint & Co", "city=Flint + Co", "a b", "ok"].map(str::to_owned);
        assert_eq!(lightgbm_names(&names), ["city=Flint___Co", "city=Flint___Co_2", "a_b", "ok"]);
    }
}
