//! A row model asked with older features; see [`crate::run::staleness`].

use std::sync::Arc;

use anyhow::Result;
use paceline_core::metrics::{Estimate, Measured};
use paceline_core::{Rows, Scorer};
use paceline_features::FeatureView;
use paceline_serve::predict::RowInputs;

use super::frame::Frame;
use super::plan::Plan;
use super::quality::{Judge as Judging, judge_of};
use super::split::Parts;
use super::{Run, models};
use crate::pipeline::Pipeline;
use crate::plan::Judge;
use crate::run::Means;
use crate::run::staleness::{Study, bootstrap, mean_age_s};

/// The best single model of the teacher.
pub struct RowStudy<'a> {
    pipeline: &'a Pipeline,
    threads: usize,
    frame: Frame,
    tune: Vec<usize>,
    judging: Judging,
    layout: RowInputs,
    scorer: Arc<dyn Scorer>,
    model: String,
    exact: Measured,
}

impl<'a> RowStudy<'a> {
    pub(in crate::run) fn new(pipeline: &'a Pipeline, means: &'a Means<'a>) -> Result<RowStudy<'a>> {
        let plan = Plan::of(pipeline)?;
        models::check_import(&plan)?;
        let frame = Frame::load(&plan, means.threads, means.say)?;
        let parts = Parts::of(&plan, &frame)?;
        let judging = judge_of(&plan, &frame, &parts, false)?;
        let run = Run { plan: &plan, frame: &frame, means };
        let fitted = run.fit(&parts.train, &[], means.say, |inputs, members| {
            let matrix = frame.matrix(&inputs.layout, &parts.tune)?;
            let rows = Rows::new(&matrix, inputs.layout.names().len());
            models::blend_on(&judging, rows, members, models::output_of(plan.task))
        })?;
        let single = fitted.teacher.single();
        let (scorer, model) = (Arc::clone(&single.scorer), single.name.clone());
        let layout = fitted.inputs.layout;
        let exact = measure(&frame, &layout, &*scorer, &judging, &parts.tune)?;
        Ok(RowStudy {
            pipeline,
            threads: means.threads,
            frame,
            tune: parts.tune,
            judging,
            layout,
            scorer,
            model,
            exact,
        })
    }
}

fn measure(
    frame: &Frame,
    layout: &RowInputs,
    scorer: &dyn Scorer,
    judging: &Judging,
    tune: &[usize],
) -> Result<Measured> {
    let matrix = frame.matrix(layout, tune)?;
    let mut scores = vec![0.0; tune.len()];
    scorer.score(Rows::new(&matrix, layout.names().len()), &mut scores);
    judging.measure(&scores)
}

impl Study for RowStudy<'_> {
    fn retention(&self, variant: &Pipeline, view: &FeatureView) -> Result<(Estimate, f64)> {
        let frame = Frame::load(&Plan::of(variant)?, self.threads, &|_| ())?;
        let measured = measure(&frame, &self.layout, &*self.scorer, &self.judging, &self.tune)?;
        let times = self.frame.times.iter().flat_map(|times| self.tune.iter().map(|row| times.event[*row]));
        Ok((bootstrap(self.pipeline).retention(&measured, &self.exact)?, mean_age_s(variant, view, times)))
    }

    fn judge(&self) -> Result<Judge> {
        let exact = bootstrap(self.pipeline).interval(&self.exact)?.into();
        Ok(Judge { model: self.model.clone(), metric: self.exact.metric().to_string(), exact })
    }
}
