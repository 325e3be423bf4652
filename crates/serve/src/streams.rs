//! Features kept current by the events that the log holds.
//!
//! Each server follows the log: it applies events in the order of their offsets, whoever received them, so several
//! servers of one log agree. A call that appends events follows the log up to them before it answers, so what is
//! acknowledged can be read. What a stream holds is saved now and then; a server that starts goes on from there in the
//! log.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use paceline_core::event::{Event, EventLogError};
use paceline_core::{EventLog, Offset, Timestamp};
use paceline_features::stream::{Applied, Reading, SpilledPart};
use paceline_features::{SourceTable, Stream};

use crate::background::Background;
use crate::metrics::Metrics;
use crate::recommend::tables::{TableError, ViewColumns, ViewRows};

/// Positions of a stream from here on are offsets in the log; those before are rows of files.
pub const LOG_POSITION: u64 = 1 << 40;
/// Events that are read from the log at once.
const BATCH_EVENTS: usize = 1_000;
/// How often the log is looked at for what other servers appended.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often what changed is saved. A server that is killed reads no more of the log again than came in this time.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// An entity that is spilled again this often while it is read is given up.
const READ_ATTEMPTS_MAX: usize = 5;

/// An event that is no row of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEvent {
    /// Which one of those that were given, from 0.
    pub index: usize,
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Makes rows of events: the source's table, and for each of its rows the event that it is. An event that `where`
/// refuses has no row.
pub type RowsOfEvents = Box<dyn Fn(&[&Event]) -> Result<(SourceTable, Vec<usize>), BadEvent> + Send + Sync>;

/// Where a stream's state is kept between two starts. Errors are texts for the log.
pub trait StreamState: Send + Sync {
    /// Keeps parts of entities that leave memory; one takes the place of an older one of the same key and number.
    fn keep(&self, parts: &[SpilledPart]) -> Result<(), String>;

    /// The parts `0..count` of an entity.
    fn parts(&self, key: &[u8], count: u32) -> Result<Vec<Vec<u8>>, String>;

    /// Saves a snapshot durably, and forgets parts that it does not name; `spilled` are the keys that it names with the
    /// number of their parts.
    fn save(&self, snapshot: &[u8], spilled: &HashMap<Vec<u8>, u32>) -> Result<(), String>;
}

/// Views of one entity from one source, as the last snapshot or the source's files left them.
pub struct SourceStream {
    /// The views' names with the number of their features, in the order of the stream's values.
    pub views: Vec<(String, usize)>,
    /// What is known.
    pub stream: Stream,
    /// Where it is kept.
    pub state: Box<dyn StreamState>,
}

/// A source whose events keep features current.
pub struct StreamedSource {
    /// Its name.
    pub name: String,
    /// Makes rows of its events.
    pub rows: RowsOfEvents,
    /// One per entity of its views.
    pub streams: Vec<SourceStream>,
}

/// All streams of a server.
pub(crate) struct Streams {
    log: Arc<dyn EventLog>,
    sources: Vec<Source>,
    views: HashMap<String, Place>,
    /// The next offset to apply. Held while events are applied, so that they are in order.
    next: Mutex<Offset>,
    metrics: Arc<Metrics>,
}

/// Where the values of a view are.
#[derive(Debug)]
struct Place {
    source: usize,
    stream: usize,
    /// Among the values of the stream.
    values: Range<usize>,
}

/// Key and number of a part to its bytes.
type UnkeptParts = HashMap<(Vec<u8>, u32), Vec<u8>>;

struct Source {
    name: String,
    rows: RowsOfEvents,
    streams: Vec<Kept>,
}

struct Kept {
    stream: RwLock<Stream>,
    state: Box<dyn StreamState>,
    /// Parts that could not be kept, most often because the disk is full; they are tried again.
    unkept: Mutex<UnkeptParts>,
    /// The position after the last saved row.
    saved: Mutex<u64>,
}

impl Streams {
    /// Follows the log to its end.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn start(
        sources: Vec<StreamedSource>,
        log: Arc<dyn EventLog>,
        metrics: Arc<Metrics>,
    ) -> Result<Streams, EventLogError> {
        let mut views = HashMap::new();
        let mut next = u64::MAX;
        for (source, declared) in sources.iter().enumerate() {
            for (number, stream) in declared.streams.iter().enumerate() {
                let mut from = 0;
                for (name, width) in &stream.views {
                    let place = Place { source, stream: number, values: from..from + width };
                    views.insert(name.clone(), place);
                    from += width;
                }
                next = next.min(stream.stream.next_position().saturating_sub(LOG_POSITION));
            }
        }
        let kept = |SourceStream { stream, state, .. }| Kept {
            stream: RwLock::new(stream),
            state,
            unkept: Mutex::default(),
            // Whatever it holds is saved soon, be it the first reading of the files.
            saved: Mutex::new(0),
        };
        let source = |StreamedSource { name, rows, streams }| Source {
            name,
            rows,
            streams: streams.into_iter().map(kept).collect(),
        };
        let sources = sources.into_iter().map(source).collect();
        let streams = Streams { log, sources, views, next: Mutex::new(Offset(next)), metrics };
        streams.follow(None)?;
        Ok(streams)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(crate) fn has_view(&self, view: &str) -> bool {
        self.views.contains_key(view)
    }

    /// That events are rows of their sources.
    pub(crate) fn check(&self, events: &[Event]) -> Result<(), BadEvent> {
        for source in &self.sources {
            let (numbers, events) = source.own(events.iter());
            let checked = if events.is_empty() { Ok(()) } else { (source.rows)(&events).map(|_| ()) };
            checked.map_err(|bad| BadEvent { index: numbers[bad.index], ..bad })?;
        }
        Ok(())
    }

    /// Applies what the log holds, up to and with `until` where that is given.
    ///
    /// # Errors
    /// When the log cannot be read; what was applied stays.
    pub(crate) fn follow(&self, until: Option<Offset>) -> Result<(), EventLogError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut next = lock(&self.next);
        // Another call may have applied these events meanwhile.
        while until.is_none_or(|until| *next <= until) {
            let read = match self.log.read(*next, BATCH_EVENTS) {
                // This server drops nothing that it has not saved, but another one of the log may; a stream that begins
                // anew comes late, and one whose events are rare may have had none of these.
                Err(EventLogError::Gone { asked, first, .. }) => {
                    let (asked, first) = (asked.0, first.0);
                    tracing::warn!(asked, first, "the log has dropped events; streams go on at the first that is left");
                    *next = Offset(first);
                    continue;
                }
                read => read?,
            };
            let Some(last) = read.last().map(|(offset, _)| *offset) else { break };
            for source in &self.sources {
                source.apply(&read, &self.metrics);
            }
            *next = Offset(last.0 + 1);
        }
        Ok(())
    }

    /// The values of a view for `keys`, in order, at `now`; `None` for a view that no stream keeps current.
    pub(crate) fn read(
        &self,
        view: &ViewColumns,
        keys: &[Vec<u8>],
        now: Timestamp,
    ) -> Option<Result<ViewRows, TableError>> {
        let Place { source, stream, values: range } = self.views.get(&view.name)?;
        let kept = &self.sources[*source].streams[*stream];
        let failed = |cause: String| TableError::Stream { view: view.name.clone(), cause };
        let mut rows = ViewRows::with_room(view, keys.len(), now);
        rows.pushed.resize(keys.len(), None);
        for key in keys {
            match kept.read(key, now) {
                Ok((mut values, known)) => {
                    rows.values.extend(values.drain(range.clone()));
                    rows.known.push(known);
                }
                Err(cause) => return Some(Err(failed(cause))),
            }
        }
        Some(Ok(rows))
    }

    /// Hands out what reads brought back beyond the budget.
    pub(crate) fn settle(&self) {
        for kept in self.sources.iter().flat_map(|source| &source.streams) {
            if kept.stream().is_over_budget() {
                kept.stay_within_budget(&mut kept.stream_alone());
            }
        }
    }

    /// Saves what changed since it was saved last.
    pub(crate) fn save(&self) {
        for source in &self.sources {
            for kept in &source.streams {
                if let Err(error) = kept.save() {
                    tracing::error!(source = source.name, error, "the state of a stream was not saved");
                }
            }
        }
    }

    /// Events before it are not needed by a server that starts with what is saved; `None` without streams.
    pub(crate) fn saved_until(&self) -> Option<Offset> {
        // Read first: what is applied meanwhile only comes after it.
        let next = *lock(&self.next);
        let until = |kept: &Kept| {
            let saved = *lock(&kept.saved);
            // A stream whose events are rare has nothing of what came after its last one.
            if saved == kept.stream().next_position() { next } else { Offset(saved.saturating_sub(LOG_POSITION)) }
        };
        self.sources.iter().flat_map(|source| &source.streams).map(until).min()
    }

    /// Sets the metrics that are looked at rather than counted.
    pub(crate) fn observe(&self) {
        for source in &self.sources {
            let (mut entities, mut bytes) = (0, 0);
            for kept in &source.streams {
                let stream = kept.stream();
                entities += stream.entity_count();
                bytes += stream.bytes();
            }
            self.metrics.observe_stream(&source.name, entities, bytes);
        }
    }
}

impl Source {
    /// Those events that are of this source, with their numbers among all.
    fn own<'e>(&self, events: impl Iterator<Item = &'e Event>) -> (Vec<usize>, Vec<&'e Event>) {
        events.enumerate().filter(|(_, event)| event.source == self.name).unzip()
    }

    fn apply(&self, read: &[(Offset, Event)], metrics: &Metrics) {
        let (numbers, mut events) = self.own(read.iter().map(|(_, event)| event));
        let mut positions: Vec<u64> = numbers.iter().map(|number| read[*number].0.0 + LOG_POSITION).collect();
        while !events.is_empty() {
            match (self.rows)(&events) {
                Ok((table, rows)) => {
                    let positions: Vec<u64> = rows.iter().map(|row| positions[*row]).collect();
                    self.apply_rows(&table, &positions, metrics);
                    break;
                }
                // It was acknowledged under another declaration, or by an older version.
                Err(BadEvent { index, field, problem }) => {
                    let offset = positions[index] - LOG_POSITION;
                    tracing::warn!(source = self.name, offset, field, problem, "an event in the log is no row");
                    metrics.stream_rows(&self.name, "unreadable", 1);
                    events.remove(index);
                    positions.remove(index);
                }
            }
        }
    }

    fn apply_rows(&self, table: &SourceTable, positions: &[u64], metrics: &Metrics) {
        for (number, kept) in self.streams.iter().enumerate() {
            match kept.apply(table, positions) {
                // Rows are those of the source, however many entities they are read for.
                Ok(applied) if number == 0 => {
                    let Applied { accepted, corrections, duplicates, late, out_of_order, .. } = applied;
                    for (outcome, count) in [
                        ("accepted", accepted - corrections),
                        ("correction", corrections),
                        ("duplicate", duplicates),
                        ("late", late.len()),
                        ("out_of_order", out_of_order.len()),
                    ] {
                        metrics.stream_rows(&self.name, outcome, count);
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::error!(source = self.name, %error, "rows were not applied to a stream"),
            }
        }
    }
}

impl Kept {
    fn stream(&self) -> RwLockReadGuard<'_, Stream> {
        self.stream.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream_alone(&self) -> RwLockWriteGuard<'_, Stream> {
        self.stream.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, table: &SourceTable, positions: &[u64]) -> Result<Applied, paceline_features::FeatureError> {
        let mut stream = self.stream_alone();
        let applied = stream.apply(table, positions)?;
        self.stay_within_budget(&mut stream);
        Ok(applied)
    }

    /// Hands entities out while the state is too large. Parts that cannot be kept stay in memory until they can, and
    /// nothing more is handed out meanwhile.
    fn stay_within_budget(&self, stream: &mut Stream) {
        let mut unkept = lock(&self.unkept);
        if !unkept.is_empty() {
            let again = unkept.iter().map(|((key, part), bytes)| SpilledPart {
                key: key.clone(),
                part: *part,
                bytes: bytes.clone(),
            });
            match self.state.keep(&again.collect::<Vec<_>>()) {
                Ok(()) => unkept.clear(),
                Err(_) => return,
            }
        }
        let parts = stream.evict();
        if parts.is_empty() {
            return;
        }
        if let Err(error) = self.state.keep(&parts) {
            tracing::error!(error, "entities stay in memory: they cannot be spilled");
            unkept.extend(parts.into_iter().map(|SpilledPart { key, part, bytes }| ((key, part), bytes)));
        }
    }

    /// The values of an entity, and whether it is known.
    fn read(&self, key: &[u8], now: Timestamp) -> Result<(Vec<paceline_core::Value>, bool), String> {
        // A clock that was set back reads what is known, not nothing.
        let read =
            |stream: &Stream| stream.read_bytes(key, now.max(stream.earliest())).map_err(|error| error.to_string());
        for attempt in 1..=READ_ATTEMPTS_MAX {
            let count = {
                let stream = self.stream();
                match read(&stream)? {
                    Reading::Values(values) => return Ok((values, stream.knows_bytes(key))),
                    Reading::Spilled(count) => count,
                }
            };
            let parts = self.parts(key, count)?;
            let mut stream = self.stream_alone();
            // Another part may have been handed out meanwhile; the next attempt reads that, too.
            match stream.restore(&parts) {
                Ok(()) => {}
                Err(error) if attempt == READ_ATTEMPTS_MAX => return Err(error.to_string()),
                Err(_) => continue,
            }
            // It may leave again when the next rows come, or in the follower's next round: looking for what to hand out
            // takes longer than a read may.
            if let Reading::Values(values) = read(&stream)? {
                return Ok((values, stream.knows_bytes(key)));
            }
        }
        Err("it left memory again and again while it was read".to_owned())
    }

    fn parts(&self, key: &[u8], count: u32) -> Result<Vec<Vec<u8>>, String> {
        let unkept = lock(&self.unkept);
        if unkept.is_empty() {
            drop(unkept);
            return self.state.parts(key, count);
        }
        let part = |part: u32| match unkept.get(&(key.to_vec(), part)) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.state.parts(key, part + 1).map(|mut parts| parts.pop()),
        };
        let parts: Vec<Option<Vec<u8>>> = (0..count).map(part).collect::<Result<_, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    fn save(&self) -> Result<(), String> {
        let mut saved = lock(&self.saved);
        // Nothing is applied or handed out while it is held, so the snapshot and the kept parts fit.
        let stream = self.stream();
        if stream.next_position() == *saved || !lock(&self.unkept).is_empty() {
            return Ok(());
        }
        self.state.save(&stream.snapshot(), &stream.spilled_keys().collect())?;
        *saved = stream.next_position();
        Ok(())
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("views", &self.views).finish_non_exhaustive()
    }
}

/// The thread that follows the log and saves, at the end too; `None` where there is nothing to follow for.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn follower(streams: Arc<Streams>) -> std::io::Result<Option<Background>> {
    if streams.is_empty() {
        return Ok(None);
    }
    let work = move |stopped: &Receiver<()>| {
        let mut saved = Instant::now();
        streams.save();
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
            if let Err(error) = streams.follow(None) {
                tracing::warn!(%error, "the log cannot be followed");
            }
            streams.settle();
            if saved.elapsed() >= SAVE_INTERVAL {
                streams.save();
                saved = Instant::now();
            }
        }
        streams.save();
    };
    Background::start("streams", work).map(Some)
}

/// A panic of another thread leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
