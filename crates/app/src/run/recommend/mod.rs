//! A recommender, from its sources to a measured ladder.
//!
//! Training cuts teach, tuning cuts choose, report cuts are looked at once at the end. What was chosen is refitted on
//! training and tuning cuts together before the report: newer months are worth having, and the choice is made by then.

mod assemble;
mod cuts;
mod evaluate;
mod gather;
mod lists;
mod models;
mod proposal;
mod side;
mod similarity;
mod snapshot;
mod staleness;
mod stand;
mod student;
mod teacher;
mod world;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use paceline_core::metrics::{Bootstrap, Metric, RankingMetric};
use paceline_core::{OnlineStore, Timestamp};
use paceline_features::{FeatureView, Placement};
use paceline_learn::forest::Library;
use paceline_learn::recommend::{Outcomes, SampleSpec};
use paceline_learn::search::{Budget, Search, Trial};
use paceline_models::recommend::CandidateCounts;
use paceline_serve::recommend::RowLayout;

use self::assemble::Frame;
use self::evaluate::{Qualities, Slice};
use self::gather::{Gathering, Judgement};
use self::models::{Lessons, Models, blend_on};
use self::proposal::Proposal;
pub use self::side::Side;
pub use self::snapshot::{ItemFactors, Snapshot};
pub(in crate::run) use self::staleness::CutStudy;
use self::stand::{Effort, Stand};
use self::teacher::Training;
pub use self::world::World;
use super::findings;
use super::trials::Trials;
use crate::pipeline::{Goal, Pipeline, Recommend, Split, Teacher, TimeSplit};
use crate::report::{self, Report, SliceRole, openings, place};
use crate::serving;

/// How a run is carried out; none of it but `trials` changes a result.
pub struct Means<'a> {
    /// LightGBM.
    pub library: &'a Library,
    /// Threads for fitting and evaluation.
    pub threads: usize,
    /// Told what begins.
    pub say: &'a dyn Fn(&str),
    /// The stopwatch, or the record that stands for it.
    pub trials: &'a Trials,
    /// Whether the report slice is opened.
    pub open_report: bool,
    /// Folder of the run: each opening of the report slice is recorded there.
    pub out: &'a Path,
    /// A store that several machines share, to time look-ups in; `None` where none was named.
    pub shared_store: Option<&'a dyn OnlineStore>,
    /// The commands that repeat the run.
    pub commands: &'a [String],
}

/// The parts of the checked pipeline that a recommender needs.
struct Plan<'a> {
    pipeline: &'a Pipeline,
    goal: &'a Recommend,
    split: &'a TimeSplit,
    teachers: &'a [crate::pipeline::NamedTeacher],
    metric: RankingMetric,
    counts: CandidateCounts,
    budget: Budget,
}

fn plan(pipeline: &Pipeline) -> Result<Plan<'_>> {
    let model = pipeline.model.as_ref().context("the pipeline has no [model]")?;
    let Goal::Recommend(goal) = &model.goal else { bail!("[model] task = \"recommend\" is what this version runs") };
    let Split::Time(split) = &model.split else { bail!("[split] a recommender is split by time") };
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
    let budget = findings::budget_of(pipeline)?;
    Ok(Plan { pipeline, goal, split, teachers, metric, counts, budget })
}

/// Runs the pipeline and reports what was found.
///
/// # Errors
/// When the pipeline is not a recommender, a source cannot be read, or a part of the split has no evaluated user.
pub fn run(pipeline: &Pipeline, means: &Means<'_>) -> Result<Report> {
    let plan = plan(pipeline)?;
    let say = means.say;
    warn_of_placements(pipeline, say);
    say("reading sources");
    let world = World::load(pipeline, plan.goal)?;
    let every = plan.split.cuts.as_ref().context("[split] cuts are missing")?;
    let cuts = cuts::plan(plan.split, every, plan.goal.label.horizon, world.times.0);
    let parts = parts(&plan, &world, &cuts)?;
    let layout = Arc::new(layout(&plan, &world)?);
    let slices = |what: &str, cuts: &[Timestamp]| -> Result<Vec<Slice>> {
        cuts.iter()
            .map(|&cut| {
                say(&format!("{what}: everything as known before {cut}"));
                slice(&plan, &world, &layout, cut, means.threads)
            })
            .collect()
    };
    let train = slices("training", &cuts.train)?;
    let tune = slices("tuning", &cuts.tune)?;

    say("training the teacher");
    let sample = |slices: &[&Slice]| Training::sample(slices, &world.purchases, &layout, &sample_spec(&plan));
    let student_rows =
        |slices: &[&Slice]| student::rows(slices, &world.purchases, &layout, &sample_spec(&plan), &plan.counts);
    let train_slices: Vec<&Slice> = train.iter().collect();
    let lessons =
        Lessons { layout: &layout, training: &sample(&train_slices), student_rows: &student_rows(&train_slices) };
    let models = Models::fit(&plan, means, &lessons, |members| blend_on(&plan, &layout, &tune, &world, members))?;
    let stand = Stand {
        world: &world,
        expressions: expressions_only(&plan, &world)?,
        layout: Arc::clone(&layout),
        metric: plan.metric,
        new_only: plan.goal.label.new_only,
        threads: means.threads,
    };
    let bootstrap = Bootstrap { seed: pipeline.seed, ..Bootstrap::default() };

    say("searching for the cheapest pipeline that holds the budget");
    let timed = tune.iter().max_by_key(|slice| slice.outcomes.users.len()).expect("the tuning part has users");
    let mut on_tune = Judgement { role: SliceRole::Tune, qualities: Qualities::new(&stand, &tune), models: &models };
    let as_written = models.as_written();
    let teacher = on_tune.qualities.of(&as_written)?;
    let single = on_tune.qualities.of(&models.single_proposal())?;
    let teacher_is_better = teacher.value() >= single.value();
    let reference = if teacher_is_better { teacher.clone() } else { single };
    stand.check_judged_by(timed, &as_written)?;
    let timing = Timing { stand: &stand, slice: timed, trials: means.trials, pipeline: &pipeline.name };
    let first = timing.trial(&as_written, teacher, Effort::SLOW)?;
    let mut search = Search::start(first, reference, bootstrap, plan.budget)?;
    for rung in models.rungs(&plan) {
        let mut ways = Vec::new();
        for proposal in &rung {
            say(&format!("measuring: {}", proposal.name));
            let quality = on_tune.qualities.of(proposal)?;
            let effort = if search.holds_floor(&quality)? { Effort::WELL } else { Effort::BRIEFLY };
            ways.push(timing.trial(proposal, quality, effort)?);
        }
        search.propose_any(ways)?;
    }
    let gathering = Gathering { plan: &plan, world: &world, search: &search, bootstrap, teacher_is_better };
    let features = features(&plan, &gathering, &models, &timing)?;

    let slice_digest = openings::slice_digest(&world.digests(), plan.split);
    if !means.open_report {
        let opened = openings::count(means.out, slice_digest)?;
        let frame = Frame { means, layout: &layout, timing: &timing, parts, features, report_slice_opened: opened };
        return frame.assemble(&gathering, on_tune, None);
    }
    say("refitting on training and tuning cuts");
    let both: Vec<&Slice> = train.iter().chain(&tune).collect();
    let lessons = Lessons { layout: &layout, training: &sample(&both), student_rows: &student_rows(&both) };
    let refitted = Models::fit(&plan, means, &lessons, |_| Ok(models.blend.clone()))?;
    say("opening the report slice");
    let opening = openings::Opening { at: place::now(), slice: slice_digest, pipeline: pipeline.digest() };
    let opened = openings::record(means.out, &opening)?;
    let report_slices = slices("report", &cuts.report)?;
    let qualities = Qualities::new(&stand, &report_slices);
    let on_report = Judgement { role: SliceRole::Report, qualities, models: &refitted };
    let frame = Frame { means, layout: &layout, timing: &timing, parts, features, report_slice_opened: opened };
    let report = frame.assemble(&gathering, on_tune, Some(on_report))?;
    if let (true, Some(chosen)) = (report.held, &report.chosen) {
        say("publishing what was chosen, with everything known at the end of the data");
        publish(&plan, &world, &layout, &refitted, chosen, means)?;
    }
    Ok(report)
}

/// Publishes the chosen step with a candidate stage as of the end of the data, and makes it what is served.
fn publish(
    plan: &Plan<'_>,
    world: &World,
    layout: &RowLayout,
    models: &Models,
    chosen: &str,
    means: &Means<'_>,
) -> Result<()> {
    let step = models.step(plan, chosen);
    let as_of = serving::end_of_data(world);
    let snapshot = Snapshot::at(world, layout, plan.goal, as_of, plan.pipeline.seed, means.threads)?;
    let publication = serving::Publication {
        pipeline: plan.pipeline,
        goal: plan.goal,
        world,
        layout,
        retriever: &snapshot.retriever,
        as_of,
        candidates: step.candidates,
        scorer: models.files_of(&step)?,
    };
    let digest = serving::publish_recommender(&publication, &means.out.join(serving::MODELS_FOLDER))?;
    (means.say)(&format!("published {} as {}", plan.pipeline.name, digest.short()));
    Ok(())
}

/// Which views are not placed in batch: what is served reads every view from the online store.
fn warn_of_placements(pipeline: &Pipeline, say: &dyn Fn(&str)) {
    let of_user = |view: &FeatureView| pipeline.recommend().is_some_and(|goal| view.entity == [goal.user.as_str()]);
    // A user's features may be kept current by events; those of items are read from the store, all at once.
    let is_current = |view: &&FeatureView| match view.placement {
        Placement::Batch => true,
        Placement::Stream => of_user(view),
        Placement::Request => false,
    };
    for view in pipeline.views.iter().filter(|view| !is_current(view)) {
        say(&format!(
            "warning: [features.{}] has no `schedule`: what is served reads it from the online store, as old as the last \
             `features materialize`; write schedule = \"1d\" so that training sees the same",
            view.name
        ));
    }
}

/// The parts of the split with their users. Refuses a part without enough of them before anything is trained.
fn parts(plan: &Plan<'_>, world: &World, cuts: &cuts::Plan) -> Result<Vec<report::SplitPart>> {
    let split = plan.split;
    let mut parts = Vec::new();
    for (role, name, cuts, until) in [
        (SliceRole::Fit, "training", &cuts.train, split.train_until),
        (SliceRole::Tune, "tuning", &cuts.tune, split.tune_until),
        (SliceRole::Report, "report", &cuts.report, split.report_until),
    ] {
        let mut users: Vec<u32> =
            cuts.iter().flat_map(|&cut| outcomes(plan, world, cut).users).map(|outcome| outcome.user).collect();
        users.sort_unstable();
        users.dedup();
        if users.len() < 2 {
            bail!(
                "[split] the {name} part, until {until}, has {} users to learn from or to judge by, at least 2 are needed: a user counts \
                 who has {} earlier items and takes up one in a whole label window of the part; the data reach from {} \
                 to {}",
                users.len(),
                plan.goal.history_items_min,
                world.times.0,
                world.times.1
            );
        }
        parts.push(report::SplitPart {
            role,
            from: cuts.first().copied(),
            until: Some(until),
            units: users.len() as u64,
        });
    }
    Ok(parts)
}

fn outcomes(plan: &Plan<'_>, world: &World, cut: Timestamp) -> Outcomes {
    let goal = plan.goal;
    let history_min = goal.history_items_min as usize;
    Outcomes::at(&world.purchases, cut, cut + goal.label.horizon, history_min, goal.label.new_only)
}

fn slice(plan: &Plan<'_>, world: &World, layout: &RowLayout, cut: Timestamp, threads: usize) -> Result<Slice> {
    Ok(Slice {
        snapshot: Snapshot::at(world, layout, plan.goal, cut, plan.pipeline.seed, threads)?,
        outcomes: outcomes(plan, world, cut),
    })
}

fn layout(plan: &Plan<'_>, world: &World) -> Result<RowLayout> {
    let expressions: Vec<(String, String)> =
        plan.pipeline.request_features.iter().map(|named| (named.name.clone(), named.expression.clone())).collect();
    Ok(RowLayout::new(world.user_side.types(), world.item_side.types(), &expressions)?)
}

/// Only the request-time features, to time them alone.
fn expressions_only(plan: &Plan<'_>, world: &World) -> Result<Option<RowLayout>> {
    let mut layout = layout(plan, world)?;
    let names: Vec<String> = layout.names().iter().filter(|name| name.starts_with("request.")).cloned().collect();
    if names.is_empty() {
        return Ok(None);
    }
    layout.select(&names)?;
    Ok(Some(layout))
}

fn sample_spec(plan: &Plan<'_>) -> SampleSpec {
    SampleSpec {
        negatives_per_user: plan.goal.negatives_per_user as usize,
        users_max: usize::MAX,
        new_only: plan.goal.label.new_only,
        seed: plan.pipeline.seed,
    }
}

/// Where latency is measured.
struct Timing<'a> {
    stand: &'a Stand<'a>,
    slice: &'a Slice,
    trials: &'a Trials,
    pipeline: &'a str,
}

impl Timing<'_> {
    fn trial(&self, proposal: &Proposal, tuning: paceline_core::metrics::Measured, effort: Effort) -> Result<Trial> {
        let latency = self.trials.latency(&proposal.name, || self.stand.latency(self.slice, proposal, effort))?;
        let (name, what) = (proposal.name.clone(), proposal.what.clone());
        Ok(Trial { name, what, latency, tuning, bytes: proposal.bytes })
    }
}

/// Where features are computed, and what of their CPU time is left in a request.
fn features(
    plan: &Plan<'_>,
    gathering: &Gathering<'_>,
    models: &Models,
    timing: &Timing<'_>,
) -> Result<report::Features> {
    let search = gathering.search;
    let served = search.chosen().unwrap_or_else(|| search.current());
    let cpu_ms =
        |name: &str, step: &Proposal| timing.trials.cpu_ms(name, || timing.stand.feature_cpu_ms(timing.slice, step));
    let written = cpu_ms("features as written", &models.as_written())?;
    let left = cpu_ms("features as served", &models.step(plan, &served.trial.name))?;
    let in_views = plan.pipeline.views.iter().map(|view| view.features.len() as u64).sum();
    let on_request = plan.pipeline.request_features.len() as u64;
    Ok(report::Features {
        total: in_views + on_request,
        batch: in_views,
        stream: 0,
        request: on_request,
        share_of_compute_moved_to_batch: if written > 0.0 { (1.0 - left / written).clamp(0.0, 1.0) } else { 0.0 },
        cpu_ms_as_written: Some(written),
        cpu_ms_as_served: Some(left),
    })
}
