//! Columns that know the label.
//!
//! Three signs, each of one column at a time: it (nearly) orders the label by itself; it adds up to the label together
//! with another column; it is missing exactly where the label is, so that it was recorded with the label or after it.
//! None of them proves leakage and none finds all of it: what is only known after the fact but varies freely is for a
//! person to see.

use std::collections::HashMap;

use paceline_core::metrics::{Measured, RowMetric, ScoredRows, Units};

use super::table::{Column, Table, Values};

/// A single column better than this is suspected: AUC for classes, rank correlation for numbers.
pub const SUSPECT_ABOVE: f64 = 0.98;

/// Rows that the signs are looked for in.
const ROWS_MAX: usize = 20_000;

/// Share of rows in which a sum must be exact.
const SUM_SHARE: f64 = 0.99;

/// Nulls fewer than this say nothing about when a column is recorded.
const NULLS_MIN: usize = 20;

/// The label as numbers.
#[derive(Debug)]
pub struct Label {
    /// The name of its column.
    pub name: String,
    /// One per row, NaN where it is not known; 0 and 1 for classes.
    pub values: Vec<f64>,
    /// Whether it is a class.
    pub is_class: bool,
}

/// Why `column` probably knows the label, `None` when nothing says so.
#[must_use]
pub fn suspicion(table: &Table, column: &Column, label: &Label) -> Option<String> {
    missing_with_label(column, label).or_else(|| orders_label(column, label)).or_else(|| adds_up(table, column, label))
}

fn missing_with_label(column: &Column, label: &Label) -> Option<String> {
    let label_nulls = label.values.iter().filter(|value| value.is_nan()).count();
    if column.nulls < NULLS_MIN || label_nulls * 2 > column.len() || column.known() == 0 {
        return None;
    }
    let together = (0..column.len()).filter(|row| column.is_null(*row) && label.values[*row].is_nan()).count();
    let exact = together * 100 >= column.nulls * 99;
    // A column that is known for most rows without label was not recorded with it: a plane that never took off has a
    // tail number, though some that never took off have none.
    let follows = together * 2 >= label_nulls;
    (exact && follows)
        .then(|| format!("it is never missing unless {:?} is, so it is recorded with it or after it", label.name))
}

fn orders_label(column: &Column, label: &Label) -> Option<String> {
    let known: Vec<usize> =
        (0..column.len()).filter(|row| !column.is_null(*row) && !label.values[*row].is_nan()).collect();
    let stride = known.len().div_ceil(ROWS_MAX).max(1);
    let rows: Vec<usize> = known.into_iter().step_by(stride).collect();
    let labels: Vec<f64> = rows.iter().map(|row| label.values[*row]).collect();
    let strength = match &column.values {
        Values::Numbers(numbers) => {
            let values: Vec<f64> = rows.iter().map(|row| numbers[*row]).collect();
            let as_codes = (column.distinct * 20 <= rows.len())
                .then(|| by_group_means(&codes_of(&values), &labels, label.is_class));
            strength(&values, &labels, label.is_class).into_iter().chain(as_codes.flatten()).reduce(f64::max)
        }
        Values::Texts { codes, .. } => {
            let codes: Vec<u64> = rows.iter().filter_map(|row| codes[*row]).map(u64::from).collect();
            by_group_means(&codes, &labels, label.is_class)
        }
    }?;
    let measure = if label.is_class { "AUC" } else { "rank correlation" };
    (strength > SUSPECT_ABOVE).then(|| format!("alone it (nearly) knows {:?}: {measure} {strength:.3}", label.name))
}

/// How well group means of one half of the rows order the labels of the other. Groups are values, so a code that names
/// the label in no order is found too.
fn by_group_means(codes: &[u64], labels: &[f64], is_class: bool) -> Option<f64> {
    let rows = || codes.iter().zip(labels).enumerate();
    let mut sums: HashMap<u64, (f64, f64)> = HashMap::new();
    for (_, (code, label)) in rows().filter(|(row, _)| is_fitted(*row)) {
        let (sum, count) = sums.entry(*code).or_default();
        (*sum, *count) = (*sum + label, *count + 1.0);
    }
    let mean = labels.iter().sum::<f64>() / labels.len().max(1) as f64;
    let other = rows().filter(|(row, _)| !is_fitted(*row));
    let (means, labels): (Vec<f64>, Vec<f64>) =
        other.map(|(_, (code, label))| (sums.get(code).map_or(mean, |(sum, count)| sum / count), *label)).unzip();
    strength(&means, &labels, is_class)
}

/// Half of the rows, in no rhythm that a table could follow: every other row would be one class of a table that
/// alternates.
fn is_fitted(row: usize) -> bool {
    (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63 == 1
}

fn codes_of(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// AUC or rank correlation, whichever way round is larger; `None` where it is not defined.
fn strength(values: &[f64], labels: &[f64], is_class: bool) -> Option<f64> {
    if !is_class {
        return correlation(&ranks(values), &ranks(labels)).map(f64::abs);
    }
    let labels: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    let rows = ScoredRows::new(values, &labels, None).ok()?;
    let auc = Measured::rows(RowMetric::Auc, rows, &Units::each(values.len())).ok()?.value();
    Some(auc.max(1.0 - auc))
}

/// Ranks from 0, equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let mean = start as f64 + (group.len() - 1) as f64 / 2.0;
        group.iter().for_each(|row| ranks[*row] = mean);
        start += group.len();
    }
    ranks
}

/// Pearson's correlation; `None` when either side is constant.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let count = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / count, b.iter().sum::<f64>() / count);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

fn adds_up(table: &Table, column: &Column, label: &Label) -> Option<String> {
    if label.is_class || column.distinct < 3 {
        return None;
    }
    let numbers = column.numbers()?;
    let others = table.columns.iter().filter(|other| other.name != column.name && other.name != label.name);
    others.filter(|other| other.distinct >= 3).find_map(|other| {
        let sign = sum_sign(numbers, other.numbers()?, &label.values)?;
        Some(format!("{:?} is {sign} {:?} in {:.0} % of the rows or more", label.name, other.name, 100.0 * SUM_SHARE))
    })
}

/// Whether the label is the sum or a difference of two columns, in words that go before the other column's name.
fn sum_sign(column: &[f64], other: &[f64], label: &[f64]) -> Option<&'static str> {
    let stride = label.len().div_ceil(ROWS_MAX).max(1);
    let rows = || (0..label.len()).step_by(stride).filter(|row| !(column[*row] + other[*row] + label[*row]).is_nan());
    let count = rows().count();
    let holds = |combine: fn(f64, f64) -> f64| {
        let close = |row: &usize| (combine(column[*row], other[*row]) - label[*row]).abs() <= 1e-9 * label[*row].abs();
        count >= NULLS_MIN && rows().filter(close).count() as f64 >= SUM_SHARE * count as f64
    };
    match () {
        () if holds(|a, b| a + b) => Some("it plus"),
        () if holds(|a, b| a - b) => Some("it minus"),
        () if holds(|a, b| b - a) => Some("its difference to"),
        () => None,
    }
}
