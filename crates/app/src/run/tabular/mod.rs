//! A model of rows (classify, regress, rank), from its sources to a measured ladder and a published artifact.
//!
//! Training rows teach, tuning rows choose, report rows are looked at once at the end. What was chosen is refitted on
//! training and tuning rows together before the report. Every step is measured as the artifact that would be published,
//! read back from its files.

mod candidates;
mod encode;
mod frame;
mod members;
mod models;
mod needs;
mod plan;
mod quality;
mod report;
mod split;
mod staleness;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use paceline_core::metrics::{Bootstrap, Measured};
use paceline_core::{Manifest, Rows, manifest::MANIFEST_SCHEMA};
use paceline_learn::search::{Search, Trial};
use paceline_serve::predict::Predictor;
use paceline_store::ArtifactRegistry;

use self::candidates::{Candidate, Stand};
use self::encode::FittedInputs;
use self::frame::Frame;
use self::members::{Member, Training, lightgbm_names};
use self::models::{BlendChoice, Student, Teacher, blend_on, output_of, taught};
use self::plan::Plan;
use self::quality::{check_judges, judge_of, list_sizes};
use self::report::{Findings, Judgement};
use self::split::Parts;
pub(in crate::run) use self::staleness::RowStudy;
use super::Means;
use crate::pipeline::Pipeline;
use crate::report::{Report, SliceRole, openings, place};
use crate::serving::MODELS_FOLDER;

/// Runs the pipeline and reports what was found; a step that holds the budget on the report slice too is published and
/// promoted below `models` in the run's folder.
///
/// # Errors
/// When a source cannot be read, a part of the split is empty or has one class only, or a model cannot be trained.
pub fn run(pipeline: &Pipeline, means: &Means<'_>) -> Result<Report> {
    let plan = Plan::of(pipeline)?;
    let say = means.say;
    models::check_import(&plan)?;
    say("reading sources");
    let frame = Frame::load(&plan, means.threads, say)?;
    let parts = Parts::of(&plan, &frame)?;
    if parts.late > 0 {
        say(&format!("{} rows were not known by the end of their part; nothing learns from them", parts.late));
    }
    let run = Run { plan: &plan, frame: &frame, means };
    check_judges(&plan, &frame, &parts, &run.bootstrap())?;
    let judge = judge_of(&plan, &frame, &parts, false)?;

    say("training the teacher");
    let choose = |inputs: &FittedInputs, members: &[Member]| {
        let matrix = frame.matrix(&inputs.layout, &parts.tune)?;
        blend_on(&judge, Rows::new(&matrix, inputs.layout.names().len()), members, output_of(plan.task))
    };
    let fitted = run.fit(&parts.train, &Student::all(), say, choose)?;

    say("searching for the cheapest model that holds the budget");
    let mut on_tune =
        Judgement::new(SliceRole::Tune, judge, frame.matrix(&fitted.inputs.layout, &parts.tune)?, &fitted);
    let (search, teacher_is_better) = run.search(&fitted, &mut on_tune, &parts)?;
    let findings = Findings { run: &run, parts: &parts, search: &search, teacher_is_better, searched: &fitted };
    let digests: Vec<_> = frame.sources.iter().map(|(_, digest)| *digest).collect();
    let slice = openings::slice_digest(&digests, plan.split);
    if !means.open_report {
        return findings.report(on_tune, None, openings::count(means.out, slice)?);
    }

    say("refitting on training and tuning rows");
    let students: Vec<Student> = search
        .ladder
        .iter()
        .filter_map(|step| fitted.candidate(&step.trial.name).and_then(|candidate| candidate.student.clone()))
        .collect();
    let quiet = |_: &str| {};
    let refitted = run.fit(&parts.refit, &students, &quiet, |_, _| Ok(fitted.teacher.blend.clone()))?;
    say("opening the report slice");
    let opening = openings::Opening { at: place::now(), slice, pipeline: pipeline.digest() };
    let opened = openings::record(means.out, &opening)?;
    let judge = judge_of(&plan, &frame, &parts, true)?;
    let matrix = frame.matrix(&refitted.inputs.layout, &parts.report)?;
    let mut on_report = Judgement::new(SliceRole::Report, judge, matrix, &refitted);
    let proven = search.chosen().and_then(|step| refitted.candidate(&step.trial.name)).map(|candidate| {
        let files = candidates::artifact(&plan, &frame, &refitted.inputs, &candidate.model);
        let predictor = Predictor::from_files(&files)?;
        candidates::prove_equal(&frame, &parts.report, &predictor, &on_report.scores(candidate))?;
        Ok::<_, anyhow::Error>(files)
    });
    let proven = proven.transpose()?;
    let report = findings.report(on_tune, Some(on_report), opened)?;
    if let Some(files) = proven.filter(|_| report.held) {
        run.publish(files, report.chosen.as_deref().unwrap_or_default())?;
    }
    Ok(report)
}

/// Everything that was learned from some rows.
pub struct Fitted {
    inputs: FittedInputs,
    teacher: Teacher,
    /// The pipeline as written first.
    candidates: Vec<Candidate>,
    baseline: Option<(String, f64)>,
}

impl Fitted {
    /// The step of that name.
    fn candidate(&self, name: &str) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.name == name)
    }
}

/// One run of a pipeline.
pub struct Run<'a> {
    plan: &'a Plan<'a>,
    frame: &'a Frame,
    means: &'a Means<'a>,
}

impl Run<'_> {
    /// Fits encoders, teacher and students to `rows`.
    fn fit(
        &self,
        rows: &[usize],
        students: &[Student],
        say: &dyn Fn(&str),
        choose: impl FnOnce(&FittedInputs, &[Member]) -> Result<BlendChoice>,
    ) -> Result<Fitted> {
        let Run { plan, frame, means } = self;
        let (inputs, matrix) = encode::fit(plan, frame, rows, say)?;
        let names = lightgbm_names(inputs.layout.names());
        let labels = frame.labels_of(rows);
        let lists = list_sizes(frame, rows);
        let training = Training { rows: &matrix, names: &names, targets: &labels, lists: lists.as_deref() };
        let with = members::Means { library: means.library, threads: means.threads };
        let teacher = Teacher::fit(plan, with, &training, say, |members| choose(&inputs, members))?;
        let mut candidates = candidates::of_teacher(&teacher, !frame.views.is_empty())?;
        let mut scores = vec![0.0; rows.len()];
        candidates[0].model.scorer.score(training.rows(), &mut scores);
        let targets: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        for student in students {
            say(&format!("teaching a {}", student.name()));
            let model = student.fit(plan.task, with, &taught(&training, &targets), plan.pipeline.seed)?;
            candidates.push(Candidate::of_student(student.clone(), model));
        }
        let baseline = models::baseline(plan, &labels);
        Ok(Fitted { inputs, teacher, candidates, baseline })
    }

    /// Measures every step on tuning rows and walks from the slowest to the fastest; also says whether the teacher is
    /// better than its best single model, and so the reference.
    fn search(&self, fitted: &Fitted, on_tune: &mut Judgement<'_>, parts: &Parts) -> Result<(Search, bool)> {
        let Run { plan, frame, means } = self;
        let requests = candidates::requests(frame, &parts.tune);
        let stand = Stand { library: means.library, frame, teacher: &fitted.teacher, requests: &requests };
        let mut trials = Vec::with_capacity(fitted.candidates.len());
        for candidate in &fitted.candidates {
            (means.say)(&format!("measuring: {}", candidate.name));
            let files = candidates::artifact(plan, frame, &fitted.inputs, &candidate.model);
            let predictor = Predictor::from_files(&files).context("an artifact that was just made")?;
            let latency = means.trials.latency(&candidate.name, || stand.latency(&predictor, candidate.way))?;
            let (name, what) = (candidate.name.clone(), candidate.what.clone());
            trials.push(Trial { name, what, latency, tuning: on_tune.of(candidate)?, bytes: candidate.model.bytes() });
        }
        let as_written = trials.remove(0);
        let single = on_tune.of_single()?;
        let teacher_is_better = is_at_least_as_good(&as_written.tuning, &single);
        let reference = if teacher_is_better { as_written.tuning.clone() } else { single };
        // From slow to fast, so that each kept step is a gain over the one before it.
        trials.sort_by(|a, b| b.latency.p50.total_cmp(&a.latency.p50));
        let mut search = Search::start(as_written, reference, self.bootstrap(), plan.budget)?;
        for trial in trials {
            search.propose(trial)?;
        }
        Ok((search, teacher_is_better))
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap { seed: self.plan.pipeline.seed, ..Bootstrap::default() }
    }

    /// Publishes an artifact and makes it the current one.
    fn publish(&self, files: BTreeMap<String, Vec<u8>>, step: &str) -> Result<()> {
        let Run { plan, frame, means } = self;
        let mut inputs = BTreeMap::from([
            ("pipeline".to_owned(), plan.pipeline.digest().to_string()),
            ("seed".to_owned(), plan.pipeline.seed.to_string()),
            ("step".to_owned(), step.to_owned()),
        ]);
        let sources = frame.sources.iter();
        inputs.extend(sources.map(|(source, digest)| (format!("source.{}", source.name), digest.to_string())));
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA,
            name: plan.pipeline.name.clone(),
            task: plan.task_name().to_owned(),
            files: BTreeMap::new(),
            inputs,
        };
        let registry = ArtifactRegistry::new(means.out.join(MODELS_FOLDER));
        let digest = registry.publish(manifest, files)?;
        registry.promote(&plan.pipeline.name, &digest)?;
        (means.say)(&format!("published {} {}", plan.pipeline.name, digest.short()));
        Ok(())
    }
}

fn is_at_least_as_good(a: &Measured, b: &Measured) -> bool {
    if a.metric().higher_is_better() { a.value() >= b.value() } else { a.value() <= b.value() }
}
