//! The steps of the ladder: what each is, how it is measured, and what came out.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use paceline_core::metrics::{Bootstrap, Estimate, Measured, RankingMetric};
use paceline_core::{Scorer, Value};
use paceline_learn::search::{Budget, Judged, Latency, Search, Trial};
use paceline_learn::{NetworkLoss, NetworkSpec, TrainingRows, fit_network};
use paceline_models::ensemble::ScoreTransform;
use paceline_models::recommend::CandidateCounts;
use paceline_serve::recommend::{ItemTable, Recommender, Request, RowLayout, Workspace};

use super::evaluate::{self, Slice};
use super::teacher::{Fitted, Training};
use super::world::World;
use crate::measure;

/// Longest time that one step's latency is measured for.
const MEASURE_MAX: Duration = Duration::from_secs(6);

/// One step that the search may take.
#[derive(Clone)]
pub struct Proposal {
    /// Unique name.
    pub name: String,
    /// One sentence.
    pub what: String,
    /// Candidates per source, `None` for the whole catalogue.
    pub candidates: Option<CandidateCounts>,
    /// The rank stage.
    pub scorer: Arc<dyn Scorer>,
    /// Whether every feature is computed from raw rows when the request comes.
    pub features_on_request: bool,
    /// Bytes of the model files.
    pub bytes: u64,
}

impl Proposal {
    /// Whether both give the same answers: where features are computed changes the latency alone.
    fn answers_like(&self, other: &Proposal) -> bool {
        Arc::ptr_eq(&self.scorer, &other.scorer) && self.candidates == other.candidates
    }
}

/// The report slice, opened: the refitted steps and what retention is relative to.
pub struct OpenReport {
    /// Its cuts.
    pub slices: Vec<Slice>,
    /// The steps with refitted models.
    pub proposals: Vec<Proposal>,
    /// The refitted reference.
    pub reference: Proposal,
}

/// The quality of steps on some slices. Ranking the whole catalogue for every user is most of a run's work, so steps
/// with the same answers are measured once.
pub struct Qualities<'a> {
    stand: &'a Stand<'a>,
    slices: &'a [Slice],
    measured: Vec<(Proposal, Measured)>,
}

impl<'a> Qualities<'a> {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(stand: &'a Stand<'a>, slices: &'a [Slice]) -> Self {
        Qualities { stand, slices, measured: Vec::new() }
    }

    /// The metric over all users of the slices.
    pub fn of(&mut self, proposal: &Proposal) -> Result<Measured> {
        if let Some((_, quality)) = self.measured.iter().find(|(known, _)| known.answers_like(proposal)) {
            return Ok(quality.clone());
        }
        let quality = self.stand.quality(self.slices, proposal)?;
        self.measured.push((proposal.clone(), quality.clone()));
        Ok(quality)
    }
}

/// What steps are measured with.
pub struct Stand<'a> {
    /// The data.
    pub world: &'a World,
    /// What makes a row.
    pub layout: Arc<RowLayout>,
    /// The metric of quality.
    pub metric: RankingMetric,
    /// Whether owned items are left out.
    pub new_only: bool,
    /// Threads for evaluation; latency is always measured on one.
    pub threads: usize,
}

impl Stand<'_> {
    fn recommender(&self, slice: &Slice, proposal: &Proposal) -> Recommender {
        Recommender {
            retriever: Arc::clone(&slice.snapshot.retriever),
            candidates: proposal.candidates,
            layout: Arc::clone(&self.layout),
            scorer: Arc::clone(&proposal.scorer),
            new_only: self.new_only,
        }
    }

    fn quality(&self, slices: &[Slice], proposal: &Proposal) -> Result<Measured> {
        evaluate::measure(slices, &self.world.purchases, self.metric, self.threads, |slice| {
            self.recommender(slice, proposal)
        })
    }

    /// Times requests of the slice's users, one at a time.
    pub fn trial(&self, slice: &Slice, proposal: &Proposal, tuning: Measured) -> Result<Trial> {
        let recommender = self.recommender(slice, proposal);
        let (snapshot, users) = (&slice.snapshot, &slice.outcomes.users);
        let states: Vec<_> = users.iter().map(|o| snapshot.state(&self.world.purchases, o.user)).collect();
        let mut workspace = Workspace::default();
        let mut failure = None;
        let k = self.metric.k.get();
        let least = if proposal.features_on_request { 20 } else { 200 };
        let samples = measure::measure(users.len(), least, 4_000, MEASURE_MAX, |i| {
            let mut answer = |user: &[Value], items: &ItemTable| {
                let request = Request { user, state: &states[i], items, now: snapshot.cut, k, excluded: &[] };
                black_box(recommender.answer(request, &mut workspace));
            };
            if proposal.features_on_request {
                match self.features_on_request(slice, users[i].user) {
                    Ok((user, items)) => answer(&user, &items),
                    Err(error) => failure = Some(error),
                }
            } else {
                answer(snapshot.user(users[i].user), &snapshot.items)
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        Ok(Trial {
            name: proposal.name.clone(),
            what: proposal.what.clone(),
            latency: samples.latency(),
            tuning,
            bytes: proposal.bytes,
        })
    }

    /// What the pipeline as written does for one request: every feature of the user and of all items from raw rows.
    fn features_on_request(&self, slice: &Slice, user: u32) -> Result<(Vec<Value>, ItemTable)> {
        let (world, cut) = (self.world, slice.snapshot.cut);
        let values = world.user_side.compute(&world.users[user as usize], cut)?;
        let mut items = Vec::with_capacity(world.catalogue.len() * world.item_side.types().len());
        for item in world.catalogue.items() {
            items.extend(world.item_side.compute(item, cut)?);
        }
        Ok((values, ItemTable::new(items, world.item_side.types().len())))
    }
}

/// A small network that learns the teacher's scores on the training rows.
pub fn distill(training: &Training, teacher: &dyn Scorer, seed: u64) -> Result<Fitted> {
    let rows = training.rows();
    let mut scores = vec![0.0; rows.len()];
    teacher.score(rows, &mut scores);
    let transform = paceline_learn::blend::fit_score_transform(&scores);
    let targets: Vec<f32> = scores.iter().map(|&score| transform.apply(score) as f32).collect();
    let spec = NetworkSpec {
        hidden: vec![64, 32],
        loss: NetworkLoss::SquaredError,
        epochs_max: 15,
        patience: 15,
        weight_decay: 1e-4,
        batch_rows: 512,
        seed,
        ..NetworkSpec::default()
    };
    let network = fit_network(TrainingRows::new(rows, &targets, None)?, None, &spec)?.network;
    let bytes = network.to_bytes().len() as u64;
    Ok(Fitted {
        name: "a network of 64 and 32 units taught by the ensemble".to_owned(),
        scorer: Arc::new(network),
        transform: ScoreTransform::Identity,
        bytes,
    })
}

/// One measured step.
#[derive(Debug, Clone, Serialize)]
pub struct StepFinding {
    /// Its name.
    pub step: String,
    /// One sentence.
    pub what: String,
    /// Latency of one request.
    pub latency_ms: Latency,
    /// Times faster than as written, at the median.
    pub times_faster: f64,
    /// Bytes of the model files.
    pub bytes: u64,
    /// The metric on the tuning slice.
    pub tuning: Estimate,
    /// Retention on the tuning slice.
    pub tuning_retention: Estimate,
    /// The metric on the report slice, `None` while it is closed.
    pub report: Option<Estimate>,
    /// Retention on the report slice.
    pub report_retention: Option<Estimate>,
    /// Why it was not kept; `None` for a kept step.
    pub rejected: Option<String>,
}

/// What a run found.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// What retention is relative to.
    pub reference: String,
    /// Kept steps in the order applied, from the pipeline as written.
    pub ladder: Vec<StepFinding>,
    /// Everything else that was tried.
    pub rejected: Vec<StepFinding>,
    /// The fastest kept step that holds the budget, chosen on the tuning slice.
    pub chosen: Option<String>,
    /// What to read when nothing was chosen.
    pub nearest_misses: Vec<String>,
    /// Whether the chosen step's retention holds the floor on the report slice too; `None` while it is closed.
    pub held_on_report: Option<bool>,
}

impl Findings {
    /// Puts the search's figures and those of the report slice together.
    pub(super) fn gather(
        stand: &Stand<'_>,
        search: Search,
        bootstrap: Bootstrap,
        budget: Budget,
        report: Option<OpenReport>,
        reference: String,
    ) -> Result<Findings> {
        let mut opened = match &report {
            Some(report) => {
                let mut qualities = Qualities::new(stand, &report.slices);
                let reference = qualities.of(&report.reference)?;
                Some((qualities, reference, &report.proposals))
            }
            None => None,
        };
        let as_written = search.ladder[0].trial.latency.p50;
        let mut finding = |step: &Judged, rejected: Option<String>| -> Result<StepFinding> {
            let on_report = match &mut opened {
                Some((qualities, reference, proposals)) if rejected.is_none() => {
                    let proposal = proposals.iter().find(|proposal| proposal.name == step.trial.name);
                    let quality = qualities.of(proposal.expect("refitted models give the same steps"))?;
                    Some((bootstrap.interval(&quality)?, bootstrap.retention(&quality, reference)?))
                }
                _ => None,
            };
            Ok(StepFinding {
                step: step.trial.name.clone(),
                what: step.trial.what.clone(),
                latency_ms: step.trial.latency,
                times_faster: as_written / step.trial.latency.p50,
                bytes: step.trial.bytes,
                tuning: bootstrap.interval(&step.trial.tuning)?,
                tuning_retention: step.retention,
                report: on_report.map(|(value, _)| value),
                report_retention: on_report.map(|(_, retention)| retention),
                rejected,
            })
        };
        let ladder = search.ladder.iter().map(|step| finding(step, None)).collect::<Result<Vec<_>>>()?;
        let rejected = search
            .rejected
            .iter()
            .map(|(step, rejection)| finding(step, Some(rejection.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let chosen = search.chosen().map(|step| step.trial.name.clone());
        let held_on_report = chosen.as_ref().and_then(|name| {
            let step = ladder.iter().find(|step| step.step == *name)?;
            step.report_retention.map(|retention| retention.low >= budget.keep)
        });
        let nearest_misses = search
            .nearest_misses(3)
            .into_iter()
            .map(|(step, breaks)| format!("{}: {}", step.trial.name, breaks.join("; ")))
            .collect();
        Ok(Findings { reference, ladder, rejected, chosen, nearest_misses, held_on_report })
    }
}
