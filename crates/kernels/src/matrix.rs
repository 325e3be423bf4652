//! Products of dense matrices.

use gemm::Parallelism;

/// A view of row-major values as a matrix, possibly read transposed.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> MatrixView<'a> {
    /// `values` as rows of `columns` values.
    ///
    /// # Panics
    /// When `values.len() != rows * columns`.
    #[must_use]
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns), "{rows} x {columns}");
        MatrixView { values, rows, columns, transposed: false }
    }

    /// The same values read with rows and columns exchanged; nothing moves.
    #[must_use]
    pub fn transposed(self) -> Self {
        MatrixView { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Strides between rows and between columns, in values.
    fn strides(&self) -> (isize, isize) {
        // A slice is never longer than isize::MAX bytes, so its row length fits.
        if self.transposed { (1, self.rows as isize) } else { (self.columns as isize, 1) }
    }
}

/// What becomes of the values that are in `out` already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// They are replaced; NaN in them does not matter.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out = left * right` or `out += left * right`, `out` row-major, on the calling thread.
///
/// The order of additions depends on the sizes and on the processor, so the last bits of equal products of other
/// batch sizes may differ: this is for training, not for scoring.
///
/// # Panics
/// When the sizes do not fit together.
pub fn multiply(left: MatrixView<'_>, right: MatrixView<'_>, out: &mut [f32], output: Output) {
    assert_eq!(left.columns, right.rows, "inner sizes");
    assert_eq!(Some(out.len()), left.rows.checked_mul(right.columns), "output of {} x {}", left.rows, right.columns);
    let (left_row, left_column) = left.strides();
    let (right_row, right_column) = right.strides();
    // SAFETY: gemm reads `left` at row * left_row + column * left_column for rows below left.rows and columns below
    // left.columns, `right` alike, and reads and writes `out` at row * right.columns + column for rows below left.rows.
    // MatrixView::new fixed the slices' lengths to rows * columns, transposing exchanges sizes and strides together,
    // and the asserts above fix the inner size and out's length, so all of these lie inside. `out` is borrowed mutably,
    // so it does not overlap the inputs.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            1,
            right.columns as isize,
            output == Output::Add,
            left.values.as_ptr(),
            left_column,
            left_row,
            right.values.as_ptr(),
            right_column,
            right_row,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    fn slow(left: MatrixView<'_>, right: MatrixView<'_>, row: usize, column: usize) -> f64 {
        let at = |matrix: MatrixView<'_>, row: usize, column: usize| {
            let index = if matrix.transposed { column * matrix.rows + row } else { row * matrix.columns + column };
            f64::from(matrix.values[index])
        };
        (0..left.columns).map(|inner| at(left, row, inner) * at(right, inner, column)).sum()
    }

    #[test]
    fn products_equal_the_definition() {
        let mut draw = Draw(1);
        for case in 0..400 {
            let (rows, inner, columns) = (draw.below(40), draw.below(40), draw.below(40));
            let mut numbers =
                |count: usize| (0..count).map(|_| draw.below(2_001) as f32 / 1_000.0 - 1.0).collect::<Vec<_>>();
            let (left, right, before) = (numbers(rows * inner), numbers(inner * columns), numbers(rows * columns));
            let view = |values, rows, columns, transposed: bool| match transposed {
                true => MatrixView::new(values, columns, rows).transposed(),
                false => MatrixView::new(values, rows, columns),
            };
            let left = view(&left, rows, inner, draw.below(2) == 0);
            let right = view(&right, inner, columns, draw.below(2) == 0);
            let add = draw.below(2) == 0;
            let mut out = if add { before.clone() } else { vec![f32::NAN; rows * columns] };
            multiply(left, right, &mut out, if add { Output::Add } else { Output::Replace });
            for row in 0..rows {
                for column in 0..columns {
                    let at = row * columns + column;
                    let expected = slow(left, right, row, column) + if add { f64::from(before[at]) } else { 0.0 };
                    let got = f64::from(out[at]);
                    // Forty-one terms of at most 1, each sum rounded to 24 bits.
                    assert!((got - expected).abs() < 41.0 * 41.0 * 6e-8, "case {case}: {got} against {expected}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner sizes")]
    fn sizes_must_fit() {
        multiply(MatrixView::new(&[1.0; 6], 2, 3), MatrixView::new(&[1.0; 6], 2, 3), &mut [0.0; 4], Output::Replace);
    }
}
