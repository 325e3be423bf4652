//! Small dense networks: standardised inputs, rectified hidden layers, one output.

use serde::{Deserialize, Serialize};

use paceline_core::{Rows, Scorer};
use paceline_kernels::dense::{Activation, Dense};
use paceline_kernels::dot::dot;
use paceline_kernels::standardize::{Columns, standardize};

use crate::ModelError;
use crate::tensors::{self, TensorFile, Values};

const KIND: &str = "network";
const VERSION: u32 = 1;

/// Most hidden layers that a network may have.
pub const HIDDEN_LAYERS_MAX: usize = 3;
/// Standardised values are cut off here: one absurd input moves the score no further than five standard deviations do.
const STANDARDIZED_MAX: f64 = 5.0;

/// What becomes of the last layer's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkOutput {
    /// `1 / (1 + exp(-z))`: a probability.
    Sigmoid,
    /// `z` itself: a value or a ranking score.
    Identity,
}

/// How a row becomes the network's inputs: per column `(x - mean) * scale`, cut off at five standard deviations, where
/// `x` is the value, or `sign(value) ln(1 + |value| log_scale)` in a skewed column; a missing value becomes 0, the
/// mean. Then one input per indicated column, 1 where its value is missing and 0 where not; a column that was never
/// missing in training has none, since nothing could be learned from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardization {
    /// What a skewed column is multiplied by before its logarithm is taken; 0 for a column without logarithm.
    pub log_scales: Vec<f64>,
    /// Mean of each column, after the logarithm.
    pub means: Vec<f64>,
    /// One divided by the standard deviation of each column, after the logarithm; 0 for a constant column, which is
    /// thereby ignored.
    pub scales: Vec<f64>,
    /// Columns with a missing indicator, ascending.
    pub indicated: Vec<usize>,
}

impl Standardization {
    /// Number of columns of a row.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.means.len()
    }

    /// Number of inputs of the network.
    #[must_use]
    pub fn input_count(&self) -> usize {
        self.means.len() + self.indicated.len()
    }

    /// Writes the inputs for `row`.
    ///
    /// # Panics
    /// When the lengths are not [`Standardization::column_count`] and [`Standardization::input_count`].
    pub fn apply(&self, row: &[f64], inputs: &mut [f32]) {
        assert_eq!(row.len(), self.column_count(), "columns");
        assert_eq!(inputs.len(), self.input_count(), "inputs");
        let (values, indicators) = inputs.split_at_mut(row.len());
        let columns = Columns { log_scales: &self.log_scales, means: &self.means, scales: &self.scales };
        standardize(row, columns, STANDARDIZED_MAX, values);
        for (indicator, &column) in indicators.iter_mut().zip(&self.indicated) {
            *indicator = if row[column].is_nan() { 1.0 } else { 0.0 };
        }
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let (log_scales, means, scales) = (&self.log_scales, &self.means, &self.scales);
        if means.is_empty() || means.len() != scales.len() || means.len() != log_scales.len() {
            let found = format!("{} means, {} scales, {} log scales", means.len(), scales.len(), log_scales.len());
            return inconsistent("standardization", found, "one of each per column, at least one column");
        }
        let bad = |&at: &usize| {
            let finite = means[at].is_finite() && scales[at].is_finite() && log_scales[at].is_finite();
            !finite || log_scales[at] < 0.0
        };
        if let Some(at) = (0..means.len()).find(bad) {
            let found = format!("mean {}, scale {}, log scale {}", means[at], scales[at], log_scales[at]);
            return inconsistent(&format!("standardization of column {at}"), found, "finite, the log scale at least 0");
        }
        let ascending = self.indicated.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || self.indicated.last().is_some_and(|&column| column >= self.means.len()) {
            return inconsistent("indicated columns", format!("{:?}", self.indicated), "ascending column numbers");
        }
        Ok(())
    }
}

/// One dense layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Weight of input `i` for output `o` at `i * biases.len() + o`.
    pub weights: Vec<f32>,
    /// One per output.
    pub biases: Vec<f32>,
}

/// A trained network.
#[derive(Debug, Clone)]
pub struct Network {
    standardization: Standardization,
    layers: Vec<Layer>,
    output: NetworkOutput,
    /// The hidden layers as the kernel wants them.
    hidden: Vec<Dense>,
    /// The largest number of values between two layers.
    widest: usize,
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        // The rest is derived from these.
        self.standardization == other.standardization && self.layers == other.layers && self.output == other.output
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    output: NetworkOutput,
    /// Outputs of each layer, the last of them 1.
    widths: Vec<usize>,
    standardization: Standardization,
}

impl Network {
    /// Of one to three hidden layers and an output layer of width 1.
    ///
    /// # Errors
    /// [`ModelError::Inconsistent`] when sizes do not fit together or a number is not finite.
    pub fn new(
        standardization: Standardization,
        layers: Vec<Layer>,
        output: NetworkOutput,
    ) -> Result<Self, ModelError> {
        standardization.check()?;
        let hidden_count = layers.len().saturating_sub(1);
        if !(1..=HIDDEN_LAYERS_MAX).contains(&hidden_count) {
            return inconsistent("number of hidden layers", hidden_count.to_string(), "1, 2 or 3");
        }
        let mut input_count = standardization.input_count();
        let mut widest = input_count;
        let mut hidden = Vec::with_capacity(hidden_count);
        for (at, layer) in layers.iter().enumerate() {
            let width = layer.biases.len();
            if width == 0 || (at == hidden_count && width != 1) {
                let must = if at == hidden_count { "1" } else { "at least 1" };
                return inconsistent(&format!("width of layer {at}"), width.to_string(), must);
            }
            if Some(layer.weights.len()) != input_count.checked_mul(width) {
                let found = format!("{} values", layer.weights.len());
                return inconsistent(&format!("weights of layer {at}"), found, &format!("{input_count} x {width}"));
            }
            if !layer.weights.iter().chain(&layer.biases).all(|value| value.is_finite()) {
                return inconsistent(&format!("weights of layer {at}"), "not finite".to_owned(), "finite");
            }
            if at < hidden_count {
                hidden.push(Dense::new(input_count, width, &layer.weights, &layer.biases, Activation::Relu));
            }
            input_count = width;
            widest = widest.max(width);
        }
        Ok(Network { standardization, layers, output, hidden, widest })
    }

    /// How rows become inputs.
    #[must_use]
    pub fn standardization(&self) -> &Standardization {
        &self.standardization
    }

    /// The layers, the output layer last.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What becomes of the last layer's value.
    #[must_use]
    pub fn output(&self) -> NetworkOutput {
        self.output
    }

    /// The same network with another treatment of the last layer's value, as a student of logits needs to become a
    /// student of probabilities.
    #[must_use]
    pub fn with_output(self, output: NetworkOutput) -> Self {
        Network { output, ..self }
    }

    /// Number of weights and biases.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.weights.len() + layer.biases.len()).sum()
    }

    /// The file's bytes: safetensors with `layers.N.weight` (inputs x outputs) and `layers.N.bias`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let widths = self.layers.iter().map(|layer| layer.biases.len()).collect();
        let standardization = self.standardization.clone();
        let header = Header { version: VERSION, output: self.output, widths, standardization };
        let mut tensors = Vec::with_capacity(2 * self.layers.len());
        for (at, layer) in self.layers.iter().enumerate() {
            let width = layer.biases.len();
            let shape = vec![layer.weights.len() / width, width];
            tensors.push((format!("layers.{at}.weight"), shape, Values::F32(&layer.weights)));
            tensors.push((format!("layers.{at}.bias"), vec![width], Values::F32(&layer.biases)));
        }
        tensors::write(&header, &tensors)
    }

    /// Reads what [`Network::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ModelError`] when the bytes are damaged, of another version, hold a number that is not finite, or their parts
    /// do not fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let file = TensorFile::open(KIND, bytes, VERSION)?;
        let Header { version: _, output, widths, standardization } = file.header()?;
        standardization.check()?;
        let mut layers = Vec::new();
        let mut input_count = standardization.input_count();
        for (at, &width) in widths.iter().enumerate() {
            layers.push(Layer {
                weights: file.values(&format!("layers.{at}.weight"), &[input_count, width])?,
                biases: file.values(&format!("layers.{at}.bias"), &[width])?,
            });
            input_count = width;
        }
        Network::new(standardization, layers, output)
    }
}

impl Scorer for Network {
    fn column_count(&self) -> usize {
        self.standardization.column_count()
    }

    /// Row after row through the same loops, so a batch and its rows give equal bits. Every sum runs in a fixed order.
    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.columns(), self.column_count(), "columns");
        assert_eq!(rows.len(), out.len(), "one score per row");
        let mut buffers = vec![0.0_f32; 2 * self.widest];
        let (mut from, mut to) = buffers.split_at_mut(self.widest);
        let last = self.layers.last().expect("there are at least two layers");
        for (row, score) in rows.iter().zip(out) {
            let mut width = self.standardization.input_count();
            self.standardization.apply(row, &mut from[..width]);
            for layer in &self.hidden {
                layer.apply(&from[..width], &mut to[..layer.output_count()]);
                width = layer.output_count();
                std::mem::swap(&mut from, &mut to);
            }
            let value = f64::from(last.biases[0] + dot(&from[..width], &last.weights));
            *score = match self.output {
                NetworkOutput::Sigmoid => 1.0 / (1.0 + (-value).exp()),
                NetworkOutput::Identity => value,
            };
        }
    }
}

fn inconsistent<T>(part: &str, found: String, must: &str) -> Result<T, ModelError> {
    Err(ModelError::Inconsistent { kind: KIND, part: part.to_owned(), found, must: must.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that look random and are exact in f32.
    fn numbers(count: usize, salt: u32) -> Vec<f32> {
        (0..count as u32).map(|i| ((i.wrapping_mul(2_654_435_761) ^ salt) >> 22) as f32 / 512.0 - 1.0).collect()
    }

    fn network(columns: usize, indicated: Vec<usize>, hidden: &[usize], output: NetworkOutput) -> Network {
        let means = numbers(columns, 1).into_iter().map(f64::from).collect();
        let scales = numbers(columns, 2).into_iter().map(|scale| f64::from(scale.abs()) + 0.25).collect();
        // Every other column through a logarithm.
        let log_scales = (0..columns).map(|column| if column % 2 == 0 { 0.0 } else { 0.5 }).collect();
        let standardization = Standardization { log_scales, means, scales, indicated };
        let mut input_count = standardization.input_count();
        let mut layers = Vec::new();
        for (at, &width) in hidden.iter().chain(&[1]).enumerate() {
            let salt = 10 * at as u32;
            layers.push(Layer { weights: numbers(input_count * width, 3 + salt), biases: numbers(width, 4 + salt) });
            input_count = width;
        }
        Network::new(standardization, layers, output).expect("sizes fit")
    }

    /// The network by its definition, in f64.
    fn slow(network: &Network, row: &[f64]) -> f64 {
        let standardization = &network.standardization;
        let mut values: Vec<f64> = Vec::new();
        for (column, &value) in row.iter().enumerate() {
            let log_scale = standardization.log_scales[column];
            let x = if log_scale > 0.0 { (value.abs() * log_scale).ln_1p().copysign(value) } else { value };
            let standardized = (x - standardization.means[column]) * standardization.scales[column];
            values.push(if value.is_nan() { 0.0 } else { standardized.clamp(-5.0, 5.0) });
        }
        values.extend(standardization.indicated.iter().map(|&column| f64::from(u8::from(row[column].is_nan()))));
        for (at, layer) in network.layers.iter().enumerate() {
            let width = layer.biases.len();
            let sum = |output: usize| {
                let products = values.iter().enumerate().map(|(i, x)| x * f64::from(layer.weights[i * width + output]));
                f64::from(layer.biases[output]) + products.sum::<f64>()
            };
            let last = at + 1 == network.layers.len();
            values = (0..width).map(sum).map(|z| if last { z } else { z.max(0.0) }).collect();
        }
        match network.output {
            NetworkOutput::Identity => values[0],
            NetworkOutput::Sigmoid => 1.0 / (1.0 + (-values[0]).exp()),
        }
    }

    fn score(network: &Network, values: &[f64]) -> Vec<f64> {
        let rows = Rows::new(values, network.column_count());
        let mut out = vec![f64::NAN; rows.len()];
        network.score(rows, &mut out);
        out
    }

    proptest! {
        #[test]
        fn scores_equal_the_definition_and_a_batch_equals_its_rows(
            columns in 1_usize..20,
            hidden in prop::collection::vec(1_usize..40, 1..=3),
            cells in prop::collection::vec(prop_oneof![4 => -3.0_f64..3.0, 1 => Just(f64::NAN)], 20 * 5),
            sigmoid: bool,
        ) {
            let output = if sigmoid { NetworkOutput::Sigmoid } else { NetworkOutput::Identity };
            let network = network(columns, (0..columns).step_by(3).collect(), &hidden, output);
            let cells = &cells[..columns * 5];
            let batch = score(&network, cells);
            for (row, &got) in cells.chunks_exact(columns).zip(&batch) {
                prop_assert_eq!(score(&network, row)[0].to_bits(), got.to_bits());
                let expected = slow(&network, row);
                // Widths of at most 40 and weights of at most 1 multiply values by at most 40 per layer; f32 keeps 1e-7.
                let scale = hidden.iter().fold(200.0, |scale, &width| scale * width as f64);
                prop_assert!((got - expected).abs() <= 1e-6 * scale.max(1.0), "{got} against {expected}");
            }
        }

        #[test]
        fn files_round_trip(columns in 1_usize..9, hidden in prop::collection::vec(1_usize..20, 1..=3)) {
            let network = network(columns, vec![columns - 1], &hidden, NetworkOutput::Sigmoid);
            let bytes = network.to_bytes();
            prop_assert_eq!(Network::from_bytes(&bytes), Ok(network.clone()));
            prop_assert_eq!(network.to_bytes(), bytes);
        }
    }

    #[test]
    fn missing_reads_as_the_mean_and_says_so() {
        let standardization = Standardization {
            log_scales: vec![0.0; 2],
            means: vec![5.0, 1.0],
            scales: vec![0.5, 0.0],
            indicated: vec![0],
        };
        let check = |row: [f64; 2], expected: [f32; 3]| {
            let mut inputs = [f32::NAN; 3];
            standardization.apply(&row, &mut inputs);
            assert_eq!(inputs, expected, "{row:?}");
        };
        check([7.0, 3.0], [1.0, 0.0, 0.0]);
        check([f64::NAN, f64::NAN], [0.0, 0.0, 1.0]);
        check([5.0, 1.0], [0.0, 0.0, 0.0]);
        check([f64::INFINITY, f64::NEG_INFINITY], [5.0, 0.0, 0.0]);
        check([-1e300, 0.0], [-5.0, 0.0, 0.0]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let good = network(3, vec![1], &[4, 2], NetworkOutput::Identity);
        let check = |change: &dyn Fn(&mut Standardization, &mut Vec<Layer>), part: &str| {
            let (mut standardization, mut layers) = (good.standardization.clone(), good.layers.clone());
            change(&mut standardization, &mut layers);
            let error = Network::new(standardization, layers, NetworkOutput::Identity).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
        };
        check(&|_, layers| drop(layers.drain(..2)), "number of hidden layers is 0");
        check(&|_, layers| layers[1].biases.push(0.0), "weights of layer 1 is 8 values, but must be 4 x 3");
        check(&|_, layers| layers[2].biases.push(0.0), "width of layer 2 is 2, but must be 1");
        check(&|_, layers| layers[0].weights[3] = f32::NAN, "weights of layer 0 is not finite");
        check(&|standardization, _| standardization.indicated = vec![3], "indicated columns is [3]");
        check(&|standardization, _| standardization.scales[2] = f64::NAN, "standardization of column 2");
        check(&|standardization, _| standardization.log_scales[1] = -1.0, "the log scale at least 0");
        check(&|standardization, _| standardization.means.truncate(2), "2 means, 3 scales, 3 log scales");
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = network(3, vec![], &[4], NetworkOutput::Identity).to_bytes();
        for length in 0..bytes.len() {
            assert!(Network::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
        }
        let factors = crate::factors::Factors::new(
            vec![1.0],
            vec![1.0],
            1,
            crate::factors::Confidence { alpha: 1.0, regularization: 1.0 },
        );
        assert!(matches!(Network::from_bytes(&factors.to_bytes()), Err(ModelError::Malformed { kind: "network", .. })));
    }
}
