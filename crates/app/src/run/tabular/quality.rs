//! What scores are worth on one part of the rows.

use anyhow::{Context, Result, bail};

use paceline_core::metrics::{Bootstrap, Measured, Metric, RowMetric, ScoredRows, Units};
use paceline_learn::{BlendGoal, CandidateLists};
use paceline_models::ensemble::EnsembleOutput;

use super::frame::Frame;
use super::plan::Plan;
use super::split::Parts;
use crate::pipeline::Split;
use crate::tables::typed::{entity_key, key_columns};

/// The labels of one part, ready to judge scores.
pub struct Judge {
    metric: Metric,
    labels: Vec<f32>,
    units: Units,
    /// Lists of a ranking, and which rows are in them: a list without a relevant row cannot be judged.
    lists: Option<(CandidateLists, Vec<usize>)>,
}

impl Judge {
    /// Of `rows`, in their order.
    ///
    /// # Errors
    /// When the metric does not suit the task, or no list has a relevant row.
    pub fn of(plan: &Plan<'_>, frame: &Frame, rows: &[usize]) -> Result<Judge> {
        let labels = frame.labels_of(rows);
        let lists = frame.lists.as_ref().map(|lists| judged_lists(rows, lists, &labels));
        let units = match (&lists, plan.split) {
            (Some((lists, _)), _) if lists.candidate_count() == 0 => bail!("no list has a row with a label above 0"),
            (Some((_, kept)), _) => {
                let of_list = kept.iter().map(|&at| frame.lists.as_ref().map_or(0, |lists| lists[rows[at]]));
                let mut distinct: Vec<u32> = of_list.collect();
                distinct.dedup();
                Units::each(distinct.len())
            }
            (None, Split::Random(split)) if split.group.is_some() => {
                let group = split.group.clone().into_iter().collect::<Vec<_>>();
                let keys = key_columns(&frame.table.rows, &group)?;
                // A row without a group stands alone.
                Units::by_key(rows.iter().map(|&row| entity_key(&keys, row).ok_or(row)))
            }
            (None, Split::Random(_) | Split::Time(_) | Split::Column(_)) => Units::each(rows.len()),
        };
        Ok(Judge { metric: plan.metric, labels, units, lists })
    }

    /// That resamples can judge: where few rows are of the rarer class, many resamples have none.
    ///
    /// # Errors
    /// When too many have none.
    fn check_resamples(&self, bootstrap: &Bootstrap) -> Result<()> {
        // With so many hardly a resample is without any.
        const PLENTY: usize = 50;
        if self.metric != Metric::Row(RowMetric::Auc) {
            return Ok(());
        }
        let ones = self.labels.iter().filter(|label| **label > 0.0).count();
        if ones.min(self.labels.len() - ones) < PLENTY {
            bootstrap.interval(&self.measure(&vec![0.5; self.labels.len()])?)?;
        }
        Ok(())
    }

    /// What a bootstrap draws: rows, groups of rows, or lists.
    pub fn unit_count(&self) -> usize {
        self.units.count()
    }

    /// The metric of one score per row.
    ///
    /// # Errors
    /// When the metric has no value.
    pub fn measure(&self, scores: &[f64]) -> Result<Measured> {
        self.measure_by(self.metric, scores)
    }

    /// Another metric of one score per row.
    ///
    /// # Errors
    /// When it has no value, or does not suit the task.
    pub fn measure_by(&self, metric: Metric, scores: &[f64]) -> Result<Measured> {
        match (metric, &self.lists) {
            (Metric::Row(metric), None) => {
                Ok(Measured::rows(metric, ScoredRows::new(scores, &self.labels, None)?, &self.units)?)
            }
            (Metric::Ranking(metric), Some((lists, kept))) => {
                let kept: Vec<f64> = kept.iter().map(|&at| scores[at]).collect();
                Ok(Measured::ranking(metric, &lists.user_values(metric, &kept)?, &self.units)?)
            }
            (metric, _) => bail!("[optimize] metric = \"{metric}\" does not suit the task"),
        }
    }

    /// Scores of the rows that are judged, in the order of the blend's goal.
    pub fn judged<'s>(&self, scores: &'s [f64]) -> std::borrow::Cow<'s, [f64]> {
        match &self.lists {
            None => scores.into(),
            Some((_, kept)) => kept.iter().map(|&at| scores[at]).collect::<Vec<_>>().into(),
        }
    }

    /// What a blend is to be good at.
    ///
    /// # Errors
    /// When the metric does not suit the task.
    pub fn goal(&self, output: EnsembleOutput) -> Result<BlendGoal<'_>> {
        match (self.metric, &self.lists) {
            (Metric::Row(metric), None) => Ok(BlendGoal::Rows { metric, labels: &self.labels, weights: None, output }),
            (Metric::Ranking(metric), Some((lists, _))) => Ok(BlendGoal::Lists { metric, lists }),
            (metric, _) => bail!("[optimize] metric = \"{metric}\" does not suit the task"),
        }
    }
}

/// Lists with a relevant row, and the positions of their rows.
fn judged_lists(rows: &[usize], lists: &[u32], labels: &[f32]) -> (CandidateLists, Vec<usize>) {
    let (mut judged, mut kept) = (CandidateLists::default(), Vec::new());
    let positions: Vec<usize> = (0..rows.len()).collect();
    for list in positions.chunk_by(|&a, &b| lists[rows[a]] == lists[rows[b]]) {
        let relevant: Vec<bool> = list.iter().map(|&at| labels[at] > 0.0).collect();
        let count = relevant.iter().filter(|&&hit| hit).count();
        if count > 0 {
            judged.push(&relevant, count);
            kept.extend_from_slice(list);
        }
    }
    (judged, kept)
}

/// Rows of each list in a part whose lists lie together.
pub fn list_sizes(frame: &Frame, rows: &[usize]) -> Option<Vec<u32>> {
    let lists = frame.lists.as_ref()?;
    Some(rows.chunk_by(|&a, &b| lists[a] == lists[b]).map(|list| list.len() as u32).collect())
}

/// Finds out before anything is trained whether both parts can judge.
///
/// # Errors
/// As [`judge_of`], and when a part has too few rows of one class.
pub fn check_judges(plan: &Plan<'_>, frame: &Frame, parts: &Parts, bootstrap: &Bootstrap) -> Result<()> {
    for (is_report, name) in [(false, "tuning"), (true, "report")] {
        let judge = judge_of(plan, frame, parts, is_report)?;
        judge.check_resamples(bootstrap).with_context(|| format!("[split] the {name} part"))?;
    }
    Ok(())
}

/// The judges of the tuning and of the report part.
///
/// # Errors
/// As [`Judge::of`], naming the part.
pub fn judge_of(plan: &Plan<'_>, frame: &Frame, parts: &Parts, is_report: bool) -> Result<Judge> {
    let (rows, name) = if is_report { (&parts.report, "report") } else { (&parts.tune, "tuning") };
    Judge::of(plan, frame, rows).with_context(|| format!("[split] the {name} part"))
}
