use rand::RngExt;

use paceline_core::metrics::{Measured, RowMetric, ScoredRows, Units};
use paceline_core::random::Random;
use paceline_core::{Rows, Scorer};

use super::*;

const SEED: u64 = 11;

/// A table with known truth: features, targets, and whatever the test wants to compare with.
struct Table {
    columns: usize,
    features: Vec<f64>,
    targets: Vec<f32>,
    truth: Vec<f64>,
}

impl Table {
    /// `truth` of a row of features gives the expected target; `noise` turns it into the target that is seen.
    fn new(
        rows: usize,
        columns: usize,
        purpose: &str,
        truth: impl Fn(&[f64]) -> f64,
        noise: impl Fn(f64, &mut Random) -> f32,
    ) -> Self {
        let mut random = random::stream(SEED, purpose);
        let mut table = Table { columns, features: vec![], targets: vec![], truth: vec![] };
        for _ in 0..rows {
            let row: Vec<f64> = (0..columns).map(|_| 2.0 * random.random::<f64>() - 1.0).collect();
            let expected = truth(&row);
            table.features.extend(row);
            table.targets.push(noise(expected, &mut random));
            table.truth.push(expected);
        }
        table
    }

    fn rows(&self) -> TrainingRows<'_> {
        TrainingRows::new(Rows::new(&self.features, self.columns), &self.targets, None).expect("finite")
    }

    fn scores(&self, scorer: &dyn Scorer) -> Vec<f64> {
        let mut out = vec![f64::NAN; self.targets.len()];
        scorer.score(Rows::new(&self.features, self.columns), &mut out);
        out
    }

    fn measure(&self, metric: RowMetric, scores: &[f64]) -> f64 {
        let rows = ScoredRows::new(scores, &self.targets, None).expect("finite");
        Measured::rows(metric, rows, &Units::each(rows.len())).expect("defined").value()
    }
}

fn coin(probability: f64, random: &mut Random) -> f32 {
    f32::from(u8::from(random.random_bool(probability)))
}

fn exact(value: f64, _: &mut Random) -> f32 {
    value as f32
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Mean loss of a batch by the definition: plain loops in f64, nothing shared with the code under test.
fn slow_loss(shape: &Shape, parameters: &[f64], data: &Prepared, loss: NetworkLoss) -> f64 {
    let row_loss = |row: usize| {
        let width = shape.sizes[0];
        let mut values: Vec<f64> = data.inputs[row * width..][..width].iter().map(|&x| f64::from(x)).collect();
        for layer in 0..shape.layer_count() {
            let (weights, biases) = (&parameters[shape.weights(layer)], &parameters[shape.biases(layer)]);
            let output = |o: usize| {
                biases[o] + values.iter().enumerate().map(|(i, x)| x * weights[i * biases.len() + o]).sum::<f64>()
            };
            let last = layer + 1 == shape.layer_count();
            values = (0..biases.len()).map(output).map(|z| if last { z } else { z.max(0.0) }).collect();
        }
        let (z, y) = (values[0], f64::from(data.targets[row]));
        f64::from(data.weights[row])
            * match loss {
                NetworkLoss::CrossEntropy => -(y * sigmoid(z).ln() + (1.0 - y) * (1.0 - sigmoid(z)).ln()),
                NetworkLoss::SquaredError => (z - y).powi(2),
            }
    };
    (0..data.targets.len()).map(row_loss).sum::<f64>() / data.targets.len() as f64
}

#[test]
fn gradients_equal_finite_differences() {
    for (hidden, loss) in [
        (vec![5], NetworkLoss::CrossEntropy),
        (vec![7, 4], NetworkLoss::SquaredError),
        (vec![6, 5, 3], NetworkLoss::CrossEntropy),
    ] {
        let mut random = random::stream(SEED, "gradients");
        let shape = Shape::new(4, &hidden);
        let mut parameters = Parameters::initial(&shape, &mut random);
        // Biases away from zero, so that their slopes are tested at a general point.
        for layer in 0..shape.layer_count() {
            parameters.0[shape.biases(layer)].fill_with(|| 0.4 * random.random::<f32>() - 0.2);
        }
        let row_count = 9;
        let mut draw = |count: usize| (0..count).map(|_| 2.0 * random.random::<f32>() - 1.0).collect::<Vec<f32>>();
        let data = Prepared {
            inputs: draw(row_count * 4),
            targets: draw(row_count).iter().map(|target| target.abs()).collect(),
            weights: draw(row_count).iter().map(|weight| weight.abs() + 0.1).collect(),
        };
        let mut pass = Pass::new(&shape, row_count);
        let rows: Vec<u32> = (0..row_count as u32).collect();
        let total = pass.gradients(&shape, &parameters, &data, &rows, loss);

        let wide: Vec<f64> = parameters.0.iter().map(|&value| f64::from(value)).collect();
        let mean = slow_loss(&shape, &wide, &data, loss);
        assert!((total / row_count as f64 - mean).abs() < 1e-6, "{hidden:?}: loss {total} against {mean}");
        let mut largest = 0.0_f64;
        for at in 0..wide.len() {
            let moved = |step: f64| {
                let mut moved = wide.clone();
                moved[at] += step;
                slow_loss(&shape, &moved, &data, loss)
            };
            // Central differences in f64 with a step of 1e-6 are good to about 1e-9; the rest is f32 rounding.
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let got = f64::from(pass.gradient()[at]);
            largest = largest.max(expected.abs());
            assert!((got - expected).abs() < 2e-6, "{hidden:?}, parameter {at}: {got} against {expected}");
        }
        assert!(largest > 0.01, "{hidden:?}: all slopes vanish, nothing was tested");
    }
}

#[test]
fn adam_takes_the_steps_of_its_definition() {
    let shape = Shape::new(1, &[1]);
    let mut parameters = Parameters(vec![1.0, 0.5, -1.0, 0.25]);
    let mut expected: Vec<f64> = parameters.0.iter().map(|&value| f64::from(value)).collect();
    let (rate, decay) = (0.01, 0.1);
    let mut adam = Adam::new(&shape, decay as f32);
    let (mut first, mut second) = ([0.0; 4], [0.0; 4]);
    for step in 1..=5 {
        let gradient = [0.5, -0.25 * f64::from(step), 0.0, 2.0];
        adam.step(&shape, &mut parameters, &gradient.map(|slope| slope as f32), rate as f32);
        for at in 0..4 {
            first[at] = 0.9 * first[at] + 0.1 * gradient[at];
            second[at] = 0.999 * second[at] + 0.001 * gradient[at] * gradient[at];
            let moment = first[at] / (1.0 - 0.9_f64.powi(step));
            let size = (second[at] / (1.0 - 0.999_f64.powi(step))).sqrt();
            // Parameters 0 and 2 are weights, 1 and 3 biases.
            let decayed = if at % 2 == 0 { rate * decay * expected[at] } else { 0.0 };
            expected[at] -= rate * moment / (size + 1e-8) + decayed;
        }
    }
    for (got, expected) in parameters.0.iter().zip(expected) {
        assert!((f64::from(*got) - expected).abs() < 2e-6, "{got} against {expected}");
    }
}

#[test]
fn a_linear_truth_is_learned_in_its_own_units() {
    let truth = |x: &[f64]| 1_000.0 + 300.0 * x[0] - 200.0 * x[1];
    let (train, test) = (Table::new(3_000, 3, "train", truth, exact), Table::new(1_000, 3, "test", truth, exact));
    let spec = NetworkSpec {
        loss: NetworkLoss::SquaredError,
        hidden: vec![16],
        batch_rows: 16,
        learning_rate: 0.01,
        ..NetworkSpec::default()
    };
    let fit = fit_network(train.rows(), None, &spec).expect("trains");
    let rmse = test.measure(RowMetric::Rmse, &test.scores(&fit.network));
    // The targets' deviation is 208: a hundredth of it is left.
    assert!(rmse < 2.1, "{rmse}");
    let last = fit.epochs.last().expect("epochs").train;
    assert!((0.3..3.0).contains(&(last.sqrt() / rmse)), "the reported loss {last} is in the targets' units");
    assert_eq!(fit.best_epoch, 29);
}

#[test]
fn an_exclusive_or_is_learned() {
    let truth = |x: &[f64]| if x[0] * x[1] > 0.0 { 1.0 } else { 0.0 };
    let (train, test) = (Table::new(3_000, 2, "train", truth, exact), Table::new(1_000, 2, "test", truth, exact));
    let fit = fit_network(train.rows(), None, &NetworkSpec { hidden: vec![16, 8], ..NetworkSpec::default() })
        .expect("trains");
    let auc = test.measure(RowMetric::Auc, &test.scores(&fit.network));
    assert!(auc > 0.99, "{auc}");
}

#[test]
fn a_noisy_table_is_ranked_nearly_as_by_the_truth() {
    let truth = |x: &[f64]| sigmoid(2.0 * x[0] - x[1] + 3.0 * x[2] * x[3] + (4.0 * x[4]).sin() - 0.5);
    let (train, validate) =
        (Table::new(30_000, 8, "train", truth, coin), Table::new(2_000, 8, "validate", truth, coin));
    let test = Table::new(6_000, 8, "test", truth, coin);
    let spec = NetworkSpec { hidden: vec![32, 16], ..NetworkSpec::default() };
    let fit = fit_network(train.rows(), Some(validate.rows()), &spec).expect("trains");
    let scores = test.scores(&fit.network);
    // 30,000 rows of coin flips do not say more; without the product or the sine some 0.05 would be missing.
    let (auc, best) = (test.measure(RowMetric::Auc, &scores), test.measure(RowMetric::Auc, &test.truth));
    assert!(auc > best - 0.01, "{auc} of {best}");
    // Probabilities, not only an order: the log loss is near that of the truth too.
    let (loss, least) = (test.measure(RowMetric::LogLoss, &scores), test.measure(RowMetric::LogLoss, &test.truth));
    assert!(loss < least + 0.015, "{loss} of {least}");
}

#[test]
fn missing_values_are_told_apart_from_the_mean() {
    let truth = |_: &[f64]| 0.5;
    let mut table = Table::new(2_000, 2, "missing", truth, coin);
    for (row, &target) in table.targets.iter().enumerate() {
        table.features[2 * row] = if target == 1.0 { f64::NAN } else { 0.0 };
    }
    let fit =
        fit_network(table.rows(), None, &NetworkSpec { hidden: vec![4], ..NetworkSpec::default() }).expect("trains");
    let auc = table.measure(RowMetric::Auc, &table.scores(&fit.network));
    assert!(auc > 0.999, "{auc}");
}

#[test]
fn a_student_of_probabilities_learns_them() {
    let truth = |x: &[f64]| sigmoid(3.0 * x[0] + 2.0 * x[1] * x[2]);
    let (train, test) = (Table::new(4_000, 3, "train", truth, exact), Table::new(1_000, 3, "test", truth, exact));
    let fit = fit_network(train.rows(), None, &NetworkSpec { hidden: vec![32, 16], ..NetworkSpec::default() })
        .expect("trains");
    let mae = test.measure(RowMetric::Mae, &test.scores(&fit.network));
    assert!(mae < 0.02, "{mae}");
}

#[test]
fn early_stopping_keeps_the_best_epoch() {
    // Pure noise: after the base rate there is nothing to learn but the training rows themselves.
    let table = |purpose| Table::new(300, 6, purpose, |_| 0.5, coin);
    let (train, validate) = (table("train"), table("validate"));
    let spec = NetworkSpec {
        learning_rate: 0.02,
        batch_rows: 32,
        epochs_max: 60,
        patience: 5,
        hidden: vec![64],
        ..NetworkSpec::default()
    };
    let fit = fit_network(train.rows(), Some(validate.rows()), &spec).expect("trains");
    let losses: Vec<f64> = fit.epochs.iter().map(|epoch| epoch.validate.expect("validation rows")).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[fit.best_epoch], best);
    assert_eq!(losses.len(), fit.best_epoch + spec.patience + 1, "stopped after patience ran out: {losses:?}");
    let kept = validate.measure(RowMetric::LogLoss, &validate.scores(&fit.network));
    assert!((kept - best).abs() < 1e-5, "the returned weights give {kept}, the best epoch gave {best}");
}

#[test]
fn weights_count_rows() {
    // Two opposite labels for the same features: the weighted share is the best probability.
    let features = [0.0, 0.0];
    let rows = TrainingRows::new(Rows::new(&features, 1), &[1.0, 0.0], Some(&[3.0, 1.0])).expect("finite");
    let spec = NetworkSpec { hidden: vec![2], epochs_max: 300, learning_rate: 0.02, ..NetworkSpec::default() };
    let fit = fit_network(rows, None, &spec).expect("trains");
    let mut out = [f64::NAN];
    fit.network.score(Rows::new(&features[..1], 1), &mut out);
    assert!((out[0] - 0.75).abs() < 0.01, "{}", out[0]);
}

#[test]
fn the_seed_decides_every_bit() {
    let table = Table::new(500, 3, "train", |x| x[0], exact);
    let bytes = |seed| {
        let spec = NetworkSpec { seed, loss: NetworkLoss::SquaredError, epochs_max: 3, ..NetworkSpec::default() };
        fit_network(table.rows(), None, &spec).expect("trains").network.to_bytes()
    };
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn bad_options_targets_and_divergence_are_refused() {
    let table = Table::new(200, 2, "train", |x| 2.0 * x[0], exact);
    let check = |spec: NetworkSpec, part: &str| {
        let message = fit_network(table.rows(), None, &spec).expect_err(part).to_string();
        assert!(message.contains(part), "{message}");
    };
    let squared = || NetworkSpec { loss: NetworkLoss::SquaredError, ..NetworkSpec::default() };
    check(NetworkSpec { hidden: vec![], ..squared() }, "hidden is []");
    check(NetworkSpec { hidden: vec![8, 0], ..squared() }, "hidden is [8, 0]");
    check(NetworkSpec { learning_rate: 0.0, ..squared() }, "learning_rate is 0");
    check(NetworkSpec { weight_decay: f32::NAN, ..squared() }, "weight_decay is NaN");
    check(NetworkSpec { batch_rows: 0, ..squared() }, "batch_rows is 0");
    check(NetworkSpec::default(), "between 0 and 1 for cross-entropy");
    check(NetworkSpec { learning_rate: 1e30, ..squared() }, "training diverged in epoch");
}
