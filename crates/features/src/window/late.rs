//! Windows over rows that become known out of order, or stop counting when a correction replaces them.
//!
//! Spine rows are visited in time order. A row enters a tree over positions when it becomes known and leaves it when it
//! is replaced; every node holds the summary of its leaves, and a window, a suffix of the known rows, is the summary of
//! logarithmically many nodes.

use std::collections::BTreeSet;

use paceline_core::Timestamp;

use super::cells::{CellsMut, NO_ROW};
use super::exact::{FixedPoint, Moments, Square};
use super::{EntityRows, rounding};
use crate::Aggregate;
use crate::point_in_time::column::{Column, Numbers};
use crate::point_in_time::plan::{FeaturePlan, ViewPlan};

/// Writes the values of all features of one view, for spine rows in time order, to the first cells of `cells`.
pub(crate) fn evaluate(
    plan: &ViewPlan,
    columns: &[Column],
    entity: EntityRows<'_>,
    as_of: &[Timestamp],
    cells: &mut [CellsMut<'_>],
) {
    let mut known = KnownRows::new(plan, columns, entity);
    let count = entity.rows.len();
    let until =
        |position: u32| entity.known_until.map_or(i64::MAX, |until| until[entity.rows[position as usize] as usize]);
    let mut entering: Vec<(i64, u32)> =
        (0..count as u32).map(|position| (entity.known_from[position as usize], position)).collect();
    let mut leaving: Vec<(i64, u32)> =
        (0..count as u32).map(|position| (until(position), position)).filter(|(until, _)| *until != i64::MAX).collect();
    entering.sort_unstable();
    leaving.sort_unstable();
    let (mut entering, mut leaving) = (entering.into_iter().peekable(), leaving.into_iter().peekable());
    for (query, &at) in as_of.iter().enumerate() {
        // A row leaves after it entered: rows that were replaced before they were known are not in the index.
        while let Some((_, position)) = entering.next_if(|(from, _)| *from < at.0) {
            known.change(position, true);
        }
        while let Some((_, position)) = leaving.next_if(|(until, _)| *until < at.0) {
            known.change(position, false);
        }
        known.answer(plan, at, query, cells);
    }
}

/// What a node of a tree knows about the rows below it.
trait Summary: Clone {
    const EMPTY: Self;
    /// The summary of the rows of `self` followed by those of `later`.
    fn then(&self, later: &Self) -> Self;
}

/// A complete binary tree over positions, root at 1, leaves from `leaves` on.
#[derive(Debug)]
struct Tree<S> {
    leaves: usize,
    nodes: Vec<S>,
}

impl<S: Summary> Tree<S> {
    fn new(count: usize) -> Self {
        let leaves = count.next_power_of_two();
        Tree { leaves, nodes: vec![S::EMPTY; 2 * leaves] }
    }

    fn set(&mut self, position: u32, leaf: S) {
        let mut node = self.leaves + position as usize;
        self.nodes[node] = leaf;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node].then(&self.nodes[2 * node + 1]);
        }
    }

    /// The summary of all positions from `low` on.
    fn suffix(&self, low: usize) -> S {
        if low >= self.leaves {
            return S::EMPTY;
        }
        let mut node = self.leaves + low;
        let mut summary = self.nodes[node].clone();
        while node > 1 {
            if node.is_multiple_of(2) {
                summary = summary.then(&self.nodes[node + 1]);
            }
            node /= 2;
        }
        summary
    }
}

/// Known non-null values of a column, or known rows.
#[derive(Debug, Clone, Copy)]
struct Values {
    count: u32,
    /// First and last position; meaningless when there is none.
    first: u32,
    last: u32,
    /// Position and key of a smallest and of a largest value.
    smallest: (i64, u32),
    largest: (i64, u32),
    sum: i128,
    squares: Square,
}

impl Summary for Values {
    const EMPTY: Values =
        Values { count: 0, first: 0, last: 0, smallest: (0, 0), largest: (0, 0), sum: 0, squares: Square::ZERO };

    fn then(&self, later: &Values) -> Values {
        match (self.count, later.count) {
            (_, 0) => *self,
            (0, _) => *later,
            _ => Values {
                count: self.count + later.count,
                first: self.first,
                last: later.last,
                smallest: self.smallest.min(later.smallest),
                largest: self.largest.max(later.largest),
                sum: self.sum + later.sum,
                squares: self.squares.plus(later.squares),
            },
        }
    }
}

impl Summary for Moments {
    const EMPTY: Moments = Moments::ZERO;

    fn then(&self, later: &Moments) -> Moments {
        let mut both = self.clone();
        both.add_all(later);
        both
    }
}

/// Marks of positions.
impl Summary for u32 {
    const EMPTY: u32 = 0;

    fn then(&self, later: &u32) -> u32 {
        self + later
    }
}

/// Known values of one column that are told apart: each value's newest known position is marked, so the number of
/// distinct values from a position on is that of the marks from there on.
#[derive(Debug)]
struct Distinct {
    marks: Tree<u32>,
    value_of: Vec<u32>,
    positions: Vec<BTreeSet<u32>>,
}

impl Distinct {
    fn new(column: &Column, rows: &[u32]) -> Self {
        let keys = column.keys.as_ref().expect("keys are read when needed");
        let key_of: Vec<i64> = rows.iter().map(|&row| column.distinct_key(keys[row as usize])).collect();
        let mut values = key_of.clone();
        values.sort_unstable();
        values.dedup();
        let value_of = key_of.iter().map(|key| values.partition_point(|value| value < key) as u32).collect();
        Distinct { marks: Tree::new(rows.len()), value_of, positions: vec![BTreeSet::new(); values.len()] }
    }

    fn change(&mut self, position: u32, enters: bool) {
        let positions = &mut self.positions[self.value_of[position as usize] as usize];
        let before = positions.last().copied();
        if enters {
            positions.insert(position);
        } else {
            positions.remove(&position);
        }
        let after = positions.last().copied();
        if before != after {
            before.into_iter().for_each(|position| self.marks.set(position, 0));
            after.into_iter().for_each(|position| self.marks.set(position, 1));
        }
    }
}

/// The known rows of one entity at the time of the sweep.
struct KnownRows<'a> {
    columns: &'a [Column],
    entity: EntityRows<'a>,
    rows: Tree<Values>,
    /// By column, of its non-null values; the other two only where they are needed.
    values: Vec<Tree<Values>>,
    moments: Vec<Option<Tree<Moments>>>,
    distinct: Vec<Option<Distinct>>,
}

impl<'a> KnownRows<'a> {
    fn new(plan: &ViewPlan, columns: &'a [Column], entity: EntityRows<'a>) -> Self {
        let count = entity.rows.len();
        let is_used = |index: usize, aggregate: Option<Aggregate>| {
            let uses = |feature: &FeaturePlan| {
                feature.column == Some(index) && aggregate.is_none_or(|a| a == feature.aggregate)
            };
            plan.features.iter().any(uses)
        };
        let distinct = |(index, column): (usize, &Column)| {
            is_used(index, Some(Aggregate::CountDistinct)).then(|| Distinct::new(column, entity.rows))
        };
        let moments = |(index, column): (usize, &Column)| {
            (is_used(index, None) && matches!(column.numbers, Numbers::Wide(_))).then(|| Tree::new(count))
        };
        KnownRows {
            columns,
            entity,
            rows: Tree::new(count),
            values: (0..columns.len()).map(|index| Tree::new(if is_used(index, None) { count } else { 0 })).collect(),
            moments: columns.iter().enumerate().map(moments).collect(),
            distinct: columns.iter().enumerate().map(distinct).collect(),
        }
    }

    fn change(&mut self, position: u32, enters: bool) {
        let picked = Values { count: 1, first: position, last: position, ..Values::EMPTY };
        self.rows.set(position, if enters { picked } else { Values::EMPTY });
        let row = self.entity.rows[position as usize];
        for (index, column) in self.columns.iter().enumerate().filter(|(_, column)| column.is_valid(row)) {
            // A tree without leaves belongs to a column that only other views use.
            if self.values[index].leaves < self.entity.rows.len() {
                continue;
            }
            let key = column.keys.as_ref().map_or(0, |keys| keys[row as usize]);
            let sum = match &column.numbers {
                Numbers::Integers(values) => i128::from(values[row as usize]),
                Numbers::Fixed(values, scale) => scale.units(values[row as usize]),
                Numbers::Wide(_) | Numbers::None => 0,
            };
            let squares = if column.needs.squares { Square::of(sum) } else { Square::ZERO };
            let leaf = Values { smallest: (key, position), largest: (key, position), sum, squares, ..picked };
            self.values[index].set(position, if enters { leaf } else { Values::EMPTY });
            if let (Some(tree), Numbers::Wide(values)) = (&mut self.moments[index], &column.numbers) {
                let mut leaf = Moments::ZERO;
                if enters {
                    leaf.add(values[row as usize]);
                }
                tree.set(position, leaf);
            }
            if let Some(distinct) = &mut self.distinct[index] {
                distinct.change(position, enters);
            }
        }
    }

    fn answer(&self, plan: &ViewPlan, at: Timestamp, query: usize, cells: &mut [CellsMut<'_>]) {
        let all = self.rows.suffix(0);
        if all.count == 0 || plan.is_expired(self.entity.event[all.last as usize], at) {
            cells.iter_mut().for_each(|cells| cells.clear(query));
            return;
        }
        let starts: Vec<usize> = (0..plan.windows.len())
            .map(|window| {
                let start = plan.window_start(window, at);
                self.entity.event.partition_point(|&event| event < start)
            })
            .collect();
        for (feature, cells) in plan.features.iter().zip(cells) {
            let low = starts[feature.window];
            let values = feature.column.map_or(&self.rows, |column| &self.values[column]).suffix(low);
            let picked = |position: u32| if values.count == 0 { NO_ROW } else { self.entity.rows[position as usize] };
            match feature.aggregate {
                Aggregate::Count => cells.counts()[query] = i64::from(values.count),
                Aggregate::Sum | Aggregate::Mean | Aggregate::Std => {
                    cells.numbers()[query] = self.number(feature, low, &values);
                }
                Aggregate::Min => cells.rows()[query] = picked(values.smallest.1),
                Aggregate::Max => cells.rows()[query] = picked(values.largest.1),
                Aggregate::First => cells.rows()[query] = picked(values.first),
                Aggregate::Last => cells.rows()[query] = picked(values.last),
                Aggregate::CountDistinct => {
                    let distinct = feature.column.and_then(|column| self.distinct[column].as_ref());
                    let distinct = distinct.expect("the plan requires a column");
                    cells.counts()[query] = i64::from(distinct.marks.suffix(low));
                }
                Aggregate::SecondsSinceLast => {
                    let event = Timestamp(self.entity.event[values.last as usize]);
                    let is_null = values.count == 0 || plan.is_static;
                    cells.numbers()[query] = if is_null { f64::NAN } else { at.seconds_since(event) };
                }
            }
        }
    }

    fn number(&self, feature: &FeaturePlan, low: usize, values: &Values) -> f64 {
        let column = feature.column.expect("the plan requires a column");
        let (aggregate, count) = (feature.aggregate, u64::from(values.count));
        match (&self.columns[column].numbers, &self.moments[column]) {
            (Numbers::Integers(_), _) => {
                rounding::fixed(aggregate, count, values.sum, values.squares, FixedPoint::INTEGERS)
            }
            (Numbers::Fixed(_, scale), _) => rounding::fixed(aggregate, count, values.sum, values.squares, *scale),
            (_, Some(moments)) => rounding::wide(aggregate, count, &moments.suffix(low)),
            _ => unreachable!("the plan asks for the numbers of a summed column"),
        }
    }
}
