//! The teacher: its models, their blend, and the students that it teaches.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use paceline_core::metrics::Metric;
use paceline_core::{Rows, Scorer};
use paceline_learn::forest::{ForestKind, ForestObjective, ForestSpec};
use paceline_learn::{LinearSpec, NetworkSpec, find_blend};
use paceline_models::Ensemble;
use paceline_models::ensemble::{EnsembleOutput, EnsembleSpec, Member as EnsembleMember};
use paceline_models::forest::Forest;
use paceline_serve::predict::RowTask;

use super::members::{Means, Member, Training, fit_dense, fit_forest, fit_sum, fit_teacher, loss};
use super::plan::Plan;
use super::quality::Judge;
use crate::pipeline::{Teacher as TeacherSpec, resolve};

/// Steps of the blend's weights.
const BLEND_PARTS: u32 = 20;
/// File of the ensemble in an artifact.
const ENSEMBLE_FILE: &str = "ensemble.json";

/// What scores, as files and read from them.
#[derive(Clone)]
pub struct Model {
    /// The file to begin with.
    pub file: String,
    /// It, and what it names.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The scorer that these files hold.
    pub scorer: Arc<dyn Scorer>,
}

impl Model {
    /// Size of its files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.len() as u64).sum()
    }

    fn of(member: &Member) -> Model {
        Model {
            file: member.file.clone(),
            files: BTreeMap::from([(member.file.clone(), member.bytes.clone())]),
            scorer: Arc::clone(&member.scorer),
        }
    }
}

/// How the members count, decided on tuning rows.
#[derive(Debug, Clone, PartialEq)]
pub struct BlendChoice {
    /// One weight per member.
    pub weights: Vec<f64>,
    /// The member that is best alone.
    pub best: usize,
}

/// The models that set the quality.
pub struct Teacher {
    /// In the order of the pipeline.
    pub members: Vec<Member>,
    /// How they count.
    pub blend: BlendChoice,
    output: EnsembleOutput,
}

impl Teacher {
    /// Trains the members, or reads the imported model; `choose` finds how they count.
    ///
    /// # Errors
    /// When a model cannot be trained or read, or does not fit the inputs.
    pub fn fit(
        plan: &Plan<'_>,
        means: Means<'_>,
        training: &Training<'_>,
        say: &dyn Fn(&str),
        choose: impl FnOnce(&[Member]) -> Result<BlendChoice>,
    ) -> Result<Teacher> {
        let members = match plan.teacher {
            TeacherSpec::Train(teachers) => teachers
                .iter()
                .enumerate()
                .map(|(number, teacher)| {
                    say(&format!("training {}", teacher.name));
                    fit_teacher(means, teacher, plan.task, training, (number, plan.pipeline.seed))
                })
                .collect::<Result<Vec<_>>>()?,
            TeacherSpec::Import(path) => vec![import(plan, path, training)?],
        };
        let blend = choose(&members)?;
        Ok(Teacher { members, blend, output: output_of(plan.task) })
    }

    /// What becomes of the weighted sum.
    pub fn output(&self) -> EnsembleOutput {
        self.output
    }

    /// Members that count, with their weights.
    pub fn weighted(&self) -> impl Iterator<Item = (&Member, f64)> {
        self.members.iter().zip(self.blend.weights.iter().copied()).filter(|(_, weight)| *weight > 0.0)
    }

    /// `lightgbm 0.60, mlp 0.40`.
    pub fn described(&self) -> String {
        self.weighted().map(|(member, weight)| format!("{} {weight:.2}", member.name)).collect::<Vec<_>>().join(", ")
    }

    /// The member that is best alone.
    pub fn single(&self) -> &Member {
        &self.members[self.blend.best]
    }

    /// The best single model.
    pub fn single_model(&self) -> Model {
        Model::of(self.single())
    }

    /// The blend; a single member that counts stands for itself.
    ///
    /// # Errors
    /// Never, if the members were trained on the same inputs.
    pub fn ensemble(&self) -> Result<Model> {
        let counting: Vec<(&Member, f64)> = self.weighted().collect();
        if let [(member, _)] = counting.as_slice() {
            return Ok(Model::of(member));
        }
        let members = counting
            .iter()
            .map(|(member, weight)| EnsembleMember {
                file: member.file.clone(),
                weight: *weight,
                transform: member.transform,
            })
            .collect();
        let spec = EnsembleSpec::new(members, self.output)?;
        let mut files: BTreeMap<String, Vec<u8>> =
            counting.iter().map(|(member, _)| (member.file.clone(), member.bytes.clone())).collect();
        files.insert(ENSEMBLE_FILE.to_owned(), spec.to_bytes());
        let scorers = counting.iter().map(|(member, _)| Arc::clone(&member.scorer)).collect();
        Ok(Model { file: ENSEMBLE_FILE.to_owned(), files, scorer: Arc::new(Ensemble::new(spec, scorers)?) })
    }
}

/// Weights of the members, and which of them is best alone, on the tuning rows.
///
/// # Errors
/// When the metric has no value there.
pub fn blend_on(judge: &Judge, rows: Rows<'_>, members: &[Member], output: EnsembleOutput) -> Result<BlendChoice> {
    let mut columns = Vec::with_capacity(members.len());
    let mut alone = Vec::with_capacity(members.len());
    for member in members {
        let scores = member.score(rows);
        let measured = judge.measure(&scores).with_context(|| format!("teacher {} on tuning rows", member.name))?;
        let value = measured.value();
        alone.push(if measured.metric().higher_is_better() { value } else { -value });
        let transformed: Vec<f64> = scores.iter().map(|&score| member.transform.apply(score)).collect();
        columns.push(judge.judged(&transformed).into_owned());
    }
    let best = (0..alone.len()).rev().max_by(|&a, &b| alone[a].total_cmp(&alone[b])).context("there is no teacher")?;
    let borrowed: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let weights = find_blend(&borrowed, judge.goal(output)?, BLEND_PARTS)?.weights;
    Ok(BlendChoice { weights, best })
}

/// What the task's ensemble makes of its sum.
pub fn output_of(task: RowTask) -> EnsembleOutput {
    match task {
        RowTask::Classify => EnsembleOutput::Sigmoid,
        RowTask::Regress | RowTask::Rank => EnsembleOutput::Identity,
    }
}

/// A model that learns the teacher's scores.
#[derive(Debug, Clone, PartialEq)]
pub enum Student {
    /// Boosted trees.
    Forest {
        /// How many.
        trees: usize,
        /// Leaves of each.
        leaves: usize,
        /// Weight of each.
        learning_rate: f64,
    },
    /// A dense network of these widths.
    Network(Vec<usize>),
    /// A linear or logistic model.
    Linear,
}

impl Student {
    /// Everything that is tried.
    pub fn all() -> Vec<Student> {
        vec![
            Student::Forest { trees: 100, leaves: 31, learning_rate: 0.1 },
            Student::Forest { trees: 50, leaves: 15, learning_rate: 0.2 },
            Student::Network(vec![64, 32]),
            Student::Network(vec![32]),
            Student::Linear,
        ]
    }

    /// Its name in the report.
    pub fn name(&self) -> String {
        match self {
            Student::Forest { trees, leaves, .. } => format!("student forest {trees} x {leaves}"),
            Student::Network(hidden) => {
                let widths: Vec<String> = hidden.iter().map(usize::to_string).collect();
                format!("student network {}", widths.join("-"))
            }
            Student::Linear => "student linear model".to_owned(),
        }
    }

    /// In a sentence.
    pub fn what(&self) -> String {
        match self {
            Student::Forest { trees, leaves, .. } => {
                format!("{trees} boosted trees of at most {leaves} leaves, taught by the teacher's scores")
            }
            Student::Network(_) => "a small dense network, taught by the teacher's scores".to_owned(),
            Student::Linear => "a weighted sum of standardised inputs, taught by the teacher's scores".to_owned(),
        }
    }

    /// Learns `training`, whose targets are the teacher's scores: probabilities for classification.
    ///
    /// # Errors
    /// When training fails.
    pub fn fit(&self, task: RowTask, means: Means<'_>, training: &Training<'_>, seed: u64) -> Result<Model> {
        let name = self.name();
        let member = match self {
            Student::Forest { trees, leaves, learning_rate } => {
                let objective = match task {
                    RowTask::Classify => ForestObjective::CrossEntropy,
                    RowTask::Regress | RowTask::Rank => ForestObjective::Regression,
                };
                let spec = ForestSpec {
                    trees: *trees,
                    leaves: *leaves,
                    learning_rate: *learning_rate,
                    seed: seed as u32,
                    ..ForestSpec::new(ForestKind::Boosted, objective)
                };
                fit_forest(means, &spec, training, &name, "student")
            }
            Student::Network(hidden) => {
                let spec = NetworkSpec { hidden: hidden.clone(), loss: loss(task), seed, ..NetworkSpec::default() };
                fit_dense(&spec, training, &name, "student")
            }
            Student::Linear => {
                fit_sum(LinearSpec { loss: loss(task), regularization: 1e-4 }, training, &name, "student")
            }
        };
        Ok(Model::of(&member.with_context(|| name.clone())?))
    }
}

/// Finds out before the work whether an imported model can be read.
///
/// # Errors
/// When it cannot.
pub fn check_import(plan: &Plan<'_>) -> Result<()> {
    match plan.teacher {
        TeacherSpec::Import(path) => read_import(plan, path).map(|_| ()),
        TeacherSpec::Train(_) => Ok(()),
    }
}

/// The file of a model that was trained elsewhere, and the forest in it.
fn read_import(plan: &Plan<'_>, path: &str) -> Result<(Vec<u8>, Forest)> {
    let place = resolve(&plan.pipeline.folder, path);
    let refuse = |problem: String| anyhow::anyhow!("[model] import = {path:?}: {problem}");
    if !path.ends_with(".txt") {
        bail!(refuse("a row model of this version imports LightGBM's text (.txt)".to_owned()));
    }
    let bytes = std::fs::read(&place).map_err(|error| refuse(format!("cannot read {place}: {error}")))?;
    let forest = std::str::from_utf8(&bytes)
        .map_err(|error| error.to_string())
        .and_then(|text| Forest::from_lightgbm(text).map_err(|error| error.to_string()))
        .map_err(|problem| refuse(format!("{problem}; it must be what LightGBM's save_model writes")))?;
    Ok((bytes, forest))
}

/// Reads a model file that was trained elsewhere.
fn import(plan: &Plan<'_>, path: &str, training: &Training<'_>) -> Result<Member> {
    let refuse = |problem: String| anyhow::anyhow!("[model] import = {path:?}: {problem}");
    let (bytes, forest) = read_import(plan, path)?;
    let named_by_position = forest.feature_names().iter().all(|name| name.starts_with("Column_"));
    let fits = forest.feature_names().len() == training.names.len()
        && (named_by_position || forest.feature_names() == training.names);
    if !fits {
        bail!(refuse(format!(
            "the model reads {:?}, the pipeline gives it {:?}; list `columns` in the model's order, with its encoders",
            forest.feature_names(),
            training.names
        )));
    }
    let member = Member::new("import", "1_import.txt".to_owned(), bytes)?;
    let outside = member.score(training.rows()).into_iter().find(|score| !(0.0..=1.0).contains(score));
    if let (RowTask::Classify, Some(score)) = (plan.task, outside) {
        bail!(refuse(format!("it scores a row {score}, which is no probability; its objective must be binary")));
    }
    Ok(member.for_task(plan.task, training.rows()))
}

/// The constant that needs no model: the mean label of the training rows. Ranking has none.
pub fn baseline(plan: &Plan<'_>, labels: &[f32]) -> Option<(String, f64)> {
    let mean = labels.iter().map(|&label| f64::from(label)).sum::<f64>() / labels.len() as f64;
    match plan.metric {
        Metric::Row(_) => Some((format!("the mean of {} in training", plan.rows.label), mean)),
        Metric::Ranking(_) | Metric::Coverage { .. } => None,
    }
}

/// The training rows with the teacher's scores as targets.
pub fn taught<'a>(training: &Training<'a>, targets: &'a [f32]) -> Training<'a> {
    Training { rows: training.rows, names: training.names, targets, lists: None }
}
