//! Decisions from figures, without measuring any.

use paceline_core::Period;
use paceline_features::Placement;

use super::decide::{Decision, Facts, decide};
use super::{Interval, Staleness};

const HOUR: Period = Period::Micros(3_600_000_000);

fn at(schedule: Period, low: f64) -> Staleness {
    Staleness { schedule, mean_age_s: 1.0, retention: Interval { value: low + 0.01, ci: [low, low + 0.02] } }
}

fn facts(staleness: &[Staleness]) -> Facts<'_> {
    Facts { pinned: None, has_time: true, can_stream: true, staleness, keep: Some(0.97), stream_read_us: 1.5 }
}

fn check(facts: Facts<'_>, placement: Placement, schedule: Option<Period>, reason: &str) {
    let found = decide(&facts);
    assert_eq!((found.placement, found.schedule), (placement, schedule), "{}", found.reason);
    assert!(found.reason.contains(reason), "{}", found.reason);
}

#[test]
fn the_longest_schedule_that_keeps_enough_is_taken() {
    let found = [at(HOUR, 0.99), at(Period::days(1), 0.97), at(Period::days(7), 0.96)];
    check(facts(&found), Placement::Batch, Some(Period::days(1)), "keeps at least 97.0 %");
    // Longer may keep more by luck; it is taken all the same.
    let odd = [at(HOUR, 0.90), at(Period::days(7), 0.98)];
    check(facts(&odd), Placement::Batch, Some(Period::days(7)), "98.0 %");
}

#[test]
fn what_may_not_grow_old_is_kept_current_where_it_can_be() {
    let found = [at(Period::days(1), 0.5), at(HOUR, 0.9)];
    check(
        facts(&found),
        Placement::Stream,
        None,
        "even every 1h it keeps 91.0 [90.0, 92.0] %; a stream is exact at 1.50 us",
    );
    let item = Facts { can_stream: false, ..facts(&found) };
    check(item, Placement::Batch, Some(HOUR), "less than is asked");
}

#[test]
fn what_is_pinned_static_or_unmeasured_is_not_judged() {
    let found = [at(HOUR, 0.1), at(Period::days(1), 0.1)];
    let pinned = Facts { pinned: Some((Placement::Batch, Some(Period::days(30)))), ..facts(&found) };
    check(pinned, Placement::Batch, Some(Period::days(30)), "the pipeline file says so");
    let untimed = Facts { has_time: false, ..facts(&found) };
    check(untimed, Placement::Batch, Some(Period::days(1)), "never grow old");
    let unmeasured: Decision = decide(&facts(&[]));
    assert_eq!((unmeasured.placement, unmeasured.schedule), (Placement::Request, None));
}
