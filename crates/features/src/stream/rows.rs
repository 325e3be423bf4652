//! The rows of one entity in order, with running sums, kept current as rows come and go.
//!
//! New rows mostly come last and old ones leave first; both cost a constant. A late row, or one that is taken back, costs
//! the rows behind it.

use super::layout::{AVAILABLE, ColumnLayout, EVENT, Kind, Layout, Mark, POSITION};
use super::texts::Texts;
use crate::point_in_time::correction::{FOREVER, NEVER};
use crate::window::exact::{FixedPoint, Moments, Span, Square};

/// What decides the order of an entity's rows: event time, available time, position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub event: i64,
    pub available: i64,
    pub position: u64,
}

impl Order {
    /// Of a row's words.
    #[inline]
    pub(crate) fn of(row: &[u64]) -> Order {
        Order { event: row[EVENT] as i64, available: row[AVAILABLE] as i64, position: row[POSITION] }
    }

    /// When both times have passed.
    #[inline]
    pub(crate) fn known_from(self) -> i64 {
        self.event.max(self.available)
    }
}

/// How the sums of one float column of one entity are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// As running sums in this scale, which every value fits.
    Fixed(FixedPoint),
    /// Not at all: the values are too far apart, and a read adds them up.
    Wide,
}

/// A sum over a range of rows.
pub(crate) enum Sum {
    Fixed(i128, Square, FixedPoint),
    Wide(Box<Moments>),
}

/// The rows of one entity.
///
/// Invariants:
/// 1. `words` holds `end` rows in order. Those before `head` are dropped; the last of them stays for its sums.
/// 2. Counts and sums of a row are those of all rows before it, itself included, modulo the width of their words. So
///    the difference of two rows is exact whatever was dropped before them.
/// 3. Marks are positions in `words`, ascending. Marks below `head` mean nothing.
/// 4. Every row from `head` on holds one use of each of its texts.
#[derive(Debug)]
pub(crate) struct Rows {
    words: Vec<u64>,
    head: usize,
    end: usize,
    /// No row becomes known after this time.
    settled: i64,
    /// Number of rows that stop counting at some time.
    replaced: u32,
    scales: Box<[Scale]>,
    marks: Box<[Vec<u32>]>,
}

impl Rows {
    /// No rows.
    pub(crate) fn new(layout: &Layout) -> Rows {
        let scale = Scale::Fixed(FixedPoint::INTEGERS);
        Rows {
            words: Vec::new(),
            head: 0,
            end: 0,
            settled: i64::MIN,
            replaced: 0,
            scales: vec![scale; layout.scales].into(),
            marks: vec![Vec::new(); layout.marks.len()].into(),
        }
    }

    /// Number of rows.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.head
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.end == self.head
    }

    /// Memory that it holds outside itself.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        let marks: usize =
            self.marks.iter().map(|marks| size_of::<Vec<u32>>() + size_of::<u32>() * marks.capacity()).sum();
        size_of::<u64>() * self.words.capacity() + size_of::<Scale>() * self.scales.len() + marks
    }

    /// Whether every row is known before `as_of` and counts.
    #[inline]
    pub(crate) fn is_settled(&self, as_of: i64) -> bool {
        self.settled < as_of && self.replaced == 0
    }

    /// The rows in order.
    pub(crate) fn iter<'a>(&'a self, layout: &Layout) -> impl ExactSizeIterator<Item = &'a [u64]> + use<'a> {
        self.words[self.head * layout.words..].chunks_exact(layout.words)
    }

    /// The positions of all rows in `words`.
    #[inline]
    pub(crate) fn range(&self) -> (usize, usize) {
        (self.head, self.end)
    }

    /// The words of one row.
    #[inline]
    pub(crate) fn row(&self, layout: &Layout, at: usize) -> &[u64] {
        &self.words[at * layout.words..][..layout.words]
    }

    #[inline]
    fn event(&self, layout: &Layout, at: usize) -> i64 {
        self.words[at * layout.words + EVENT] as i64
    }

    /// The first position of a row whose event time is not before `start`.
    #[inline]
    pub(crate) fn position_at(&self, layout: &Layout, start: i64) -> usize {
        self.partition(|at| self.event(layout, at) < start)
    }

    #[inline]
    fn partition(&self, is_before: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (self.head, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Puts a row where it belongs. Its words are complete but for counts, where only the lowest bit is, and sums. False
    /// when the same row is there already.
    pub(crate) fn insert(&mut self, layout: &Layout, texts: &Texts, row: &[u64]) -> bool {
        let order = Order::of(row);
        let follows = self.is_empty() || Order::of(self.row(layout, self.end - 1)) < order;
        let mut at = if follows { self.end } else { self.partition(|at| Order::of(self.row(layout, at)) < order) };
        if at < self.end && Order::of(self.row(layout, at)) == order {
            return false;
        }
        if !self.scales.is_empty() && self.adopt_scales(layout, row) {
            at -= self.forget_dropped(layout);
            self.run_sums(layout, 0);
        }
        if at == self.end {
            self.words.extend_from_slice(row);
        } else {
            let offset = at * layout.words;
            self.words.splice(offset..offset, row.iter().copied());
        }
        self.end += 1;
        self.settled = self.settled.max(order.known_from());
        self.replaced += u32::from(is_replaced(layout, row));
        self.run_sums(layout, at);
        for index in 0..self.marks.len() {
            self.mark_from(index, layout, texts, at);
        }
        true
    }

    /// Lets a row count until `until`, inclusively, or not at all, where it is here.
    pub(crate) fn withdraw(&mut self, layout: &Layout, texts: &mut Texts, order: Order, until: i64) {
        let at = self.partition(|at| Order::of(self.row(layout, at)) < order);
        if at == self.end || Order::of(self.row(layout, at)) != order {
            return;
        }
        if until == NEVER {
            self.remove(layout, texts, at);
            return;
        }
        let word = layout.until.expect("only a source with event ids replaces rows");
        let word = &mut self.words[at * layout.words + word];
        self.replaced += u32::from(*word as i64 == FOREVER);
        *word = (*word as i64).min(until) as u64;
    }

    /// Drops the rows with event times before `start`, and those that stopped counting before `earliest`.
    pub(crate) fn drop_before(&mut self, layout: &Layout, texts: &mut Texts, start: i64, earliest: i64) {
        while self.head < self.end && self.event(layout, self.head) < start {
            let row = &self.words[self.head * layout.words..][..layout.words];
            self.replaced -= u32::from(is_replaced(layout, row));
            release_texts(layout, texts, row);
            self.head += 1;
        }
        if let Some(until) = layout.until.filter(|_| self.replaced > 0) {
            for at in (self.head..self.end).rev() {
                if (self.row(layout, at)[until] as i64) < earliest {
                    self.remove(layout, texts, at);
                }
            }
        }
        if self.is_empty() {
            if self.end > 0 {
                *self = Rows::new(layout);
            }
        } else if self.head > 4 && self.head > self.end / 2 {
            self.compact(layout);
        }
    }

    /// Drops all rows.
    pub(crate) fn clear(&mut self, layout: &Layout, texts: &mut Texts) {
        self.iter(layout).for_each(|row| release_texts(layout, texts, row));
        *self = Rows::new(layout);
    }

    /// The number of non-null values in `low..high`.
    #[inline]
    pub(crate) fn count(&self, layout: &Layout, column: &ColumnLayout, low: usize, high: usize) -> u64 {
        let up_to = |at: usize| if at == 0 { 0 } else { self.row(layout, at - 1)[column.count] >> 1 };
        up_to(high) - up_to(low)
    }

    /// The sum of the values in `low..high`, and with `squares` that of their squares.
    #[inline]
    pub(crate) fn sum(&self, layout: &Layout, column: &ColumnLayout, low: usize, high: usize, squares: bool) -> Sum {
        let scale = match column.scale.map(|scale| self.scales[scale]) {
            None => FixedPoint::INTEGERS,
            Some(Scale::Fixed(scale)) => scale,
            Some(Scale::Wide) => {
                let mut moments = Box::new(Moments::ZERO);
                for row in (low..high).map(|at| self.row(layout, at)).filter(|row| column.is_valid(row)) {
                    moments.add(f64::from_bits(column.word(row)));
                }
                return Sum::Wide(moments);
            }
        };
        let before = |at: usize| (at > 0).then(|| self.row(layout, at - 1));
        let sum_before = |at: usize| before(at).map_or(0, |row| read_sum(column, row));
        let squares_before = |at: usize| before(at).map_or(Square::ZERO, |row| read_squares(column, row));
        let sum = sum_before(high).wrapping_sub(sum_before(low));
        let squares = if squares { squares_before(high).minus(squares_before(low)) } else { Square::ZERO };
        Sum::Fixed(sum, squares, scale)
    }

    /// The marked rows from `low` on.
    #[inline]
    pub(crate) fn marks_from(&self, mark: usize, low: usize) -> &[u32] {
        let marks = &self.marks[mark];
        &marks[marks.partition_point(|&at| (at as usize) < low)..]
    }

    fn remove(&mut self, layout: &Layout, texts: &mut Texts, at: usize) {
        let offset = at * layout.words;
        let row = &self.words[offset..offset + layout.words];
        self.replaced -= u32::from(is_replaced(layout, row));
        release_texts(layout, texts, row);
        self.words.drain(offset..offset + layout.words);
        self.end -= 1;
        self.run_sums(layout, at);
        // What the row had superseded counts again, so marks before it may be missing.
        self.mark_all(layout, texts);
    }

    /// Makes sure that the values of `row` fit the scales; true when sums must be run again.
    fn adopt_scales(&mut self, layout: &Layout, row: &[u64]) -> bool {
        let mut changed = false;
        for column in &layout.columns {
            let (Some(index), true) = (column.scale, column.is_valid(row)) else { continue };
            let value = f64::from_bits(column.word(row));
            let Scale::Fixed(scale) = self.scales[index] else { continue };
            if scale.fits(value) {
                continue;
            }
            let mut span = self.span(layout, column);
            span.add(value);
            self.scales[index] = FixedPoint::roomy(span).map_or(Scale::Wide, Scale::Fixed);
            changed = true;
        }
        changed
    }

    fn span(&self, layout: &Layout, column: &ColumnLayout) -> Span {
        let mut span = Span::EMPTY;
        for row in self.iter(layout).filter(|row| column.is_valid(row)) {
            span.add(f64::from_bits(column.word(row)));
        }
        span
    }

    /// Frees the place of dropped rows, and looks whether columns that were wide share a fixed point again.
    fn compact(&mut self, layout: &Layout) {
        let mut narrowed = false;
        for column in &layout.columns {
            let Some(index) = column.scale.filter(|&index| self.scales[index] == Scale::Wide) else { continue };
            if let Some(scale) = FixedPoint::roomy(self.span(layout, column)) {
                self.scales[index] = Scale::Fixed(scale);
                narrowed = true;
            }
        }
        if narrowed {
            self.forget_dropped(layout);
            self.run_sums(layout, 0);
        } else {
            self.forget(layout, self.head - 1);
        }
        if self.words.capacity() > 4 * self.words.len() {
            self.words.shrink_to(2 * self.words.len());
        }
    }

    /// Forgets dropped rows with their sums, which must then be run from the first row; returns their number.
    fn forget_dropped(&mut self, layout: &Layout) -> usize {
        let count = self.head;
        self.forget(layout, count);
        count
    }

    /// Forgets the first `count` rows, which are dropped.
    fn forget(&mut self, layout: &Layout, count: usize) {
        self.words.drain(..count * layout.words);
        for marks in &mut self.marks {
            marks.drain(..marks.partition_point(|&at| (at as usize) < self.head));
            marks.iter_mut().for_each(|at| *at -= count as u32);
        }
        self.head -= count;
        self.end -= count;
    }

    /// Runs counts and sums from a row to the last.
    fn run_sums(&mut self, layout: &Layout, from: usize) {
        for at in from..self.end {
            let (before, rest) = self.words.split_at_mut(at * layout.words);
            let before = at.checked_sub(1).map(|last| &before[last * layout.words..]);
            let row = &mut rest[..layout.words];
            for column in &layout.columns {
                let is_valid = row[column.count] & 1;
                row[column.count] = (before.map_or(0, |before| before[column.count] >> 1) + is_valid) << 1 | is_valid;
                let Some(place) = column.sum else { continue };
                let units = match column.scale.map(|scale| self.scales[scale]) {
                    _ if is_valid == 0 => 0,
                    None => i128::from(column.word(row) as i64),
                    Some(Scale::Fixed(scale)) => scale.units(f64::from_bits(column.word(row))),
                    Some(Scale::Wide) => 0,
                };
                let sum = before.map_or(0, |before| read_sum(column, before)).wrapping_add(units);
                row[place] = sum as u64;
                row[place + 1] = (sum >> 64) as u64;
                let Some(place) = column.squares else { continue };
                let squares = before.map_or(Square::ZERO, |before| read_squares(column, before));
                row[place..place + 4].copy_from_slice(&squares.plus(Square::of(units)).limbs());
            }
        }
    }

    /// Marks the rows from a new one on; what was marked before it stays right, for rows behind it that had superseded
    /// others are there still.
    fn mark_from(&mut self, index: usize, layout: &Layout, texts: &Texts, from: usize) {
        let mut marks = std::mem::take(&mut self.marks[index]);
        marks.truncate(marks.partition_point(|&at| (at as usize) < from));
        let (column, mark) = layout.marks[index];
        let column = &layout.columns[column];
        for at in from..self.end {
            let row = self.row(layout, at);
            if !column.is_valid(row) {
                continue;
            }
            let word = column.word(row);
            let word_at = |at: u32| column.word(self.row(layout, at as usize));
            let is_kept = |at: u32| at as usize >= self.head;
            match mark {
                Mark::Smallest => {
                    while marks
                        .last()
                        .is_some_and(|&at| is_kept(at) && column.compare(word_at(at), word, texts).is_ge())
                    {
                        marks.pop();
                    }
                }
                Mark::Largest => {
                    while marks
                        .last()
                        .is_some_and(|&at| is_kept(at) && column.compare(word_at(at), word, texts).is_le())
                    {
                        marks.pop();
                    }
                }
                Mark::Distinct => {
                    let word = column.distinct_word(word);
                    let is_same = |at: &u32| is_kept(*at) && column.distinct_word(word_at(*at)) == word;
                    if let Some(same) = marks.iter().rposition(is_same) {
                        marks.remove(same);
                    }
                }
            }
            marks.push(at as u32);
        }
        self.marks[index] = marks;
    }

    fn mark_all(&mut self, layout: &Layout, texts: &Texts) {
        for (index, (column, mark)) in layout.marks.iter().enumerate() {
            if *mark != Mark::Distinct {
                self.mark_from(index, layout, texts, self.head);
                continue;
            }
            let column = &layout.columns[*column];
            let valid = (self.head..self.end).filter(|&at| column.is_valid(self.row(layout, at)));
            let mut newest: Vec<(u64, u32)> =
                valid.map(|at| (column.distinct_word(column.word(self.row(layout, at))), at as u32)).collect();
            newest.sort_unstable();
            let is_newest = |i: usize| newest.get(i + 1).is_none_or(|next| next.0 != newest[i].0);
            let mut marks: Vec<u32> = (0..newest.len()).filter(|&i| is_newest(i)).map(|i| newest[i].1).collect();
            marks.sort_unstable();
            self.marks[index] = marks;
        }
    }
}

/// Gives the texts of a row back.
pub(crate) fn release_texts(layout: &Layout, texts: &mut Texts, row: &[u64]) {
    for column in layout.columns.iter().filter(|column| column.kind == Kind::Text && column.value.is_some()) {
        if column.is_valid(row) {
            texts.release(column.word(row));
        }
    }
}

#[inline]
fn is_replaced(layout: &Layout, row: &[u64]) -> bool {
    layout.until.is_some_and(|until| row[until] as i64 != FOREVER)
}

#[inline]
fn read_sum(column: &ColumnLayout, row: &[u64]) -> i128 {
    let place = column.sum.expect("a feature sums this column");
    (u128::from(row[place + 1]) << 64 | u128::from(row[place])) as i128
}

#[inline]
fn read_squares(column: &ColumnLayout, row: &[u64]) -> Square {
    let place = column.squares.expect("a feature sums the squares of this column");
    Square::from_limbs([row[place], row[place + 1], row[place + 2], row[place + 3]])
}
