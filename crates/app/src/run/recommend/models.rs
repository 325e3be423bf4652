//! All models of one fit, and the steps that they make possible.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use paceline_core::{Rows, Scorer};
use paceline_learn::forest::LibraryForest;
use paceline_learn::{BlendGoal, CandidateLists, find_blend};
use paceline_models::Ensemble;
use paceline_models::column::Column;
use paceline_models::ensemble::{EnsembleOutput, EnsembleSpec, Member};
use paceline_models::recommend::{CandidateCounts, CandidateScore};
use paceline_serve::recommend::{RowLayout, Workspace, candidate_column};

use super::evaluate::Slice;
use super::proposal::{Proposal, candidate_sizes, candidates_max};
use super::teacher::{self, Fitted, Training};
use super::world::World;
use super::{Means, Plan, student};
use crate::parallel;
use crate::serving::ScorerFiles;

/// Hidden layers of the networks that are tried as students.
const STUDENT_NETWORKS: [[usize; 2]; 2] = [[128, 64], [64, 32]];
/// Steps of the blend's weights.
const BLEND_PARTS: u32 = 20;

/// What a fit learns from.
pub struct Lessons<'a> {
    /// What makes a row.
    pub layout: &'a RowLayout,
    /// Rows of the teacher.
    pub training: &'a Training,
    /// Rows of students.
    pub student_rows: &'a Training,
}

/// What the tuning slices decide about the teacher.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    /// A weight for each member.
    pub weights: Vec<f64>,
    /// Which member is best alone.
    pub best: usize,
}

/// All trained models of one fit.
pub struct Models {
    members: Vec<Fitted>,
    /// How the members make the teacher.
    pub blend: Blend,
    compiled: Arc<dyn Scorer>,
    by_library: Option<Arc<dyn Scorer>>,
    students: Vec<Student>,
}

struct Student {
    name: String,
    model: Fitted,
}

impl Models {
    /// Trains the members and then the students; `blend` decides how the members make the teacher.
    pub fn fit(
        plan: &Plan<'_>,
        means: &Means<'_>,
        lessons: &Lessons<'_>,
        blend: impl FnOnce(&[Fitted]) -> Result<Blend>,
    ) -> Result<Models> {
        let seed = plan.pipeline.seed;
        let names: Vec<&str> = plan.teachers.iter().map(|teacher| teacher.name.as_str()).collect();
        (means.say)(&format!("training {} on {} rows", names.join(", "), lessons.training.rows().len()));
        let members = parallel::map(plan.teachers.len(), means.threads, |(), number| {
            let teacher = &plan.teachers[number];
            teacher::fit(means.library, teacher, lessons.training, lessons.layout.names(), seed + number as u64)
        });
        let members = members.into_iter().collect::<Result<Vec<_>>>()?;
        let blend = blend(&members)?;
        let compiled = ensemble(&members, &blend.weights, |member| Ok(Arc::clone(&member.scorer)))?;
        let is_forest = |(member, weight): (&Fitted, &f64)| member.lightgbm().is_some() && *weight > 0.0;
        let by_library = if members.iter().zip(&blend.weights).any(is_forest) {
            Some(ensemble(&members, &blend.weights, |member| {
                Ok(match member.lightgbm() {
                    Some(text) => Arc::new(LibraryForest::from_text(means.library, text)?),
                    None => Arc::clone(&member.scorer),
                })
            })?)
        } else {
            None
        };
        let students = students(means, lessons, &*compiled, seed)?;
        Ok(Models { members, blend, compiled, by_library, students })
    }

    /// The member that is best alone.
    #[must_use]
    pub fn single(&self) -> &Fitted {
        &self.members[self.blend.best]
    }

    /// The members that the teacher is made of, with their weights.
    pub fn weighted(&self) -> impl Iterator<Item = (&Fitted, f64)> {
        self.members.iter().zip(self.blend.weights.iter().copied()).filter(|(_, weight)| *weight > 0.0)
    }

    /// The best single model over the whole catalogue, to compare with.
    #[must_use]
    pub fn single_proposal(&self) -> Proposal {
        let single = self.single();
        let what = format!("only {}, whole catalogue", single.name);
        Proposal::new(format!("{} alone", single.name), what, None, &single.scorer, single.bytes)
    }

    /// The pipeline as written.
    #[must_use]
    pub fn as_written(&self) -> Proposal {
        let scorer = self.by_library.as_ref().unwrap_or(&self.compiled);
        Proposal {
            scorer: Arc::clone(scorer),
            judged_by: Arc::clone(&self.compiled),
            features_on_request: true,
            ..self.teacher(
                "as written",
                "every feature computed on request, the whole ensemble over the whole catalogue",
                None,
            )
        }
    }

    /// The compiled ensemble.
    fn teacher(&self, name: &str, what: &str, candidates: Option<CandidateCounts>) -> Proposal {
        let bytes = self.weighted().map(|(member, _)| member.bytes).sum();
        Proposal::new(name, what, candidates, &self.compiled, bytes)
    }

    /// What is tried after the pipeline as written, in order; of each rung's ways at most one is kept.
    #[must_use]
    pub fn rungs(&self, plan: &Plan<'_>) -> Vec<Vec<Proposal>> {
        let as_written = self.as_written();
        let batch = Proposal {
            name: "batch features".to_owned(),
            what: "features of users and items materialized before the request".to_owned(),
            features_on_request: false,
            ..as_written.clone()
        };
        let mut rungs = vec![vec![batch]];
        if self.by_library.is_some() {
            let what = "the same trees compiled to our own form instead of scored by LightGBM";
            rungs.push(vec![self.teacher("compiled forest", what, None)]);
        }
        let sizes = candidate_sizes(&plan.counts);
        let candidates = |counts: &CandidateCounts| {
            let most = candidates_max(counts);
            let what = format!("rank at most {most} candidates instead of the whole catalogue");
            self.teacher(&format!("{most} candidates"), &what, Some(*counts))
        };
        rungs.push(sizes.iter().map(candidates).collect());
        let single = self.single();
        let mut cheaper = Vec::new();
        if self.weighted().count() > 1 {
            cheaper.push(("best single model", format!("{} instead of the ensemble", single.name), single));
        }
        cheaper.extend(
            self.students.iter().map(|student| (student.name.as_str(), student.model.name.clone(), &student.model)),
        );
        let ways = cheaper.iter().flat_map(|(name, what, model)| {
            sizes.iter().map(move |counts| {
                let most = candidates_max(counts);
                let what = format!("{what}, at most {most} candidates");
                Proposal::new(format!("{name}, {most} candidates"), what, Some(*counts), &model.scorer, model.bytes)
            })
        });
        rungs.push(ways.collect());
        rungs
    }

    /// The files of the model that ranks in `step`.
    ///
    /// # Panics
    /// When the step is not of these models: the caller's bug.
    ///
    /// # Errors
    /// When the ensemble cannot be described.
    pub fn files_of(&self, step: &Proposal) -> Result<ScorerFiles> {
        if !Arc::ptr_eq(&step.judged_by, &self.compiled) {
            let all = self.members.iter().chain(self.students.iter().map(|student| &student.model));
            let found = all.into_iter().find(|model| Arc::ptr_eq(&model.scorer, &step.judged_by));
            return Ok(ScorerFiles::single(found.expect("a step of these models").file("model")));
        }
        let (mut members, mut files) = (Vec::new(), Vec::new());
        for (number, (member, weight)) in self.weighted().enumerate() {
            let file = member.file(&format!("member_{number}"));
            members.push(Member { file: file.0.clone(), weight, transform: member.transform });
            files.push(file);
        }
        Ok(ScorerFiles::ensemble(&EnsembleSpec::new(members, EnsembleOutput::Identity)?, files))
    }

    /// The step called `name`, as these models make it.
    ///
    /// # Panics
    /// When there is none: every fit of a pipeline makes the same steps.
    #[must_use]
    pub fn step(&self, plan: &Plan<'_>, name: &str) -> Proposal {
        let first = self.as_written();
        if first.name == name {
            return first;
        }
        let found = self.rungs(plan).into_iter().flatten().find(|proposal| proposal.name == name);
        found.expect("every fit of a pipeline makes the same steps")
    }
}

/// What needs no model: the most popular items of the window that the user may be shown.
///
/// # Errors
/// When the layout has no popularity.
pub fn popularity(layout: &RowLayout, k: usize) -> Result<Proposal> {
    let column = candidate_column(CandidateScore::Popular);
    let names = layout.names();
    let index = names.iter().position(|name| *name == column).context("the layout has every candidate score")?;
    let scorer: Arc<dyn Scorer> = Arc::new(Column { index, column_count: names.len() });
    let counts = CandidateCounts { als: 0, item_item: 0, last_basket: 0, similar_users: 0, popular: k };
    Ok(Proposal::new("recent popularity", "the most popular items, the same for everybody", Some(counts), &scorer, 0))
}

/// The weighted sum of the members that count.
fn ensemble(
    members: &[Fitted],
    weights: &[f64],
    scorer: impl Fn(&Fitted) -> Result<Arc<dyn Scorer>>,
) -> Result<Arc<dyn Scorer>> {
    let counting = || members.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    let members = counting()
        .map(|(member, &weight)| Member { file: member.name.clone(), weight, transform: member.transform })
        .collect();
    let spec = EnsembleSpec::new(members, EnsembleOutput::Identity)?;
    let scorers = counting().map(|(member, _)| scorer(member)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Ensemble::new(spec, scorers)?))
}

/// What is taught by `teacher`, side by side.
fn students(means: &Means<'_>, lessons: &Lessons<'_>, teacher: &dyn Scorer, seed: u64) -> Result<Vec<Student>> {
    let rows = lessons.student_rows;
    (means.say)(&format!("distilling the teacher on {} rows", rows.rows().len()));
    let mut scores = vec![0.0; rows.rows().len()];
    teacher.score(rows.rows(), &mut scores);
    let targets: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
    let students = parallel::map(STUDENT_NETWORKS.len() + 1, means.threads, |(), number| {
        let seed = seed + number as u64;
        Ok(match STUDENT_NETWORKS.get(number) {
            Some(hidden) => Student {
                name: format!("student network {}", hidden.map(|width| width.to_string()).join("-")),
                model: student::network(rows, &targets, hidden, seed)?,
            },
            None => Student {
                name: "student forest".to_owned(),
                model: student::forest(means.library, rows, &targets, lessons.layout.names(), seed)?,
            },
        })
    });
    students.into_iter().collect()
}

/// Weights of the members, and which member is best alone, on the candidates of the tuning slices.
pub fn blend_on(
    plan: &Plan<'_>,
    layout: &RowLayout,
    tune: &[Slice],
    world: &World,
    members: &[Fitted],
) -> Result<Blend> {
    let mut lists = CandidateLists::default();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); members.len()];
    let mut workspace = Workspace::default();
    for slice in tune {
        for outcome in &slice.outcomes.users {
            let state = slice.snapshot.state(&world.purchases, outcome.user);
            let Workspace { retrieval, candidates, rows, .. } = &mut workspace;
            let retriever = &slice.snapshot.retriever;
            retriever.score(&state, slice.snapshot.cut, plan.goal.label.new_only, &[], retrieval);
            retriever.candidates(&plan.counts, retrieval, candidates);
            if candidates.is_empty() {
                continue;
            }
            layout.fill(slice.snapshot.user(outcome.user), &slice.snapshot.items, retrieval, candidates, rows);
            let hits: Vec<bool> = candidates.iter().map(|item| outcome.relevant.binary_search(item).is_ok()).collect();
            lists.push(&hits, outcome.relevant.len());
            let mut scores = vec![0.0; candidates.len()];
            for (member, column) in members.iter().zip(&mut columns) {
                member.scorer.score(Rows::new(&rows.rows, layout.names().len()), &mut scores);
                column.extend(scores.iter().map(|&score| member.transform.apply(score)));
            }
        }
    }
    let goal = || BlendGoal::Lists { metric: plan.metric, lists: &lists };
    let alone = columns.iter().map(|column| Ok(find_blend(&[column], goal(), 1)?.value)).collect::<Result<Vec<_>>>()?;
    let best = (0..alone.len()).max_by(|&a, &b| alone[a].total_cmp(&alone[b])).context("there is no teacher")?;
    let borrowed: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    Ok(Blend { weights: find_blend(&borrowed, goal(), BLEND_PARTS)?.weights, best })
}
