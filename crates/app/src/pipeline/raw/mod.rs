//! The pipeline file as it was said. The doc comments here are the reference page and the editor's hints.
//!
//! A key that must be given is an `Option` marked `required`: its absence is reported beside all other mistakes
//! instead of ending the reading. Sections whose keys are independent of everything else carry their defaults
//! themselves and pass into the checked [`super::Pipeline`] unchanged.

mod features;
mod model;
mod operate;
mod pushed;
mod sources;
mod split;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

pub use features::{RawEncoder, RawFeature, RawFeatures, RawView};
pub use model::{
    Als, Boosted, Candidates, Forest, FutureLabel, Linear, Network, Objective, RawFutureLabel, RawLabel, RawModel,
    RawTeacher, Task,
};
pub use operate::{Experiment, Monitor, RawExperiment, RawOptimize, Retrain, Serve};
pub use pushed::{FeatureType, KeyType, RawPushed};
pub use sources::{Format, RawAdbc, RawSource, TimeUnit};
pub use split::{RawColumnSplit, RawRandomSplit, RawSplit, RawSplitColumn};

/// One pipeline: from source tables to features, a model, a budget and a server. Unknown keys are errors. Paths are
/// relative to the file. Every key decides results; where and how fast a pipeline runs is said by flags.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Paceline pipeline", extend("required" = ["name", "sources"]))]
pub struct RawPipeline {
    /// Name of the pipeline and of the artifact that it publishes: letters, digits, `-`, `_` and `.`.
    #[schemars(required)]
    pub name: Option<String>,
    /// Seed of every random draw. The same file, data and seed give the same artifact.
    #[serde(default)]
    #[schemars(extend("default" = 1))]
    pub seed: Option<u64>,
    /// The tables, each under a name of its own.
    #[serde(default)]
    pub sources: IndexMap<String, RawSource>,
    /// The feature views, each under a name of its own, and `request` for request-time features.
    #[serde(default)]
    pub features: RawFeatures,
    /// Feature views whose values come from outside, each under a name of its own.
    #[serde(default)]
    pub pushed: IndexMap<String, RawPushed>,
    /// How a text column becomes numbers: column of the model's source, or `"view.feature"`, to its encoder.
    #[serde(default)]
    pub encode: IndexMap<String, RawEncoder>,
    /// What is predicted and by which teachers. Not needed by the `features` verbs.
    pub model: Option<RawModel>,
    /// Which rows train, which tune, and which only report. Needed with `model`.
    pub split: Option<RawSplit>,
    /// The budget. Without this section `run` publishes the teacher as it is.
    pub optimize: Option<RawOptimize>,
    /// How the server answers.
    #[serde(default)]
    pub serve: Serve,
    /// What is watched.
    pub monitor: Option<Monitor>,
    /// A split of traffic.
    pub experiment: Option<RawExperiment>,
    /// When a new run starts by itself.
    pub retrain: Option<Retrain>,
}
