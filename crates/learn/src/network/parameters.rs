//! All weights and biases of a network in one slice, so that gradients and optimiser state are slices beside it.

use std::ops::Range;

use rand::RngExt;

use paceline_core::random::Random;
use paceline_models::network::Layer;

/// Sizes of the layers and where each one's parameters lie.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Inputs, then the width of every layer; the last is 1.
    pub(super) sizes: Vec<usize>,
    starts: Vec<usize>,
}

impl Shape {
    pub(super) fn new(input_count: usize, hidden: &[usize]) -> Self {
        let mut sizes = vec![input_count];
        sizes.extend_from_slice(hidden);
        sizes.push(1);
        let mut starts = vec![0];
        for pair in sizes.windows(2) {
            starts.push(starts[starts.len() - 1] + (pair[0] + 1) * pair[1]);
        }
        Shape { sizes, starts }
    }

    pub(super) fn layer_count(&self) -> usize {
        self.sizes.len() - 1
    }

    pub(super) fn parameter_count(&self) -> usize {
        self.starts[self.layer_count()]
    }

    /// Weights of a layer, inputs x outputs, row-major.
    pub(super) fn weights(&self, layer: usize) -> Range<usize> {
        let start = self.starts[layer];
        start..start + self.sizes[layer] * self.sizes[layer + 1]
    }

    pub(super) fn biases(&self, layer: usize) -> Range<usize> {
        self.weights(layer).end..self.starts[layer + 1]
    }
}

#[derive(Debug, Clone)]
pub(super) struct Parameters(pub(super) Vec<f32>);

impl Parameters {
    /// Weights uniform with variance `2 / inputs` (He et al. 2015), biases zero.
    pub(super) fn initial(shape: &Shape, random: &mut Random) -> Self {
        let mut values = vec![0.0; shape.parameter_count()];
        for layer in 0..shape.layer_count() {
            let bound = (6.0 / shape.sizes[layer] as f32).sqrt();
            values[shape.weights(layer)].fill_with(|| bound * (2.0 * random.random::<f32>() - 1.0));
        }
        Parameters(values)
    }

    pub(super) fn set_output_bias(&mut self, shape: &Shape, bias: f32) {
        self.0[shape.biases(shape.layer_count() - 1)].fill(bias);
    }

    /// The layers, the last one giving `mean + deviation * value`.
    pub(super) fn into_layers(self, shape: &Shape, mean: f64, deviation: f64) -> Vec<Layer> {
        let mut layers: Vec<Layer> = (0..shape.layer_count())
            .map(|layer| Layer {
                weights: self.0[shape.weights(layer)].to_vec(),
                biases: self.0[shape.biases(layer)].to_vec(),
            })
            .collect();
        let last = layers.last_mut().expect("there are at least two layers");
        last.weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * deviation) as f32);
        last.biases.iter_mut().for_each(|bias| *bias = (f64::from(*bias) * deviation + mean) as f32);
        layers
    }
}
