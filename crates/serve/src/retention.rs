//! Keeps the event log within `[serve] events_keep` and `events_bytes_max`, off the request path.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use paceline_core::event::{Dropped, EventLogError, Retention};
use paceline_core::{EventLog, Offset, Period, Timestamp};

use crate::background::Background;
use crate::metrics::EventLogMetrics;
use crate::service::now;

/// How often the log is looked at; more often where events are kept for less than ten times as long.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How long events stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventRetention {
    /// For how long after they were received; `None` for ever.
    pub keep: Option<Period>,
    /// Bytes of events that may stay, the newest; `None` for any number.
    pub bytes_max: Option<u64>,
}

impl EventRetention {
    /// What is kept at `now`, where everything from `needed_from` on is still needed.
    fn at(self, now: Timestamp, needed_from: Option<Offset>) -> Retention {
        Retention { received_from: self.keep.map(|keep| now - keep), bytes_max: self.bytes_max, needed_from }
    }

    fn interval(self) -> Duration {
        // A calendar month is longer than any interval.
        let keep = self.keep.and_then(Period::seconds);
        keep.map_or(INTERVAL_MAX, |seconds| Duration::from_secs_f64(seconds / 10.0).clamp(INTERVAL_MIN, INTERVAL_MAX))
    }
}

/// The thread that drops what is too old or too much now and then, beginning now. Servers that share a log may each have
/// one. `needed_from` says from where the log may still be replayed: nothing from there on is dropped.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(
    log: Arc<dyn EventLog>,
    retention: EventRetention,
    metrics: EventLogMetrics,
    needed_from: impl Fn() -> Option<Offset> + Send + 'static,
) -> std::io::Result<Background> {
    Background::start("retention", move |stopped| {
        let mut wait = Duration::ZERO;
        while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            wait = match retain(&*log, &retention.at(now(), needed_from()), &metrics) {
                Ok(0) => retention.interval(),
                // There may be more, and whoever ends the server is heard in between.
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    // The log grows until it can be reached again.
                    tracing::error!(%error, "old events were not dropped");
                    retention.interval()
                }
            };
        }
    })
}

/// One step; returns how many events were dropped.
fn retain(log: &dyn EventLog, retention: &Retention, metrics: &EventLogMetrics) -> Result<u64, EventLogError> {
    let mut dropped = Dropped::default();
    if retention.received_from.is_some() || retention.bytes_max.is_some() {
        dropped = log.trim(retention)?;
        metrics.dropped(dropped.events);
        if dropped.events > 0 {
            tracing::info!(events = dropped.events, bytes = dropped.bytes, "old events dropped");
        }
    }
    metrics.observe(&log.extent()?);
    Ok(dropped.events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_back_from_now() {
        let day = EventRetention { keep: Some(Period::days(1)), bytes_max: Some(7) };
        let now: Timestamp = "2030-03-02".parse().unwrap();
        let kept = day.at(now, Some(Offset(3)));
        assert_eq!(kept.received_from, Some("2030-03-01".parse().unwrap()));
        assert_eq!((kept.bytes_max, kept.needed_from), (Some(7), Some(Offset(3))));
        assert_eq!(EventRetention::default().at(now, None), Retention::default());
        let month = EventRetention { keep: Some(Period::Months(1)), bytes_max: None };
        assert_eq!(month.at(now, None).received_from, Some("2030-02-02".parse().unwrap()));
    }

    #[test]
    fn the_log_is_looked_at_as_often_as_it_matters() {
        let check = |keep: Option<&str>, seconds: u64| {
            let keep = keep.map(|keep| keep.parse().unwrap());
            let retention = EventRetention { keep, bytes_max: None };
            assert_eq!(retention.interval(), Duration::from_secs(seconds), "{keep:?}");
        };
        check(None, 60);
        check(Some("2s"), 1);
        check(Some("90s"), 9);
        check(Some("90d"), 60);
        check(Some("1mo"), 60);
    }
}
