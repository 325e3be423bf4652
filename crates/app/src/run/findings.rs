//! The parts of a report that every task fills in the same way.

use anyhow::{Context as _, Result, bail};

use paceline_core::metrics::Bootstrap;
use paceline_features::SourceTable;
use paceline_learn::search::{Break, Budget, Judged, Rejection, Search};

use crate::pipeline::{Optimize, Pipeline};
use crate::report::{self, Report};
use crate::tables::Reading;

/// How many steps are named when nothing holds the budget.
const NEAREST_MISSES: usize = 3;

/// What was read of a source at `path`, which holds no password.
pub fn source_data(path: String, table: &SourceTable, reading: Reading) -> report::SourceData {
    let times = table.event_time.as_deref().unwrap_or_default();
    report::SourceData {
        name: table.name.clone(),
        path,
        digest: reading.digest.to_string(),
        rows: reading.rows_read as u64,
        rows_used: table.rows.num_rows() as u64,
        first: times.iter().min().copied(),
        last: times.iter().max().copied(),
    }
}

/// What the search is to hold.
///
/// # Errors
/// When there is no budget, or it bounds what is not measured.
pub fn budget_of(pipeline: &Pipeline) -> Result<Budget> {
    let optimize =
        pipeline.optimize.as_ref().context("the pipeline has no [optimize], so there is no budget to hold")?;
    let Optimize { keep, p99_ms, memory_mb_max, rps_min, bytes_max } = *optimize;
    if let Some(most) = memory_mb_max {
        bail!("[optimize] memory_mb_max = {most}: this version does not measure memory; bytes_max bounds the models");
    }
    Ok(Budget { keep, p99_ms, bytes_max, rps_min })
}

/// The budget as a report says it.
pub fn asked(budget: Budget) -> report::Budget {
    let Budget { keep, p99_ms, bytes_max, rps_min } = budget;
    report::Budget { keep, p99_ms, memory_mb_max: None, rps_min, bytes_max }
}

/// The verdict of an otherwise complete report: whether the chosen step holds the budget, or what came closest.
///
/// # Errors
/// When the report contradicts itself.
pub fn concluded(mut report: Report, search: &Search) -> Result<Report> {
    report.nearest_misses = match report.chosen_step() {
        Some(step) => report.budget.misses(step),
        None => nearest_misses(search),
    };
    report.held = report.chosen.is_some() && report.nearest_misses.is_empty();
    report.validate()?;
    Ok(report)
}

/// What came closest when nothing holds the budget, nearest first.
fn nearest_misses(search: &Search) -> Vec<report::Miss> {
    let of_step = |(step, breaks): (&Judged, Vec<Break>)| {
        let candidate = step.trial.name.clone();
        breaks.into_iter().map(move |broken| report::Miss {
            candidate: candidate.clone(),
            bound: broken.bound.key().to_owned(),
            required: broken.required,
            reached: broken.reached,
        })
    };
    search.nearest_misses(NEAREST_MISSES).into_iter().flat_map(of_step).collect()
}

/// What was tried and not kept, as it was on tuning data.
///
/// # Errors
/// When there are too few units for an interval.
pub fn rejected(search: &Search, bootstrap: Bootstrap) -> Result<Vec<report::Rejected>> {
    let rejected = |(judged, why): &(Judged, Rejection)| -> Result<report::Rejected> {
        let metric = bootstrap.interval(&judged.trial.tuning)?;
        Ok(report::Rejected {
            candidate: judged.trial.name.clone(),
            reason: why.to_string(),
            because: Some(match why {
                Rejection::BelowFloor { .. } => report::RejectedBecause::BelowFloor,
                Rejection::NotFaster { .. } => report::RejectedBecause::NotFaster,
                Rejection::TooNarrow { .. } => report::RejectedBecause::TooNarrow,
                Rejection::Outrun { .. } => report::RejectedBecause::Outrun,
                Rejection::Outdone { .. } => report::RejectedBecause::Outdone,
            }),
            latency_ms: Some(judged.trial.latency.into()),
            metric: Some(metric.value),
            ci: Some(metric.into()),
            retention: Some(judged.retention.value),
            retention_ci: Some(judged.retention.into()),
            bytes: Some(judged.trial.bytes),
        })
    };
    search.rejected.iter().map(rejected).collect()
}
