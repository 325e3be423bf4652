//! Cheaper models taught by the teacher's scores.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rand::seq::SliceRandom;

use paceline_core::random;
use paceline_learn::forest::{ForestKind, ForestObjective, ForestSpec, Library};
use paceline_learn::recommend::{LabelledPair, Purchases, SampleSpec, sample_pairs};
use paceline_learn::{NetworkLoss, NetworkSpec, TrainingRows, fit_network};
use paceline_models::ensemble::ScoreTransform;
use paceline_models::recommend::CandidateCounts;
use paceline_serve::recommend::{RowLayout, Workspace};

use super::evaluate::Slice;
use super::teacher::{Content, Fitted, Training, fit_forest};

/// Candidates per user and cut that a student learns from, at most. It ranks candidates, so it must see them: with 250
/// candidates and 50 uniform items it keeps 99.1 % of the teacher on Online Retail II, with 100 and 100 98.4 %, on the
/// teacher's own rows (40 uniform) 97.3 %.
const CANDIDATES_PER_USER: usize = 250;
/// Uniform items beside them, so that it knows what the rest of the catalogue is like.
const UNIFORM_PER_USER: usize = 50;
/// Passes over the rows; 24 keep no more than 12.
const EPOCHS: usize = 16;

/// Rows for students: what each user bought, candidates, uniform items. Labels say what was bought; a student learns the
/// teacher's scores instead.
pub fn rows(
    slices: &[&Slice],
    purchases: &Purchases,
    layout: &RowLayout,
    spec: &SampleSpec,
    counts: &CandidateCounts,
) -> Training {
    let SampleSpec { new_only, seed, .. } = *spec;
    let spec = SampleSpec { negatives_per_user: UNIFORM_PER_USER, ..*spec };
    let mut training = Training::empty(layout);
    let mut workspace = Workspace::default();
    for slice in slices {
        for pairs in sample_pairs(purchases, &slice.outcomes, &spec).chunk_by(|a, b| a.user == b.user) {
            let user = pairs[0].user;
            let state = slice.snapshot.state(purchases, user);
            let Workspace { retrieval, candidates, .. } = &mut workspace;
            slice.snapshot.retriever.score(&state, slice.snapshot.cut, new_only, &[], retrieval);
            slice.snapshot.retriever.candidates(counts, retrieval, candidates);
            let purpose = format!("candidates of {user} at {}", slice.snapshot.cut);
            candidates.shuffle(&mut random::stream(seed, &purpose));
            candidates.truncate(CANDIDATES_PER_USER);
            let candidates = candidates.iter().map(|&item| LabelledPair { user, item, bought: false });
            let mut all: Vec<LabelledPair> = pairs.iter().copied().chain(candidates).collect();
            all.sort_unstable_by_key(|pair| (pair.item, !pair.bought));
            all.dedup_by_key(|pair| pair.item);
            training.push(slice, layout, &all, &mut workspace);
        }
    }
    training
}

/// A small network that learns `targets`, every row counting the same.
pub fn network(training: &Training, targets: &[f32], hidden: &[usize], seed: u64) -> Result<Fitted> {
    let spec = NetworkSpec {
        hidden: hidden.to_vec(),
        loss: NetworkLoss::SquaredError,
        learning_rate: 0.003,
        weight_decay: 0.0,
        batch_rows: 512,
        epochs_max: EPOCHS,
        patience: EPOCHS,
        seed,
    };
    let network = fit_network(TrainingRows::new(training.rows(), targets, None)?, None, &spec)?.network;
    let widths: Vec<String> = hidden.iter().map(ToString::to_string).collect();
    let content = network.to_bytes();
    Ok(Fitted {
        name: format!("a network of {} units taught by the ensemble", widths.join(" and ")),
        bytes: content.len() as u64,
        scorer: Arc::new(network),
        transform: ScoreTransform::Identity,
        content: Content::Network(content),
    })
}

/// A small forest that learns `targets`, every row counting the same.
pub fn forest(library: &Library, training: &Training, targets: &[f32], names: &[String], seed: u64) -> Result<Fitted> {
    let spec = ForestSpec {
        min_rows_in_leaf: 50,
        seed: seed as u32,
        ..ForestSpec::new(ForestKind::Boosted, ForestObjective::Regression)
    };
    let (forest, text) = fit_forest(library, &spec, training, targets, None, names).context("the distilled forest")?;
    Ok(Fitted {
        name: format!("a forest of {} trees and {} leaves taught by the ensemble", spec.trees, spec.leaves),
        bytes: text.len() as u64,
        scorer: Arc::new(forest),
        transform: ScoreTransform::Identity,
        content: Content::LightGbm(text),
    })
}
