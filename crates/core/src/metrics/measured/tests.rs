use rand::RngExt;

use super::*;
use crate::metrics::Quantile;
use crate::random;

fn rows<'a>(scores: &'a [f64], labels: &'a [f32], weights: Option<&'a [f32]>) -> ScoredRows<'a> {
    ScoredRows::new(scores, labels, weights).expect("finite")
}

fn value(metric: RowMetric, scores: &[f64], labels: &[f32]) -> Result<f64, MetricError> {
    Measured::rows(metric, rows(scores, labels, None), &Units::each(labels.len())).map(|measured| measured.value())
}

fn reason(metric: RowMetric, scores: &[f64], labels: &[f32], weights: Option<&[f32]>) -> Undefined {
    match Measured::rows(metric, rows(scores, labels, weights), &Units::each(labels.len())) {
        Err(MetricError::Undefined { reason, .. }) => reason,
        other => panic!("{metric}: {other:?}"),
    }
}

const PINBALL_90: f64 = 0.9;

fn all_metrics() -> [RowMetric; 9] {
    let quantile = Quantile::new(PINBALL_90).expect("between 0 and 1");
    [
        RowMetric::Auc,
        RowMetric::AveragePrecision,
        RowMetric::Accuracy,
        RowMetric::LogLoss,
        RowMetric::Brier,
        RowMetric::Rmse,
        RowMetric::Mae,
        RowMetric::Pinball { quantile },
        RowMetric::R2,
    ]
}

/// Every metric by its definition: all pairs for AUC, all thresholds for average precision, plain loops for the rest.
fn slow(metric: RowMetric, rows: &[(f64, f64, f64)]) -> f64 {
    let total: f64 = rows.iter().map(|row| row.2).sum();
    let mean = |loss: &dyn Fn(f64, f64) -> f64| rows.iter().map(|&(p, y, w)| w * loss(p, y)).sum::<f64>() / total;
    match metric {
        RowMetric::Auc => {
            let (mut in_order, mut pairs) = (0.0, 0.0);
            for &(p, y, w) in rows {
                for &(other_p, other_y, other_w) in rows {
                    if y == 1.0 && other_y == 0.0 {
                        pairs += w * other_w;
                        in_order += w
                            * other_w
                            * if p > other_p {
                                1.0
                            } else if p == other_p {
                                0.5
                            } else {
                                0.0
                            };
                    }
                }
            }
            in_order / pairs
        }
        RowMetric::AveragePrecision => {
            let mut thresholds: Vec<f64> = rows.iter().map(|row| row.0).collect();
            thresholds.sort_by(|a, b| b.total_cmp(a));
            thresholds.dedup();
            let positives: f64 = rows.iter().map(|row| row.1 * row.2).sum();
            let (mut area, mut recall_before) = (0.0, 0.0);
            for threshold in thresholds {
                let listed = || rows.iter().filter(|row| row.0 >= threshold);
                let hits: f64 = listed().map(|row| row.1 * row.2).sum();
                let weight: f64 = listed().map(|row| row.2).sum();
                if weight > 0.0 {
                    area += (hits / positives - recall_before) * hits / weight;
                }
                recall_before = hits / positives;
            }
            area
        }
        RowMetric::Accuracy => mean(&|p, y| if (p >= 0.5 && y == 1.0) || (p < 0.5 && y == 0.0) { 1.0 } else { 0.0 }),
        RowMetric::LogLoss => mean(&|p, y| if y == 1.0 { -p.ln() } else { -(1.0 - p).ln() }),
        RowMetric::Brier => mean(&|p, y| (p - y).powi(2)),
        RowMetric::Rmse => mean(&|p, y| (p - y).powi(2)).sqrt(),
        RowMetric::Mae => mean(&|p, y| (p - y).abs()),
        RowMetric::Pinball { .. } => {
            mean(&|p, y| if y > p { PINBALL_90 * (y - p) } else { (1.0 - PINBALL_90) * (p - y) })
        }
        RowMetric::R2 => {
            let mean_label = mean(&|_, y| y);
            1.0 - mean(&|p, y| (p - y).powi(2)) / mean(&|_, y| (y - mean_label).powi(2))
        }
    }
}

/// Random rows with many ties, in groups of up to three, and the same rows as the slow reference takes them.
struct World {
    scores: Vec<f64>,
    labels: Vec<f32>,
    weights: Vec<f32>,
    groups: Vec<usize>,
}

impl World {
    fn random(seed: u64) -> Self {
        let mut random = random::stream(seed, "world");
        let row_count = random.random_range(20..60);
        let mut world = World { scores: vec![], labels: vec![], weights: vec![], groups: vec![] };
        for row in 0..row_count {
            world.scores.push(f64::from(random.random_range(1..10)) / 10.0);
            world.labels.push(f32::from(u8::from(row < 2 || (row > 3 && random.random_bool(0.4)))));
            world.weights.push(random.random_range(0..4) as f32 / 2.0 + f32::from(u8::from(row < 4)));
            world.groups.push(random.random_range(0..row_count / 2));
        }
        world
    }

    fn measured(&self, metric: RowMetric) -> Measured {
        let units = Units::by_key(&self.groups);
        Measured::rows(metric, rows(&self.scores, &self.labels, Some(&self.weights)), &units).expect("defined")
    }

    /// Each row as often as its group was drawn.
    fn repeated(&self, counts: &[u32], units: &Units) -> Vec<(f64, f64, f64)> {
        let row = |i: usize| (self.scores[i], f64::from(self.labels[i]), f64::from(self.weights[i]));
        let times = |i: usize| counts[units.of_row(i)] as usize;
        (0..self.scores.len()).flat_map(|i| std::iter::repeat_n(row(i), times(i))).collect()
    }
}

#[test]
fn values_and_resamples_equal_the_slow_definitions() {
    for seed in 0..60 {
        let world = World::random(seed);
        let mut random = random::stream(seed, "counts");
        for metric in all_metrics() {
            let measured = world.measured(metric);
            let unit_count = measured.units().count();
            let drawn: Vec<u32> = (0..unit_count).map(|_| random.random_range(0..3)).collect();
            for counts in [vec![1; unit_count], drawn] {
                let repeated = world.repeated(&counts, measured.units());
                let Ok(fast) = measured.of_counts(&counts) else {
                    let classes: Vec<f64> = repeated.iter().filter(|row| row.2 > 0.0).map(|row| row.1).collect();
                    assert!(classes.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}, {metric}: both classes");
                    continue;
                };
                let slow = slow(metric, &repeated);
                assert!((fast - slow).abs() < 1e-11, "seed {seed}, {metric}: {fast} against {slow}");
            }
        }
    }
}

#[test]
fn closed_forms() {
    let labels = [0.0, 0.0, 1.0, 1.0];
    let scores = [0.1, 0.4, 0.35, 0.8];
    for (metric, expected) in [
        (RowMetric::Auc, 0.75),
        (RowMetric::AveragePrecision, 0.5 + 0.5 * 2.0 / 3.0),
        (RowMetric::Accuracy, 0.75),
        (RowMetric::Brier, (0.01 + 0.16 + 0.4225 + 0.04) / 4.0),
        (RowMetric::Mae, (0.1 + 0.4 + 0.65 + 0.2) / 4.0),
    ] {
        let got = value(metric, &scores, &labels).expect("defined");
        assert!((got - expected).abs() < 1e-12, "{metric}: {got}");
    }
    let half = value(RowMetric::LogLoss, &[0.5; 4], &labels).expect("defined");
    assert!((half - 2_f64.ln()).abs() < 1e-15);
    assert_eq!(value(RowMetric::Auc, &[0.3; 4], &labels), Ok(0.5));
    assert_eq!(value(RowMetric::R2, &[0.5; 4], &labels), Ok(0.0));
    assert_eq!(value(RowMetric::Auc, &[-0.0, 0.0], &[0.0, 1.0]), Ok(0.5), "both zeros are one score");
}

#[test]
fn a_certain_mistake_costs_much_but_not_infinity() {
    let loss = value(RowMetric::LogLoss, &[0.0, 1.0], &[1.0, 0.0]).expect("defined");
    assert!((36.0..37.0).contains(&loss), "{loss}");
    let right = value(RowMetric::LogLoss, &[0.0, 1.0], &[0.0, 1.0]).expect("defined");
    assert!((0.0..1e-15).contains(&right), "{right}");
}

#[test]
fn what_is_undefined_has_a_reason() {
    for metric in all_metrics() {
        assert_eq!(reason(metric, &[], &[], None), Undefined::NoRows, "{metric}");
        assert_eq!(reason(metric, &[0.5, 0.6], &[0.0, 1.0], Some(&[0.0, 0.0])), Undefined::NoWeight, "{metric}");
    }
    for label in [0.0, 1.0] {
        assert_eq!(reason(RowMetric::Auc, &[0.5, 0.6], &[label; 2], None), Undefined::OneClass);
        assert_eq!(reason(RowMetric::AveragePrecision, &[0.5, 0.6], &[label; 2], None), Undefined::OneClass);
    }
    assert_eq!(reason(RowMetric::R2, &[0.1, 0.2, 0.3], &[0.1; 3], None), Undefined::ConstantLabels);
}

#[test]
fn rows_out_of_range_are_named() {
    let check = |metric: RowMetric, score: f64, label: f32, part: &str| {
        let message = value(metric, &[0.5, score], &[0.0, label]).expect_err("out of range").to_string();
        assert!(message.contains(part) && message.contains("row 1"), "{message}");
    };
    check(RowMetric::Auc, 0.5, 0.25, "auc: the label of row 1 is 0.25; it must be 0 or 1");
    check(RowMetric::LogLoss, 1.5, 1.0, "log_loss: the score of row 1 is 1.5");
    check(RowMetric::Brier, 0.5, -1.0, "brier: the label");
    let bad = |score: f64, label: f32, weight: f32| {
        ScoredRows::new(&[score], &[label], Some(&[weight])).expect_err("not finite").to_string()
    };
    assert!(bad(f64::NAN, 0.0, 1.0).contains("the score of row 0 is NaN"));
    assert!(bad(f64::INFINITY, 0.0, 1.0).contains("the score of row 0 is inf"));
    assert!(bad(0.0, f32::NAN, 1.0).contains("the label of row 0"));
    assert!(bad(0.0, 0.0, -1.0).contains("the weight of row 0 is -1"));
}

#[test]
fn keys_number_units_in_order_of_appearance() {
    let units = Units::by_key(["b", "a", "b"]);
    assert_eq!((units.count(), units.row_count()), (2, 3));
    assert_eq!([0, 1, 2].map(|row| units.of_row(row)), [0, 1, 0]);
}
