//! The objective of a linear model with its derivatives; the last unknown is the bias.

use super::LinearSpec;
use crate::{NetworkLoss, TrainingRows};

/// Weighted mean loss plus penalty.
pub(super) struct Objective<'a> {
    train: TrainingRows<'a>,
    /// Row-major, one per weight.
    inputs: Vec<f32>,
    width: usize,
    spec: LinearSpec,
    weight_sum: f64,
}

/// What is known at one point.
pub(super) struct Point {
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
    /// Second derivative of each row's weighted loss by its sum.
    curvatures: Vec<f64>,
}

/// A row's loss and its first two derivatives by the row's sum.
#[derive(Debug, Clone, Copy)]
struct RowLoss {
    value: f64,
    slope: f64,
    curvature: f64,
}

impl<'a> Objective<'a> {
    pub(super) fn new(train: TrainingRows<'a>, inputs: Vec<f32>, spec: LinearSpec) -> Self {
        let width = inputs.len() / train.targets().len();
        let weight_sum = train.mean_weight() * train.targets().len() as f64;
        Objective { train, inputs, width, spec, weight_sum }
    }

    pub(super) fn is_quadratic(&self) -> bool {
        match self.spec.loss {
            NetworkLoss::SquaredError => true,
            NetworkLoss::CrossEntropy => false,
        }
    }

    /// The value alone.
    pub(super) fn value(&self, x: &[f64]) -> f64 {
        let losses = (0..self.train.targets().len()).map(|row| self.share(row) * self.loss(row, x).value);
        losses.sum::<f64>() + self.penalty(x)
    }

    pub(super) fn at(&self, x: &[f64]) -> Point {
        let mut value = self.penalty(x);
        let mut gradient: Vec<f64> = x.iter().map(|weight| self.spec.regularization * weight).collect();
        gradient[self.width] = 0.0;
        let mut curvatures = Vec::with_capacity(self.train.targets().len());
        for row in 0..self.train.targets().len() {
            let (share, loss) = (self.share(row), self.loss(row, x));
            value += share * loss.value;
            self.add_scaled(&mut gradient, row, share * loss.slope);
            curvatures.push(share * loss.curvature);
        }
        Point { value, gradient, curvatures }
    }

    pub(super) fn hessian_times(&self, point: &Point, vector: &[f64]) -> Vec<f64> {
        let mut image: Vec<f64> = vector.iter().map(|value| self.spec.regularization * value).collect();
        image[self.width] = 0.0;
        for (row, curvature) in point.curvatures.iter().enumerate() {
            self.add_scaled(&mut image, row, curvature * self.sum(row, vector));
        }
        image
    }

    fn share(&self, row: usize) -> f64 {
        f64::from(self.train.weight(row)) / self.weight_sum
    }

    fn penalty(&self, x: &[f64]) -> f64 {
        self.spec.regularization / 2.0 * x[..self.width].iter().map(|weight| weight * weight).sum::<f64>()
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.inputs[row * self.width..][..self.width]
    }

    fn sum(&self, row: usize, x: &[f64]) -> f64 {
        let terms = self.row(row).iter().zip(x);
        terms.fold(x[self.width], |sum, (&input, weight)| sum + weight * f64::from(input))
    }

    fn add_scaled(&self, into: &mut [f64], row: usize, scale: f64) {
        let (weights, bias) = into.split_at_mut(self.width);
        weights.iter_mut().zip(self.row(row)).for_each(|(sum, &input)| *sum += scale * f64::from(input));
        bias[0] += scale;
    }

    fn loss(&self, row: usize, x: &[f64]) -> RowLoss {
        let (sum, target) = (self.sum(row, x), f64::from(self.train.targets()[row]));
        match self.spec.loss {
            // ln(1 + exp(z)) - y z, written so that neither exponential overflows.
            NetworkLoss::CrossEntropy => {
                let probability = 1.0 / (1.0 + (-sum).exp());
                let softplus = sum.max(0.0) + (-sum.abs()).exp().ln_1p();
                RowLoss {
                    value: softplus - target * sum,
                    slope: probability - target,
                    curvature: probability * (1.0 - probability),
                }
            }
            // Half the squared error, so that a penalty means the same for both losses.
            NetworkLoss::SquaredError => {
                let error = sum - target;
                RowLoss { value: error * error / 2.0, slope: error, curvature: 1.0 }
            }
        }
    }
}
