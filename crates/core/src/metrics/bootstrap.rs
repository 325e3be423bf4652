//! Percentile intervals by resampling units.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{Measured, MetricError, Undefined, Units};
use crate::random::{self, Random};

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value on all units.
    pub value: f64,
    /// The 2.5 % quantile of the resamples.
    pub low: f64,
    /// The 97.5 % quantile of the resamples.
    pub high: f64,
}

/// How to resample: units (users, groups or rows) are drawn with replacement, as many as there are, `replicates`
/// times; the interval reaches from the 2.5 % to the 97.5 % quantile of the replicates (the percentile method; Efron and
/// Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
///
/// The same seed gives the same interval. Two thousand replicates place the ends within about 4 % of the interval's
/// width. Where it is wrong: below some 30 units the interval is too narrow, and it knows nothing of what all units
/// share, such as the month they come from.
///
/// A resample may have no value (one class only). Up to one in a thousand is left out, which moves an end by at most
/// that much probability; more is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// How many resamples.
    pub replicates: usize,
    /// Decides which.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { replicates: 2_000, seed: 0 }
    }
}

impl Bootstrap {
    /// The interval of one measurement.
    ///
    /// # Errors
    /// [`MetricError::TooFewUnits`], [`MetricError::UndefinedReplicates`].
    ///
    /// # Panics
    /// When `replicates` is below 100, which has no 2.5 % quantile to speak of.
    pub fn interval(&self, measured: &Measured) -> Result<Estimate, MetricError> {
        self.estimate(measured.metric().to_string(), measured.units().count(), measured.value(), |counts| {
            measured.of_counts(counts)
        })
    }

    /// Retention: what share of the reference's quality the candidate keeps, above 1 when it is better.
    ///
    /// The quotient candidate / reference, for losses reference / candidate, so that higher is always better. Both are
    /// recomputed on the same resample (paired), so what makes a resample easy cancels.
    ///
    /// # Errors
    /// [`MetricError::NoRetention`] for a metric whose quotients mean nothing, [`MetricError::NotPaired`] unless both
    /// were measured with one metric on the same units, [`MetricError::Undefined`] when the divisor is zero, and the
    /// errors of [`Bootstrap::interval`].
    ///
    /// # Panics
    /// As [`Bootstrap::interval`].
    pub fn retention(&self, candidate: &Measured, reference: &Measured) -> Result<Estimate, MetricError> {
        let metric = candidate.metric();
        if metric.may_be_zero_or_negative() {
            let why = "it can be zero or negative, so a quotient means nothing; use rmse or mae instead";
            return Err(MetricError::NoRetention { metric: metric.to_string(), why });
        }
        if metric != reference.metric() {
            return Err(MetricError::NotPaired { why: format!("one is {metric}, the other {}", reference.metric()) });
        }
        if candidate.units() != reference.units() {
            let why = "they were measured on different rows, or the rows are grouped differently".to_owned();
            return Err(MetricError::NotPaired { why });
        }
        let kept = |candidate: f64, reference: f64| {
            let (above, below) =
                if metric.higher_is_better() { (candidate, reference) } else { (reference, candidate) };
            if below > 0.0 { Ok(above / below) } else { Err(Undefined::ZeroDivisor) }
        };
        let name = format!("retention of {metric}");
        let value = kept(candidate.value(), reference.value())
            .map_err(|reason| MetricError::Undefined { metric: name.clone(), reason })?;
        self.estimate(name, candidate.units().count(), value, |counts| {
            kept(candidate.of_counts(counts)?, reference.of_counts(counts)?)
        })
    }

    /// Coverage: the share of a catalogue of `catalogue_size` items (numbered from 0) that appears at least once among
    /// the first `k` of all lists, one list per row of `units`.
    ///
    /// The interval is value +- 1.96 standard errors, kept within 0 to 1. The standard error is the standard deviation
    /// over resamples of units; their quantiles would not do, since a resample holds fewer distinct users and so always
    /// covers less. It tells how much coverage would vary with other users, as many.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] for an empty catalogue or no lists, [`MetricError::TooFewUnits`].
    ///
    /// # Panics
    /// When there is not one list per row, or an item is not below `catalogue_size`.
    pub fn coverage(
        &self,
        lists: &[&[u32]],
        units: &Units,
        k: usize,
        catalogue_size: usize,
    ) -> Result<Estimate, MetricError> {
        assert_eq!(lists.len(), units.row_count(), "lists and units");
        let value = super::ranking::coverage(lists.iter().copied(), k, catalogue_size)?;
        if units.count() < 2 {
            let metric = format!("coverage@{k}");
            return Err(MetricError::TooFewUnits { metric, units: units.count() });
        }
        let mut of_unit: Vec<Vec<u32>> = vec![Vec::new(); units.count()];
        for (row, list) in lists.iter().enumerate() {
            of_unit[units.of_row(row)].extend(&list[..list.len().min(k)]);
        }
        let mut random = random::stream(self.seed, "bootstrap");
        let mut counts = vec![0; of_unit.len()];
        // In which resample an item was last seen, from 1.
        let mut seen = vec![0; catalogue_size];
        let (mut sum, mut squares) = (0.0, 0.0);
        for replicate in 1..=self.replicates {
            draw(&mut counts, &mut random);
            let mut covered = 0;
            for (items, _) in of_unit.iter().zip(&counts).filter(|(_, count)| **count > 0) {
                for &item in items {
                    covered += usize::from(seen[item as usize] != replicate);
                    seen[item as usize] = replicate;
                }
            }
            let share = covered as f64 / catalogue_size as f64;
            sum += share;
            squares += share * share;
        }
        let replicates = self.replicates as f64;
        let variance = (squares - sum * sum / replicates).max(0.0) / (replicates - 1.0);
        let half = 1.96 * variance.sqrt();
        Ok(Estimate { value, low: (value - half).max(0.0), high: (value + half).min(1.0) })
    }

    fn estimate(
        &self,
        metric: String,
        unit_count: usize,
        value: f64,
        of_counts: impl Fn(&[u32]) -> Result<f64, Undefined>,
    ) -> Result<Estimate, MetricError> {
        assert!(self.replicates >= 100, "{} replicates are too few for an interval", self.replicates);
        if unit_count < 2 {
            return Err(MetricError::TooFewUnits { metric, units: unit_count });
        }
        let mut random = random::stream(self.seed, "bootstrap");
        let mut counts = vec![0; unit_count];
        let mut values = Vec::with_capacity(self.replicates);
        let mut first_reason = None;
        for _ in 0..self.replicates {
            draw(&mut counts, &mut random);
            match of_counts(&counts) {
                Ok(value) => values.push(value),
                Err(reason) => first_reason = first_reason.or(Some(reason)),
            }
        }
        let undefined = self.replicates - values.len();
        if let Some(reason) = first_reason.filter(|_| undefined * 1_000 > self.replicates) {
            return Err(MetricError::UndefinedReplicates { metric, undefined, replicates: self.replicates, reason });
        }
        values.sort_unstable_by(f64::total_cmp);
        Ok(Estimate { value, low: quantile(&values, 0.025), high: quantile(&values, 0.975) })
    }
}

/// As many draws with replacement as there are units; `counts[u]` says how often unit `u` was drawn.
fn draw(counts: &mut [u32], random: &mut Random) {
    counts.fill(0);
    let unit_count = u32::try_from(counts.len()).expect("units are numbered by u32");
    for _ in 0..unit_count {
        counts[random.random_range(0..unit_count) as usize] += 1;
    }
}

/// Linear between order statistics (type 7 of Hyndman and Fan 1996). `sorted` is not empty.
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::metrics::{RankingKind, RankingMetric, RowMetric, ScoredRows};

    const SEED: u64 = 20_110_901;

    fn ndcg() -> RankingMetric {
        RankingKind::Ndcg.at(NonZeroUsize::new(10).expect("above 0"))
    }

    fn users(values: &[f64]) -> Measured {
        Measured::ranking(ndcg(), values, &Units::each(values.len())).expect("values between 0 and 1")
    }

    fn losses(metric: RowMetric, scores: &[f64], labels: &[f32]) -> Measured {
        let rows = ScoredRows::new(scores, labels, None).expect("finite");
        Measured::rows(metric, rows, &Units::each(labels.len())).expect("defined")
    }

    /// How often the interval of `one_world(stream)` holds `truth`, in `worlds` worlds.
    fn covered(worlds: u64, truth: f64, one_world: impl Fn(&mut Random) -> Estimate) -> f64 {
        let holds = |world: &u64| {
            let estimate = one_world(&mut random::stream(SEED + world, "world"));
            estimate.low <= truth && truth <= estimate.high
        };
        (0..worlds).filter(holds).count() as f64 / worlds as f64
    }

    /// 600 worlds: a true 95 % shows as 0.95 +- 3 * sqrt(0.95 * 0.05 / 600) = +-0.027. The percentile method itself
    /// misses a little more than 5 % at 150 units (its coverage error is of order 1/n for a skew this mild), so another
    /// half a percent is allowed below. An interval of 90 % or 98 % would fail.
    fn check_coverage(what: &str, share: f64) {
        assert!((0.918..=0.977).contains(&share), "{what}: {share} of the intervals hold the truth (seed {SEED})");
    }

    #[test]
    fn intervals_hold_the_mean_of_users_in_95_of_100_worlds() {
        let bootstrap = Bootstrap { replicates: 400, seed: 1 };
        let share = covered(600, 1.0 / 3.0, |random| {
            let values: Vec<f64> = (0..150).map(|_| random.random::<f64>().powi(2)).collect();
            bootstrap.interval(&users(&values)).expect("150 users")
        });
        check_coverage("mean of squares of uniforms", share);
    }

    #[test]
    fn intervals_of_pooled_cuts_hold_only_when_a_user_is_one_unit() {
        let bootstrap = Bootstrap { replicates: 400, seed: 2 };
        let world = |random: &mut Random, by_user: bool| {
            // Each user has her own level and appears in four cuts around it.
            let mut values = Vec::new();
            for _ in 0..100 {
                let level = 0.2 + 0.6 * random.random::<f64>();
                values.extend((0..4).map(|_| level + 0.1 * (random.random::<f64>() - 0.5)));
            }
            let units = if by_user { Units::by_key((0..400).map(|row| row / 4)) } else { Units::each(400) };
            let measured = Measured::ranking(ndcg(), &values, &units).expect("values between 0 and 1");
            bootstrap.interval(&measured).expect("units")
        };
        check_coverage("by user", covered(600, 0.5, |random| world(random, true)));
        let by_row = covered(600, 0.5, |random| world(random, false));
        assert!(by_row < 0.80, "rows of one user are not independent, yet {by_row} of the intervals hold");
    }

    #[test]
    fn paired_retention_holds_the_true_quotient_and_is_narrow() {
        let bootstrap = Bootstrap { replicates: 400, seed: 3 };
        let world = |random: &mut Random| {
            let reference: Vec<f64> = (0..150).map(|_| random.random::<f64>()).collect();
            let candidate: Vec<f64> = reference
                .iter()
                .map(|&value| 0.9 * value * (0.8 + 0.4 * random.random::<f64>()).min(1.0 / 0.9))
                .collect();
            (users(&candidate), users(&reference))
        };
        // The factor is uniform on [0.8, 1.2], capped at 1/0.9: its mean is 1 less the mean cut off above the cap.
        let cut = (1.2_f64 - 1.0 / 0.9).powi(2) / 2.0 / 0.4;
        let share = covered(600, 0.9 * (1.0 - cut), |random| {
            let (candidate, reference) = world(random);
            bootstrap.retention(&candidate, &reference).expect("positive")
        });
        check_coverage("paired quotient", share);

        let (candidate, reference) = world(&mut random::stream(SEED, "world"));
        let paired = bootstrap.retention(&candidate, &reference).expect("positive");
        let alone = bootstrap.interval(&reference).expect("users");
        let (paired_width, alone_width) = (paired.high - paired.low, (alone.high - alone.low) / alone.value);
        assert!(paired_width < 0.4 * alone_width, "pairing gains nothing: {paired_width} against {alone_width}");
    }

    #[test]
    fn the_interval_of_a_mean_has_the_width_of_the_normal_one() {
        // Half zeros, half ones, 400 users: standard error of the mean 0.5 / 20.
        let values: Vec<f64> = (0..400).map(|user| f64::from(user % 2)).collect();
        let estimate = Bootstrap { replicates: 20_000, seed: 4 }.interval(&users(&values)).expect("users");
        let half = (estimate.high - estimate.low) / 2.0;
        assert_eq!(estimate.value, 0.5);
        assert!((half / (1.96 * 0.025) - 1.0).abs() < 0.04, "{half}");
    }

    #[test]
    fn losses_are_turned_round_and_a_candidate_keeps_all_of_itself() {
        let labels = [0.0_f32, 1.0, 2.0, 3.0, 4.0];
        let reference = losses(RowMetric::Mae, &[1.0, 2.0, 3.0, 4.0, 5.0], &labels);
        let worse = losses(RowMetric::Mae, &[2.0, 3.0, 4.0, 5.0, 6.0], &labels);
        let bootstrap = Bootstrap::default();
        let all = |value| Ok(Estimate { value, low: value, high: value });
        assert_eq!(bootstrap.retention(&worse, &reference), all(0.5));
        assert_eq!(bootstrap.retention(&reference, &worse), all(2.0));
        assert_eq!(bootstrap.retention(&reference, &reference), all(1.0));
    }

    #[test]
    fn what_has_no_retention_is_refused_with_the_reason() {
        let bootstrap = Bootstrap::default();
        let labels = [0.0_f32, 1.0, 2.0];
        let mae = losses(RowMetric::Mae, &[1.0, 2.0, 3.0], &labels);
        let perfect = losses(RowMetric::Mae, &[0.0, 1.0, 2.0], &labels);
        let rmse = losses(RowMetric::Rmse, &[1.0, 2.0, 3.0], &labels);
        let r2 = losses(RowMetric::R2, &[0.0, 1.0, 2.5], &labels);
        let longer = losses(RowMetric::Mae, &[1.0, 2.0, 3.0, 4.0], &[0.0, 1.0, 2.0, 3.0]);
        let message =
            |candidate, reference| bootstrap.retention(candidate, reference).expect_err("refused").to_string();
        for (candidate, reference, part) in [
            (&r2, &r2, "can be zero or negative"),
            (&mae, &rmse, "one is mae, the other rmse"),
            (&mae, &longer, "different rows"),
            (&perfect, &mae, "retention of mae is not defined here: the divisor is zero"),
        ] {
            let message = message(candidate, reference);
            assert!(message.contains(part), "{message}");
        }
        let zero = users(&[0.0, 0.0, 0.0]);
        assert!(message(&users(&[0.1, 0.2, 0.3]), &zero).contains("divisor is zero"));
    }

    #[test]
    fn too_few_units_and_too_few_positives_are_refused() {
        let one = Measured::ranking(ndcg(), &[0.1, 0.2], &Units::by_key(["a", "a"])).expect("values");
        assert!(matches!(Bootstrap::default().interval(&one), Err(MetricError::TooFewUnits { units: 1, .. })));

        let scores: Vec<f64> = (0..50).map(f64::from).collect();
        let positives = |count: usize| {
            let labels: Vec<f32> = (0..50).map(|row| f32::from(u8::from(row < count))).collect();
            Bootstrap::default().interval(&losses(RowMetric::Auc, &scores, &labels))
        };
        let refused = positives(2).expect_err("13 % of the resamples have no positive");
        let MetricError::UndefinedReplicates { undefined, replicates: 2_000, reason: Undefined::OneClass, .. } =
            refused
        else {
            panic!("{refused}")
        };
        // (1 - 2/50)^50 = 0.130; three standard deviations of 2,000 draws are 0.023.
        assert!((undefined as f64 / 2_000.0 - 0.130).abs() < 0.023, "{undefined}");
        assert!(positives(25).is_ok());
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let values: Vec<f64> = (0..40).map(|user| f64::from(user) / 40.0).collect();
        let interval = |seed| Bootstrap { replicates: 500, seed }.interval(&users(&values)).expect("users");
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }

    /// 150 users list 10 of 400 items each, popular ones more often. The spread of coverage over 300 worlds is known to
    /// 4 %; the bootstrap's own bias (a resample repeats users) stays within a quarter of it.
    #[test]
    fn the_error_of_coverage_is_its_spread_over_worlds() {
        let bootstrap = Bootstrap { replicates: 200, seed: 3 };
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for world in 0..300 {
            let mut random = random::stream(SEED + world, "lists");
            let lists: Vec<Vec<u32>> =
                (0..150).map(|_| (0..10).map(|_| (400.0 * random.random::<f64>().powi(3)) as u32).collect()).collect();
            let borrowed: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
            let estimate = bootstrap.coverage(&borrowed, &Units::each(150), 10, 400).expect("150 users");
            assert!(estimate.low < estimate.value && estimate.value < estimate.high);
            values.push(estimate.value);
            errors.push((estimate.high - estimate.low) / (2.0 * 1.96));
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let center = mean(&values);
        let spread = (values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / 299.0).sqrt();
        let ratio = mean(&errors) / spread;
        assert!((0.75..1.33).contains(&ratio), "{ratio} (seed {SEED})");
    }

    #[test]
    fn users_of_several_cuts_are_drawn_together_for_coverage() {
        let bootstrap = Bootstrap { replicates: 200, seed: 3 };
        let lists: [&[u32]; 4] = [&[0, 1, 9], &[2], &[0, 1], &[2]];
        let estimate = bootstrap.coverage(&lists, &Units::by_key([7, 8, 7, 8]), 2, 4).expect("two users");
        assert_eq!(estimate.value, 0.75, "item 9 is beyond k");
        assert!(bootstrap.coverage(&lists[..1], &Units::each(1), 2, 10).is_err(), "one user has no spread");
        assert!(bootstrap.coverage(&lists, &Units::each(4), 2, 0).is_err());
    }
}
