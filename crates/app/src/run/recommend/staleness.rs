//! A recommender asked with older features; see [`crate::run::staleness`].

use std::sync::Arc;

use anyhow::{Context as _, Result};
use paceline_core::Timestamp;
use paceline_core::metrics::{Estimate, Measured};
use paceline_features::FeatureView;
use paceline_serve::recommend::RowLayout;

use super::evaluate::Slice;
use super::proposal::Proposal;
use super::stand::Stand;
use super::teacher::{self, Training};
use super::{Means, Plan, World, cuts, layout, parts, plan, sample_spec, slice};
use crate::pipeline::Pipeline;
use crate::plan::Judge;
use crate::run::staleness::{Study, bootstrap, mean_age_s};

/// The first model of the teacher, which ranks candidates.
pub struct CutStudy<'a> {
    plan: Plan<'a>,
    world: World,
    layout: Arc<RowLayout>,
    tune: Vec<Slice>,
    proposal: Proposal,
    threads: usize,
    exact: Measured,
}

impl<'a> CutStudy<'a> {
    pub(in crate::run) fn new(pipeline: &'a Pipeline, means: &'a Means<'a>) -> Result<CutStudy<'a>> {
        let plan = plan(pipeline)?;
        let world = World::load(pipeline, plan.goal)?;
        let every = plan.split.cuts.as_ref().context("[split] cuts are missing")?;
        let cuts = cuts::plan(plan.split, every, plan.goal.label.horizon, world.times.0);
        parts(&plan, &world, &cuts)?;
        let layout = Arc::new(layout(&plan, &world)?);
        let slices = |cuts: &[Timestamp]| -> Result<Vec<Slice>> {
            cuts.iter().map(|&cut| slice(&plan, &world, &layout, cut, means.threads)).collect()
        };
        let (train, tune) = (slices(&cuts.train)?, slices(&cuts.tune)?);
        let train: Vec<&Slice> = train.iter().collect();
        let training = Training::sample(&train, &world.purchases, &layout, &sample_spec(&plan));
        let teacher = plan.teachers.first().context("there is no teacher")?;
        (means.say)(&format!("training {} on {} rows", teacher.name, training.rows().len()));
        let fitted = teacher::fit(means.library, teacher, &training, layout.names(), pipeline.seed)?;
        let proposal = Proposal::new(teacher.name.clone(), "", Some(plan.counts), &fitted.scorer, fitted.bytes);
        let exact = measure(&plan, &world, &layout, &tune, &proposal, means.threads)?;
        Ok(CutStudy { plan, world, layout, tune, proposal, threads: means.threads, exact })
    }
}

fn measure(
    plan: &Plan<'_>,
    world: &World,
    layout: &Arc<RowLayout>,
    slices: &[Slice],
    proposal: &Proposal,
    threads: usize,
) -> Result<Measured> {
    let stand = Stand {
        world,
        layout: Arc::clone(layout),
        expressions: None,
        metric: plan.metric,
        new_only: plan.goal.label.new_only,
        threads,
    };
    Ok(stand.answers(slices, proposal).measured(slices, plan.metric)?)
}

impl Study for CutStudy<'_> {
    fn retention(&self, variant: &Pipeline, view: &FeatureView) -> Result<(Estimate, f64)> {
        let placed = World::load(variant, self.plan.goal)?;
        let slice = |exact: &Slice| -> Result<Slice> {
            let snapshot = exact.snapshot.with_features_of(&placed, &self.layout, self.threads)?;
            Ok(Slice { snapshot, outcomes: exact.outcomes.clone() })
        };
        let slices: Vec<Slice> = self.tune.iter().map(slice).collect::<Result<_>>()?;
        let measured = measure(&self.plan, &self.world, &self.layout, &slices, &self.proposal, self.threads)?;
        let retention = bootstrap(self.plan.pipeline).retention(&measured, &self.exact)?;
        Ok((retention, mean_age_s(variant, view, self.tune.iter().map(|slice| slice.snapshot.cut))))
    }

    fn judge(&self) -> Result<Judge> {
        let exact = bootstrap(self.plan.pipeline).interval(&self.exact)?.into();
        Ok(Judge { model: self.proposal.name.clone(), metric: self.exact.metric().to_string(), exact })
    }
}
