//! Features kept current by events: the stream execution of a window.
//!
//! A [`Stream`] holds, for each entity of one source, the rows that its views' windows can still reach, in order and with
//! running sums. [`Stream::apply`] takes rows as they are received, [`Stream::read`] gives the values of one entity. They
//! are, to the bit, those of a point-in-time join over all rows that were accepted so far (rules 1 to 9 of
//! `docs/features.md`): [`crate::window`] says how, and a test replays random tables through both.
//!
//! # Time
//!
//! There is no clock in here. The *watermark* is the newest time of an accepted row, which is the earlier of its event and
//! available time, so that a client's clock that runs ahead moves nothing. Rows whose event time lies more than
//! `max_lateness` behind it are refused. The stream answers for every time from [`Stream::earliest`] on: `max_lateness`
//! behind the watermark, or the time that [`Stream::advance`] was given if that is later. Rows that no such time can see
//! are dropped, a few with each row that comes.
//!
//! # Memory, restarts
//!
//! Past `memory_bytes_max` the entities that were untouched for longest are handed out as bytes ([`Stream::evict`]), to
//! be kept by the caller and given back when one is read ([`Stream::restore`]). [`Stream::snapshot`] and the rows after
//! it give the same state as never having stopped.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow::array::{Float64Array, Int64Array, RecordBatch};
//! use paceline_core::{EntityKey, Period, Timestamp, Value};
//! use paceline_features::stream::Reading;
//! use paceline_features::{Aggregate, Feature, FeatureView, Placement, SourceTable, Stream, StreamOptions};
//!
//! let view = FeatureView {
//!     name: "user".to_owned(),
//!     source: "sales".to_owned(),
//!     entity: vec!["user_id".to_owned()],
//!     ttl: None,
//!     schedule: None,
//!     placement: Placement::Stream,
//!     features: vec![Feature {
//!         name: "spend_1h".to_owned(),
//!         aggregate: Aggregate::Sum,
//!         of: Some("amount".to_owned()),
//!         window: "1h".parse()?,
//!     }],
//! };
//! let sales = SourceTable {
//!     name: "sales".to_owned(),
//!     rows: RecordBatch::try_from_iter([
//!         ("user_id", Arc::new(Int64Array::from(vec![42, 42])) as _),
//!         ("amount", Arc::new(Float64Array::from(vec![0.1, 0.2])) as _),
//!     ])?,
//!     event_time: Some(vec!["2011-09-01T12:00".parse()?, "2011-09-01T12:30".parse()?]),
//!     available_time: None,
//!     available_time_column: None,
//!     event_id: None,
//! };
//! let options = StreamOptions { max_lateness: Period::days(1), memory_bytes_max: 1 << 30 };
//! let mut stream = Stream::new(&[&view], &sales, options)?;
//! assert_eq!(stream.apply(&sales, &[0, 1])?.accepted, 2);
//! let read = |time: &str| -> Result<Reading, Box<dyn std::error::Error>> {
//!     Ok(stream.read(&EntityKey::single(42), time.parse::<Timestamp>()?)?)
//! };
//! assert_eq!(read("2011-09-01T12:45")?, Reading::Values(vec![Value::Float(0.30000000000000004)]));
//! assert_eq!(read("2011-09-01T13:15")?, Reading::Values(vec![Value::Float(0.2)]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod entities;
mod gather;
mod incoming;
pub(crate) mod layout;
pub(crate) mod rows;
mod saved;
mod snapshot;
mod spill;
#[cfg(test)]
mod tests;
pub(crate) mod texts;
mod versions;

use std::sync::atomic::Ordering::Relaxed;

use paceline_core::{Digest, EntityKey, KeyPart, Period, Timestamp, Value};

use crate::point_in_time::column::Column;
use crate::point_in_time::correction::{FOREVER, NEVER};
use crate::point_in_time::entity::{KeyColumn, NOBODY, key_column};
use crate::point_in_time::plan::{ViewPlan, plan_views};
use crate::window::kept;
use crate::{FeatureError, FeatureView, SourceTable};
use entities::Entities;
use gather::Gathered;
use incoming::{IdReader, Incoming, Reader};
use layout::{AVAILABLE, EVENT, Layout, POSITION};
use rows::{Order, Rows};
pub use spill::SpilledPart;
use texts::Texts;
use versions::{Forgettable, Judged, Version, Versions};

/// What decides which rows a stream takes and how many it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// How far behind the newest row an event time may lie; later ones are refused. `Period::Micros(0)` takes only rows
    /// that are as new.
    pub max_lateness: Period,
    /// Memory in bytes above which [`Stream::is_over_budget`] asks for entities to be spilled. Keys, and ids of events
    /// that may still be corrected, count but cannot be spilled.
    pub memory_bytes_max: usize,
}

/// What became of the rows of one [`Stream::apply`]. Every row is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows that count from now on, or would if they were newer or had a key; corrections among them.
    pub accepted: usize,
    /// Accepted rows that replace an earlier version.
    pub corrections: usize,
    /// Rows with the id and content of the version before them, which change nothing.
    pub duplicates: usize,
    /// Rows whose position was applied before.
    pub repeated: usize,
    /// Refused: rows, from 0, whose event time is too far behind the watermark. With an id also those whose available
    /// time is, because it decides the order of versions.
    pub late: Vec<usize>,
    /// Refused: rows, from 0, that were available before the version of their id that is here already.
    pub out_of_order: Vec<usize>,
}

/// What a read finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The values of all views, in declaration order; a timestamp is [`Value::Int`], microseconds since 1970.
    Values(Vec<Value>),
    /// So many parts of the entity were spilled: give them to [`Stream::restore`] and read again.
    Spilled(u32),
}

/// Features of one source's entities, kept current.
///
/// `read` takes `&self`, so that readers can share a stream; whoever applies needs it alone.
#[derive(Debug)]
pub struct Stream {
    options: StreamOptions,
    plans: Vec<ViewPlan>,
    reader: Reader,
    layout: Layout,
    /// 12 digits that change with views, columns, types and lateness.
    fingerprint: String,
    entities: Entities,
    texts: Texts,
    versions: Versions,
    nobody: Rows,
    /// Memory of all entities' rows, beyond what no rows take.
    row_bytes: usize,
    /// The newest time of an accepted row.
    watermark: i64,
    /// The time that [`Stream::advance`] was given.
    promised: i64,
    /// The position after the last one applied.
    next_position: u64,
    /// The next entity whose old rows are dropped.
    swept: usize,
    words: Vec<u64>,
    key: Vec<u8>,
}

impl Stream {
    /// An empty stream for `views`, which must have the same entity, over a source with the columns and types of `like`,
    /// whose rows are not read.
    ///
    /// # Errors
    /// A missing column, a column of a wrong type, views of several entities, or a source without event time, whose rows
    /// could never be dropped.
    ///
    /// # Panics
    /// When `views` is empty: the caller's bug.
    pub fn new(views: &[&FeatureView], like: &SourceTable, options: StreamOptions) -> Result<Stream, FeatureError> {
        let first = *views.first().expect("a stream is made for at least one view");
        let subject = |view: &FeatureView| format!("view {}", view.name);
        if let Some(other) = views.iter().find(|view| view.entity != first.entity) {
            let problem = format!("its entity differs from that of view {}; give it a stream of its own", first.name);
            return Err(FeatureError::Declaration { subject: subject(other), problem });
        }
        if first.entity.is_empty() || like.event_time.is_none() {
            let problem = if first.entity.is_empty() {
                "it has no entity; name at least one key column".to_owned()
            } else {
                format!("source {:?} has no event time, which a stream needs; place the view in batch", like.name)
            };
            return Err(FeatureError::Declaration { subject: subject(first), problem });
        }
        let (plans, wanted) = plan_views(views, false)?;
        let like = &SourceTable { rows: like.rows.slice(0, 0), ..like.clone() };
        let table = format!("source {:?}", like.name);
        let columns: Vec<Column> =
            wanted.iter().map(|column| column.read(&like.rows, &table)).collect::<Result<_, _>>()?;
        let integer_keys: Vec<bool> = first
            .entity
            .iter()
            .map(|name| Ok(matches!(key_column(&like.rows, name, &table, &first.name)?, KeyColumn::Integers(_))))
            .collect::<Result<_, FeatureError>>()?;
        let ids = like.event_id.as_ref().map(|id| IdReader::of(like, id, &first.name)).transpose()?;
        let layout = Layout::of(&plans, &columns, ids.is_some());
        let described = serde_json::to_vec(views).expect("a declaration is plain data");
        // Contents are compared in Arrow's own byte form.
        let arrow_version = if ids.is_some() { arrow::ARROW_VERSION } else { "" };
        let content = ids.as_ref().map(|ids| (&ids.column, ids.integers, &ids.content));
        let types = format!("{integer_keys:?} {:?} {content:?} {arrow_version}", layout.columns);
        let lateness = options.max_lateness.to_string();
        let reader = Reader {
            source: like.name.clone(),
            view: first.name.clone(),
            entity: first.entity.clone(),
            entities_are_integers: integer_keys == [true],
            integer_keys,
            columns: wanted,
            ids,
        };
        Ok(Stream {
            options,
            fingerprint: Digest::of_parts([described.as_slice(), types.as_bytes(), lateness.as_bytes()]).short(),
            entities: Entities::new(reader.entities_are_integers),
            nobody: Rows::new(&layout),
            plans,
            reader,
            layout,
            texts: Texts::default(),
            versions: Versions::default(),
            row_bytes: 0,
            watermark: i64::MIN,
            promised: i64::MIN,
            next_position: 0,
            swept: 0,
            words: Vec::new(),
            key: Vec::new(),
        })
    }

    /// The names of the values, `view.feature`, in declaration order.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let features = |plan: &'_ ViewPlan| {
            plan.view.features.iter().map(|feature| format!("{}.{}", plan.view.name, feature.name)).collect::<Vec<_>>()
        };
        self.plans.iter().flat_map(features)
    }

    /// The earliest time that [`Stream::read`] answers for.
    #[must_use]
    pub fn earliest(&self) -> Timestamp {
        self.late_before().max(Timestamp(self.promised))
    }

    /// The position after the last one that was applied: where a replay of the log goes on.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// Number of entities with rows in memory or spilled.
    #[must_use]
    pub fn entity_count(&self) -> usize {
        self.entities.len()
    }

    /// Number of rows in memory.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.entities.slots.iter().map(|slot| slot.rows.len()).sum()
    }

    /// Number of events that may still be corrected.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.versions.len()
    }

    /// About the memory that the state holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let empty = self.nobody.bytes() * self.entities.slots.len();
        empty + self.row_bytes + self.entities.bytes() + self.texts.bytes() + self.versions.bytes()
    }

    /// Takes rows, whose positions in the log or file ascend. Rows at positions that were applied before are skipped, so
    /// a replay may begin too early. A row that cannot be known yet counts from when it can.
    ///
    /// # Errors
    /// A missing column, or one of another type than the stream was made for; then no row is taken.
    ///
    /// # Panics
    /// When times or positions are not one per row, or positions do not ascend: the caller's bug.
    pub fn apply(&mut self, rows: &SourceTable, positions: &[u64]) -> Result<Applied, FeatureError> {
        let count = rows.rows.num_rows();
        assert_eq!(positions.len(), count, "one position per row");
        assert!(positions.is_sorted_by(|a, b| a < b), "positions ascend");
        let Some(event) = &rows.event_time else {
            let problem = "its rows have no event time, which a stream needs".to_owned();
            return Err(FeatureError::Declaration { subject: self.reader.table(), problem });
        };
        let available = rows.available_time.as_ref().unwrap_or(event);
        assert!(event.len() == count && available.len() == count, "one time per row");
        let incoming = self.reader.read(rows, &self.layout)?;
        let mut applied = Applied::default();
        let start = self.first_event();
        // Looked up ahead of use, the entities' memory arrives for many rows at once.
        let mut numbers: Vec<u32> = match incoming.keys.integers() {
            Some(keys) => keys.iter().map(|key| key.map_or(NOBODY, |key| self.entities.find_integer(key))).collect(),
            None => vec![NOBODY; count],
        };
        for row in 0..count {
            if positions[row] < self.next_position {
                applied.repeated += 1;
                continue;
            }
            self.next_position = positions[row].saturating_add(1);
            let order = Order { event: event[row].0, available: available[row].0, position: positions[row] };
            self.apply_row(&incoming, row, order, start, &mut numbers[row], &mut applied);
        }
        self.sweep(count / 2 + 1);
        Ok(applied)
    }

    /// Promises that no time before `t` will be read any more, and drops all rows that only such a time could see. Looks
    /// at every entity.
    pub fn advance(&mut self, t: Timestamp) {
        self.promised = self.promised.max(t.0);
        self.sweep(self.entities.slots.len().max(self.versions.len()));
    }

    /// The values of one entity at `t`. An unknown one has nulls, and counts of 0.
    ///
    /// # Errors
    /// [`FeatureError::TooEarly`] when `t` is before [`Stream::earliest`]; [`FeatureError::Key`] when the key has another
    /// number or type of parts than the views' key columns.
    pub fn read(&self, key: &EntityKey, t: Timestamp) -> Result<Reading, FeatureError> {
        self.read_number(self.find(key)?, t)
    }

    /// As [`Stream::read`], for a key in the form of [`EntityKey::to_bytes`]; one of another number or type of parts is
    /// that of an unknown entity.
    ///
    /// # Errors
    /// [`FeatureError::TooEarly`] as for [`Stream::read`].
    pub fn read_bytes(&self, key: &[u8], t: Timestamp) -> Result<Reading, FeatureError> {
        self.read_number(self.number_of(key), t)
    }

    /// Whether the entity of a key, in the form of [`EntityKey::to_bytes`], has rows that a window may reach.
    #[must_use]
    pub fn knows_bytes(&self, key: &[u8]) -> bool {
        self.number_of(key).is_some()
    }

    fn number_of(&self, key: &[u8]) -> Option<u32> {
        Some(self.entities.find(key)).filter(|number| *number != NOBODY)
    }

    fn read_number(&self, number: Option<u32>, t: Timestamp) -> Result<Reading, FeatureError> {
        if t < self.earliest() {
            return Err(FeatureError::TooEarly { at: t, earliest: self.earliest() });
        }
        let slot = number.map(|number| &self.entities.slots[number as usize]);
        if let Some(slot) = slot {
            slot.touched.fetch_max(t.0, Relaxed);
            if let Some(spilled) = slot.spilled.as_ref().filter(|spilled| spilled.newest_event >= self.first_event()) {
                return Ok(Reading::Spilled(spilled.parts));
            }
        }
        let rows = slot.map_or(&self.nobody, |slot| &slot.rows);
        let mut values = Vec::with_capacity(self.plans.iter().map(|plan| plan.features.len()).sum());
        let mut gathered = None;
        for plan in &self.plans {
            let as_of = plan.as_of(t);
            if rows.is_settled(as_of.0) {
                kept::evaluate(plan, &self.layout, &self.texts, rows, as_of, &mut values);
                continue;
            }
            if gathered.is_none() {
                gathered = Some(Gathered::of(rows, &self.layout, &self.reader, &self.texts)?);
            }
            if let Some(gathered) = &gathered {
                gathered.evaluate(plan, as_of, &mut values);
            }
        }
        Ok(Reading::Values(values))
    }

    fn find(&self, key: &EntityKey) -> Result<Option<u32>, FeatureError> {
        let fits = |(part, integers): (&KeyPart, &bool)| matches!(part, KeyPart::Int(_)) == *integers;
        if key.0.len() != self.reader.entity.len() || !key.0.iter().zip(&self.reader.integer_keys).all(fits) {
            let kind = |integers: &bool| if *integers { "an integer" } else { "a text" };
            let columns = self.reader.entity.iter().zip(&self.reader.integer_keys);
            return Err(FeatureError::Key {
                view: self.reader.view.clone(),
                expected: columns.map(|(name, it)| format!("{name} ({})", kind(it))).collect::<Vec<_>>().join(", "),
                key: key.to_string(),
            });
        }
        let number = match key.0.as_slice() {
            [KeyPart::Int(key)] => self.entities.find_integer(*key),
            _ => self.entities.find(&key.to_bytes()),
        };
        Ok((number != NOBODY).then_some(number))
    }

    fn apply_row(
        &mut self,
        incoming: &Incoming,
        row: usize,
        order: Order,
        start: i64,
        number: &mut u32,
        applied: &mut Applied,
    ) {
        let late_before = self.late_before().0;
        let has_id = incoming.ids.as_ref().is_some_and(|ids| ids.write(row, &mut self.key));
        if order.event < late_before || (has_id && order.available < late_before) {
            applied.late.push(row);
            return;
        }
        let watermark = self.watermark.max(order.event.min(order.available));
        let mut id = None;
        if let Some(ids) = incoming.ids.as_ref().filter(|_| has_id) {
            let key = std::mem::take(&mut self.key);
            let content = ids.content(row);
            let forgettable = self.forgettable();
            match self.versions.judge(&key, order, content.as_ref(), forgettable) {
                Judged::New => {}
                Judged::OutOfOrder => {
                    applied.out_of_order.push(row);
                    self.key = key;
                    return;
                }
                Judged::Duplicate => {
                    applied.duplicates += 1;
                    self.watermark = watermark;
                    self.key = key;
                    return;
                }
                Judged::Replaces(entity, replaced) => {
                    applied.corrections += 1;
                    let until = if order.available <= replaced.known_from() { NEVER } else { order.available };
                    self.withdraw(entity, replaced, until);
                }
            }
            id = Some((key, Box::from(content.as_ref())));
        }
        self.watermark = watermark;
        applied.accepted += 1;
        if order.event >= start {
            self.insert(incoming, row, order, number);
        } else {
            *number = NOBODY;
        }
        if let Some((key, content)) = id {
            let version = Version { entity: *number, order, newest_available: order.available, content };
            self.versions.put(&key, version);
            self.key = key;
        }
    }

    /// Puts a row to its entity, whose number is found or given.
    fn insert(&mut self, incoming: &Incoming, row: usize, order: Order, number: &mut u32) {
        if *number == NOBODY {
            if let Some(keys) = incoming.keys.integers() {
                // An earlier row of the same table may have brought the entity.
                let key = arrow::array::Array::is_valid(keys, row).then(|| keys.value(row));
                let Some(key) = key else { return };
                *number = self.entities.find_integer(key);
                if *number == NOBODY {
                    *number = self.entities.add_integer(key, &self.layout);
                }
            } else {
                if !incoming.keys.write(row, &mut self.key) {
                    return;
                }
                *number = self.entities.find(&self.key);
                if *number == NOBODY {
                    *number = self.entities.add(&self.key, &self.layout).unwrap_or(NOBODY);
                }
            }
        }
        self.words.clear();
        self.words.resize(self.layout.words, 0);
        self.words[EVENT] = order.event as u64;
        self.words[AVAILABLE] = order.available as u64;
        self.words[POSITION] = order.position;
        if let Some(until) = self.layout.until {
            self.words[until] = FOREVER as u64;
        }
        incoming.write_words(row, &self.layout, &mut self.texts, &mut self.words);
        let words = std::mem::take(&mut self.words);
        self.insert_words(*number, &words);
        self.words = words;
    }

    /// Puts a row, whose texts are taken, to an entity.
    fn insert_words(&mut self, number: u32, words: &[u64]) {
        let slot = &mut self.entities.slots[number as usize];
        let before = slot.rows.bytes();
        if !slot.rows.insert(&self.layout, &self.texts, words) {
            rows::release_texts(&self.layout, &mut self.texts, words);
        }
        let touched = slot.touched.get_mut();
        *touched = (*touched).max(words[AVAILABLE] as i64);
        self.row_bytes = self.row_bytes + slot.rows.bytes() - before;
    }

    /// Lets a row that was replaced count until `until`.
    fn withdraw(&mut self, entity: u32, order: Order, until: i64) {
        let Some(slot) = self.entities.slots.get_mut(entity as usize) else { return };
        let before = slot.rows.bytes();
        slot.rows.withdraw(&self.layout, &mut self.texts, order, until);
        // A part may hold the row, even a copy of one that is here, as after a restart.
        if let Some(spilled) = &mut slot.spilled {
            spilled.withdrawn.push((order, until));
        }
        self.row_bytes = self.row_bytes + slot.rows.bytes() - before;
    }

    /// Drops what no read can see from so many entities, and of as many events.
    fn sweep(&mut self, steps: usize) {
        let (start, earliest) = (self.first_event(), self.earliest_as_of());
        for _ in 0..steps.min(self.entities.slots.len()) {
            self.swept = if self.swept + 1 < self.entities.slots.len() { self.swept + 1 } else { 0 };
            self.drop_before(self.swept as u32, start, earliest);
        }
        // Ids come one per row at most, so this many steps keep up.
        self.versions.forget(self.forgettable(), 4 * steps);
    }

    fn drop_before(&mut self, number: u32, start: i64, earliest: i64) {
        let slot = &mut self.entities.slots[number as usize];
        let before = slot.rows.bytes();
        slot.rows.drop_before(&self.layout, &mut self.texts, start, earliest);
        self.row_bytes = self.row_bytes + slot.rows.bytes() - before;
        if slot.spilled.as_ref().is_some_and(|spilled| spilled.newest_event < start) {
            slot.spilled = None;
        }
        if slot.rows.is_empty() && slot.spilled.is_none() {
            self.entities.remove(number);
        }
    }

    /// Event times before it are too late.
    fn late_before(&self) -> Timestamp {
        Timestamp(self.watermark) - self.options.max_lateness
    }

    /// The earliest time as of which a view is computed.
    fn earliest_as_of(&self) -> i64 {
        let earliest = self.earliest();
        self.plans.iter().map(|plan| plan.as_of(earliest).0).min().unwrap_or(i64::MIN)
    }

    /// The earliest event time that a window can reach.
    fn first_event(&self) -> i64 {
        let earliest = self.earliest();
        let first = |plan: &ViewPlan| {
            let as_of = plan.as_of(earliest);
            (0..plan.windows.len()).map(|window| plan.window_start(window, as_of)).min().unwrap_or(i64::MAX)
        };
        self.plans.iter().map(first).min().unwrap_or(i64::MIN)
    }

    fn forgettable(&self) -> Forgettable {
        Forgettable { event_before: self.first_event(), available_before: self.late_before().0 }
    }
}
