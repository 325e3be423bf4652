//! Weights of an ensemble, found on tuning data.
//!
//! Weights are multiples of `1 / parts` that sum to 1. The search starts at the best of all single models and the even
//! mixture, and moves mass between two models as long as that improves the tuning metric: first half of all, then a
//! quarter, and so on to one part. So it never ends below the best single model on the tuning slice, it has few enough
//! choices not to fit noise, and it works for metrics that have no gradient, such as ndcg. Of equal mixtures it keeps
//! the earlier one. It can stop at a local optimum; mixtures of a few good models have rarely more than one.

use paceline_core::metrics::{Measured, MetricError, RankingMetric, RowMetric, ScoredRows, Units, ranking};
use paceline_models::ensemble::{EnsembleOutput, ScoreTransform};

use crate::LearnError;

/// What a mixture is to be good at.
#[derive(Debug, Clone, Copy)]
pub enum BlendGoal<'a> {
    /// A metric over rows with labels.
    Rows {
        /// The metric.
        metric: RowMetric,
        /// One per row.
        labels: &'a [f32],
        /// One per row, or all equal.
        weights: Option<&'a [f32]>,
        /// What the ensemble makes of its sum before it is measured.
        output: EnsembleOutput,
    },
    /// A ranking metric over lists of candidates.
    Lists {
        /// The metric.
        metric: RankingMetric,
        /// Who is shown what.
        lists: &'a CandidateLists,
    },
}

/// Candidates of users, list after list, and which of them were relevant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CandidateLists {
    ends: Vec<usize>,
    relevant: Vec<bool>,
    relevant_counts: Vec<usize>,
}

/// Weights that sum to 1, and what they reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    /// One weight per model, at least 0.
    pub weights: Vec<f64>,
    /// The metric of the mixture on the tuning slice; optimistic, since the weights were chosen there.
    pub value: f64,
}

impl CandidateLists {
    /// Adds the list of one user: whether each candidate is relevant, and how many relevant items the user has in all,
    /// listed or not (at least 1).
    ///
    /// # Panics
    /// When more candidates are relevant than there are relevant items, or there are none.
    pub fn push(&mut self, relevant: &[bool], relevant_count: usize) {
        let listed = relevant.iter().filter(|&&hit| hit).count();
        assert!(relevant_count > 0 && listed <= relevant_count, "{listed} of {relevant_count} relevant items");
        self.relevant.extend_from_slice(relevant);
        self.relevant_counts.push(relevant_count);
        self.ends.push(self.relevant.len());
    }

    /// Number of candidates in all lists.
    #[must_use]
    pub fn candidate_count(&self) -> usize {
        self.relevant.len()
    }

    /// The metric's value for each user when candidates are ranked by `scores`: higher first, the earlier one on a tie.
    ///
    /// # Errors
    /// [`MetricError::BadRow`] for a score that is NaN.
    ///
    /// # Panics
    /// When there is not one score per candidate.
    pub fn user_values(&self, metric: RankingMetric, scores: &[f64]) -> Result<Vec<f64>, MetricError> {
        assert_eq!(scores.len(), self.relevant.len(), "one score per candidate");
        if let Some(row) = scores.iter().position(|score| score.is_nan()) {
            let (metric, value) = (metric.to_string(), scores[row]);
            return Err(MetricError::BadRow { metric, what: "score", row, value, must: "a number" });
        }
        let mut order: Vec<usize> = Vec::new();
        let mut start = 0;
        self.ends
            .iter()
            .zip(&self.relevant_counts)
            .map(|(&end, &relevant_count)| {
                let better = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
                order.clear();
                order.extend(start..end);
                start = end;
                let k = metric.k.get();
                if k < order.len() {
                    order.select_nth_unstable_by(k, better);
                    order.truncate(k);
                }
                order.sort_unstable_by(better);
                let flags: Vec<bool> = order.iter().map(|&candidate| self.relevant[candidate]).collect();
                ranking::user_value(metric, &flags, relevant_count)
            })
            .collect()
    }
}

impl BlendGoal<'_> {
    fn higher_is_better(&self) -> bool {
        match self {
            BlendGoal::Rows { metric, .. } => metric.higher_is_better(),
            BlendGoal::Lists { .. } => true,
        }
    }

    fn row_count(&self) -> usize {
        match self {
            BlendGoal::Rows { labels, .. } => labels.len(),
            BlendGoal::Lists { lists, .. } => lists.candidate_count(),
        }
    }

    fn value(&self, sums: &mut [f64]) -> Result<f64, MetricError> {
        match *self {
            BlendGoal::Rows { metric, labels, weights, output } => {
                sums.iter_mut().for_each(|sum| *sum = output.apply(*sum));
                let rows = ScoredRows::new(sums, labels, weights)?;
                Ok(Measured::rows(metric, rows, &Units::each(rows.len()))?.value())
            }
            BlendGoal::Lists { metric, lists } => {
                let values = lists.user_values(metric, sums)?;
                Ok(Measured::ranking(metric, &values, &Units::each(values.len()))?.value())
            }
        }
    }
}

/// Finds weights for `columns`, the models' scores on the tuning slice after their [`ScoreTransform`], in steps of
/// `1 / parts`. Twenty or so parts are plenty; more only fits noise.
///
/// # Errors
/// [`LearnError::Metric`] when the goal has no value on these rows.
///
/// # Panics
/// When there is no column, a column's length differs from the number of rows, or `parts` is 0.
pub fn find_blend(columns: &[&[f64]], goal: BlendGoal<'_>, parts: u32) -> Result<Blend, LearnError> {
    assert!(!columns.is_empty() && parts > 0, "{} columns, {parts} parts", columns.len());
    assert!(columns.iter().all(|column| column.len() == goal.row_count()), "one score per model and row");
    let mut sums = vec![0.0; goal.row_count()];
    let mut value_of = |mixture: &[u32]| -> Result<f64, LearnError> {
        sums.fill(0.0);
        for (column, &part) in columns.iter().zip(mixture).filter(|(_, part)| **part > 0) {
            let weight = f64::from(part) / f64::from(parts);
            sums.iter_mut().zip(*column).for_each(|(sum, &score)| *sum += weight * score);
        }
        let value = goal.value(&mut sums)?;
        Ok(if goal.higher_is_better() { value } else { -value })
    };

    let mut best: Option<(f64, Vec<u32>)> = None;
    for mixture in starts(columns.len(), parts) {
        let value = value_of(&mixture)?;
        if best.as_ref().is_none_or(|(best_value, _)| value > *best_value) {
            best = Some((value, mixture));
        }
    }
    let (mut value, mut mixture) = best.expect("there is at least one model");
    let mut step = parts.div_ceil(2);
    loop {
        let mut better: Option<(f64, Vec<u32>)> = None;
        for moved in neighbours(&mixture, step) {
            let moved_value = value_of(&moved)?;
            if moved_value > better.as_ref().map_or(value, |(best_value, _)| *best_value) {
                better = Some((moved_value, moved));
            }
        }
        match better {
            Some(found) => (value, mixture) = found,
            None if step == 1 => break,
            None => step = step.div_ceil(2),
        }
    }
    let weights = mixture.iter().map(|&part| f64::from(part) / f64::from(parts)).collect();
    Ok(Blend { weights, value: if goal.higher_is_better() { value } else { -value } })
}

/// The standardising transform of a model's scores: identity when they are all equal, since nothing can be scaled then.
#[must_use]
pub fn fit_score_transform(scores: &[f64]) -> ScoreTransform {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let deviation = (scores.iter().map(|score| (score - mean) * (score - mean)).sum::<f64>() / count).sqrt();
    if deviation > 0.0 && deviation.is_finite() {
        ScoreTransform::Standardize { mean, deviation }
    } else {
        ScoreTransform::Identity
    }
}

/// Each model alone, then all evenly.
fn starts(model_count: usize, parts: u32) -> impl Iterator<Item = Vec<u32>> {
    let alone = move |model: usize| (0..model_count).map(|other| if other == model { parts } else { 0 }).collect();
    let even = move || {
        let count = u32::try_from(model_count).expect("fewer models than u32::MAX");
        (0..count).map(|model| parts / count + u32::from(model < parts % count)).collect()
    };
    (0..model_count).map(alone).chain(std::iter::once_with(even))
}

/// All mixtures that differ by `step` parts, or whatever is left, moved from one model to another.
fn neighbours(mixture: &[u32], step: u32) -> impl Iterator<Item = Vec<u32>> + '_ {
    let pairs = (0..mixture.len()).flat_map(move |from| (0..mixture.len()).map(move |to| (from, to)));
    pairs.filter(move |&(from, to)| from != to && mixture[from] > 0).map(move |(from, to)| {
        let mut moved = mixture.to_vec();
        let parts = step.min(moved[from]);
        moved[from] -= parts;
        moved[to] += parts;
        moved
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use rand::RngExt;

    use paceline_core::metrics::RankingKind;
    use paceline_core::random;

    use super::*;

    const SEED: u64 = 5;

    fn ndcg(k: usize) -> RankingMetric {
        RankingKind::Ndcg.at(NonZeroUsize::new(k).expect("above 0"))
    }

    /// Three independent columns; labels follow 0.75 of the first and 0.25 of the second, the third is noise.
    fn table(rows: usize) -> ([Vec<f64>; 3], Vec<f32>) {
        let mut random = random::stream(SEED, "blend");
        let mut draw = || (0..rows).map(|_| 2.0 * random.random::<f64>() - 1.0).collect::<Vec<f64>>();
        let columns = [draw(), draw(), draw()];
        let labels = columns[0].iter().zip(&columns[1]).map(|(a, b)| (0.75 * a + 0.25 * b) as f32).collect();
        (columns, labels)
    }

    fn views(columns: &[Vec<f64>]) -> Vec<&[f64]> {
        columns.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn planted_weights_are_found() {
        let (columns, labels) = table(2_000);
        let output = EnsembleOutput::Identity;
        let goal = BlendGoal::Rows { metric: RowMetric::Rmse, labels: &labels, weights: None, output };
        let blend = find_blend(&views(&columns), goal, 20).expect("defined");
        assert_eq!(blend.weights, [0.75, 0.25, 0.0]);
        assert!(blend.value < 1e-7, "{}", blend.value);
    }

    #[test]
    fn planted_weights_are_found_by_order_alone() {
        let (columns, labels) = table(4_000);
        let binary: Vec<f32> = labels.iter().map(|&label| f32::from(u8::from(label > 0.0))).collect();
        let output = EnsembleOutput::Identity;
        let goal = BlendGoal::Rows { metric: RowMetric::Auc, labels: &binary, weights: None, output };
        let blend = find_blend(&views(&columns), goal, 20).expect("defined");
        assert_eq!(blend.weights, [0.75, 0.25, 0.0]);

        let mut lists = CandidateLists::default();
        for list in binary.chunks(40) {
            let relevant: Vec<bool> = list.iter().map(|&label| label == 1.0).collect();
            lists.push(&relevant, relevant.iter().filter(|&&hit| hit).count());
        }
        let blend =
            find_blend(&views(&columns), BlendGoal::Lists { metric: ndcg(30), lists: &lists }, 20).expect("defined");
        // 100 lists leave the top almost flat around the truth.
        assert!((blend.weights[0] - 0.75).abs() <= 0.1001 && blend.weights[2] <= 0.1001, "{:?}", blend.weights);
    }

    #[test]
    fn a_mixture_is_never_below_the_best_model_and_is_a_convex_one() {
        let (columns, labels) = table(300);
        let mut random = random::stream(SEED, "labels");
        let noisy: Vec<f32> = labels.iter().map(|_| f32::from(u8::from(random.random_bool(0.5)))).collect();
        for parts in [1, 3, 7, 16] {
            for models in 1..=3 {
                let columns = views(&columns[..models]);
                let output = EnsembleOutput::Sigmoid;
                let goal = BlendGoal::Rows { metric: RowMetric::LogLoss, labels: &noisy, weights: None, output };
                let blend = find_blend(&columns, goal, parts).expect("defined");
                assert!((blend.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{:?}", blend.weights);
                for model in 0..models {
                    let alone = find_blend(&columns[model..=model], goal, parts).expect("defined").value;
                    assert!(
                        blend.value <= alone,
                        "{parts} parts: {} against model {model} alone, {alone}",
                        blend.value
                    );
                }
            }
        }
    }

    #[test]
    fn lists_are_ranked_with_ties_in_the_given_order() {
        let mut lists = CandidateLists::default();
        lists.push(&[false, true, true], 2);
        lists.push(&[], 1);
        lists.push(&[true, false], 3);
        let values = lists.user_values(ndcg(1), &[0.5, 0.5, 0.4, -1.0, 2.0]).expect("numbers");
        assert_eq!(values, [0.0, 0.0, 0.0]);
        let values = lists.user_values(ndcg(1), &[0.5, 0.6, 0.4, 2.0, 2.0]).expect("numbers");
        assert_eq!(values, [1.0, 0.0, 1.0]);
        assert!(lists.user_values(ndcg(1), &[f64::NAN; 5]).is_err());
    }

    #[test]
    fn a_goal_without_a_value_is_an_error() {
        let goal = BlendGoal::Rows {
            metric: RowMetric::Auc,
            labels: &[1.0, 1.0],
            weights: None,
            output: EnsembleOutput::Identity,
        };
        assert!(matches!(find_blend(&[&[0.1, 0.2]], goal, 10), Err(LearnError::Metric(_))));
    }

    #[test]
    fn scores_are_standardised_unless_constant() {
        assert_eq!(fit_score_transform(&[1.0, 3.0]), ScoreTransform::Standardize { mean: 2.0, deviation: 1.0 });
        assert_eq!(fit_score_transform(&[4.0, 4.0]), ScoreTransform::Identity);
        assert_eq!(fit_score_transform(&[]), ScoreTransform::Identity);
    }
}
