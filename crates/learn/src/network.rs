//! Training of small dense networks.
//!
//! Minibatch AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019) with a learning rate that
//! falls along a cosine to zero over `epochs_max`, He initialisation (2015, uniform form), and early stopping that
//! returns the weights of the best epoch on the validation rows. It runs on one thread: the networks are so small that
//! sharing a batch costs more than it gains; train several at once instead. Products of matrices come from a library
//! that picks its instructions by processor, so the same inputs give the same bytes on the same kind of machine.

mod adam;
mod backward;
mod parameters;
mod standardize;
#[cfg(test)]
mod tests;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use paceline_core::random;
use paceline_models::network::{HIDDEN_LAYERS_MAX, Network, NetworkOutput};

use crate::{LearnError, TrainingRows};
use adam::Adam;
use backward::{Pass, Targets};
use parameters::{Parameters, Shape};

pub use standardize::fit_standardization;

/// What the network is to minimise, as a weighted mean over rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkLoss {
    /// `-(y ln p + (1 - y) ln(1 - p))` of the sigmoid output. Targets between 0 and 1: labels, or a teacher's
    /// probabilities.
    CrossEntropy,
    /// `(z - y)^2` of the identity output: values, or a teacher's scores.
    SquaredError,
}

/// How to train; together with the rows it decides the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSpec {
    /// Widths of one to three hidden layers, each 1 to 4,096.
    pub hidden: Vec<usize>,
    /// What to minimise.
    pub loss: NetworkLoss,
    /// Step size of AdamW at the start.
    pub learning_rate: f32,
    /// Share of a weight that decays per step, times the learning rate; biases do not decay. On some thousand rows 0.3
    /// generalises better than the default 0.01; on many it holds the network back.
    pub weight_decay: f32,
    /// Rows per step. Below some 20,000 rows fewer than the default 256 give the optimiser enough steps.
    pub batch_rows: usize,
    /// Passes over the training rows at most.
    pub epochs_max: usize,
    /// Passes without a better validation loss after which training stops.
    pub patience: usize,
    /// Decides initial weights and the order of rows.
    pub seed: u64,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        NetworkSpec {
            hidden: vec![64, 32],
            loss: NetworkLoss::CrossEntropy,
            learning_rate: 0.003,
            weight_decay: 0.01,
            batch_rows: 256,
            epochs_max: 30,
            patience: 8,
            seed: 0,
        }
    }
}

impl NetworkSpec {
    fn check(&self) -> Result<(), LearnError> {
        let bad = |option, value: String, must| Err(LearnError::BadOption { option, value, must });
        if !(1..=HIDDEN_LAYERS_MAX).contains(&self.hidden.len()) || self.hidden.iter().any(|w| !(1..=4_096).contains(w))
        {
            return bad("hidden", format!("{:?}", self.hidden), "one to three widths between 1 and 4096");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad("learning_rate", self.learning_rate.to_string(), "finite and above 0");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return bad("weight_decay", self.weight_decay.to_string(), "finite and at least 0");
        }
        for (option, value) in
            [("batch_rows", self.batch_rows), ("epochs_max", self.epochs_max), ("patience", self.patience)]
        {
            if value == 0 {
                return bad(option, value.to_string(), "at least 1");
            }
        }
        Ok(())
    }
}

/// Losses after one pass, in the units of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochLoss {
    /// Mean over the training rows while weights moved.
    pub train: f64,
    /// Mean over the validation rows afterwards; `None` without such rows.
    pub validate: Option<f64>,
}

/// A trained network and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkFit {
    /// The network, with the weights of the best epoch.
    pub network: Network,
    /// Losses of each epoch.
    pub epochs: Vec<EpochLoss>,
    /// Which epoch the weights are from, 0 the first: the best on validation rows, the last without them.
    pub best_epoch: usize,
}

/// Trains on `train`. `validate` decides only when to stop and which epoch to keep; it must not be the slice that a
/// result is reported on.
///
/// # Errors
/// [`LearnError::BadOption`]; [`LearnError::BadRow`] for a target outside 0 to 1 under cross-entropy;
/// [`LearnError::Diverged`].
///
/// # Panics
/// When `validate` has another number of columns.
pub fn fit_network(
    train: TrainingRows<'_>,
    validate: Option<TrainingRows<'_>>,
    spec: &NetworkSpec,
) -> Result<NetworkFit, LearnError> {
    spec.check()?;
    for rows in [Some(train), validate].into_iter().flatten() {
        assert_eq!(rows.rows().columns(), train.rows().columns(), "columns of training and validation rows");
        check_targets(rows, spec.loss)?;
    }
    Training::new(train, validate, spec).run()
}

fn check_targets(rows: TrainingRows<'_>, loss: NetworkLoss) -> Result<(), LearnError> {
    let outside = |target: &f32| !(0.0..=1.0).contains(target);
    match (loss, rows.targets().iter().position(outside)) {
        (NetworkLoss::CrossEntropy, Some(row)) => {
            let (value, must) = (f64::from(rows.targets()[row]), "between 0 and 1 for cross-entropy");
            Err(LearnError::BadRow { data: "training rows", what: "target", row, value, must })
        }
        _ => Ok(()),
    }
}

/// Inputs, targets and weights as the network sees them.
struct Prepared {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    /// Relative to the mean weight.
    weights: Vec<f32>,
}

struct Training<'a> {
    spec: &'a NetworkSpec,
    standardization: paceline_models::network::Standardization,
    target_scale: TargetScale,
    shape: Shape,
    parameters: Parameters,
    train: Prepared,
    validate: Option<Prepared>,
}

/// Squared error trains on targets of mean 0 and variance 1; the last layer then undoes it.
#[derive(Debug, Clone, Copy)]
struct TargetScale {
    mean: f64,
    deviation: f64,
}

impl TargetScale {
    fn fit(train: TrainingRows<'_>, loss: NetworkLoss) -> Self {
        match loss {
            NetworkLoss::CrossEntropy => TargetScale { mean: 0.0, deviation: 1.0 },
            NetworkLoss::SquaredError => {
                let mean = weighted_mean(train, |target| target);
                let variance = weighted_mean(train, |target| (target - mean) * (target - mean));
                TargetScale { mean, deviation: if variance > 0.0 { variance.sqrt() } else { 1.0 } }
            }
        }
    }

    fn apply(self, target: f32) -> f32 {
        ((f64::from(target) - self.mean) / self.deviation) as f32
    }
}

fn weighted_mean(rows: TrainingRows<'_>, value: impl Fn(f64) -> f64) -> f64 {
    let weighted = |(row, &target): (usize, &f32)| f64::from(rows.weight(row)) * value(f64::from(target));
    let total: f64 = rows.targets().iter().enumerate().map(weighted).sum();
    total / (rows.mean_weight() * rows.targets().len() as f64)
}

impl<'a> Training<'a> {
    fn new(train: TrainingRows<'_>, validate: Option<TrainingRows<'_>>, spec: &'a NetworkSpec) -> Self {
        let standardization = fit_standardization(train.rows());
        let target_scale = TargetScale::fit(train, spec.loss);
        let prepare = |rows: TrainingRows<'_>| {
            let width = standardization.input_count();
            let mut inputs = vec![0.0; rows.rows().len() * width];
            for (row, inputs) in rows.rows().iter().zip(inputs.chunks_exact_mut(width)) {
                standardization.apply(row, inputs);
            }
            let mean_weight = rows.mean_weight();
            Prepared {
                inputs,
                targets: rows.targets().iter().map(|&target| target_scale.apply(target)).collect(),
                weights: (0..rows.targets().len())
                    .map(|row| (f64::from(rows.weight(row)) / mean_weight) as f32)
                    .collect(),
            }
        };
        let shape = Shape::new(standardization.input_count(), &spec.hidden);
        let mut parameters = Parameters::initial(&shape, &mut random::stream(spec.seed, "network weights"));
        if spec.loss == NetworkLoss::CrossEntropy {
            // Starting at the base rate saves the first epoch from learning nothing else.
            let rate = weighted_mean(train, |target| target).clamp(1e-4, 1.0 - 1e-4);
            parameters.set_output_bias(&shape, (rate / (1.0 - rate)).ln() as f32);
        }
        let (train, validate) = (prepare(train), validate.map(prepare));
        Training { spec, standardization, target_scale, shape, parameters, train, validate }
    }

    fn run(mut self) -> Result<NetworkFit, LearnError> {
        let spec = self.spec;
        let row_count = self.train.targets.len();
        let batch_rows = spec.batch_rows.min(row_count);
        let step_count = spec.epochs_max * row_count.div_ceil(batch_rows);
        let mut adam = Adam::new(&self.shape, spec.weight_decay);
        let mut pass = Pass::new(&self.shape, batch_rows);
        let mut order: Vec<u32> = (0..u32::try_from(row_count).expect("at most u32::MAX rows")).collect();
        let mut random = random::stream(spec.seed, "network order");
        let mut epochs: Vec<EpochLoss> = Vec::new();
        let mut best: Option<(usize, f64, Parameters)> = None;
        // Losses are squares of standardised targets, so they scale with the variance.
        let unit = self.target_scale.deviation * self.target_scale.deviation;

        let mut step = 0;
        for epoch in 0..spec.epochs_max {
            order.shuffle(&mut random);
            let mut total = 0.0;
            for batch in order.chunks(batch_rows) {
                total += pass.gradients(&self.shape, &self.parameters, &self.train, batch, spec.loss);
                let progress = step as f32 / step_count as f32;
                let rate = spec.learning_rate * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos());
                adam.step(&self.shape, &mut self.parameters, pass.gradient(), rate);
                step += 1;
            }
            let train = unit * total / row_count as f64;
            let validate = self
                .validate
                .as_ref()
                .map(|rows| unit * pass.mean_loss(&self.shape, &self.parameters, rows, spec.loss));
            if let Some(&loss) = [Some(&train), validate.as_ref()].into_iter().flatten().find(|loss| !loss.is_finite())
            {
                return Err(LearnError::Diverged { epoch: epoch + 1, loss, learning_rate: spec.learning_rate });
            }
            epochs.push(EpochLoss { train, validate });
            let Some(loss) = validate else { continue };
            match &best {
                Some((best_epoch, best_loss, _)) if loss >= *best_loss => {
                    if epoch - best_epoch >= spec.patience {
                        break;
                    }
                }
                _ => best = Some((epoch, loss, self.parameters.clone())),
            }
        }
        let (best_epoch, parameters) = match best {
            Some((epoch, _, parameters)) => (epoch, parameters),
            None => (epochs.len() - 1, self.parameters),
        };
        let output = match spec.loss {
            NetworkLoss::CrossEntropy => NetworkOutput::Sigmoid,
            NetworkLoss::SquaredError => NetworkOutput::Identity,
        };
        let layers = parameters.into_layers(&self.shape, self.target_scale.mean, self.target_scale.deviation);
        let network = Network::new(self.standardization, layers, output).map_err(|_| LearnError::Diverged {
            epoch: best_epoch + 1,
            loss: epochs[best_epoch].train,
            learning_rate: spec.learning_rate,
        })?;
        Ok(NetworkFit { network, epochs, best_epoch })
    }
}

impl Prepared {
    fn target_batch<'a>(&'a self, rows: &'a [u32]) -> Targets<'a> {
        Targets { values: &self.targets, weights: &self.weights, rows }
    }
}
