//! The parts of the checked pipeline that a row model needs.

use anyhow::{Context, Result, bail};

use paceline_core::metrics::Metric;
use paceline_learn::search::Budget;
use paceline_serve::predict::RowTask;

use crate::pipeline::{Goal, Pipeline, RowModel, Split, Teacher};
use crate::run::findings;

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
    /// What the search holds.
    pub budget: Budget,
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
        let budget = findings::budget_of(pipeline)?;
        let (split, teacher) = (&model.split, &model.teacher);
        Ok(Plan { pipeline, rows, task, metric: model.metric, split, teacher, budget })
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
