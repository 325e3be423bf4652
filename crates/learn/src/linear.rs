//! Linear (ridge) and logistic regression.
//!
//! Minimises the weighted mean loss plus `regularization / 2` times the sum of squared weights of the standardised inputs;
//! the bias is free. Both objectives are convex, so there is one solution. It is found by Newton's method whose systems are
//! solved by conjugate gradients (Nocedal and Wright, "Numerical Optimization", 2nd edition 2006, algorithm 7.1), with
//! steps halved until the objective falls enough (Armijo): no matrix is formed, so wide one-hot inputs cost no more than
//! their number. Everything runs in f64 on one thread in a fixed order: equal inputs give equal bits.

use serde::{Deserialize, Serialize};

use paceline_models::Linear;
use paceline_models::network::{NetworkOutput, Standardization};

use crate::network::fit_standardization;
use crate::{LearnError, NetworkLoss, TrainingRows};

mod objective;
#[cfg(test)]
mod tests;

use objective::Objective;

/// Newton steps at most. A logistic regression takes about ten, a linear one a single step.
const STEPS_MAX: usize = 100;
/// Ends when the gradient is this much smaller than at the start.
const GRADIENT_TOLERANCE: f64 = 1e-9;
/// Share of the promised decrease that a step must bring (Nocedal and Wright, section 3.1).
const DECREASE_MIN: f64 = 1e-4;

/// How to fit; together with the rows it decides the result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearSpec {
    /// What to minimise: cross-entropy gives a logistic regression, squared error a linear one.
    pub loss: NetworkLoss,
    /// L2 penalty on the weights of standardised inputs, at least 0. With 0, inputs that depend on each other have no
    /// unique weights; conjugate gradients then take the smallest.
    pub regularization: f64,
}

/// A fitted model and how well the solver did.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearFit {
    /// The model.
    pub model: Linear,
    /// Newton steps taken.
    pub steps: usize,
    /// Length of the objective's gradient at the solution: 0 up to rounding where it converged.
    pub gradient_norm: f64,
}

/// Fits a linear model.
///
/// # Errors
/// [`LearnError::BadOption`] for a negative penalty; [`LearnError::BadRow`] for a target outside 0 to 1 under
/// cross-entropy; [`LearnError::TooFewRows`] when all targets are 0, or all 1, under cross-entropy: the best bias is
/// then infinite.
pub fn fit_linear(train: TrainingRows<'_>, spec: LinearSpec) -> Result<LinearFit, LearnError> {
    if !(spec.regularization >= 0.0 && spec.regularization.is_finite()) {
        let value = spec.regularization.to_string();
        return Err(LearnError::BadOption { option: "regularization", value, must: "finite and at least 0" });
    }
    let mean = weighted_mean(train);
    if spec.loss == NetworkLoss::CrossEntropy {
        check_probabilities(train, mean)?;
    }
    let standardization = fit_standardization(train.rows());
    let objective = Objective::new(train, inputs(train, &standardization), spec);
    let mut solution = vec![0.0; standardization.input_count() + 1];
    let bias = solution.len() - 1;
    // The best bias where all weights are 0.
    solution[bias] = match spec.loss {
        NetworkLoss::CrossEntropy => (mean / (1.0 - mean)).ln(),
        NetworkLoss::SquaredError => mean,
    };
    let (steps, gradient_norm) = minimize(&objective, &mut solution);
    let output = match spec.loss {
        NetworkLoss::CrossEntropy => NetworkOutput::Sigmoid,
        NetworkLoss::SquaredError => NetworkOutput::Identity,
    };
    let bias = solution.pop().expect("there is a bias");
    let model = Linear::new(standardization, solution, bias, output).map_err(|_| LearnError::TooFewRows {
        data: "training rows",
        cause: "the weights are not finite; raise regularization".to_owned(),
    })?;
    Ok(LinearFit { model, steps, gradient_norm })
}

fn weighted_mean(train: TrainingRows<'_>) -> f64 {
    let targets = train.targets();
    let total: f64 = (0..targets.len()).map(|row| f64::from(train.weight(row)) * f64::from(targets[row])).sum();
    total / (train.mean_weight() * targets.len() as f64)
}

fn check_probabilities(train: TrainingRows<'_>, mean: f64) -> Result<(), LearnError> {
    if let Some(row) = train.targets().iter().position(|target| !(0.0..=1.0).contains(target)) {
        let (value, must) = (f64::from(train.targets()[row]), "between 0 and 1 for cross-entropy");
        return Err(LearnError::BadRow { data: "training rows", what: "target", row, value, must });
    }
    if mean <= 0.0 || mean >= 1.0 {
        let cause = format!("every target with a weight is {mean}; a logistic regression needs both classes");
        return Err(LearnError::TooFewRows { data: "training rows", cause });
    }
    Ok(())
}

/// All rows as the model will see them.
fn inputs(train: TrainingRows<'_>, standardization: &Standardization) -> Vec<f32> {
    let width = standardization.input_count();
    let mut inputs = vec![0.0_f32; train.rows().len() * width];
    for (row, into) in train.rows().iter().zip(inputs.chunks_exact_mut(width)) {
        standardization.apply(row, into);
    }
    inputs
}

/// Moves `x` to the minimum; returns the steps taken and the length of the gradient there.
fn minimize(objective: &Objective<'_>, x: &mut Vec<f64>) -> (usize, f64) {
    let mut point = objective.at(x);
    let first = norm(&point.gradient);
    for step in 0..STEPS_MAX {
        let length = norm(&point.gradient);
        if length <= GRADIENT_TOLERANCE * first.max(1.0) {
            return (step, length);
        }
        let direction = newton_direction(objective, &point, length);
        let slope = dot(&direction, &point.gradient);
        let mut share = 1.0;
        let moved = loop {
            let moved: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + share * d).collect();
            let value = objective.value(&moved);
            if value <= point.value + DECREASE_MIN * share * slope {
                break moved;
            }
            share /= 2.0;
            // The objective cannot fall any further in floating point.
            if share < 1e-10 {
                return (step, length);
            }
        };
        *x = moved;
        point = objective.at(x);
    }
    (STEPS_MAX, norm(&point.gradient))
}

/// Solves `hessian * direction = -gradient` well enough for Newton's method to converge faster than linearly.
fn newton_direction(objective: &Objective<'_>, point: &objective::Point, length: f64) -> Vec<f64> {
    // A quadratic objective is solved in one go.
    let precision = if objective.is_quadratic() { 1e-12 } else { length.sqrt().min(0.1) };
    let mut direction = vec![0.0; point.gradient.len()];
    let mut residual: Vec<f64> = point.gradient.iter().map(|slope| -slope).collect();
    let mut conjugate = residual.clone();
    let mut square = dot(&residual, &residual);
    let enough = precision * precision * square;
    for _ in 0..2 * direction.len() {
        let image = objective.hessian_times(point, &conjugate);
        let curvature = dot(&conjugate, &image);
        if square <= enough || curvature <= 0.0 {
            break;
        }
        let step = square / curvature;
        direction.iter_mut().zip(&conjugate).for_each(|(d, c)| *d += step * c);
        residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
        let next = dot(&residual, &residual);
        conjugate.iter_mut().zip(&residual).for_each(|(c, r)| *c = r + next / square * *c);
        square = next;
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}
