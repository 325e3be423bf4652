//! The decision, from what was measured alone.

use paceline_core::Period;
use paceline_features::Placement;
use serde::Serialize;

use super::{Staleness, kept, rounded};

/// What is known of a view.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the pipeline file says, where it says anything.
    pub pinned: Option<(Placement, Option<Period>)>,
    /// Whether its rows have a time.
    pub has_time: bool,
    /// Whether events can keep it current.
    pub can_stream: bool,
    /// What old values do, by schedule; empty when that was not measured.
    pub staleness: &'a [Staleness],
    /// What the lower end of retention must be at least.
    pub keep: Option<f64>,
    /// CPU microseconds of a read from a stream.
    pub stream_read_us: f64,
}

/// Where a view should be, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Where.
    pub placement: Placement,
    /// How often, in batch.
    pub schedule: Option<Period>,
    /// Why.
    pub reason: String,
}

/// The longest schedule that keeps enough; else a stream where there can be one; else the schedule that keeps most.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Decision {
    let decision = |placement, schedule, reason: String| Decision { placement, schedule, reason };
    if let Some((placement, schedule)) = facts.pinned {
        return decision(placement, schedule, "the pipeline file says so".to_owned());
    }
    if !facts.has_time {
        return decision(Placement::Batch, longest(facts), "its rows have no time, so they never grow old".to_owned());
    }
    let Some(keep) = facts.keep.filter(|_| !facts.staleness.is_empty()) else {
        return decision(Placement::Request, None, "what old values do was not measured".to_owned());
    };
    let mut by_length: Vec<&Staleness> = facts.staleness.iter().collect();
    by_length.sort_by_key(|staleness| std::cmp::Reverse(staleness.schedule.micros()));
    if let Some(enough) = by_length.iter().find(|staleness| staleness.retention.ci[0] >= keep) {
        let reason = format!("as old as that it keeps at least {:.1} %", 100.0 * enough.retention.ci[0]);
        return decision(Placement::Batch, Some(enough.schedule), reason);
    }
    let best = by_length.iter().max_by(|a, b| a.retention.ci[0].total_cmp(&b.retention.ci[0]));
    let best = best.expect("something was measured");
    if facts.can_stream {
        let reason = format!(
            "even every {} it keeps {} %; a stream is exact at {} us a read",
            best.schedule,
            kept(best.retention),
            rounded(facts.stream_read_us)
        );
        return decision(Placement::Stream, None, reason);
    }
    let reason = format!("the schedule that keeps most, {} %: less than is asked", kept(best.retention));
    decision(Placement::Batch, Some(best.schedule), reason)
}

fn longest(facts: &Facts<'_>) -> Option<Period> {
    facts.staleness.iter().map(|staleness| staleness.schedule).max_by_key(|schedule| schedule.micros())
}
