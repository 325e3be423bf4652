//! The models that set the quality: training rows, members, their blend, and students taught by it.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use paceline_core::{Rows, Scorer};
use paceline_learn::forest::{self, ForestKind, ForestObjective, ForestSpec};
use paceline_learn::recommend::{LabelledPair, Purchases, SampleSpec, sample_pairs};
use paceline_learn::{NetworkLoss, TrainingRows, fit_network};
use paceline_models::column::Column;
use paceline_models::ensemble::ScoreTransform;
use paceline_models::forest::Forest;
use paceline_serve::recommend::{RowLayout, Workspace, candidate_column};

use super::evaluate::Slice;
use crate::pipeline::NamedTeacher;
use crate::pipeline::raw::{Objective, RawTeacher};
use crate::run::specs;

/// Rows to learn from, of all training cuts.
#[derive(Debug, Default)]
pub struct Training {
    /// Row-major inputs.
    pub rows: Vec<f64>,
    /// 1 for what the user bought.
    pub labels: Vec<f32>,
    /// Weight of each row: users with many purchases count less than in proportion.
    pub weights: Vec<f32>,
    /// Columns of a row.
    pub columns: usize,
}

impl Training {
    /// Samples pairs at every cut and lays out their rows.
    pub fn sample(slices: &[&Slice], purchases: &Purchases, layout: &RowLayout, spec: &SampleSpec) -> Training {
        let mut training = Training::empty(layout);
        let mut workspace = Workspace::default();
        for slice in slices {
            for pairs in sample_pairs(purchases, &slice.outcomes, spec).chunk_by(|a, b| a.user == b.user) {
                let state = slice.snapshot.state(purchases, pairs[0].user);
                let (retriever, cut) = (&slice.snapshot.retriever, slice.snapshot.cut);
                retriever.score(&state, cut, spec.new_only, &[], &mut workspace.retrieval);
                training.push(slice, layout, pairs, &mut workspace);
            }
        }
        training
    }

    /// No rows yet.
    #[must_use]
    pub fn empty(layout: &RowLayout) -> Training {
        Training { columns: layout.names().len(), ..Training::default() }
    }

    /// Adds the rows of pairs of one user at the cut of `slice`, whose source scores are in `workspace`.
    ///
    /// # Panics
    /// When there is no pair.
    pub fn push(&mut self, slice: &Slice, layout: &RowLayout, pairs: &[LabelledPair], workspace: &mut Workspace) {
        let user = pairs[0].user;
        let items: Vec<u32> = pairs.iter().map(|pair| pair.item).collect();
        let Workspace { retrieval, rows, .. } = workspace;
        layout.fill(slice.snapshot.user(user), &slice.snapshot.items, retrieval, &items, rows);
        self.rows.extend_from_slice(&rows.rows);
        let positives = pairs.iter().filter(|pair| pair.bought).count().max(1);
        let weight = (positives as f32).sqrt().recip();
        for pair in pairs {
            self.labels.push(f32::from(u8::from(pair.bought)));
            self.weights.push(weight);
        }
    }

    /// The inputs.
    ///
    /// # Panics
    /// When nothing was sampled.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(&self.rows, self.columns)
    }
}

/// A trained model of the ensemble.
#[derive(Clone)]
pub struct Fitted {
    /// Its name in the report.
    pub name: String,
    /// What scores.
    pub scorer: Arc<dyn Scorer>,
    /// What makes its scores comparable with the others'.
    pub transform: ScoreTransform,
    /// Bytes of its file.
    pub bytes: u64,
    /// What its file holds.
    pub content: Content,
}

/// What a model's file holds.
#[derive(Clone)]
pub enum Content {
    /// LightGBM's text.
    LightGbm(String),
    /// A network.
    Network(Vec<u8>),
    /// A column that is the score.
    Column(Vec<u8>),
}

impl Fitted {
    /// The file's text where LightGBM made it.
    #[must_use]
    pub fn lightgbm(&self) -> Option<&str> {
        match &self.content {
            Content::LightGbm(text) => Some(text),
            Content::Network(_) | Content::Column(_) => None,
        }
    }

    /// A file called `stem` with the ending that says its kind (see [`paceline_models::read_scorer`]), and its content.
    #[must_use]
    pub fn file(&self, stem: &str) -> (String, Vec<u8>) {
        match &self.content {
            Content::LightGbm(text) => (format!("{stem}.txt"), text.clone().into_bytes()),
            Content::Network(bytes) => (format!("{stem}.safetensors"), bytes.clone()),
            Content::Column(bytes) => (format!("{stem}.column.json"), bytes.clone()),
        }
    }
}

/// Trains one model of the teacher.
pub fn fit(
    library: &forest::Library,
    teacher: &NamedTeacher,
    training: &Training,
    names: &[String],
    seed: u64,
) -> Result<Fitted> {
    let named = |scorer: Arc<dyn Scorer>, transform, bytes, content| Fitted {
        name: teacher.name.clone(),
        scorer,
        transform,
        bytes,
        content,
    };
    let grown = |spec: ForestSpec| -> Result<Fitted> {
        let (forest, text) = fit_forest(library, &spec, training, &training.labels, Some(&training.weights), names)
            .with_context(|| format!("teacher {}", teacher.name))?;
        let bytes = text.len() as u64;
        Ok(named(Arc::new(forest), ScoreTransform::Logit, bytes, Content::LightGbm(text)))
    };
    match &teacher.options {
        RawTeacher::Lightgbm(options) => {
            let objective = match options.objective {
                None | Some(Objective::Binary) => ForestObjective::Binary,
                Some(Objective::CrossEntropy) => ForestObjective::CrossEntropy,
                Some(Objective::Lambdarank | Objective::Regression) => {
                    bail!("teacher {}: a recommender's teacher has the objective binary or cross_entropy", teacher.name)
                }
            };
            grown(specs::boosted(options, objective, seed))
        }
        RawTeacher::RandomForest(options) | RawTeacher::ExtraTrees(options) => {
            let kind = match teacher.options {
                RawTeacher::ExtraTrees(_) => ForestKind::ExtraTrees,
                _ => ForestKind::RandomForest,
            };
            grown(specs::averaged(options, kind, ForestObjective::Binary, seed))
        }
        RawTeacher::Mlp(options) => {
            let rows = TrainingRows::new(training.rows(), &training.labels, Some(&training.weights))?;
            let spec = specs::network(options, NetworkLoss::CrossEntropy, seed);
            let network = fit_network(rows, None, &spec)?.network;
            let content = network.to_bytes();
            let bytes = content.len() as u64;
            Ok(named(Arc::new(network), ScoreTransform::Logit, bytes, Content::Network(content)))
        }
        RawTeacher::Als(_) => {
            let column = candidate_column(paceline_models::recommend::CandidateScore::Als);
            let index =
                names.iter().position(|name| *name == column).context("the layout has every candidate score")?;
            let scorer = Column { index, column_count: names.len() };
            let mut scores = vec![0.0; training.rows().len()];
            scorer.score(training.rows(), &mut scores);
            let transform = paceline_learn::blend::fit_score_transform(&scores);
            Ok(named(Arc::new(scorer), transform, 0, Content::Column(scorer.to_bytes())))
        }
        RawTeacher::Linear(_) => bail!("teacher {}: linear teachers learn from rows, not for recommend", teacher.name),
    }
}

/// A forest and the text of its file.
pub fn fit_forest(
    library: &forest::Library,
    spec: &ForestSpec,
    training: &Training,
    targets: &[f32],
    weights: Option<&[f32]>,
    names: &[String],
) -> Result<(Forest, String)> {
    let rows =
        forest::TrainingRows { rows: training.rows(), labels: targets, weights, groups: None, names, categorical: &[] };
    let text = forest::fit(library, spec, rows, None)?;
    Ok((Forest::from_lightgbm(&text)?, text))
}
