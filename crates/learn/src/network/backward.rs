//! Forward and backward through all layers for one batch.

use paceline_kernels::matrix::{MatrixView, Output, multiply};

use super::parameters::{Parameters, Shape};
use super::{NetworkLoss, Prepared};

/// Targets and relative weights of the rows of a batch.
#[derive(Clone, Copy)]
pub(super) struct Targets<'a> {
    pub(super) values: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) rows: &'a [u32],
}

/// Buffers for batches of at most a given number of rows.
pub(super) struct Pass {
    rows_max: usize,
    /// The batch's inputs, then the values of each layer after its activation; the last is the raw output.
    values: Vec<Vec<f32>>,
    /// Derivative of the loss by each layer's value before its activation.
    slopes: Vec<Vec<f32>>,
    gradient: Vec<f32>,
}

impl Pass {
    pub(super) fn new(shape: &Shape, rows_max: usize) -> Self {
        let buffers = |sizes: &[usize]| sizes.iter().map(|size| vec![0.0; size * rows_max]).collect();
        Pass {
            rows_max,
            values: buffers(&shape.sizes),
            slopes: buffers(&shape.sizes[1..]),
            gradient: vec![0.0; shape.parameter_count()],
        }
    }

    /// The gradient that [`Pass::gradients`] left.
    pub(super) fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// Sets the gradient of the batch's mean loss and returns the sum of its losses.
    pub(super) fn gradients(
        &mut self,
        shape: &Shape,
        parameters: &Parameters,
        data: &Prepared,
        rows: &[u32],
        loss: NetworkLoss,
    ) -> f64 {
        self.forward(shape, parameters, data, rows);
        let total = self.output_slopes(data.target_batch(rows), loss);
        self.backward(shape, parameters, rows.len());
        total
    }

    /// Mean loss over all rows of `data`.
    pub(super) fn mean_loss(
        &mut self,
        shape: &Shape,
        parameters: &Parameters,
        data: &Prepared,
        loss: NetworkLoss,
    ) -> f64 {
        let all: Vec<u32> = (0..data.targets.len() as u32).collect();
        let mut total = 0.0;
        for rows in all.chunks(self.rows_max) {
            self.forward(shape, parameters, data, rows);
            total += self.output_slopes(data.target_batch(rows), loss);
        }
        total / data.targets.len() as f64
    }

    fn forward(&mut self, shape: &Shape, parameters: &Parameters, data: &Prepared, rows: &[u32]) {
        let width = shape.sizes[0];
        for (into, &row) in self.values[0].chunks_exact_mut(width).zip(rows) {
            into.copy_from_slice(&data.inputs[row as usize * width..][..width]);
        }
        for layer in 0..shape.layer_count() {
            let (input_count, output_count) = (shape.sizes[layer], shape.sizes[layer + 1]);
            let (before, after) = self.values.split_at_mut(layer + 1);
            let inputs = MatrixView::new(&before[layer][..rows.len() * input_count], rows.len(), input_count);
            let weights = MatrixView::new(&parameters.0[shape.weights(layer)], input_count, output_count);
            let outputs = &mut after[0][..rows.len() * output_count];
            for row in outputs.chunks_exact_mut(output_count) {
                row.copy_from_slice(&parameters.0[shape.biases(layer)]);
            }
            multiply(inputs, weights, outputs, Output::Add);
            if layer + 1 < shape.layer_count() {
                outputs.iter_mut().for_each(|value| *value = value.max(0.0));
            }
        }
    }

    /// Sets the slopes of the output and returns the sum of the rows' weighted losses.
    fn output_slopes(&mut self, targets: Targets<'_>, loss: NetworkLoss) -> f64 {
        let outputs = self.values.last().expect("there is an output");
        let slopes = self.slopes.last_mut().expect("there is an output");
        let share = 1.0 / targets.rows.len() as f32;
        let mut total = 0.0;
        for ((slope, &value), &row) in slopes.iter_mut().zip(outputs).zip(targets.rows) {
            let (target, weight) = (targets.values[row as usize], targets.weights[row as usize]);
            let (row_loss, derivative) = match loss {
                // ln(1 + exp(z)) - y z, written so that neither exponential overflows.
                NetworkLoss::CrossEntropy => {
                    let softplus = value.max(0.0) + (-value.abs()).exp().ln_1p();
                    (softplus - target * value, 1.0 / (1.0 + (-value).exp()) - target)
                }
                NetworkLoss::SquaredError => {
                    let error = value - target;
                    (error * error, 2.0 * error)
                }
            };
            total += f64::from(weight) * f64::from(row_loss);
            *slope = share * weight * derivative;
        }
        total
    }

    fn backward(&mut self, shape: &Shape, parameters: &Parameters, row_count: usize) {
        for layer in (0..shape.layer_count()).rev() {
            let (input_count, output_count) = (shape.sizes[layer], shape.sizes[layer + 1]);
            let (below, above) = self.slopes.split_at_mut(layer);
            let slopes = &above[0][..row_count * output_count];
            let inputs = &self.values[layer][..row_count * input_count];
            let slope_view = MatrixView::new(slopes, row_count, output_count);
            let input_view = MatrixView::new(inputs, row_count, input_count).transposed();
            multiply(input_view, slope_view, &mut self.gradient[shape.weights(layer)], Output::Replace);
            let biases = &mut self.gradient[shape.biases(layer)];
            biases.fill(0.0);
            for row in slopes.chunks_exact(output_count) {
                biases.iter_mut().zip(row).for_each(|(sum, &slope)| *sum += slope);
            }
            let Some(below) = below.last_mut() else { continue };
            let below = &mut below[..row_count * input_count];
            let weights = MatrixView::new(&parameters.0[shape.weights(layer)], input_count, output_count).transposed();
            multiply(slope_view, weights, below, Output::Replace);
            // A rectified value that is zero passes nothing on.
            for (slope, &value) in below.iter_mut().zip(inputs) {
                *slope = if value > 0.0 { *slope } else { 0.0 };
            }
        }
    }
}
