//! One layer of a dense network, for one input at a time.

use crate::cpu::multiversion;

/// Outputs computed together, in registers.
const TILE: usize = 32;

/// What follows the affine map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
}

/// `activation(x W + b)` in f32, with the weights laid out for one input at a time.
#[derive(Debug, Clone)]
pub struct Dense {
    input_count: usize,
    output_count: usize,
    /// Tile after tile of outputs; in a tile, input after input, [`TILE`] weights each; padded with zeros.
    weights: Vec<f32>,
    /// One per output, padded with zeros to whole tiles.
    bias: Vec<f32>,
    activation: Activation,
}

impl Dense {
    /// A layer. `weights` is row-major with one row per input and one column per output.
    ///
    /// # Panics
    /// When a size is zero or `weights` and `bias` do not have the stated sizes: the caller's bug.
    #[must_use]
    pub fn new(input_count: usize, output_count: usize, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        assert!(input_count > 0 && output_count > 0, "{input_count} inputs, {output_count} outputs");
        assert_eq!(weights.len(), input_count * output_count, "weights of {input_count} x {output_count}");
        assert_eq!(bias.len(), output_count, "biases");
        let tile_count = output_count.div_ceil(TILE);
        let mut tiled = vec![0.0; tile_count * input_count * TILE];
        for (input, row) in weights.chunks_exact(output_count).enumerate() {
            for (output, &weight) in row.iter().enumerate() {
                tiled[(output / TILE * input_count + input) * TILE + output % TILE] = weight;
            }
        }
        let mut padded = bias.to_vec();
        padded.resize(tile_count * TILE, 0.0);
        Dense { input_count, output_count, weights: tiled, bias: padded, activation }
    }

    /// Number of inputs.
    #[must_use]
    pub fn input_count(&self) -> usize {
        self.input_count
    }

    /// Number of outputs.
    #[must_use]
    pub fn output_count(&self) -> usize {
        self.output_count
    }

    /// Writes the layer's outputs for `input`. Each output starts from its bias and adds the inputs in order, so the result
    /// has the same bits on every processor.
    ///
    /// # Panics
    /// When `input` or `output` has another size than the layer.
    pub fn apply(&self, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), self.input_count, "inputs");
        assert_eq!(output.len(), self.output_count, "outputs");
        affine(input, &self.weights, &self.bias, output);
        if self.activation == Activation::Relu {
            output.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
        }
    }
}

multiversion! {
    fn affine(input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        let (weights, _) = weights.as_chunks::<TILE>();
        let (biases, _) = bias.as_chunks::<TILE>();
        for ((tile, bias), output) in weights.chunks_exact(input.len()).zip(biases).zip(output.chunks_mut(TILE)) {
            let mut sums = *bias;
            for (&x, weights) in input.iter().zip(tile) {
                for lane in 0..TILE {
                    sums[lane] += x * weights[lane];
                }
            }
            output.copy_from_slice(&sums[..output.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input_count: usize, output_count: usize, activation: Activation) {
        let weights: Vec<f32> = (0..input_count * output_count).map(|i| (i as f32 * 0.37).sin()).collect();
        let bias: Vec<f32> = (0..output_count).map(|i| (i as f32 * 0.11).cos()).collect();
        let input: Vec<f32> = (0..input_count).map(|i| (i as f32 * 1.7).sin()).collect();
        let layer = Dense::new(input_count, output_count, &weights, &bias, activation);
        let mut output = vec![f32::NAN; output_count];
        layer.apply(&input, &mut output);
        for (j, found) in output.iter().enumerate() {
            // The obvious reference adds in the same order, so its bits are the same.
            let sum = (0..input_count).fold(bias[j], |sum, i| sum + input[i] * weights[i * output_count + j]);
            let expected = if activation == Activation::Relu { sum.max(0.0) } else { sum };
            assert_eq!(found.to_bits(), expected.to_bits(), "{input_count} x {output_count}, output {j}");
        }
    }

    #[test]
    fn every_size_gives_the_bits_of_the_definition() {
        for (inputs, outputs) in [(1, 1), (3, 5), (27, 128), (128, 64), (64, 1), (5, 31), (5, 32), (5, 33), (2, 65)] {
            check(inputs, outputs, Activation::Identity);
            check(inputs, outputs, Activation::Relu);
        }
    }

    #[test]
    fn nan_stays_nan_and_infinity_stays() {
        let layer = Dense::new(1, 2, &[1.0, -1.0], &[0.0, 0.0], Activation::Relu);
        let mut output = [0.0; 2];
        layer.apply(&[f32::NAN], &mut output);
        assert!(output.iter().all(|value| value.is_nan()));
        layer.apply(&[f32::INFINITY], &mut output);
        assert_eq!(output, [f32::INFINITY, 0.0]);
    }
}
