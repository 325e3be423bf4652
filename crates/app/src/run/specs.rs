//! The options of a pipeline file's teachers, as the trainers take them.

use paceline_learn::forest::{ForestKind, ForestObjective, ForestSpec};
use paceline_learn::{AlsSpec, NetworkLoss, NetworkSpec};
use paceline_models::factors::Confidence;

use crate::pipeline::raw::{Als, Boosted, Forest, Network};

/// Gradient-boosted trees.
pub fn boosted(options: &Boosted, objective: ForestObjective, seed: u64) -> ForestSpec {
    ForestSpec {
        trees: options.trees as usize,
        leaves: options.leaves as usize,
        learning_rate: options.learning_rate,
        min_rows_in_leaf: options.min_rows_in_leaf as usize,
        feature_fraction: options.feature_fraction,
        bagging_fraction: options.row_fraction,
        l2: options.regularization,
        seed: seed as u32,
        ..ForestSpec::new(ForestKind::Boosted, objective)
    }
}

/// Averaged trees.
pub fn averaged(options: &Forest, kind: ForestKind, objective: ForestObjective, seed: u64) -> ForestSpec {
    ForestSpec {
        trees: options.trees as usize,
        leaves: options.leaves as usize,
        min_rows_in_leaf: options.min_rows_in_leaf as usize,
        feature_fraction: options.feature_fraction,
        bagging_fraction: options.row_fraction,
        seed: seed as u32,
        ..ForestSpec::new(kind, objective)
    }
}

/// Factors of users and items.
pub fn factors(options: &Als, seed: u64) -> AlsSpec {
    AlsSpec {
        dimensions: options.factors as usize,
        sweeps: options.iterations as usize,
        confidence: confidence(options),
        seed,
        ..AlsSpec::default()
    }
}

/// How interactions become confidence.
pub fn confidence(options: &Als) -> Confidence {
    Confidence { alpha: options.alpha as f32, regularization: options.regularization as f32 }
}

/// A dense network, trained for all its epochs.
pub fn network(options: &Network, loss: NetworkLoss, seed: u64) -> NetworkSpec {
    NetworkSpec {
        hidden: options.hidden.iter().map(|&width| width as usize).collect(),
        loss,
        learning_rate: options.learning_rate as f32,
        weight_decay: options.regularization as f32,
        batch_rows: options.batch_rows as usize,
        epochs_max: options.epochs as usize,
        patience: options.epochs as usize,
        seed,
    }
}
