//! What a server does by the clock: views are materialized by their schedules, the tables of a recommender are renewed.
//!
//! 1. **Due.** A view with a schedule is due when the last point of its schedule (`1970-01-01T00:00:00Z + n * schedule`)
//!    is later than as of when its table is. However many points were missed, one run to the last one makes up for them.
//! 2. **As of when.** As of that point, which is what training takes for a request of now. Where a source ended so long
//!    ago that none of a view's windows reaches its rows any more, every value would be that of an unknown entity: such a
//!    view is as of the last point before the end of its rows instead, so that history can be served.
//! 3. **One run at a time**, on one thread: requests come first.
//! 4. **Several servers on one store** look at the table's time when the point comes, each after a delay of its own, so
//!    that most find it written. Where two still meet, both compute the same values as of the same time and the store
//!    takes one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use paceline_core::online::{OnlineError, OnlineStore};
use paceline_core::{Digest, Period, Timestamp};
use paceline_features::{FeatureView, Placement};
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::recommend::tables::lists_table;
use paceline_serve::schedule::{RunOutcome, ScheduledRuns};

use super::{Materialization, end_of_data, goal_of, materialized_until};
use crate::materialize::{self, Extent, MaterializedView, Run, Target, as_of, table_of};
use crate::pipeline::{Pipeline, Source};
use crate::report::place::now;
use crate::run::recommend::World;
use crate::tables::SourceRows;
use crate::training_set::JoinMeans;

/// Bounds of `[serve] lists_schedule`: renewing takes seconds, and a calendar month has no exact length.
const RENEWAL_MIN: Duration = Duration::from_secs(10);
const RENEWAL_MAX: Duration = Duration::from_secs(31 * 86_400);
/// After a failed run.
const RETRY: Duration = Duration::from_secs(30);
/// After another server was faster with one of several views.
const RETRY_MOVED: Duration = Duration::from_secs(1);
/// A clock may be set, and a machine sleep: no wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Servers that share a store spread over a tenth of the schedule, at most this.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// A view that is to be materialized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Due<'p> {
    /// The view, and as of when.
    pub target: Target<'p>,
    /// How many points of its schedule lie between the table's time and this one.
    pub missed: u64,
}

/// Which tables are replaced although they are current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// None.
    Nothing,
    /// Those that were made by another declaration of the view or its source. Servers that run another pipeline file on
    /// the same store would do so in turn, so this is for the start alone.
    OtherDeclarations,
}

/// The views of which the store holds nothing, and those that are due at `now`. Stream-placed ones are kept by events.
///
/// # Errors
/// When the store fails or a source cannot be read.
pub fn due<'p>(
    pipeline: &'p Pipeline,
    store: &dyn OnlineStore,
    now: Timestamp,
    replace: Replace,
) -> Result<Vec<Due<'p>>> {
    let mut rows: BTreeMap<&str, Option<Reach>> = BTreeMap::new();
    let mut found = Vec::new();
    for view in pipeline.views.iter().filter(|view| view.placement != Placement::Stream) {
        let stored = store.as_of(&table_of(pipeline, view))?;
        let is_current = stored.is_some_and(|stored| schedule_of(view).is_none() || stored >= as_of(view, now));
        let is_kept = || match replace {
            Replace::Nothing => Ok(true),
            Replace::OtherDeclarations => materialize::is_as_declared(pipeline, view, store),
        };
        if is_current && is_kept()? {
            continue;
        }
        let source = pipeline.source(&view.source).expect("a checked view names a source");
        if !rows.contains_key(source.name.as_str()) {
            rows.insert(&source.name, Reach::of(source, &pipeline.folder, now)?);
        }
        let offered = as_of(view, until(view, rows[source.name.as_str()], now));
        let target = Target { view, as_of: stored.map_or(offered, |stored| stored.max(offered)) };
        // Older rows than thought may leave nothing to do.
        if stored.is_none_or(|stored| target.as_of > stored) || !is_kept()? {
            found.push(Due { target, missed: missed(view, stored, target.as_of) });
        }
    }
    Ok(found)
}

/// How far the rows of a source reach that are known at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    /// The newest event time.
    event: Timestamp,
    /// Just after the last of them became known.
    end: Timestamp,
}

impl Reach {
    /// Reads the times of a source; `None` when no row is known, or for a static one.
    fn of(source: &Source, folder: &Path, now: Timestamp) -> Result<Option<Reach>> {
        if source.event_time.is_none() {
            return Ok(None);
        }
        let mut reach: Option<Reach> = None;
        for batch in SourceRows::open_for_features(source, folder, &BTreeSet::new())? {
            let batch = batch?;
            let events = batch.event_time.unwrap_or_default();
            let available = batch.available_time.as_ref().unwrap_or(&events);
            for (&event, &available) in events.iter().zip(available) {
                let known = event.max(available);
                if known < now {
                    let end = Timestamp(known.0.saturating_add(1));
                    let before = reach.unwrap_or(Reach { event, end });
                    reach = Some(Reach { event: before.event.max(event), end: before.end.max(end) });
                }
            }
        }
        Ok(reach)
    }
}

/// The time up to which a view is materialized at `now` (see 2 above).
fn until(view: &FeatureView, reach: Option<Reach>, now: Timestamp) -> Timestamp {
    let is_seen = |event: Timestamp| {
        let in_window = view.features.iter().any(|feature| event >= now - feature.window);
        in_window && view.ttl.is_none_or(|ttl| event > now - ttl)
    };
    match reach {
        Some(Reach { event, end }) if !is_seen(event) => end.min(now),
        Some(_) | None => now,
    }
}

fn schedule_of(view: &FeatureView) -> Option<i64> {
    match (view.placement, view.schedule) {
        (Placement::Batch, Some(Period::Micros(step))) => Some(step),
        _ => None,
    }
}

/// Points of the schedule after `stored` and before `as_of`.
fn missed(view: &FeatureView, stored: Option<Timestamp>, as_of: Timestamp) -> u64 {
    let (Some(step), Some(stored)) = (schedule_of(view), stored) else { return 0 };
    let between = (as_of.0.saturating_sub(1)).div_euclid(step) - stored.0.div_euclid(step);
    u64::try_from(between).unwrap_or(0)
}

/// Materializes what is due and notes how it ended.
///
/// # Errors
/// As [`materialize::materialize`].
pub fn materialize_due(
    pipeline: &Pipeline,
    due: &[Due<'_>],
    store: &dyn OnlineStore,
    threads: usize,
    runs: &ScheduledRuns,
) -> Result<Vec<MaterializedView>> {
    let targets: Vec<Target<'_>> = due.iter().map(|due| due.target).collect();
    let means = JoinMeans { threads: threads.max(1), ..JoinMeans::default() };
    let run = Run { extent: Extent::Changes, store, means: &means };
    let written = materialize::materialize(pipeline, &targets, &run, &mut |_| ());
    let at = now();
    for due in due {
        let table = table_of(pipeline, due.target.view);
        let outcome = match &written {
            Ok(_) => RunOutcome::Written,
            Err(error) if was_elsewhere(error) => RunOutcome::Unchanged,
            Err(_) => RunOutcome::Failed,
        };
        runs.ended(&table, outcome, due.missed, at);
    }
    written
}

/// Whether another process wrote the table meanwhile.
fn was_elsewhere(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<OnlineError>();
    cause.is_some_and(|cause| matches!(cause, OnlineError::Moved { .. } | OnlineError::Outdated { .. }))
}

/// What a server does by the clock.
pub struct Schedule {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Where its tables are.
    pub store: Arc<dyn OnlineStore>,
    /// Whether other servers write there too.
    pub is_shared: bool,
    /// A recommender whose tables are renewed.
    pub recommender: Option<(Digest, PublishedRecommender)>,
    /// What becomes of it.
    pub runs: ScheduledRuns,
}

/// The thread; dropping it ends it.
pub struct Scheduler {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(schedule: Schedule) -> std::io::Result<Scheduler> {
        let (stop, stopped) = mpsc::channel::<()>();
        let work = move || schedule.run(&stopped);
        let thread = std::thread::Builder::new().name("schedule".to_owned()).spawn(work)?;
        Ok(Scheduler { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A run in work is not waited for: it ends with the process and leaves every table whole.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

impl Schedule {
    fn run(&self, stopped: &Receiver<()>) {
        let every = self.pipeline.serve.lists_schedule.seconds().map_or(RENEWAL_MAX, Duration::from_secs_f64);
        let every = every.clamp(RENEWAL_MIN, RENEWAL_MAX);
        let mut renewal = self.recommender.as_ref().map(|_| after(now(), every));
        let mut looked = now();
        loop {
            let at = now();
            let retry = self.views(at, std::mem::replace(&mut looked, at)).map(|wait| after(now(), wait));
            if renewal.is_some_and(|at| at <= now()) {
                self.renew();
                renewal = Some(after(now(), every));
            }
            let next = self.next_point(now()).into_iter().chain(renewal).chain(retry).min();
            if !wait_until(next, stopped) {
                break;
            }
        }
    }

    /// The next point of any schedule, with this server's delay.
    fn next_point(&self, now: Timestamp) -> Option<Timestamp> {
        let next = |step: i64| now.0.checked_sub(now.0.rem_euclid(step))?.checked_add(step);
        let delayed = |step: i64| {
            let at = Timestamp(next(step)?);
            Some(if self.is_shared { after(at, delay(Duration::from_micros(step.unsigned_abs()))) } else { at })
        };
        self.pipeline.views.iter().filter_map(schedule_of).filter_map(delayed).min()
    }

    /// Materializes the views that are due at `now`, after a look at `looked`; says after what time to look again where
    /// that did not do.
    fn views(&self, now: Timestamp, looked: Timestamp) -> Option<Duration> {
        let due = match due(&self.pipeline, &*self.store, now, Replace::Nothing) {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "what is due cannot be told; it will be tried again");
                return Some(RETRY);
            }
        };
        for view in self.pipeline.views.iter().filter(|view| schedule_of(view).is_some()) {
            if as_of(view, now) > looked && due.iter().all(|due| due.target.view != view) {
                self.runs.ended(&table_of(&self.pipeline, view), RunOutcome::Unchanged, 0, now);
            }
        }
        if due.is_empty() {
            return None;
        }
        match materialize_due(&self.pipeline, &due, &*self.store, 1, &self.runs) {
            Ok(written) => {
                for view in &written {
                    let MaterializedView { table, is_incremental, rows, removed, as_of, seconds, .. } = view;
                    tracing::info!(table, %as_of, rows, removed, incremental = is_incremental, seconds, "materialized");
                }
                for Due { target, missed } in due.iter().filter(|due| due.missed > 0) {
                    let (view, as_of) = (&target.view.name, target.as_of);
                    tracing::warn!(view, missed, %as_of, "runs were missed; this one made up for them");
                }
                None
            }
            Err(error) if was_elsewhere(&error) => {
                tracing::info!("another server materialized meanwhile");
                Some(RETRY_MOVED)
            }
            // The tables stay as they are, and grow old in the metrics.
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "views were not materialized; they will be tried again");
                Some(RETRY)
            }
        }
    }

    /// Writes the tables of the recommender again when the sources have newer rows.
    fn renew(&self) {
        let Some((digest, model)) = &self.recommender else { return };
        let outcome = match renew(&self.pipeline, *digest, model, &*self.store) {
            Ok(Some(until)) => {
                tracing::info!(%until, "tables renewed");
                RunOutcome::Written
            }
            Ok(None) => {
                tracing::info!("the sources have nothing newer; tables stay");
                RunOutcome::Unchanged
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "tables were not renewed");
                RunOutcome::Failed
            }
        };
        self.runs.ended(&lists_table(&self.pipeline.name), outcome, 0, now());
    }
}

fn renew(
    pipeline: &Pipeline,
    digest: Digest,
    model: &PublishedRecommender,
    store: &dyn OnlineStore,
) -> Result<Option<Timestamp>> {
    let goal = goal_of(pipeline)?;
    let world = World::load(pipeline, goal)?;
    let until = end_of_data(&world);
    if materialized_until(pipeline, digest, store)?.is_some_and(|current| current >= until) {
        return Ok(None);
    }
    // One thread: requests come first.
    let tables = Materialization { pipeline, goal, world: &world, digest, model, until, store, threads: 1 };
    tables.write(&|_| ())?;
    Ok(Some(until))
}

/// Waits for a time, or for ever; `false` when the server stops.
fn wait_until(at: Option<Timestamp>, stopped: &Receiver<()>) -> bool {
    loop {
        let left = at.map_or(WAIT_MAX, |at| {
            let micros = at.0.saturating_sub(now().0);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(WAIT_MAX)
        });
        if left.is_zero() {
            return true;
        }
        match stopped.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// The same in this process, another in another.
fn delay(step: Duration) -> Duration {
    let share = f64::from(std::process::id().wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX);
    (step / 10).min(DELAY_MAX).mul_f64(share)
}

fn after(at: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline;
    use crate::stores::StoreArguments;

    const PIPELINE: &str = "name = \"p\"\n[sources.s]\npath = \"s.csv\"\nevent_time = \"at\"\ntime_unit = \"s\"\n\
        [features.daily]\nsource = \"s\"\nentity = [\"user\"]\nschedule = \"1d\"\n\
        n = { agg = \"count\", window = \"30d\" }\n\
        [features.exact]\nsource = \"s\"\nentity = [\"user\"]\nn = { agg = \"count\", window = \"7d\" }\n";
    const DAY: i64 = 86_400;

    /// A folder with rows at these days and a half.
    struct Case(tempfile::TempDir);

    impl Case {
        fn new(days: &[i64]) -> Case {
            let case = Case(tempfile::tempdir().unwrap());
            let row = |day: &i64| format!("1,{}\n", day * DAY + DAY / 2);
            std::fs::write(
                case.0.path().join("s.csv"),
                format!("user,at\n{}", days.iter().map(row).collect::<String>()),
            )
            .unwrap();
            case
        }

        fn pipeline(&self, text: &str) -> Pipeline {
            let path = self.0.path().join("p.toml");
            std::fs::write(&path, text).unwrap();
            pipeline::open(&path).unwrap().0
        }
    }

    /// View, day as of which it is due, and what was missed.
    fn days(due: &[Due<'_>]) -> Vec<(String, f64, u64)> {
        let day = |at: Timestamp| at.0 as f64 / 1e6 / DAY as f64;
        due.iter().map(|due| (due.target.view.name.clone(), day(due.target.as_of), due.missed)).collect()
    }

    fn at(day: f64) -> Timestamp {
        Timestamp((day * DAY as f64 * 1e6) as i64)
    }

    #[test]
    fn a_view_is_due_when_a_point_of_its_schedule_has_passed() {
        let case = Case::new(&[9, 10]);
        let pipeline = case.pipeline(PIPELINE);
        let store = StoreArguments::default().open(case.0.path()).unwrap();
        let runs = ScheduledRuns::default();
        let check = |now: f64, replace, expected: &[(&str, f64, u64)]| {
            let due = due(&pipeline, &*store, at(now), replace).unwrap();
            let expected: Vec<(String, f64, u64)> =
                expected.iter().map(|&(name, day, missed)| (name.to_owned(), day, missed)).collect();
            assert_eq!(days(&due), expected, "at day {now}");
            materialize_due(&pipeline, &due, &*store, 1, &runs).unwrap();
        };
        check(11.25, Replace::Nothing, &[("daily", 11.0, 0), ("exact", 11.25, 0)]);
        check(11.75, Replace::Nothing, &[]);
        check(12.0, Replace::OtherDeclarations, &[("daily", 12.0, 0)]);
        check(15.5, Replace::Nothing, &[("daily", 15.0, 2)]);
        // No window reaches day 10 any more: history stays what it is.
        check(100.5, Replace::Nothing, &[]);

        let edited = case.pipeline(&PIPELINE.replace("30d", "20d"));
        assert!(due(&edited, &*store, at(15.75), Replace::Nothing).unwrap().is_empty());
        let replaced = due(&edited, &*store, at(15.75), Replace::OtherDeclarations).unwrap();
        assert_eq!(days(&replaced), [("daily".to_owned(), 15.0, 0)]);
    }

    #[test]
    fn what_ended_long_ago_is_as_of_its_end() {
        let case = Case::new(&[9, 10]);
        let pipeline = case.pipeline(PIPELINE);
        let store = StoreArguments::default().open(case.0.path()).unwrap();
        let due = due(&pipeline, &*store, at(10_000.5), Replace::Nothing).unwrap();
        let end = Timestamp(at(10.5).0 + 1);
        assert_eq!((due[0].target.as_of, due[1].target.as_of), (at(10.0), end));
    }
}
