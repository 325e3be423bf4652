//! Which metrics suit which task.

use std::num::NonZeroUsize;

use paceline_core::metrics::{Metric, RankingKind, RowMetric};

use super::mistake::nearest;
use super::raw::Task;

/// The metric of a pipeline that names none: `ndcg@10` for recommend and rank, `auc` for classify, `rmse` for regress.
#[must_use]
pub fn default_metric(task: Task) -> Metric {
    match task {
        Task::Recommend | Task::Rank => RankingKind::Ndcg.at(NonZeroUsize::new(10).expect("10 is above 0")).into(),
        Task::Classify => RowMetric::Auc.into(),
        Task::Regress => RowMetric::Rmse.into(),
    }
}

/// The metrics that a budget of the task can hold, lists at their usual length. Left out are coverage, which has no
/// interval over users, and r2, whose quotient means nothing where it is zero or negative.
#[must_use]
pub fn metrics_of(task: Task) -> &'static [&'static str] {
    match task {
        Task::Recommend | Task::Rank => &["ndcg@10", "recall@10", "mrr@10", "map@10", "hit_rate@10"],
        Task::Classify => &["auc", "average_precision", "accuracy", "log_loss", "brier"],
        Task::Regress => &["rmse", "mae", "pinball@0.5"],
    }
}

/// Why a budget of the task cannot be measured by `metric`; `None` when it can.
#[must_use]
pub fn objection(metric: &Metric, task: Task) -> Option<&'static str> {
    let suits = match (metric, task) {
        (Metric::Coverage { .. }, _) => return Some("says nothing about single users, so it has no interval"),
        (metric, Task::Regress) if metric.may_be_zero_or_negative() => {
            return Some("can be zero or negative, so a share of it means nothing");
        }
        (Metric::Ranking(_), Task::Recommend | Task::Rank) => true,
        (Metric::Ranking(_), Task::Classify | Task::Regress) | (Metric::Row(_), Task::Recommend | Task::Rank) => false,
        (Metric::Row(row), Task::Classify | Task::Regress) => {
            let of_classes = match row {
                RowMetric::Auc
                | RowMetric::AveragePrecision
                | RowMetric::Accuracy
                | RowMetric::LogLoss
                | RowMetric::Brier => true,
                RowMetric::Rmse | RowMetric::Mae | RowMetric::Pinball { .. } | RowMetric::R2 => false,
            };
            of_classes == (task == Task::Classify)
        }
    };
    (!suits).then_some("is not defined for this task")
}

/// What `text` was probably meant to be: a known name, keeping what follows its `@`.
#[must_use]
pub fn meant_metric(text: &str) -> Option<String> {
    let (name, parameter) = text.split_once('@').map_or((text, None), |(name, parameter)| (name, Some(parameter)));
    let tasks = [Task::Recommend, Task::Classify, Task::Regress];
    let known: Vec<&str> = tasks.iter().flat_map(|task| metrics_of(*task)).copied().collect();
    let bare = |known: &&'static str| known.split('@').next().unwrap_or_default();
    let near = nearest(name, known.iter().map(bare))?;
    let usual = known.iter().find(|known| bare(known) == near)?;
    Some(match (usual.split_once('@'), parameter) {
        (Some(_), Some(parameter)) if parameter.parse::<f64>().is_ok_and(|number| number > 0.0) => {
            format!("{near}@{parameter}")
        }
        _ => (*usual).to_owned(),
    })
}
