//! From the search and the judged parts to the report.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;

use paceline_core::metrics::{Bootstrap, Estimate, Measured, Metric, RankingKind, RankingMetric, RowMetric};
use paceline_core::{Rows, Scorer};
use paceline_learn::search::Search;
use paceline_serve::predict::{Predictor, RowTask};

use super::candidates::{self, Candidate, Stand};
use super::quality::Judge;
use super::split::Parts;
use super::{Fitted, Run};
use crate::pipeline::Split;
use crate::report::{self, Report, SliceRole, place};
use crate::run::findings::{self, rejected};

/// One part of the data with the models that are judged there.
pub struct Judgement<'a> {
    role: SliceRole,
    judge: Judge,
    /// The part's rows as the models see them.
    matrix: Vec<f64>,
    fitted: &'a Fitted,
    /// Scores by model: steps that differ only in how they compute share them.
    known: Vec<Known>,
}

/// A model and its scores.
type Known = (Arc<dyn Scorer>, Rc<Vec<f64>>);

impl<'a> Judgement<'a> {
    /// Judges the models of `fitted` on the rows of `matrix`.
    pub fn new(role: SliceRole, judge: Judge, matrix: Vec<f64>, fitted: &'a Fitted) -> Self {
        Judgement { role, judge, matrix, fitted, known: Vec::new() }
    }

    /// The scores of a step.
    pub fn scores(&mut self, candidate: &Candidate) -> Rc<Vec<f64>> {
        self.scores_of(&candidate.model.scorer)
    }

    /// The quality of a step.
    ///
    /// # Errors
    /// When the metric has no value.
    pub fn of(&mut self, candidate: &Candidate) -> Result<Measured> {
        let scores = self.scores(candidate);
        self.judge.measure(&scores)
    }

    /// The quality of the best single model.
    ///
    /// # Errors
    /// When the metric has no value.
    pub fn of_single(&mut self) -> Result<Measured> {
        let scorer = Arc::clone(&self.fitted.teacher.single().scorer);
        let scores = self.scores_of(&scorer);
        self.judge.measure(&scores)
    }

    fn scores_of(&mut self, scorer: &Arc<dyn Scorer>) -> Rc<Vec<f64>> {
        if let Some((_, scores)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, scorer)) {
            return Rc::clone(scores);
        }
        let rows = Rows::new(&self.matrix, scorer.column_count());
        let mut scores = vec![0.0; rows.len()];
        scorer.score(rows, &mut scores);
        let scores = Rc::new(scores);
        self.known.push((Arc::clone(scorer), Rc::clone(&scores)));
        scores
    }

    /// The refitted, or first, form of the step called `name`.
    fn candidate(&self, name: &str) -> &'a Candidate {
        self.fitted.candidate(name).expect("models are fitted for every step that was kept")
    }
}

/// What a report is made from.
pub struct Findings<'a> {
    /// The run.
    pub run: &'a Run<'a>,
    /// Which rows were what.
    pub parts: &'a Parts,
    /// The search, finished.
    pub search: &'a Search,
    /// Whether the teacher is the reference, or its best single model.
    pub teacher_is_better: bool,
    /// What was searched among.
    pub searched: &'a Fitted,
}

impl Findings<'_> {
    /// The report; its figures come from `on_report`, or from the tuning part while the report part is closed.
    ///
    /// # Errors
    /// When there are too few units for an interval.
    pub fn report<'j>(
        &self,
        mut on_tune: Judgement<'j>,
        mut on_report: Option<Judgement<'j>>,
        report_slice_opened: u32,
    ) -> Result<Report> {
        let Run { plan, means, .. } = self.run;
        let mut slices = vec![self.slice(&mut on_tune, "tuning")?];
        if let Some(on_report) = &mut on_report {
            slices.push(self.slice(on_report, "report")?);
        }
        let features = self.features()?;
        let judged = match &mut on_report {
            Some(on_report) => on_report,
            None => &mut on_tune,
        };
        let bootstrap = self.run.bootstrap();
        let reference = self.reference(judged)?;
        let figure = |measured: &Measured| bootstrap.interval(measured);
        let written = judged.candidate(&judged.fitted.candidates[0].name);
        let teacher = figure(&judged.of(written)?)?;
        let on_reference = figure(&reference)?;
        let chosen = self.search.chosen().map(|step| step.trial.name.clone());
        let report = Report {
            schema: report::REPORT_SCHEMA,
            pipeline: plan.pipeline.name.clone(),
            task: plan.task_name().to_owned(),
            written_at: place::now(),
            data: self.data(),
            split: self.split(judged),
            budget: findings::asked(plan.budget),
            held: false,
            nearest_misses: Vec::new(),
            judged_on: judged.role,
            teacher: report::Teacher {
                metric: plan.metric.to_string(),
                value: teacher.value,
                ci: teacher.into(),
                what: judged.fitted.teacher.described(),
            },
            reference: report::Reference {
                name: match self.teacher_is_better {
                    true => "teacher".to_owned(),
                    false => judged.fitted.teacher.single().name.clone(),
                },
                value: on_reference.value,
                ci: on_reference.into(),
            },
            baseline: self.baseline(judged, &reference)?,
            ladder: self.ladder(judged, &reference)?,
            precomputed: Vec::new(),
            rejected: rejected(self.search, bootstrap)?,
            features,
            machine: place::machine(),
            versions: place::versions(means.library.path()),
            seed: plan.pipeline.seed,
            report_slice_opened,
            http_latency_ms: None,
            metrics: self.metrics(judged, chosen.as_deref()),
            slices,
            commands: means.commands.to_vec(),
            chosen,
        };
        findings::concluded(report, self.search)
    }

    fn reference(&self, judged: &mut Judgement<'_>) -> Result<Measured> {
        match self.teacher_is_better {
            true => judged.of(&judged.fitted.candidates[0]),
            false => judged.of_single(),
        }
    }

    fn compared(&self, measured: &Measured, reference: &Measured) -> Result<(Estimate, Estimate)> {
        let bootstrap: Bootstrap = self.run.bootstrap();
        Ok((bootstrap.interval(measured)?, bootstrap.retention(measured, reference)?))
    }

    fn ladder(&self, judged: &mut Judgement<'_>, reference: &Measured) -> Result<Vec<report::Step>> {
        let mut steps = Vec::with_capacity(self.search.ladder.len());
        for step in &self.search.ladder {
            let trial = &step.trial;
            let candidate = judged.candidate(&trial.name);
            let (metric, retention) = self.compared(&judged.of(candidate)?, reference)?;
            steps.push(report::Step {
                step: trial.name.clone(),
                what: trial.what.clone(),
                latency_ms: trial.latency.into(),
                rps: 1e3 / trial.latency.mean,
                metric: metric.value,
                ci: metric.into(),
                retention: retention.value,
                retention_ci: retention.into(),
                bytes: trial.bytes,
            });
        }
        Ok(steps)
    }

    fn baseline(&self, judged: &Judgement<'_>, reference: &Measured) -> Result<Option<report::Baseline>> {
        let Some((name, value)) = &judged.fitted.baseline else { return Ok(None) };
        let scores = vec![*value; judged.matrix.len() / judged.fitted.inputs.layout.names().len()];
        // A constant finds nothing by some metrics, which then have no retention: the report leaves it out.
        let Ok((metric, retention)) =
            judged.judge.measure(&scores).and_then(|measured| self.compared(&measured, reference))
        else {
            return Ok(None);
        };
        Ok(Some(report::Baseline {
            name: name.clone(),
            value: metric.value,
            ci: metric.into(),
            retention: retention.value,
        }))
    }

    /// The task's other metrics, of the teacher and of the chosen step; one that has no value here is left out.
    fn metrics(&self, judged: &mut Judgement<'_>, chosen: Option<&str>) -> Vec<report::MetricRow> {
        let plan = self.run.plan;
        let teacher = judged.scores(&judged.fitted.candidates[0]);
        let chosen = chosen.map(|name| judged.scores(judged.candidate(name)));
        let bootstrap = self.run.bootstrap();
        let row = |metric: Metric| {
            let figure = |scores: &[f64]| {
                let measured = judged.judge.measure_by(metric, scores).ok()?;
                Some(report::Figure::from(bootstrap.interval(&measured).ok()?))
            };
            let chosen = match &chosen {
                Some(scores) => Some(figure(scores)?),
                None => None,
            };
            Some(report::MetricRow { metric: metric.to_string(), teacher: figure(&teacher)?, chosen })
        };
        other_metrics(plan.task, plan.metric).into_iter().filter_map(row).collect()
    }

    fn slice(&self, judged: &mut Judgement<'_>, name: &str) -> Result<report::SliceResult> {
        let reference = self.reference(judged)?;
        let mut steps: Vec<report::SliceStep> = Vec::new();
        let mut seen: Vec<Rc<Vec<f64>>> = Vec::new();
        for step in &self.search.ladder {
            let candidate = judged.candidate(&step.trial.name);
            let scores = judged.scores(candidate);
            if seen.iter().any(|known| Rc::ptr_eq(known, &scores)) {
                continue;
            }
            seen.push(scores);
            let (metric, retention) = self.compared(&judged.of(candidate)?, &reference)?;
            steps.push(report::SliceStep {
                step: step.trial.name.clone(),
                metric: metric.value,
                ci: metric.into(),
                retention: retention.value,
                retention_ci: retention.into(),
            });
        }
        Ok(report::SliceResult {
            name: name.to_owned(),
            role: judged.role,
            units: judged.judge.unit_count() as u64,
            reference: reference.value(),
            steps,
        })
    }

    fn features(&self) -> Result<report::Features> {
        let Run { plan, frame, means } = self.run;
        let in_views: u64 = frame.views.iter().map(|view| view.features.len() as u64).sum();
        let on_request = plan.pipeline.request_features.len() as u64;
        let requests = candidates::requests(frame, &self.parts.tune);
        let teacher = &self.searched.teacher;
        let stand = Stand { library: means.library, frame, teacher, requests: &requests };
        let written = &self.searched.candidates[0];
        let files = candidates::artifact(plan, frame, &self.searched.inputs, &written.model);
        let predictor = Predictor::from_files(&files)?;
        let views = means.trials.cpu_ms("features of views", || stand.features_cpu_ms())?;
        let layout = means.trials.cpu_ms("request-time features and encoders", || stand.layout_cpu_ms(&predictor))?;
        let all = views + layout;
        Ok(report::Features {
            total: in_views + on_request,
            batch: in_views,
            stream: 0,
            request: on_request,
            share_of_compute_moved_to_batch: if all > 0.0 { (views / all).clamp(0.0, 1.0) } else { 0.0 },
            cpu_ms_as_written: Some(all),
            cpu_ms_as_served: Some(layout),
        })
    }

    fn data(&self) -> report::Data {
        let Run { plan, frame, .. } = self.run;
        let lists = plan.rows.group.as_ref().zip(frame.lists.as_ref());
        let entities =
            lists.map(|(group, lists)| (group.clone(), lists.iter().max().map_or(0, |most| u64::from(*most) + 1)));
        let sources = frame.sources.iter().map(|(source, _)| source.clone()).collect();
        report::Data { sources, entities: BTreeMap::from_iter(entities) }
    }

    fn split(&self, judged: &Judgement<'_>) -> report::Split {
        let (by, times) = match self.run.plan.split {
            Split::Time(split) => (
                report::SplitBy::Time,
                [
                    (None, Some(split.train_until)),
                    (Some(split.train_until), Some(split.tune_until)),
                    (Some(split.tune_until), Some(split.report_until)),
                ],
            ),
            Split::Column(_) => (report::SplitBy::Column, [(None, None); 3]),
            Split::Random(_) => (report::SplitBy::Random, [(None, None); 3]),
        };
        let parts = [
            (SliceRole::Fit, &self.parts.train),
            (SliceRole::Tune, &self.parts.tune),
            (SliceRole::Report, &self.parts.report),
        ];
        let part = |((role, rows), (from, until)): ((SliceRole, &Vec<usize>), _)| report::SplitPart {
            role,
            from,
            until,
            units: rows.len() as u64,
        };
        let unit = if judged.judge.unit_count() == judged.rows() { "rows" } else { "groups of rows" };
        report::Split { by, unit: unit.to_owned(), parts: parts.into_iter().zip(times).map(part).collect() }
    }
}

impl Judgement<'_> {
    fn rows(&self) -> usize {
        self.matrix.len() / self.fitted.inputs.layout.names().len()
    }
}

fn other_metrics(task: RowTask, own: Metric) -> Vec<Metric> {
    let all: Vec<Metric> = match (task, own) {
        (RowTask::Classify, _) => {
            [RowMetric::Auc, RowMetric::AveragePrecision, RowMetric::Accuracy, RowMetric::LogLoss, RowMetric::Brier]
                .map(Metric::from)
                .to_vec()
        }
        (RowTask::Regress, _) => [RowMetric::Rmse, RowMetric::Mae, RowMetric::R2].map(Metric::from).to_vec(),
        (RowTask::Rank, Metric::Ranking(ranking)) => {
            RankingKind::ALL.map(|kind| Metric::from(RankingMetric { kind, ..ranking })).to_vec()
        }
        (RowTask::Rank, Metric::Row(_) | Metric::Coverage { .. }) => Vec::new(),
    };
    all.into_iter().filter(|metric| *metric != own).collect()
}
