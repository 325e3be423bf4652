//! What one scorer achieved on one slice, kept so that it can be recomputed for any resample of its units.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::{Metric, MetricError, RankingMetric, RowMetric, ScoredRows, Undefined};

/// Which rows are drawn together by the bootstrap: each row alone, all rows of a user, all rows of a group.
///
/// A user who appears in several cuts of time is one unit, since what she does in one month tells about the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    of_row: Arc<[u32]>,
    count: usize,
}

impl Units {
    /// Every row is a unit.
    ///
    /// # Panics
    /// Above `u32::MAX` rows.
    #[must_use]
    pub fn each(row_count: usize) -> Self {
        let row_count = u32::try_from(row_count).expect("at most u32::MAX rows");
        Units { of_row: (0..row_count).collect(), count: row_count as usize }
    }

    /// Rows of equal key are one unit; one key per row.
    ///
    /// # Panics
    /// Above `u32::MAX` distinct keys.
    #[must_use]
    pub fn by_key<K: Hash + Eq>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut numbers: HashMap<K, u32> = HashMap::new();
        let of_row: Arc<[u32]> = keys
            .into_iter()
            .map(|key| {
                let next = u32::try_from(numbers.len()).expect("at most u32::MAX units");
                *numbers.entry(key).or_insert(next)
            })
            .collect();
        Units { of_row, count: numbers.len() }
    }

    /// Number of units.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.of_row.len()
    }

    pub(super) fn of_row(&self, row: usize) -> usize {
        self.of_row[row] as usize
    }
}

/// One metric of one scorer on one slice.
#[derive(Debug, Clone)]
pub struct Measured {
    metric: Metric,
    units: Units,
    value: f64,
    statistic: Statistic,
}

/// The smallest form from which a metric of a resample can be computed; a resample is a count per unit.
#[derive(Debug, Clone)]
enum Statistic {
    /// Sum of losses over sum of weights, per unit.
    Mean(Vec<Sums>),
    /// The square root of the same.
    RootMean(Vec<Sums>),
    /// Squared error beside the moments of the labels, per unit.
    Explained(Vec<Moments>),
    /// Rows by ascending score.
    Auc(Vec<RankedRow>),
    /// Rows by descending score.
    AveragePrecision(Vec<RankedRow>),
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    loss: f64,
    weight: f64,
}

/// Labels are shifted by their mean, which keeps the variance free of cancellation.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    squared_error: f64,
    weight: f64,
    label: f64,
    squared_label: f64,
}

#[derive(Debug, Clone, Copy)]
struct RankedRow {
    unit: u32,
    positive: bool,
    /// Whether the next row has another score (or there is none).
    last_of_tie: bool,
    weight: f64,
}

impl Measured {
    /// A ranking metric from one [`super::ranking::user_value`] per user (and cut): their mean.
    ///
    /// # Errors
    /// [`Undefined::NoRows`] without values; [`MetricError::BadRow`] for a value outside 0 to 1 or NaN.
    ///
    /// # Panics
    /// When `units` has another number of rows.
    pub fn ranking(metric: RankingMetric, values: &[f64], units: &Units) -> Result<Self, MetricError> {
        assert_eq!(values.len(), units.row_count(), "values and units");
        let mut sums = vec![Sums::default(); units.count()];
        for (row, &value) in values.iter().enumerate() {
            // The ideal gain is summed in another order than the gain, so a perfect list may exceed 1 by rounding.
            if !(-1e-9..=1.0 + 1e-9).contains(&value) {
                let metric = metric.to_string();
                return Err(MetricError::BadRow { metric, what: "value", row, value, must: "between 0 and 1" });
            }
            sums[units.of_row(row)].loss += value;
            sums[units.of_row(row)].weight += 1.0;
        }
        Self::checked(metric.into(), units, Statistic::Mean(sums))
    }

    /// A metric over rows. With `w` the weight, `p` the score and `y` the label of a row:
    ///
    /// - auc: the weighted share of (positive, negative) pairs that are in order, ties counting half (Hanley and McNeil
    ///   1982). Labels 0 or 1.
    /// - average_precision: `sum (R(n) - R(n - 1)) P(n)` over distinct scores from the top, without interpolation.
    ///   Labels 0 or 1.
    /// - accuracy: share of rows where `p >= 0.5` equals `y = 1`. Labels 0 or 1.
    /// - log_loss: mean of `-(y ln p + (1 - y) ln(1 - p))`, `p` kept 2.2e-16 away from 0 and 1, so that one certain
    ///   mistake costs 36 and not infinity. Labels and scores between 0 and 1; soft labels are allowed.
    /// - brier: mean of `(p - y)^2`, same ranges.
    /// - rmse: `sqrt(mean (p - y)^2)`; mae: mean of `|p - y|`.
    /// - pinball@q: mean of `max(q (y - p), (q - 1) (y - p))` (Koenker and Bassett 1978).
    /// - r2: `1 - sum w (p - y)^2 / sum w (y - mean y)^2`.
    ///
    /// # Errors
    /// [`MetricError::BadRow`] for a score or label outside the metric's range, [`MetricError::Undefined`] where the
    /// metric has no value.
    ///
    /// # Panics
    /// When `units` has another number of rows.
    pub fn rows(metric: RowMetric, rows: ScoredRows<'_>, units: &Units) -> Result<Self, MetricError> {
        assert_eq!(rows.len(), units.row_count(), "rows and units");
        check_ranges(metric, rows)?;
        let mean = |loss: &dyn Fn(f64, f64) -> f64| sums_per_unit(rows, units, loss);
        let squared = |p: f64, y: f64| (p - y) * (p - y);
        let statistic = match metric {
            RowMetric::Auc => Statistic::Auc(ranked(rows, units, |a, b| a.total_cmp(&b))),
            RowMetric::AveragePrecision => Statistic::AveragePrecision(ranked(rows, units, |a, b| b.total_cmp(&a))),
            RowMetric::Accuracy => Statistic::Mean(mean(&|p, y| f64::from(u8::from((p >= 0.5) == (y == 1.0))))),
            RowMetric::LogLoss => Statistic::Mean(mean(&log_loss)),
            RowMetric::Brier => Statistic::Mean(mean(&squared)),
            RowMetric::Rmse => Statistic::RootMean(mean(&squared)),
            RowMetric::Mae => Statistic::Mean(mean(&|p, y| (p - y).abs())),
            RowMetric::Pinball { quantile } => {
                let q = quantile.get();
                Statistic::Mean(mean(&|p, y| (q * (y - p)).max((q - 1.0) * (y - p))))
            }
            RowMetric::R2 => Statistic::Explained(moments_per_unit(rows, units)),
        };
        Self::checked(metric.into(), units, statistic)
    }

    fn checked(metric: Metric, units: &Units, statistic: Statistic) -> Result<Self, MetricError> {
        let undefined = |reason| MetricError::Undefined { metric: metric.to_string(), reason };
        if units.row_count() == 0 {
            return Err(undefined(Undefined::NoRows));
        }
        let value = statistic.of_counts(&vec![1; units.count()]).map_err(undefined)?;
        Ok(Measured { metric, units: units.clone(), value, statistic })
    }

    /// What was measured.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The value on all rows.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// What a bootstrap draws.
    #[must_use]
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The value where unit `u` counts `counts[u]` times.
    pub(super) fn of_counts(&self, counts: &[u32]) -> Result<f64, Undefined> {
        self.statistic.of_counts(counts)
    }
}

impl Statistic {
    fn of_counts(&self, counts: &[u32]) -> Result<f64, Undefined> {
        match self {
            Statistic::Mean(sums) => mean_of_counts(sums, counts),
            Statistic::RootMean(sums) => mean_of_counts(sums, counts).map(f64::sqrt),
            Statistic::Explained(moments) => explained_of_counts(moments, counts),
            Statistic::Auc(rows) => auc_of_counts(rows, counts),
            Statistic::AveragePrecision(rows) => average_precision_of_counts(rows, counts),
        }
    }
}

fn check_ranges(metric: RowMetric, rows: ScoredRows<'_>) -> Result<(), MetricError> {
    let bad = |what, row, value, must| Err(MetricError::BadRow { metric: metric.to_string(), what, row, value, must });
    let (binary, probability) = match metric {
        RowMetric::Auc | RowMetric::AveragePrecision | RowMetric::Accuracy => (true, false),
        RowMetric::LogLoss | RowMetric::Brier => (false, true),
        RowMetric::Rmse | RowMetric::Mae | RowMetric::Pinball { .. } | RowMetric::R2 => return Ok(()),
    };
    for row in 0..rows.len() {
        let (score, label) = (rows.score(row), rows.label(row));
        if binary && label != 0.0 && label != 1.0 {
            return bad("label", row, label, "0 or 1");
        }
        if probability && !(0.0..=1.0).contains(&label) {
            return bad("label", row, label, "between 0 and 1");
        }
        if probability && !(0.0..=1.0).contains(&score) {
            return bad("score", row, score, "a probability, between 0 and 1");
        }
    }
    Ok(())
}

fn log_loss(probability: f64, label: f64) -> f64 {
    let p = probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    -(label * p.ln() + (1.0 - label) * (-p).ln_1p())
}

fn sums_per_unit(rows: ScoredRows<'_>, units: &Units, loss: &dyn Fn(f64, f64) -> f64) -> Vec<Sums> {
    let mut sums = vec![Sums::default(); units.count()];
    for row in 0..rows.len() {
        let sum = &mut sums[units.of_row(row)];
        sum.loss += rows.weight(row) * loss(rows.score(row), rows.label(row));
        sum.weight += rows.weight(row);
    }
    sums
}

fn mean_of_counts(sums: &[Sums], counts: &[u32]) -> Result<f64, Undefined> {
    let (mut loss, mut weight) = (0.0, 0.0);
    for (sum, &count) in sums.iter().zip(counts) {
        loss += f64::from(count) * sum.loss;
        weight += f64::from(count) * sum.weight;
    }
    if weight > 0.0 { Ok(loss / weight) } else { Err(Undefined::NoWeight) }
}

fn moments_per_unit(rows: ScoredRows<'_>, units: &Units) -> Vec<Moments> {
    let shift = (0..rows.len()).map(|row| rows.label(row)).sum::<f64>() / rows.len() as f64;
    let mut moments = vec![Moments::default(); units.count()];
    for row in 0..rows.len() {
        let (weight, label) = (rows.weight(row), rows.label(row) - shift);
        let error = rows.score(row) - rows.label(row);
        let moment = &mut moments[units.of_row(row)];
        moment.squared_error += weight * error * error;
        moment.weight += weight;
        moment.label += weight * label;
        moment.squared_label += weight * label * label;
    }
    moments
}

fn explained_of_counts(moments: &[Moments], counts: &[u32]) -> Result<f64, Undefined> {
    let mut all = Moments::default();
    for (moment, &count) in moments.iter().zip(counts) {
        let count = f64::from(count);
        all.squared_error += count * moment.squared_error;
        all.weight += count * moment.weight;
        all.label += count * moment.label;
        all.squared_label += count * moment.squared_label;
    }
    if all.weight <= 0.0 {
        return Err(Undefined::NoWeight);
    }
    let variance = all.squared_label - all.label * all.label / all.weight;
    // Equal labels leave a rounding residue of about 1e-16 of the squares; a real variance this small is none either.
    if variance <= 1e-12 * all.squared_label {
        Err(Undefined::ConstantLabels)
    } else {
        Ok(1.0 - all.squared_error / variance)
    }
}

fn ranked(rows: ScoredRows<'_>, units: &Units, order: impl Fn(f64, f64) -> std::cmp::Ordering) -> Vec<RankedRow> {
    // Adding zero makes -0.0 and 0.0 the same tie under a total order.
    let mut by_score: Vec<(f64, usize)> = (0..rows.len()).map(|row| (rows.score(row) + 0.0, row)).collect();
    by_score.sort_unstable_by(|a, b| order(a.0, b.0).then(a.1.cmp(&b.1)));
    let last_of_tie = |at: usize| by_score.get(at + 1).is_none_or(|next| next.0 != by_score[at].0);
    let row_at = |(at, &(_, row)): (usize, &(f64, usize))| RankedRow {
        unit: units.of_row[row],
        positive: rows.label(row) == 1.0,
        last_of_tie: last_of_tie(at),
        weight: rows.weight(row),
    };
    by_score.iter().enumerate().map(row_at).collect()
}

fn auc_of_counts(rows: &[RankedRow], counts: &[u32]) -> Result<f64, Undefined> {
    let (mut in_order, mut negatives_below, mut positives) = (0.0, 0.0, 0.0);
    let mut tied = [0.0, 0.0];
    for row in rows {
        tied[usize::from(row.positive)] += row.weight * f64::from(counts[row.unit as usize]);
        if row.last_of_tie {
            let [negative, positive] = std::mem::take(&mut tied);
            in_order += positive * (negatives_below + negative / 2.0);
            negatives_below += negative;
            positives += positive;
        }
    }
    two_classes(positives, negatives_below)?;
    Ok(in_order / (positives * negatives_below))
}

fn average_precision_of_counts(rows: &[RankedRow], counts: &[u32]) -> Result<f64, Undefined> {
    let (mut area, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    let mut tied = [0.0, 0.0];
    for row in rows {
        tied[usize::from(row.positive)] += row.weight * f64::from(counts[row.unit as usize]);
        if row.last_of_tie {
            let [negative, positive] = std::mem::take(&mut tied);
            positives += positive;
            negatives += negative;
            if positive > 0.0 {
                area += positive * positives / (positives + negatives);
            }
        }
    }
    two_classes(positives, negatives)?;
    Ok(area / positives)
}

fn two_classes(positives: f64, negatives: f64) -> Result<(), Undefined> {
    match (positives > 0.0, negatives > 0.0) {
        (true, true) => Ok(()),
        (false, false) => Err(Undefined::NoWeight),
        (true, false) | (false, true) => Err(Undefined::OneClass),
    }
}

#[cfg(test)]
mod tests;
