//! Where evaluations write their results.

use crate::Aggregate;

/// Stands for null in [`Cells::Rows`].
pub(crate) const NO_ROW: u32 = u32::MAX;

/// One feature's results.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    /// Never null.
    Counts(Vec<i64>),
    /// NaN is null.
    Numbers(Vec<f64>),
    /// The source row whose value is the result; [`NO_ROW`] is null.
    Rows(Vec<u32>),
}

/// A part of one feature's results.
#[derive(Debug)]
pub(crate) enum CellsMut<'a> {
    Counts(&'a mut [i64]),
    Numbers(&'a mut [f64]),
    Rows(&'a mut [u32]),
}

impl Cells {
    /// The results of `count` unknown entities.
    pub(crate) fn unknown(aggregate: Aggregate, count: usize) -> Cells {
        match aggregate {
            Aggregate::Count | Aggregate::CountDistinct => Cells::Counts(vec![0; count]),
            Aggregate::Sum | Aggregate::Mean | Aggregate::Std | Aggregate::SecondsSinceLast => {
                Cells::Numbers(vec![f64::NAN; count])
            }
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => Cells::Rows(vec![NO_ROW; count]),
        }
    }

    /// All of them.
    pub(crate) fn as_mut(&mut self) -> CellsMut<'_> {
        match self {
            Cells::Counts(cells) => CellsMut::Counts(cells),
            Cells::Numbers(cells) => CellsMut::Numbers(cells),
            Cells::Rows(cells) => CellsMut::Rows(cells),
        }
    }
}

impl<'a> CellsMut<'a> {
    /// Splits off the first `count`.
    pub(crate) fn split(self, count: usize) -> (CellsMut<'a>, CellsMut<'a>) {
        match self {
            CellsMut::Counts(cells) => {
                let (first, rest) = cells.split_at_mut(count);
                (CellsMut::Counts(first), CellsMut::Counts(rest))
            }
            CellsMut::Numbers(cells) => {
                let (first, rest) = cells.split_at_mut(count);
                (CellsMut::Numbers(first), CellsMut::Numbers(rest))
            }
            CellsMut::Rows(cells) => {
                let (first, rest) = cells.split_at_mut(count);
                (CellsMut::Rows(first), CellsMut::Rows(rest))
            }
        }
    }

    /// Drops the first `count`, which are written.
    pub(crate) fn advance(&mut self, count: usize) {
        match self {
            CellsMut::Counts(cells) => *cells = &mut std::mem::take(cells)[count..],
            CellsMut::Numbers(cells) => *cells = &mut std::mem::take(cells)[count..],
            CellsMut::Rows(cells) => *cells = &mut std::mem::take(cells)[count..],
        }
    }

    /// Makes one result that of an unknown entity.
    pub(crate) fn clear(&mut self, index: usize) {
        match self {
            CellsMut::Counts(cells) => cells[index] = 0,
            CellsMut::Numbers(cells) => cells[index] = f64::NAN,
            CellsMut::Rows(cells) => cells[index] = NO_ROW,
        }
    }

    /// The counts.
    ///
    /// # Panics
    /// When the feature has another kind of result: a bug in the plan.
    pub(crate) fn counts(&mut self) -> &mut [i64] {
        let CellsMut::Counts(cells) = self else { panic!("a count is written to {self:?}") };
        cells
    }

    /// The numbers; panics as [`CellsMut::counts`].
    pub(crate) fn numbers(&mut self) -> &mut [f64] {
        let CellsMut::Numbers(cells) = self else { panic!("a number is written to {self:?}") };
        cells
    }

    /// The rows; panics as [`CellsMut::counts`].
    pub(crate) fn rows(&mut self) -> &mut [u32] {
        let CellsMut::Rows(cells) = self else { panic!("a row is written to {self:?}") };
        cells
    }
}
