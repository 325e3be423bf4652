//! From the search and the judged slices to the report.

use anyhow::Result;

use paceline_core::metrics::{Bootstrap, Estimate, Measured, RankingKind, RankingMetric};
use paceline_learn::search::{Judged, Search};

use super::evaluate::{Answers, Qualities, Slice, units};
use super::models::{Models, popularity};
use super::proposal::Proposal;
use super::{Plan, World};
use crate::report;
use crate::run::findings;

/// The slices of one part of the data with the models that are judged there.
pub struct Judgement<'a> {
    /// Tuning or report.
    pub role: report::SliceRole,
    /// Its slices, and what steps answer there.
    pub qualities: Qualities<'a>,
    /// The models: on tuning data those of the training cuts, on report data the refitted ones.
    pub models: &'a Models,
}

/// What the figures of a report are computed from.
pub struct Gathering<'a> {
    /// The pipeline.
    pub plan: &'a Plan<'a>,
    /// The data.
    pub world: &'a World,
    /// The search, finished.
    pub search: &'a Search,
    /// How intervals are drawn.
    pub bootstrap: Bootstrap,
    /// Whether the teacher is the reference, or the best single model.
    pub teacher_is_better: bool,
}

/// The quality of one step: the metric and retention, with intervals.
pub struct Quality {
    /// The metric.
    pub metric: Estimate,
    /// Divided by the reference's.
    pub retention: Estimate,
}

impl Gathering<'_> {
    /// The step that retention is relative to.
    pub fn reference(&self, models: &Models) -> Proposal {
        if self.teacher_is_better { models.as_written() } else { models.single_proposal() }
    }

    /// What `answers` are worth, on all users of the part.
    ///
    /// # Errors
    /// When no user is judged, or the reference finds nothing.
    pub fn quality(&self, judgement: &mut Judgement<'_>, answers: &Answers) -> Result<Quality> {
        let reference = judgement.qualities.of(&self.reference(judgement.models))?;
        let measured = answers.measured(judgement.qualities.slices, self.plan.metric)?;
        self.compared(&measured, &reference)
    }

    fn compared(&self, measured: &Measured, reference: &Measured) -> Result<Quality> {
        Ok(Quality {
            metric: self.bootstrap.interval(measured)?,
            retention: self.bootstrap.retention(measured, reference)?,
        })
    }

    /// The ladder's steps as judged on `judgement`.
    ///
    /// # Errors
    /// As [`Gathering::quality`].
    pub fn ladder(&self, judgement: &mut Judgement<'_>) -> Result<Vec<report::Step>> {
        let step = |judged: &Judged| -> Result<report::Step> {
            let trial = &judged.trial;
            let answers = judgement.qualities.answers(&judgement.models.step(self.plan, &trial.name));
            let quality = self.quality(judgement, &answers)?;
            Ok(report::Step {
                step: trial.name.clone(),
                what: trial.what.clone(),
                latency_ms: trial.latency.into(),
                rps: 1e3 / trial.latency.mean,
                metric: quality.metric.value,
                ci: quality.metric.into(),
                retention: quality.retention.value,
                retention_ci: quality.retention.into(),
                bytes: trial.bytes,
            })
        };
        self.search.ladder.iter().map(step).collect()
    }

    /// What was tried and not kept, as it was on tuning data.
    ///
    /// # Errors
    /// When there are too few users for an interval.
    pub fn rejected(&self) -> Result<Vec<report::Rejected>> {
        findings::rejected(self.search, self.bootstrap)
    }

    /// The metric of `proposal` on `judgement`.
    ///
    /// # Errors
    /// When no user is judged.
    pub fn figure(&self, judgement: &mut Judgement<'_>, proposal: &Proposal) -> Result<report::Figure> {
        Ok(self.bootstrap.interval(&judgement.qualities.of(proposal)?)?.into())
    }

    /// What recent popularity alone reaches.
    ///
    /// # Errors
    /// As [`Gathering::quality`].
    pub fn baseline(
        &self,
        judgement: &mut Judgement<'_>,
        layout: &paceline_serve::recommend::RowLayout,
    ) -> Result<report::Baseline> {
        let proposal = popularity(layout, self.plan.metric.k.get())?;
        let answers = judgement.qualities.answers(&proposal);
        let quality = self.quality(judgement, &answers)?;
        let window = self.plan.goal.candidates.popular_window;
        Ok(report::Baseline {
            name: format!("popularity of the last {window}"),
            value: quality.metric.value,
            ci: quality.metric.into(),
            retention: quality.retention.value,
        })
    }

    /// The other ranking metrics and coverage, of the teacher and of the chosen step.
    ///
    /// # Errors
    /// When there are too few users for an interval.
    pub fn metrics(&self, judgement: &mut Judgement<'_>, chosen: Option<&str>) -> Result<Vec<report::MetricRow>> {
        let teacher = judgement.qualities.answers(&judgement.models.as_written());
        let chosen = chosen.map(|name| judgement.qualities.answers(&judgement.models.step(self.plan, name)));
        let slices = judgement.qualities.slices;
        let mut rows = Vec::new();
        for kind in RankingKind::ALL.into_iter().filter(|kind| *kind != self.plan.metric.kind) {
            let metric = RankingMetric { kind, ..self.plan.metric };
            let figure = |answers: &Answers| -> Result<report::Figure> {
                Ok(self.bootstrap.interval(&answers.measured(slices, metric)?)?.into())
            };
            rows.push(report::MetricRow {
                metric: metric.to_string(),
                teacher: figure(&teacher)?,
                chosen: chosen.as_deref().map(figure).transpose()?,
            });
        }
        let coverage = |answers: &Answers| self.coverage(slices, answers);
        rows.push(report::MetricRow {
            metric: format!("coverage@{}", self.plan.metric.k),
            teacher: coverage(&teacher)?,
            chosen: chosen.as_deref().map(coverage).transpose()?,
        });
        Ok(rows)
    }

    /// Of the items that were available at any of the cuts.
    fn coverage(&self, slices: &[Slice], answers: &Answers) -> Result<report::Figure> {
        // Available items get the numbers from 0, so that their number is the catalogue's size.
        let mut number_of = vec![u32::MAX; self.world.catalogue.len()];
        let mut available = 0;
        for (item, number) in number_of.iter_mut().enumerate() {
            if slices.iter().any(|slice| slice.snapshot.retriever.available[item]) {
                *number = available;
                available += 1;
            }
        }
        let numbered: Vec<Vec<u32>> =
            answers.lists().map(|list| list.iter().map(|&item| number_of[item as usize]).collect()).collect();
        let lists: Vec<&[u32]> = numbered.iter().map(Vec::as_slice).collect();
        let k = self.plan.metric.k.get();
        Ok(self.bootstrap.coverage(&lists, &units(slices), k, available as usize)?.into())
    }

    /// Quality on each single slice of a part, and on all together where there are several: the steps of the ladder that
    /// answer differently, the pipeline as written left out when it is the reference. Slices of fewer than two users, and
    /// steps that have no retention there (the reference found nothing), are left out.
    pub fn slices(&self, judgement: &mut Judgement<'_>) -> Vec<report::SliceResult> {
        let reference = judgement.qualities.answers(&self.reference(judgement.models));
        let mut steps: Vec<(&str, std::rc::Rc<Answers>)> = Vec::new();
        for judged in &self.search.ladder {
            let name = judged.trial.name.as_str();
            let answers = judgement.qualities.answers(&judgement.models.step(self.plan, name));
            let known = |other: &std::rc::Rc<Answers>| std::rc::Rc::ptr_eq(other, &answers);
            if !known(&reference) && !steps.iter().any(|(_, other)| known(other)) {
                steps.push((name, answers));
            }
        }
        let slices = judgement.qualities.slices;
        let mut ranges: Vec<_> = (0..slices.len()).map(|at| at..at + 1).collect();
        if slices.len() > 1 {
            ranges.push(0..slices.len());
        }
        let result = |range: std::ops::Range<usize>| {
            let measured = |answers: &Answers| answers.measured_on(slices, range.clone(), self.plan.metric);
            let on_reference = measured(&reference).ok()?;
            let units = on_reference.units().count();
            let judged = steps.iter().filter_map(|(name, answers)| {
                let quality = self.compared(&measured(answers).ok()?, &on_reference).ok()?;
                Some(report::SliceStep {
                    step: (*name).to_owned(),
                    metric: quality.metric.value,
                    ci: quality.metric.into(),
                    retention: quality.retention.value,
                    retention_ci: quality.retention.into(),
                })
            });
            Some(report::SliceResult {
                name: if range.len() == 1 { date(slices[range.start].snapshot.cut) } else { "together".to_owned() },
                role: judgement.role,
                units: units as u64,
                reference: on_reference.value(),
                steps: judged.collect(),
            })
        };
        ranges.into_iter().filter_map(result).filter(|slice| slice.units > 1).collect()
    }
}

/// `2011-10-01`.
pub fn date(at: paceline_core::Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

impl From<paceline_learn::search::Latency> for report::Latency {
    fn from(latency: paceline_learn::search::Latency) -> Self {
        report::Latency { p50: latency.p50, p99: latency.p99, mean: latency.mean }
    }
}
