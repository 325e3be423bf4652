//! What became of scheduled materializations, as `/metrics` shows it.

use std::sync::atomic::AtomicU64;

use paceline_core::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    /// The table is as of a later time now.
    Written,
    /// There was nothing to do: another server wrote it, or the source has nothing newer.
    Unchanged,
    /// The table stays as it was; the run is repeated.
    Failed,
}

impl RunOutcome {
    fn name(self) -> &'static str {
        match self {
            RunOutcome::Written => "written",
            RunOutcome::Unchanged => "unchanged",
            RunOutcome::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableOutcome {
    table: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Table {
    table: String,
}

/// Seconds since 1970.
type Time = Gauge<f64, AtomicU64>;

/// The runs of each table since the server started. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct ScheduledRuns {
    runs: Family<TableOutcome, Counter>,
    missed: Family<Table, Counter>,
    last_run: Family<Table, Time>,
    last_success: Family<Table, Time>,
}

impl ScheduledRuns {
    /// Notes a run of `table` that ended at `at`. `missed` points of its schedule between the table's time and the run's
    /// were never run; this run makes up for them unless it failed.
    pub fn ended(&self, table: &str, outcome: RunOutcome, missed: u64, at: Timestamp) {
        let labels = Table { table: table.to_owned() };
        self.runs.get_or_create(&TableOutcome { table: table.to_owned(), outcome: outcome.name() }).inc();
        let seconds = at.seconds_since(Timestamp(0));
        self.last_run.get_or_create(&labels).set(seconds);
        let caught_up = self.missed.get_or_create(&labels);
        match outcome {
            RunOutcome::Written => {
                caught_up.inc_by(missed);
                self.last_success.get_or_create(&labels).set(seconds);
            }
            RunOutcome::Unchanged => {
                self.last_success.get_or_create(&labels).set(seconds);
            }
            RunOutcome::Failed => {}
        }
    }

    /// Shows them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("serve_schedule_runs", "Scheduled materializations by how they ended", self.runs.clone());
        registry.register(
            "serve_schedule_missed_runs",
            "Points of a schedule that were never run and that a later run made up for",
            self.missed.clone(),
        );
        registry.register(
            "serve_schedule_last_run_timestamp_seconds",
            "End of the last scheduled run, seconds since 1970",
            self.last_run.clone(),
        );
        registry.register(
            "serve_schedule_last_success_timestamp_seconds",
            "End of the last scheduled run that did not fail, seconds since 1970",
            self.last_success.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_failed_run_is_no_success_and_catches_nothing_up() {
        let runs = ScheduledRuns::default();
        let mut registry = Registry::default();
        runs.register(&mut registry);
        runs.ended("shop.user", RunOutcome::Written, 2, Timestamp::from_seconds(100));
        runs.ended("shop.user", RunOutcome::Failed, 3, Timestamp::from_seconds(200));
        runs.ended("shop.user", RunOutcome::Unchanged, 0, Timestamp::from_seconds(150));
        runs.ended("shop.item", RunOutcome::Failed, 1, Timestamp::from_seconds(300));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes it");
        for line in [
            "serve_schedule_runs_total{table=\"shop.user\",outcome=\"failed\"} 1",
            "serve_schedule_missed_runs_total{table=\"shop.user\"} 2",
            "serve_schedule_missed_runs_total{table=\"shop.item\"} 0",
            "serve_schedule_last_run_timestamp_seconds{table=\"shop.item\"} 300.0",
            "serve_schedule_last_success_timestamp_seconds{table=\"shop.user\"} 150.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("serve_schedule_last_success_timestamp_seconds{table=\"shop.item\"}"));
    }
}
