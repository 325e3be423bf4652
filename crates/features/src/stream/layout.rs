//! How the rows of a stream lie in memory: one row after another, each so many words of 64 bits.
//!
//! A row and the sums up to it lie side by side, usually in one cache line, because a stream touches one row of many
//! entities where the other evaluations touch many rows of one.

use std::cmp::Ordering;

use arrow::datatypes::DataType;

use paceline_core::Value;

use super::texts::Texts;
use crate::Aggregate;
use crate::point_in_time::column::{Column, Needs};
use crate::point_in_time::plan::ViewPlan;

/// Word of a row that holds its event time.
pub(crate) const EVENT: usize = 0;
/// Word of a row that holds its available time.
pub(crate) const AVAILABLE: usize = 1;
/// Word of a row that holds its position.
pub(crate) const POSITION: usize = 2;
const FIXED_WORDS: usize = 3;

/// What a column's words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The integer.
    Integer,
    /// The bits of the float; never NaN.
    Float,
    /// 0 or 1.
    Truth,
    /// The code of the text in the stream's [`Texts`].
    Text,
    /// Microseconds since 1970.
    Time,
    /// Another type, of which only nulls are counted.
    Other,
}

/// Where a column's words are in a row.
#[derive(Debug, Clone)]
pub(crate) struct ColumnLayout {
    pub kind: Kind,
    /// Number of non-null values up to this row, shifted left by one; the lowest bit tells whether this row has one.
    pub count: usize,
    /// The value, where a feature needs it; anything where it is null.
    pub value: Option<usize>,
    /// The sum up to this row in units: two words, modulo 2^128.
    pub sum: Option<usize>,
    /// The sum of squares up to this row: four words, modulo 2^256.
    pub squares: Option<usize>,
    /// Which of the entity's scales its sums have; `None` for integers.
    pub scale: Option<usize>,
    /// Which of the entity's marks belong to its smallest, largest and distinct values.
    pub smallest: Option<usize>,
    pub largest: Option<usize>,
    pub distinct: Option<usize>,
}

/// Which rows are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Rows with a smaller value than every later row: the first at or after a position has the smallest value from
    /// there on.
    Smallest,
    /// The same of the largest.
    Largest,
    /// Rows whose value no later row has: as many as there are distinct values from a position on.
    Distinct,
}

/// The layout of a stream's rows.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Words of a row.
    pub words: usize,
    /// Where a row says until when it counts; `None` when nothing is ever replaced.
    pub until: Option<usize>,
    pub columns: Vec<ColumnLayout>,
    /// Number of columns with a scale.
    pub scales: usize,
    /// What is marked, and by values of which column.
    pub marks: Vec<(usize, Mark)>,
}

impl Layout {
    /// The layout for these columns, as the plans use them.
    pub(crate) fn of(plans: &[ViewPlan], columns: &[Column], with_ids: bool) -> Layout {
        let until = with_ids.then_some(FIXED_WORDS);
        let mut layout = Layout {
            words: FIXED_WORDS + usize::from(with_ids),
            until,
            columns: Vec::new(),
            scales: 0,
            marks: Vec::new(),
        };
        for (index, column) in columns.iter().enumerate() {
            let uses = |aggregate: Aggregate| {
                let features = plans.iter().flat_map(|plan| &plan.features);
                features.into_iter().any(|feature| feature.column == Some(index) && feature.aggregate == aggregate)
            };
            let marks = [Mark::Smallest, Mark::Largest, Mark::Distinct];
            let wanted = [Aggregate::Min, Aggregate::Max, Aggregate::CountDistinct].map(uses);
            layout.add(
                index,
                column,
                marks.into_iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(mark, _)| mark),
            );
        }
        layout
    }

    fn add(&mut self, index: usize, column: &Column, marks: impl Iterator<Item = Mark>) {
        let mut next = self.words;
        let mut place = |wanted: bool, words: usize| {
            let at = next;
            next += if wanted { words } else { 0 };
            wanted.then_some(at)
        };
        let (needs, kind) = (column.needs, Kind::of(column.values.data_type()));
        let count = place(true, 1).expect("a count is always wanted");
        let value = place(needs != Needs::default(), 1);
        let sum = place(needs.sums, 2);
        let squares = place(needs.squares, 4);
        self.words = next;
        let scale = (needs.sums && kind == Kind::Float).then_some(self.scales);
        self.scales += usize::from(scale.is_some());
        let mut layout =
            ColumnLayout { kind, count, value, sum, squares, scale, smallest: None, largest: None, distinct: None };
        for mark in marks {
            let place = match mark {
                Mark::Smallest => &mut layout.smallest,
                Mark::Largest => &mut layout.largest,
                Mark::Distinct => &mut layout.distinct,
            };
            *place = Some(self.marks.len());
            self.marks.push((index, mark));
        }
        self.columns.push(layout);
    }
}

impl Kind {
    /// Of a canonical column, or of another that is only counted.
    pub(crate) fn of(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Int64 => Kind::Integer,
            DataType::Float64 => Kind::Float,
            DataType::Boolean => Kind::Truth,
            DataType::Utf8 => Kind::Text,
            DataType::Timestamp(..) => Kind::Time,
            _ => Kind::Other,
        }
    }
}

impl ColumnLayout {
    /// Whether the row's value is not null.
    #[inline]
    pub(crate) fn is_valid(&self, row: &[u64]) -> bool {
        row[self.count] & 1 == 1
    }

    /// The word of the value; null in it means nothing.
    #[inline]
    pub(crate) fn word(&self, row: &[u64]) -> u64 {
        row[self.value.expect("a feature needs the values of this column")]
    }

    /// The value that a word stands for.
    pub(crate) fn value_of(&self, word: u64, texts: &Texts) -> Value {
        match self.kind {
            Kind::Integer | Kind::Time => Value::Int(word as i64),
            Kind::Float => Value::Float(f64::from_bits(word)),
            Kind::Truth => Value::Bool(word == 1),
            Kind::Text => Value::Text(texts.get(word).clone()),
            Kind::Other => unreachable!("a column of another type is only counted"),
        }
    }

    /// The order of two values: floats in the total order of IEEE 754, texts by bytes.
    pub(crate) fn compare(&self, a: u64, b: u64, texts: &Texts) -> Ordering {
        match self.kind {
            Kind::Integer | Kind::Time | Kind::Truth | Kind::Other => (a as i64).cmp(&(b as i64)),
            Kind::Float => f64::from_bits(a).total_cmp(&f64::from_bits(b)),
            Kind::Text => texts.get(a).cmp(texts.get(b)),
        }
    }

    /// A word that is equal exactly for values that count as one; -0.0 and 0.0 do.
    #[inline]
    pub(crate) fn distinct_word(&self, word: u64) -> u64 {
        if self.kind == Kind::Float && f64::from_bits(word) == 0.0 { 0 } else { word }
    }
}
