//! The parts of the checked pipeline that a row model needs.

use anyhow::{Context, Result, bail};

use paceline_core::metrics::Metric;
use paceline_learn::search::Budget;
use paceline_serve::predict::RowTask;

use crate::pipeline::{Goal, Optimize, Pipeline, RowModel, Split, Teacher};

/// What is asked for.
pub struct Plan<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Source, label and columns.
    pub rows: &'a RowModel,
    /// What is predicted.
    pub task: RowTask,
    /// The metric of quality.
    pub metric: Metric,
    /// Which rows train, tune and report.
    pub split: &'a Split,
    /// Where the model comes from.
    pub teacher: &'a Teacher,
    /// What must be held, as written.
    pub optimize: &'a Optimize,
}

impl<'a> Plan<'a> {
    /// Of a pipeline whose task learns from rows.
    ///
    /// # Errors
    /// When the pipeline has no model or no budget, or recommends.
    pub fn of(pipeline: &'a Pipeline) -> Result<Plan<'a>> {
        let model = pipeline.model.as_ref().context("the pipeline has no [model]")?;
        let (rows, task) = match &model.goal {
            Goal::Classify(rows) => (rows, RowTask::Classify),
            Goal::Regress(rows) => (rows, RowTask::Regress),
            Goal::Rank(rows) => (rows, RowTask::Rank),
            Goal::Recommend(_) => bail!("[model] task = \"recommend\" learns from users and items, not from rows"),
        };
        let optimize =
            pipeline.optimize.as_ref().context("the pipeline has no [optimize], so there is no budget to hold")?;
        if let Some(most) = optimize.memory_mb_max {
            bail!(
                "[optimize] memory_mb_max = {most}: this version does not measure memory; bytes_max bounds the models"
            );
        }
        let (split, teacher) = (&model.split, &model.teacher);
        Ok(Plan { pipeline, rows, task, metric: model.metric, split, teacher, optimize })
    }

    /// What the search holds.
    pub fn budget(&self) -> Budget {
        let Optimize { keep, p99_ms, memory_mb_max: _, rps_min, bytes_max } = *self.optimize;
        Budget { keep, p99_ms, bytes_max, rps_min }
    }

    /// The word that a pipeline file uses.
    pub fn task_name(&self) -> &'static str {
        match self.task {
            RowTask::Classify => "classify",
            RowTask::Regress => "regress",
            RowTask::Rank => "rank",
        }
    }
}
