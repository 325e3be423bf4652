//! A source sorted by entity, ready to answer.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{Field, Schema};

use paceline_core::{EntityKey, Timestamp, Value};

use super::Spine;
use super::column::Column;
use super::correction::{NEVER, known_until};
use super::entity::{EntityDictionary, NOBODY};
use super::order::Grouped;
use super::plan::{FeaturePlan, ViewPlan, plan};
use super::times::{SourceTimes, check_row_count};
use crate::window::cells::{Cells, CellsMut, NO_ROW};
use crate::window::{EntityRows, in_order, late, scan};
use crate::{Aggregate, FeatureError, FeatureView, SourceTable};

/// A source sorted by the entity of one or more views, with the columns they read: sort once, then join spines
/// ([`Index::join`]) or compute single values ([`Index::compute`]). Both give the same bits.
#[derive(Debug)]
pub struct Index {
    plans: Vec<ViewPlan>,
    columns: Vec<Column>,
    dictionary: EntityDictionary,
    grouped: Grouped,
    /// Event time of each row in `grouped`; `i64::MIN` for a static source.
    event: Vec<i64>,
    /// The later of event and available time of each row in `grouped`; `None` where it is the event time.
    known_from: Option<Vec<i64>>,
    /// By position in the source; `None` when nothing is ever replaced.
    known_until: Option<Vec<i64>>,
}

impl Index {
    /// Sorts `source` for `views`, which must have the same entity.
    ///
    /// # Errors
    /// A missing column, a column of a wrong type, or a declaration without meaning; each names view, feature and
    /// column.
    ///
    /// # Panics
    /// When `views` is empty or a time column of `source` has another length than its rows: the caller's bug.
    pub fn build(views: &[&FeatureView], source: &SourceTable) -> Result<Index, FeatureError> {
        let until = source.event_id.as_ref().map_or(Ok(None), |id| known_until(source, id))?;
        Index::build_resolved(views, source, until)
    }

    /// As [`Index::build`], where it is already known until when each row counts.
    pub(crate) fn build_resolved(
        views: &[&FeatureView],
        source: &SourceTable,
        known_until: Option<Vec<i64>>,
    ) -> Result<Index, FeatureError> {
        let first = *views.first().expect("an index is built for at least one view");
        if let Some(other) = views.iter().find(|view| view.entity != first.entity) {
            return Err(FeatureError::Declaration {
                subject: format!("view {}", other.name),
                problem: format!("its entity differs from that of view {}; give it an index of its own", first.name),
            });
        }
        let times = SourceTimes::of(source)?;
        let table = format!("source {:?}", source.name);
        let (dictionary, entity_of) =
            EntityDictionary::of_source(&source.rows, &first.entity, &table, &format!("view {}", first.name))?;
        let (plans, columns) = plan(views, source)?;
        let is_kept = |row: usize| known_until.as_ref().is_none_or(|until| until[row] != NEVER);
        let mut grouped = Grouped::by_entity(&entity_of, dictionary.len(), is_kept);
        let (event, known_from) = if source.available_time.is_some() {
            let keys = grouped.sort_by_key(|row| (times.event(row), times.available(row)));
            (keys.iter().map(|key| key.0).collect(), Some(keys.iter().map(|key| key.0.max(key.1)).collect()))
        } else {
            (grouped.sort_by_key(|row| times.event(row)), None)
        };
        Ok(Index { plans, columns, dictionary, grouped, event, known_from, known_until })
    }

    /// Number of distinct entities with a row.
    #[must_use]
    pub fn entity_count(&self) -> usize {
        self.dictionary.len()
    }

    /// One row of each entity (its position in the source), by the entity's number. An entity of which no row ever
    /// counts has none, and its range is empty.
    pub(crate) fn row_of(&self, entity: u32) -> Option<u32> {
        self.grouped.rows[self.grouped.range(entity)].first().copied()
    }

    /// Appends what an entity's values at `t` are made of: event time and columns of every row that counts, in order.
    /// Returns whether one does.
    pub(crate) fn append_counting_rows(&self, entity: u32, t: Timestamp, out: &mut Vec<u8>) -> bool {
        let rows = self.rows_of(entity);
        let mut any = false;
        for position in (0..rows.rows.len()).filter(|&position| rows.counts(position, t)) {
            any = true;
            out.extend(rows.event[position].to_le_bytes());
            self.columns.iter().for_each(|column| column.append_bytes(rows.rows[position], out));
        }
        any
    }

    /// Whether other rows of an entity count at one time than at the other.
    pub(crate) fn counts_differently(&self, entity: u32, a: Timestamp, b: Timestamp) -> bool {
        let rows = self.rows_of(entity);
        (0..rows.rows.len()).any(|position| rows.counts(position, a) != rows.counts(position, b))
    }

    /// Whether a value of an entity can differ at two times, `from` not being later, although the same rows count.
    pub(crate) fn changes_with_time(&self, entity: u32, from: Timestamp, to: Timestamp) -> bool {
        let rows = self.rows_of(entity);
        let counting = || (0..rows.rows.len()).rev().filter(|&position| rows.counts(position, to));
        let Some(newest) = counting().next().map(|position| rows.event[position]) else { return false };
        self.plans.iter().any(|plan| {
            let is_expired = plan.is_expired(newest, to);
            if is_expired || plan.is_expired(newest, from) {
                return is_expired != plan.is_expired(newest, from);
            }
            let starts = |window| (plan.window_start(window, from), plan.window_start(window, to));
            let left = (0..plan.windows.len()).map(starts).any(|(start, later)| {
                counting().map(|position| rows.event[position]).any(|event| start <= event && event < later)
            });
            let seconds = plan.features.iter().filter(|feature| feature.aggregate == Aggregate::SecondsSinceLast);
            left || (from != to && seconds.map(|feature| starts(feature.window).0).any(|start| newest >= start))
        })
    }

    /// The names of the values, `view.feature`, in declaration order.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.features().map(|(plan, index, _)| format!("{}.{}", plan.view.name, plan.view.features[index].name))
    }

    /// The values of every spine row as known at its time, one column per feature, in the spine's order.
    ///
    /// # Errors
    /// A missing key column, or one of another type than in the source.
    ///
    /// # Panics
    /// When `threads` is zero or the spine's times are not one per row: the caller's bug.
    pub fn join(&self, spine: &Spine<'_>, threads: usize) -> Result<RecordBatch, FeatureError> {
        assert!(threads > 0, "a join needs at least one thread");
        assert_eq!(spine.keys.num_rows(), spine.time.len(), "one time per spine row");
        check_row_count("the spine", spine.time.len())?;
        let asked_of = self.dictionary.of_spine(spine.keys, &self.plans[0].view.name)?;
        let mut asked = Grouped::by_entity(&asked_of, self.dictionary.len(), |_| true);
        let times = asked.sort_by_key(|row| spine.time[row as usize]);

        let count = asked.rows.len();
        let mut results: Vec<Cells> =
            self.features().map(|(_, _, feature)| Cells::unknown(feature.aggregate, count)).collect();
        let mut rest: Vec<CellsMut<'_>> = results.iter_mut().map(Cells::as_mut).collect();
        std::thread::scope(|scope| {
            let mut ranges = self.entity_ranges(&asked, threads).into_iter().peekable();
            while let Some(range) = ranges.next() {
                let wanted = (asked.starts[range.end] - asked.starts[range.start]) as usize;
                let (cells, remaining) = rest.drain(..).map(|cells| cells.split(wanted)).unzip();
                rest = remaining;
                let (asked, times) = (&asked, &times);
                let work = move || self.join_entities(range, asked, times, cells);
                // The last part runs on this thread.
                if ranges.peek().is_some() {
                    scope.spawn(work);
                } else {
                    work();
                }
            }
        });
        self.assemble(results, &asked.rows, spine.time.len())
    }

    /// The values of one entity at `t`, in declaration order, recomputed from its raw rows. A timestamp comes as
    /// [`Value::Int`], microseconds since 1970.
    ///
    /// # Errors
    /// [`FeatureError::Key`] when the key has another number or type of parts than the view's key columns.
    pub fn compute(&self, key: &EntityKey, t: Timestamp) -> Result<Vec<Value>, FeatureError> {
        let entity = self.dictionary.of_key(key, &self.plans[0].view.name)?;
        let rows = if entity == NOBODY {
            EntityRows { rows: &[], event: &[], known_from: &[], known_until: None }
        } else {
            self.rows_of(entity)
        };
        let mut values = Vec::with_capacity(self.plans.iter().map(|plan| plan.features.len()).sum());
        for plan in &self.plans {
            scan::evaluate(plan, &self.columns, rows, plan.as_of(t), &mut values);
        }
        Ok(values)
    }

    fn features(&self) -> impl Iterator<Item = (&ViewPlan, usize, &FeaturePlan)> + '_ {
        self.plans.iter().flat_map(|plan| plan.features.iter().enumerate().map(move |(i, feature)| (plan, i, feature)))
    }

    fn rows_of(&self, entity: u32) -> EntityRows<'_> {
        let range = self.grouped.range(entity);
        let event = &self.event[range.clone()];
        let known_from = self.known_from.as_ref().map_or(event, |known_from| &known_from[range.clone()]);
        EntityRows { rows: &self.grouped.rows[range], event, known_from, known_until: self.known_until.as_deref() }
    }

    /// Cuts the entities into ranges of about equal work.
    fn entity_ranges(&self, asked: &Grouped, threads: usize) -> Vec<Range<usize>> {
        // Rows and spine rows of all entities before this one.
        let work: Vec<u64> =
            self.grouped.starts.iter().zip(&asked.starts).map(|(&a, &b)| u64::from(a) + u64::from(b)).collect();
        let total = work.last().copied().unwrap_or(0);
        let mut ranges = Vec::with_capacity(threads);
        let mut start = 0;
        for part in 1..=threads as u64 {
            let target = total * part / threads as u64;
            let end = work.partition_point(|&before| before < target).clamp(start, self.dictionary.len());
            if start < end {
                ranges.push(start..end);
            }
            start = end;
        }
        ranges
    }

    /// Evaluates all features for the spine rows of some entities; `cells` are theirs alone.
    fn join_entities(
        &self,
        entities: Range<usize>,
        asked: &Grouped,
        times: &[Timestamp],
        mut cells: Vec<CellsMut<'_>>,
    ) {
        let mut local = in_order::Local::default();
        let mut as_of = Vec::new();
        for entity in entities.map(|entity| entity as u32) {
            let range = asked.range(entity);
            if range.is_empty() {
                continue;
            }
            let rows = self.rows_of(entity);
            let is_in_order = rows.is_in_order();
            if is_in_order {
                local.load(&self.columns, rows.rows);
            }
            let mut first = 0;
            for plan in &self.plans {
                as_of.clear();
                as_of.extend(times[range.clone()].iter().map(|&t| plan.as_of(t)));
                let cells = &mut cells[first..first + plan.features.len()];
                first += plan.features.len();
                if is_in_order {
                    local.evaluate(plan, &self.columns, rows, &as_of, cells);
                } else {
                    late::evaluate(plan, &self.columns, rows, &as_of, cells);
                }
            }
            cells.iter_mut().for_each(|cells| cells.advance(range.len()));
        }
    }

    /// Puts results from the order of evaluation into the spine's order.
    fn assemble(&self, results: Vec<Cells>, spine_rows: &[u32], count: usize) -> Result<RecordBatch, FeatureError> {
        let mut fields = Vec::with_capacity(results.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(results.len());
        for ((name, (_, _, feature)), cells) in self.names().zip(self.features()).zip(results) {
            let is_nullable = !matches!(cells, Cells::Counts(_));
            let array: ArrayRef = match cells {
                Cells::Counts(cells) => Arc::new(Int64Array::from(in_spine_order(&cells, spine_rows, count, 0))),
                Cells::Numbers(cells) => {
                    let values = in_spine_order(&cells, spine_rows, count, f64::NAN);
                    let nulls = nulls_where(&values, |value| value.is_nan());
                    Arc::new(Float64Array::new(values.into(), nulls))
                }
                Cells::Rows(cells) => {
                    let rows = in_spine_order(&cells, spine_rows, count, NO_ROW);
                    let nulls = nulls_where(&rows, |&row| row == NO_ROW);
                    let column = &self.columns[feature.column.expect("the plan requires a column")];
                    take(&column.values, &UInt32Array::new(rows.into(), nulls), None)
                        .map_err(FeatureError::arrow(format!("feature {name}")))?
                }
            };
            fields.push(Field::new(name, array.data_type().clone(), is_nullable));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(FeatureError::arrow("the joined features"))
    }
}

fn in_spine_order<T: Copy>(cells: &[T], spine_rows: &[u32], count: usize, unknown: T) -> Vec<T> {
    let mut ordered = vec![unknown; count];
    for (&cell, &row) in cells.iter().zip(spine_rows) {
        ordered[row as usize] = cell;
    }
    ordered
}

fn nulls_where<T>(values: &[T], is_null: impl Fn(&T) -> bool) -> Option<NullBuffer> {
    values.iter().any(&is_null).then(|| values.iter().map(|value| !is_null(value)).collect())
}
