use rand::RngExt;

use paceline_core::{Rows, Scorer, random};

use super::*;

/// Rows with a missing value now and then, targets that depend on them, weights.
struct World {
    rows: Vec<f64>,
    columns: usize,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl World {
    fn new(loss: NetworkLoss, row_count: usize, columns: usize, seed: u64) -> Self {
        let mut random = random::stream(seed, "linear tests");
        let mut world = World { rows: Vec::new(), columns, targets: Vec::new(), weights: Vec::new() };
        for _ in 0..row_count {
            let row: Vec<f64> = (0..columns).map(|_| 2.0 * random.random::<f64>() - 1.0).collect();
            let sum: f64 = row.iter().zip(1..).map(|(x, at)| x * f64::from(at)).sum();
            let noise = random.random::<f64>() - 0.5;
            world.targets.push(match loss {
                NetworkLoss::SquaredError => (3.0 + sum + noise) as f32,
                NetworkLoss::CrossEntropy => f32::from(u8::from(random.random::<f64>() < 1.0 / (1.0 + (-sum).exp()))),
            });
            world.weights.push(0.5 + random.random::<f32>());
            let hidden = random.random_range(0..10 * columns);
            world.rows.extend(row.iter().enumerate().map(|(at, &x)| if at == hidden { f64::NAN } else { x }));
        }
        world
    }

    fn training(&self) -> TrainingRows<'_> {
        TrainingRows::new(Rows::new(&self.rows, self.columns), &self.targets, Some(&self.weights)).expect("sound rows")
    }

    fn objective(&self, spec: LinearSpec) -> Objective<'_> {
        let standardization = fit_standardization(self.training().rows());
        Objective::new(self.training(), inputs(self.training(), &standardization), spec)
    }
}

/// Gaussian elimination with pivoting: `a x = b`.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let size = b.len();
    for column in 0..size {
        let pivot = (column..size).max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs())).expect("rows");
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..size {
            let factor = a[row][column] / a[column][column];
            let above = a[column].clone();
            a[row].iter_mut().zip(&above).for_each(|(value, above)| *value -= factor * above);
            b[row] -= factor * b[column];
        }
    }
    for row in (0..size).rev() {
        for at in row + 1..size {
            b[row] -= a[row][at] * b[at];
        }
        b[row] /= a[row][row];
    }
    b
}

#[test]
fn squared_error_gives_the_solution_of_the_normal_equations() {
    for regularization in [0.0, 0.001, 0.5] {
        let world = World::new(NetworkLoss::SquaredError, 300, 5, 1);
        let spec = LinearSpec { loss: NetworkLoss::SquaredError, regularization };
        let fit = fit_linear(world.training(), spec).expect("sound rows");
        let standardization = fit.model.standardization();
        assert!(!standardization.indicated.is_empty(), "the world has missing values");
        let (inputs, width) = (inputs(world.training(), standardization), standardization.input_count());
        let weight_sum: f64 = world.weights.iter().map(|&weight| f64::from(weight)).sum();
        let mut a = vec![vec![0.0; width + 1]; width + 1];
        let mut b = vec![0.0; width + 1];
        for (row, input) in inputs.chunks_exact(width).enumerate() {
            let extended: Vec<f64> = input.iter().map(|&value| f64::from(value)).chain([1.0]).collect();
            let share = f64::from(world.weights[row]) / weight_sum;
            for i in 0..=width {
                b[i] += share * extended[i] * f64::from(world.targets[row]);
                for j in 0..=width {
                    a[i][j] += share * extended[i] * extended[j];
                }
            }
        }
        (0..width).for_each(|i| a[i][i] += regularization);
        let expected = solve(a, b);
        for (found, expected) in fit.model.weights().iter().chain([&fit.model.bias()]).zip(&expected) {
            assert!((found - expected).abs() < 1e-8, "{found} against {expected}, penalty {regularization}");
        }
    }
}

#[test]
fn derivatives_equal_finite_differences() {
    for loss in [NetworkLoss::CrossEntropy, NetworkLoss::SquaredError] {
        let world = World::new(loss, 60, 3, 2);
        let objective = world.objective(LinearSpec { loss, regularization: 0.1 });
        let unknowns = fit_standardization(world.training().rows()).input_count() + 1;
        let x: Vec<f64> = (0..unknowns).map(|at| 0.3 * (at as f64 + 1.0).sin()).collect();
        let point = objective.at(&x);
        assert!((point.value - objective.value(&x)).abs() < 1e-14, "both ways to the value");
        let shifted = |at: usize, by: f64| {
            let mut x = x.clone();
            x[at] += by;
            x
        };
        let step = 1e-5;
        for at in 0..unknowns {
            let slope = (objective.value(&shifted(at, step)) - objective.value(&shifted(at, -step))) / (2.0 * step);
            assert!((slope - point.gradient[at]).abs() < 1e-8, "{loss:?}, slope {at}");
            let mut unit = vec![0.0; unknowns];
            unit[at] = 1.0;
            let image = objective.hessian_times(&point, &unit);
            let (above, below) = (objective.at(&shifted(at, step)), objective.at(&shifted(at, -step)));
            for (row, image) in image.iter().enumerate() {
                let curvature = (above.gradient[row] - below.gradient[row]) / (2.0 * step);
                assert!((curvature - image).abs() < 1e-7, "{loss:?}, curvature {row} {at}");
            }
        }
    }
}

#[test]
fn a_logistic_regression_converges_to_where_nothing_can_be_gained() {
    let world = World::new(NetworkLoss::CrossEntropy, 2_000, 4, 3);
    let spec = LinearSpec { loss: NetworkLoss::CrossEntropy, regularization: 0.001 };
    let fit = fit_linear(world.training(), spec).expect("sound rows");
    assert!(fit.gradient_norm < 1e-8 && fit.steps < 30, "{fit:?}");
    // Without a penalty on the bias the mean probability is the mean label.
    let mut scores = vec![0.0; 2_000];
    fit.model.score(world.training().rows(), &mut scores);
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let weighted: f64 = values.zip(&world.weights).map(|(value, &weight)| value * f64::from(weight)).sum();
        weighted / world.weights.iter().map(|&weight| f64::from(weight)).sum::<f64>()
    };
    let (predicted, observed) =
        (mean(&mut scores.into_iter()), mean(&mut world.targets.iter().map(|&target| f64::from(target))));
    assert!((predicted - observed).abs() < 1e-7, "{predicted} against {observed}");
    // The data were drawn with these proportions between the weights of raw columns.
    let standardization = fit.model.standardization();
    let raw: Vec<f64> =
        fit.model.weights().iter().zip(&standardization.scales).map(|(weight, scale)| weight * scale).collect();
    for (weight, truth) in raw.iter().zip([1.0, 2.0, 3.0, 4.0]) {
        assert!((weight - truth).abs() < 0.5, "{raw:?}");
    }
}

#[test]
fn a_perfectly_separable_label_stays_finite_by_the_penalty() {
    let rows: Vec<f64> = (0..40).map(f64::from).collect();
    let targets: Vec<f32> = (0..40_u8).map(|row| f32::from(u8::from(row >= 20))).collect();
    let training = TrainingRows::new(Rows::new(&rows, 1), &targets, None).expect("sound rows");
    let fit = fit_linear(training, LinearSpec { loss: NetworkLoss::CrossEntropy, regularization: 0.001 });
    let fit = fit.expect("finite weights");
    assert!(fit.model.weights()[0] > 1.0 && fit.gradient_norm < 1e-8, "{fit:?}");
}

#[test]
fn constant_and_empty_columns_get_no_say() {
    let rows = [1.0, 7.0, f64::NAN, 2.0, 7.0, f64::NAN, 3.0, 7.0, f64::NAN];
    let training = TrainingRows::new(Rows::new(&rows, 3), &[2.0, 4.0, 6.0], None).expect("sound rows");
    let spec = LinearSpec { loss: NetworkLoss::SquaredError, regularization: 0.0 };
    let model = fit_linear(training, spec).expect("sound rows").model;
    assert_eq!(model.weights()[1..], [0.0, 0.0]);
    let mut out = [0.0];
    model.score(Rows::new(&[5.0, 1e9, 3.0], 3), &mut out);
    assert!((out[0] - 10.0).abs() < 1e-5, "{out:?}");
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let rows = Rows::new(&[1.0, 2.0], 1);
    let refuse = |targets: &[f32], spec: LinearSpec| {
        let training = TrainingRows::new(rows, targets, None).expect("sound rows");
        fit_linear(training, spec).expect_err("refused").to_string()
    };
    let logistic = LinearSpec { loss: NetworkLoss::CrossEntropy, regularization: 0.1 };
    assert!(refuse(&[1.0, 1.0], logistic).contains("every target with a weight is 1"));
    assert!(refuse(&[0.0, 0.0], logistic).contains("needs both classes"));
    assert!(refuse(&[0.0, 1.5], logistic).contains("target of row 1 is 1.5"));
    let negative = LinearSpec { loss: NetworkLoss::SquaredError, regularization: -1.0 };
    assert!(refuse(&[0.0, 1.0], negative).contains("regularization is -1"));
}
