//! Target encoding: the smoothed mean label of a value, as known then.
//!
//! `(sum of labels + smoothing * prior) / (n + smoothing)` with the mean label as prior: the m-estimate of Micci-Barreca,
//! "A Preprocessing Scheme for High-Cardinality Categorical Attributes in Classification and Prediction Problems", SIGKDD
//! Explorations 3 (2001). Training rows use ordered target statistics (Prokhorenkova et al., "CatBoost: unbiased
//! boosting with categorical features", NeurIPS 2018) with time as the order: only labels known before the row's time,
//! in the prior too.
//!
//! Labels are added in the order in which they become known, then by position, so the result is the same whatever
//! computed it. Where it is wrong: a value whose rate drifts is encoded by its whole past.

use serde::{Deserialize, Serialize};

use super::Labels;
use super::category::{Categories, Category, Column};

/// What target encoding learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetStatistics {
    categories: Categories,
    /// By category.
    encoded: Vec<f64>,
    /// Null is a category of its own.
    null: f64,
    /// For unseen values: the mean label.
    prior: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Labelled {
    sum: f64,
    count: f64,
}

impl Labelled {
    fn add(&mut self, label: f64) {
        self.sum += label;
        self.count += 1.0;
    }

    fn mean(self) -> f64 {
        self.sum / self.count
    }

    fn smoothed(self, smoothing: f64, prior: f64) -> f64 {
        if self.count == 0.0 { prior } else { (self.sum + smoothing * prior) / (self.count + smoothing) }
    }
}

impl TargetStatistics {
    pub(super) fn categories(&self) -> &Categories {
        &self.categories
    }

    /// Whether there is one finite code for each value.
    pub(super) fn is_sound(&self) -> bool {
        let codes = self.encoded.iter().chain([&self.null, &self.prior]);
        self.encoded.len() == self.categories.len() && codes.copied().all(f64::is_finite)
    }

    pub(super) fn encode(&self, category: Category<'_>) -> f64 {
        match category {
            Category::Null => self.null,
            known => self.categories.find(known).map_or(self.prior, |position| self.encoded[position]),
        }
    }
}

/// The statistics of all labels, and each row's encoding as known at its own time (NaN when no label was). `None` when
/// no row has a label.
pub(super) fn fit(column: &Column, smoothing: f64, labels: Labels<'_>) -> Option<(TargetStatistics, Vec<f64>)> {
    let count = column.len();
    for length in [labels.value.len(), labels.time.len(), labels.known.len()] {
        assert_eq!(length, count, "one label, time and known time per row");
    }
    let categories = Categories::of(column);
    // The last slot is that of null.
    let slot_of: Vec<usize> =
        (0..count).map(|row| categories.find(column.get(row)).unwrap_or(categories.len())).collect();
    let mut by_known: Vec<usize> = (0..count).filter(|&row| labels.value[row].is_finite()).collect();
    by_known.sort_by_key(|&row| labels.known[row]);
    let mut by_time: Vec<usize> = (0..count).collect();
    by_time.sort_by_key(|&row| labels.time[row]);

    let mut slots = vec![Labelled::default(); categories.len() + 1];
    let mut all = Labelled::default();
    let add = |row: usize, slots: &mut [Labelled], all: &mut Labelled| {
        slots[slot_of[row]].add(labels.value[row]);
        all.add(labels.value[row]);
    };
    let mut unknown = by_known.into_iter().peekable();
    let mut training = vec![f64::NAN; count];
    for row in by_time {
        while let Some(known) = unknown.next_if(|&known| labels.known[known] < labels.time[row]) {
            add(known, &mut slots, &mut all);
        }
        if all.count > 0.0 {
            training[row] = slots[slot_of[row]].smoothed(smoothing, all.mean());
        }
    }
    unknown.for_each(|row| add(row, &mut slots, &mut all));
    if all.count == 0.0 {
        return None;
    }
    let prior = all.mean();
    let mut encoded: Vec<f64> = slots.iter().map(|slot| slot.smoothed(smoothing, prior)).collect();
    let null = encoded.pop().expect("null has a slot");
    Some((TargetStatistics { categories, encoded, null, prior }, training))
}
