//! A recommender, from its sources to a measured ladder.
//!
//! Training cuts teach, tuning cuts choose, report cuts are looked at once at the end. What was chosen is refitted on
//! training and tuning cuts together before the report: newer months are worth having, and the choice is made by then.

mod cuts;
mod evaluate;
mod side;
mod snapshot;
mod steps;
mod teacher;
mod world;

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use paceline_core::metrics::{Bootstrap, Metric, RankingMetric};
use paceline_core::{Scorer, Timestamp};
use paceline_learn::forest::Library;
use paceline_learn::recommend::{Outcomes, SampleSpec};
use paceline_learn::search::{Budget, Search};
use paceline_learn::{BlendGoal, CandidateLists, find_blend};
use paceline_models::Ensemble;
use paceline_models::ensemble::{EnsembleOutput, EnsembleSpec, Member};
use paceline_models::recommend::CandidateCounts;
use paceline_serve::recommend::{RowLayout, Workspace};

use self::evaluate::Slice;
use self::snapshot::Snapshot;
use self::steps::{OpenReport, Proposal, Qualities, Stand};
use self::teacher::{Fitted, Training};
use self::world::World;
use crate::pipeline::{Goal, Pipeline, Recommend, Split, Teacher};

pub use self::steps::{Findings, StepFinding};

/// Uniform negatives per user and cut.
const NEGATIVES_PER_USER: usize = 40;
/// Steps of the blend's weights.
const BLEND_PARTS: u32 = 20;

/// How a run is carried out; none of it changes a result.
pub struct Means<'a> {
    /// LightGBM.
    pub library: &'a Library,
    /// Threads for fitting and evaluation.
    pub threads: usize,
    /// Told what begins.
    pub say: &'a dyn Fn(&str),
    /// Whether the report slice is opened.
    pub open_report: bool,
}

/// The parts of the checked pipeline that a recommender needs.
struct Plan<'a> {
    pipeline: &'a Pipeline,
    goal: &'a Recommend,
    teachers: &'a [crate::pipeline::NamedTeacher],
    metric: RankingMetric,
    counts: CandidateCounts,
    budget: Budget,
}

fn plan(pipeline: &Pipeline) -> Result<Plan<'_>> {
    let model = pipeline.model.as_ref().context("the pipeline has no [model]")?;
    let Goal::Recommend(goal) = &model.goal else { bail!("[model] task = \"recommend\" is what this version runs") };
    let Teacher::Train(teachers) = &model.teacher else {
        bail!("[model] import: a recommender trains its own teacher")
    };
    let Metric::Ranking(metric) = model.metric else {
        bail!("[optimize] metric = \"{}\": a recommender is measured by a ranking metric such as ndcg@10", model.metric)
    };
    let candidates = &goal.candidates;
    let counts = CandidateCounts {
        als: candidates.als as usize,
        item_item: candidates.item_item as usize,
        last_basket: candidates.last_basket as usize,
        similar_users: candidates.similar_users as usize,
        popular: candidates.popular as usize,
    };
    let optimize =
        pipeline.optimize.as_ref().context("the pipeline has no [optimize], so there is no budget to hold")?;
    let budget = Budget {
        keep: optimize.keep,
        p99_ms: optimize.p99_ms,
        bytes_max: optimize.bytes_max,
        rps_min: optimize.rps_min,
    };
    Ok(Plan { pipeline, goal, teachers, metric, counts, budget })
}

/// Runs the pipeline and returns what was found.
///
/// # Errors
/// When the pipeline is not a recommender, a source cannot be read, or a part of the split has no evaluated user.
pub fn run(pipeline: &Pipeline, means: &Means<'_>) -> Result<Findings> {
    let plan = plan(pipeline)?;
    (means.say)("reading sources");
    let world = World::load(pipeline, plan.goal)?;
    let Some(Split::Time(split)) = pipeline.model.as_ref().map(|model| &model.split) else {
        bail!("[split] a recommender is split by time")
    };
    let every = split.cuts.as_ref().context("[split] cuts are missing")?;
    let cuts = cuts::plan(split, every, plan.goal.label.horizon, world.times.0);
    let slices = |what: &str, cuts: &[Timestamp]| -> Result<Vec<Slice>> {
        cuts.iter()
            .map(|&cut| {
                (means.say)(&format!("{what}: everything as known before {cut}"));
                slice(&plan, &world, cut, means.threads)
            })
            .collect()
    };
    let train = slices("training", &cuts.train)?;
    let tune = slices("tuning", &cuts.tune)?;
    for (part, slices) in [("training", &train), ("tuning", &tune)] {
        if slices.iter().all(|slice| slice.outcomes.users.is_empty()) {
            bail!(
                "[split] no user to learn from in the {part} part: it needs a whole label window with users who have {} \
                 earlier items; the data reach from {} to {}",
                plan.goal.history_items_min,
                world.times.0,
                world.times.1
            );
        }
    }
    let layout = Arc::new(layout(&plan, &world)?);

    (means.say)("training the teacher");
    let sample = |slices: &[Slice]| Training::sample(slices, &world.purchases, &layout, &sample_spec(&plan));
    let models = Models::fit(&plan, means, &layout, &sample(&train), None, &tune, &world)?;
    let stand = Stand {
        world: &world,
        layout: Arc::clone(&layout),
        metric: plan.metric,
        new_only: plan.goal.label.new_only,
        threads: means.threads,
    };
    let bootstrap = Bootstrap { seed: pipeline.seed, ..Bootstrap::default() };

    (means.say)("searching for the cheapest pipeline that holds the budget");
    let proposals = models.proposals(&plan);
    let latency_slice = tune.last().expect("checked above");
    let mut on_tune = Qualities::new(&stand, &tune);
    let teacher_quality = on_tune.of(&proposals[0])?;
    let single_quality = on_tune.of(&models.single_proposal())?;
    let teacher_is_better = teacher_quality.value() >= single_quality.value();
    let reference = if teacher_is_better { teacher_quality.clone() } else { single_quality };
    let first = stand.trial(latency_slice, &proposals[0], teacher_quality)?;
    let mut search = Search::start(first, reference, bootstrap, plan.budget)?;
    for proposal in &proposals[1..] {
        (means.say)(&format!("measuring: {}", proposal.name));
        let quality = on_tune.of(proposal)?;
        search.propose(stand.trial(latency_slice, proposal, quality)?)?;
    }

    let report = if means.open_report {
        (means.say)("refitting on training and tuning cuts");
        let both: Vec<Slice> = train.into_iter().chain(tune).collect();
        let refitted = Models::fit(&plan, means, &layout, &sample(&both), Some(&models), &[], &world)?;
        let proposals = refitted.proposals(&plan);
        let reference = if teacher_is_better { proposals[0].clone() } else { refitted.single_proposal() };
        Some(OpenReport { slices: slices("report", &cuts.report)?, proposals, reference })
    } else {
        None
    };
    let reference_name = if teacher_is_better { "teacher".to_owned() } else { models.single().name.clone() };
    Findings::gather(&stand, search, bootstrap, plan.budget, report, reference_name)
}

fn slice(plan: &Plan<'_>, world: &World, cut: Timestamp, threads: usize) -> Result<Slice> {
    let goal = plan.goal;
    let until = cut + goal.label.horizon;
    let history_min = goal.history_items_min as usize;
    Ok(Slice {
        snapshot: Snapshot::at(world, cut, goal.candidates.popular_window, plan.pipeline.seed, threads)?,
        outcomes: Outcomes::at(&world.purchases, cut, until, history_min, goal.label.new_only),
    })
}

fn layout(plan: &Plan<'_>, world: &World) -> Result<RowLayout> {
    let expressions: Vec<(String, String)> =
        plan.pipeline.request_features.iter().map(|named| (named.name.clone(), named.expression.clone())).collect();
    Ok(RowLayout::new(world.user_side.types(), world.item_side.types(), &expressions)?)
}

fn sample_spec(plan: &Plan<'_>) -> SampleSpec {
    SampleSpec {
        negatives_per_user: NEGATIVES_PER_USER,
        users_max: usize::MAX,
        new_only: plan.goal.label.new_only,
        seed: plan.pipeline.seed,
    }
}

/// All trained models of one fit.
pub struct Models {
    members: Vec<Fitted>,
    weights: Vec<f64>,
    best: usize,
    ensemble: Arc<Ensemble>,
    student: Fitted,
}

impl Models {
    /// Trains the members; their weights and which of them is best come from `earlier`, else from the tuning slices.
    fn fit(
        plan: &Plan<'_>,
        means: &Means<'_>,
        layout: &RowLayout,
        training: &Training,
        earlier: Option<&Models>,
        tune: &[Slice],
        world: &World,
    ) -> Result<Models> {
        let seed = plan.pipeline.seed;
        let members = (0u64..)
            .zip(plan.teachers)
            .map(|(number, teacher)| {
                (means.say)(&format!("training {}", teacher.name));
                teacher::fit(means.library, teacher, training, layout.names(), seed + number)
            })
            .collect::<Result<Vec<_>>>()?;
        let (weights, best) = match earlier {
            Some(earlier) => (earlier.weights.clone(), earlier.best),
            None => blend(plan, layout, tune, world, &members)?,
        };
        let spec = EnsembleSpec::new(
            members
                .iter()
                .zip(&weights)
                .map(|(member, &weight)| Member { file: member.name.clone(), weight, transform: member.transform })
                .collect(),
            EnsembleOutput::Identity,
        )?;
        let ensemble = Arc::new(Ensemble::new(spec, members.iter().map(|m| Arc::clone(&m.scorer)).collect())?);
        (means.say)("distilling the teacher");
        let student = steps::distill(training, &*ensemble, seed)?;
        Ok(Models { members, weights, best, ensemble, student })
    }

    fn single(&self) -> &Fitted {
        &self.members[self.best]
    }

    fn teacher_bytes(&self) -> u64 {
        self.members
            .iter()
            .zip(&self.weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(member, _)| member.bytes)
            .sum()
    }

    fn single_proposal(&self) -> Proposal {
        let single = self.single();
        Proposal {
            name: format!("{} alone", single.name),
            what: format!("only {}, whole catalogue", single.name),
            candidates: None,
            scorer: Arc::clone(&single.scorer),
            features_on_request: false,
            bytes: single.bytes,
        }
    }

    /// The steps in the order that they are tried; the first is the pipeline as written.
    fn proposals(&self, plan: &Plan<'_>) -> Vec<Proposal> {
        let ensemble: Arc<dyn Scorer> = Arc::clone(&self.ensemble) as Arc<dyn Scorer>;
        let teacher = |name: &str, what: &str, candidates, features_on_request| Proposal {
            name: name.to_owned(),
            what: what.to_owned(),
            candidates,
            scorer: Arc::clone(&ensemble),
            features_on_request,
            bytes: self.teacher_bytes(),
        };
        let mut proposals = vec![
            teacher("as written", "every feature computed on request, whole ensemble, whole catalogue", None, true),
            teacher("batch features", "features materialized before the request", None, false),
            teacher("candidates", "rank only what the candidate sources name", Some(plan.counts), false),
            teacher("half the candidates", "half as many from each source", Some(plan.counts.scaled(0.5)), false),
        ];
        let single = self.single();
        let cheaper = [
            ("best single model", format!("{} instead of the ensemble", single.name), &single.scorer, single.bytes),
            ("distilled network", self.student.name.clone(), &self.student.scorer, self.student.bytes),
        ];
        for (name, what, scorer, bytes) in cheaper {
            for (suffix, candidates) in [("", plan.counts), (", half the candidates", plan.counts.scaled(0.5))] {
                proposals.push(Proposal {
                    name: format!("{name}{suffix}"),
                    what: format!("{what}{suffix}"),
                    candidates: Some(candidates),
                    scorer: Arc::clone(scorer),
                    features_on_request: false,
                    bytes,
                });
            }
        }
        proposals
    }
}

/// Weights of the members, and which member is best alone, on the candidates of the tuning slices.
fn blend(
    plan: &Plan<'_>,
    layout: &RowLayout,
    tune: &[Slice],
    world: &World,
    members: &[Fitted],
) -> Result<(Vec<f64>, usize)> {
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
                member.scorer.score(paceline_core::Rows::new(&rows.rows, layout.names().len()), &mut scores);
                column.extend(scores.iter().map(|&score| member.transform.apply(score)));
            }
        }
    }
    let goal = || BlendGoal::Lists { metric: plan.metric, lists: &lists };
    let alone = columns.iter().map(|column| Ok(find_blend(&[column], goal(), 1)?.value)).collect::<Result<Vec<_>>>()?;
    let best = (0..alone.len()).max_by(|&a, &b| alone[a].total_cmp(&alone[b])).context("there is no teacher")?;
    let borrowed: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    Ok((find_blend(&borrowed, goal(), BLEND_PARTS)?.weights, best))
}
