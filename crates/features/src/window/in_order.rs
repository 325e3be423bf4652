//! Windows over rows that become known in their order: every window is a range of positions.

use paceline_core::Timestamp;

use super::cells::{CellsMut, NO_ROW};
use super::exact::{FixedPoint, Moments, Square};
use super::{EntityRows, rounding};
use crate::Aggregate;
use crate::point_in_time::column::{Column, Numbers};
use crate::point_in_time::plan::{FeaturePlan, ViewPlan};

/// Marks a position that has no neighbour.
const NONE: u32 = u32::MAX;

/// The columns of one entity's rows, gathered into that entity's order, with running sums. Reused between entities.
#[derive(Debug, Default)]
pub(crate) struct Local {
    columns: Vec<LocalColumn>,
    newest: Vec<u32>,
    oldest: Vec<Vec<u32>>,
    candidates: Vec<u32>,
    same: Vec<(i64, u32)>,
    previous_same: Vec<u32>,
    next_same: Vec<u32>,
}

#[derive(Debug, Default)]
struct LocalColumn {
    has_nulls: bool,
    /// Where there are nulls, the number of non-null values before each position.
    non_null: Vec<u32>,
    /// Where there are nulls, the last non-null position before each position and the first at or after it.
    previous: Vec<u32>,
    next: Vec<u32>,
    /// Sums over the values before each position.
    sums: Vec<i128>,
    squares: Vec<Square>,
    keys: Vec<i64>,
}

impl Local {
    /// Gathers all columns of one entity.
    pub(crate) fn load(&mut self, columns: &[Column], rows: &[u32]) {
        self.columns.resize_with(columns.len(), LocalColumn::default);
        for (local, column) in self.columns.iter_mut().zip(columns) {
            local.load(column, rows);
        }
    }

    /// Writes the values of all features of one view, for spine rows in time order, to the first cells of `cells`.
    pub(crate) fn evaluate(
        &mut self,
        plan: &ViewPlan,
        columns: &[Column],
        entity: EntityRows<'_>,
        as_of: &[Timestamp],
        cells: &mut [CellsMut<'_>],
    ) {
        self.find_bounds(plan, entity, as_of);
        for (feature, cells) in plan.features.iter().zip(cells.iter_mut()) {
            match feature.aggregate {
                Aggregate::Count => self.counts(feature, cells.counts()),
                Aggregate::Sum | Aggregate::Mean | Aggregate::Std => {
                    let column = feature.column.expect("the plan requires a column");
                    match &columns[column].numbers {
                        Numbers::Integers(_) => self.sums(feature, column, FixedPoint::INTEGERS, cells.numbers()),
                        Numbers::Fixed(_, scale) => self.sums(feature, column, *scale, cells.numbers()),
                        Numbers::Wide(values) => self.wide_sums(feature, column, values, entity.rows, cells.numbers()),
                        Numbers::None => unreachable!("the plan asks for the numbers of a summed column"),
                    }
                }
                Aggregate::Min => self.extremes(feature, entity.rows, |key| key, cells.rows()),
                Aggregate::Max => self.extremes(feature, entity.rows, |key| !key, cells.rows()),
                Aggregate::First => {
                    self.picked(feature, cells.rows(), |picked| picked.map_or(NO_ROW, |(first, _)| entity.rows[first]));
                }
                Aggregate::Last => {
                    self.picked(feature, cells.rows(), |picked| picked.map_or(NO_ROW, |(_, last)| entity.rows[last]));
                }
                Aggregate::CountDistinct => self.distinct(feature, columns, cells.counts()),
                Aggregate::SecondsSinceLast => {
                    let mut times = as_of.iter();
                    self.picked(feature, cells.numbers(), |picked| {
                        let at = times.next().expect("one time per cell");
                        match picked {
                            Some((_, last)) if !plan.is_static => at.seconds_since(Timestamp(entity.event[last])),
                            _ => f64::NAN,
                        }
                    });
                }
            }
        }
        if plan.view.ttl.is_some() {
            for (query, (&newest, &at)) in self.newest.iter().zip(as_of).enumerate() {
                if newest > 0 && plan.is_expired(entity.event[newest as usize - 1], at) {
                    cells.iter_mut().for_each(|cells| cells.clear(query));
                }
            }
        }
    }

    /// For every spine row, the number of known rows and, per window, that of rows before its start; neither decreases.
    fn find_bounds(&mut self, plan: &ViewPlan, entity: EntityRows<'_>, as_of: &[Timestamp]) {
        self.newest.clear();
        let mut known = 0;
        for &at in as_of {
            while known < entity.known_from.len() && entity.known_from[known] < at.0 {
                known += 1;
            }
            self.newest.push(known as u32);
        }
        self.oldest.resize_with(self.oldest.len().max(plan.windows.len()), Vec::new);
        for (window, oldest) in (0..plan.windows.len()).zip(&mut self.oldest) {
            oldest.clear();
            let mut before = 0;
            for (&at, &known) in as_of.iter().zip(&self.newest) {
                let start = plan.window_start(window, at);
                while before < known && entity.event[before as usize] < start {
                    before += 1;
                }
                oldest.push(before);
            }
        }
    }

    fn bounds(&self, feature: &FeaturePlan) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.oldest[feature.window].iter().zip(&self.newest).map(|(&low, &high)| (low as usize, high as usize))
    }

    fn counts(&self, feature: &FeaturePlan, out: &mut [i64]) {
        let column = feature.column.map(|column| &self.columns[column]);
        for (out, (low, high)) in out.iter_mut().zip(self.bounds(feature)) {
            *out = column.map_or(high - low, |column| column.count(low, high)) as i64;
        }
    }

    fn sums(&self, feature: &FeaturePlan, column: usize, scale: FixedPoint, out: &mut [f64]) {
        let column = &self.columns[column];
        let with_squares = feature.aggregate == Aggregate::Std;
        for (out, (low, high)) in out.iter_mut().zip(self.bounds(feature)) {
            let sum = column.sums[high].wrapping_sub(column.sums[low]);
            let squares = if with_squares { column.squares[high].minus(column.squares[low]) } else { Square::ZERO };
            *out = rounding::fixed(feature.aggregate, column.count(low, high) as u64, sum, squares, scale);
        }
    }

    fn wide_sums(&self, feature: &FeaturePlan, column: usize, values: &[f64], rows: &[u32], out: &mut [f64]) {
        let column = &self.columns[column];
        let mut moments = Moments::ZERO;
        let (mut removed, mut added) = (0, 0);
        for (out, (low, high)) in out.iter_mut().zip(self.bounds(feature)) {
            for position in (added..high).filter(|&position| column.is_valid(position)) {
                moments.add(values[rows[position] as usize]);
            }
            for position in (removed..low).filter(|&position| column.is_valid(position)) {
                moments.remove(values[rows[position] as usize]);
            }
            (removed, added) = (low, high);
            *out = rounding::wide(feature.aggregate, column.count(low, high) as u64, &moments);
        }
    }

    /// The row with the smallest `order(key)`, by a queue of the positions that may still become the smallest.
    fn extremes(&mut self, feature: &FeaturePlan, rows: &[u32], order: impl Fn(i64) -> i64, out: &mut [u32]) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let column = &self.columns[feature.column.expect("the plan requires a column")];
        let key = |position: u32| order(column.keys[position as usize]);
        let (mut head, mut added) = (0, 0);
        for (out, (low, high)) in out.iter_mut().zip(self.bounds(feature)) {
            for position in added.max(low)..high {
                if !column.is_valid(position) {
                    continue;
                }
                let position = position as u32;
                while candidates.len() > head && candidates.last().is_some_and(|&last| key(last) >= key(position)) {
                    candidates.pop();
                }
                candidates.push(position);
            }
            added = high;
            while head < candidates.len() && (candidates[head] as usize) < low {
                head += 1;
            }
            *out = candidates.get(head).map_or(NO_ROW, |&position| rows[position as usize]);
        }
        self.candidates = candidates;
    }

    /// The first and the last non-null position of every window; of any value where the feature names no column.
    fn picked<T>(&self, feature: &FeaturePlan, out: &mut [T], mut result: impl FnMut(Option<(usize, usize)>) -> T) {
        let column = feature.column.map(|column| &self.columns[column]).filter(|column| column.has_nulls);
        for (out, (low, high)) in out.iter_mut().zip(self.bounds(feature)) {
            let picked = match column {
                None => (low < high).then(|| (low, high - 1)),
                Some(column) => {
                    let (first, last) = (column.next[low], column.previous[high]);
                    ((first as usize) < high && first != NONE).then_some((first as usize, last as usize))
                }
            };
            *out = result(picked);
        }
    }

    /// A value is counted at its first position in the window: on entering, if the same value's previous position lies
    /// before the window; it stops counting when it leaves and its next position is not in the window yet.
    fn distinct(&mut self, feature: &FeaturePlan, columns: &[Column], out: &mut [i64]) {
        let index = feature.column.expect("the plan requires a column");
        self.find_same(index, &columns[index]);
        let column = &self.columns[index];
        let (mut removed, mut added, mut count) = (0, 0, 0);
        for (out, (low, high)) in out.iter_mut().zip(self.bounds(feature)) {
            for position in (added..high).filter(|&position| column.is_valid(position)) {
                let previous = self.previous_same[position];
                count += i64::from(previous == NONE || (previous as usize) < removed);
            }
            for position in (removed..low).filter(|&position| column.is_valid(position)) {
                // `NONE` is larger than every position.
                count -= i64::from(self.next_same[position] as usize >= high);
            }
            (removed, added) = (low, high);
            *out = count;
        }
    }

    fn find_same(&mut self, index: usize, column: &Column) {
        let local = &self.columns[index];
        self.same.clear();
        for (position, &key) in local.keys.iter().enumerate() {
            if local.is_valid(position) {
                self.same.push((column.distinct_key(key), position as u32));
            }
        }
        self.same.sort_unstable();
        for list in [&mut self.previous_same, &mut self.next_same] {
            list.clear();
            list.resize(local.keys.len(), NONE);
        }
        for pair in self.same.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            self.previous_same[pair[1].1 as usize] = pair[0].1;
            self.next_same[pair[0].1 as usize] = pair[1].1;
        }
    }
}

impl LocalColumn {
    fn load(&mut self, column: &Column, rows: &[u32]) {
        self.has_nulls = column.nulls.is_some();
        if self.has_nulls {
            self.find_nulls(column, rows);
        }
        if column.needs.keys {
            let keys = column.keys.as_ref().expect("keys are read when needed");
            self.keys.clear();
            self.keys.extend(rows.iter().map(|&row| keys[row as usize]));
        }
        match &column.numbers {
            Numbers::Integers(values) => self.run_sums(column, rows, |row| i128::from(values[row as usize])),
            Numbers::Fixed(values, scale) => self.run_sums(column, rows, |row| scale.units(values[row as usize])),
            // Running sums of 800 bytes each would not fit; these slide instead.
            Numbers::Wide(_) | Numbers::None => {}
        }
    }

    fn find_nulls(&mut self, column: &Column, rows: &[u32]) {
        self.non_null.clear();
        self.previous.clear();
        let (mut count, mut last) = (0, NONE);
        for (position, &row) in rows.iter().enumerate() {
            self.non_null.push(count);
            self.previous.push(last);
            if column.is_valid(row) {
                count += 1;
                last = position as u32;
            }
        }
        self.non_null.push(count);
        self.previous.push(last);
        self.next.clear();
        self.next.resize(rows.len() + 1, NONE);
        for (position, &row) in rows.iter().enumerate().rev() {
            self.next[position] = if column.is_valid(row) { position as u32 } else { self.next[position + 1] };
        }
    }

    fn run_sums(&mut self, column: &Column, rows: &[u32], units: impl Fn(u32) -> i128) {
        let mut sum = 0i128;
        self.sums.clear();
        self.sums.push(sum);
        self.sums.extend(rows.iter().map(|&row| {
            sum = sum.wrapping_add(if column.is_valid(row) { units(row) } else { 0 });
            sum
        }));
        if column.needs.squares {
            let mut squares = Square::ZERO;
            self.squares.clear();
            self.squares.push(squares);
            self.squares.extend(rows.iter().map(|&row| {
                squares = squares.plus(if column.is_valid(row) { Square::of(units(row)) } else { Square::ZERO });
                squares
            }));
        }
    }

    #[inline]
    fn is_valid(&self, position: usize) -> bool {
        !self.has_nulls || self.non_null[position + 1] > self.non_null[position]
    }

    #[inline]
    fn count(&self, low: usize, high: usize) -> usize {
        if self.has_nulls { (self.non_null[high] - self.non_null[low]) as usize } else { high - low }
    }
}
