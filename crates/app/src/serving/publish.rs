//! A recommender as an artifact.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use paceline_core::manifest::MANIFEST_SCHEMA;
use paceline_core::{Digest, Manifest, Timestamp, Value};
use paceline_features::{Feature, FeatureView};
use paceline_models::ensemble::EnsembleSpec;
use paceline_models::recommend::{CandidateCounts, Retriever};
use paceline_serve::predict::Predictor;
use paceline_serve::recommend::artifact::{
    Description, PublishedRecommender, RecommenderParts, RequestFeature, VERSION, pack, unpack,
};
use paceline_serve::recommend::tables::{ViewColumn, ViewColumns};
use paceline_serve::recommend::{NamedType, RowLayout};
use paceline_store::{ArtifactError, ArtifactRegistry};

use crate::materialize::unknown_values;
use crate::pipeline::raw::Als;
use crate::pipeline::{Pipeline, Recommend};
use crate::run::recommend::{Side, World};

/// Folder of the registry within a run's folder.
pub const MODELS_FOLDER: &str = "models";

/// Among the inputs of a recommender's manifest: how its factors were fitted. Users of today are solved for in the same
/// way, by what the pipeline file says.
const FACTORS: &str = "factors";

/// The files of a scorer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScorerFiles {
    root: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl ScorerFiles {
    /// One model: file name, with the ending that says its kind, and content.
    #[must_use]
    pub fn single(file: (String, Vec<u8>)) -> Self {
        ScorerFiles { root: file.0.clone(), files: [file].into() }
    }

    /// An ensemble with the files of its members.
    #[must_use]
    pub fn ensemble(spec: &EnsembleSpec, members: Vec<(String, Vec<u8>)>) -> Self {
        let root = "ensemble.json".to_owned();
        let mut files: BTreeMap<String, Vec<u8>> = members.into_iter().collect();
        files.insert(root.clone(), spec.to_bytes());
        ScorerFiles { root, files }
    }
}

/// What is published.
pub struct Publication<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Its goal.
    pub goal: &'a Recommend,
    /// The data that numbers users and items.
    pub world: &'a World,
    /// What makes a row.
    pub layout: &'a RowLayout,
    /// The candidate stage.
    pub retriever: &'a Retriever,
    /// As of when it is.
    pub as_of: Timestamp,
    /// Candidates per source; `None` ranks the whole catalogue.
    pub candidates: Option<CandidateCounts>,
    /// The scorer.
    pub scorer: ScorerFiles,
}

/// Publishes into the registry in `models` and makes it the current version.
///
/// # Errors
/// When the parts do not fit together, or the disk fails; what was current stays current then.
pub fn publish_recommender(publication: &Publication<'_>, models: &Path) -> Result<Digest> {
    let Publication { pipeline, goal, world, layout, retriever, as_of, candidates, scorer } = publication;
    let request_features = pipeline
        .request_features
        .iter()
        .map(|named| RequestFeature { name: named.name.clone(), expression: named.expression.clone() })
        .collect();
    let description = Description {
        version: VERSION,
        as_of: *as_of,
        candidates: *candidates,
        new_only: goal.label.new_only,
        user_views: view_columns(&world.user_side)?,
        item_views: view_columns(&world.item_side)?,
        request_features,
        columns: layout.names().to_vec(),
        scorer: scorer.root.clone(),
    };
    let parts = RecommenderParts {
        description,
        catalogue: &world.catalogue,
        users: &world.users,
        retriever,
        models: scorer.files.clone(),
    };
    let files = pack(&parts).context("what is published cannot be read again")?;
    let mut inputs = BTreeMap::from([
        ("pipeline".to_owned(), pipeline.digest().to_string()),
        ("seed".to_owned(), pipeline.seed.to_string()),
        (FACTORS.to_owned(), fit_of(goal)),
    ]);
    inputs.extend(world.source_digests().map(|(name, digest)| (format!("source.{name}"), digest.to_string())));
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        name: pipeline.name.clone(),
        task: "recommend".to_owned(),
        files: BTreeMap::new(),
        inputs,
    };
    let registry = ArtifactRegistry::new(models);
    let digest = registry.publish(manifest, files)?;
    registry.promote(&pipeline.name, &digest)?;
    Ok(digest)
}

/// That the views of the data are those that the model was trained on.
///
/// # Errors
/// With the first view that is not.
pub fn check_views(model: &PublishedRecommender, world: &World) -> Result<()> {
    let Description { user_views, item_views, .. } = &model.description;
    for (side, published) in [(&world.user_side, user_views), (&world.item_side, item_views)] {
        let now = view_columns(side)?;
        let differs = |at: &usize| now.get(*at) != published.get(*at);
        if let Some(at) = (0..now.len().max(published.len())).find(differs) {
            let view = published.get(at).or(now.get(at)).map_or("", |view| view.name.as_str());
            bail!("[features.{view}] is not as it was when the model was published; run the pipeline again");
        }
    }
    Ok(())
}

/// The views of one side with the types of their columns.
fn view_columns(side: &Side) -> Result<Vec<ViewColumns>> {
    side.views().iter().map(|view| columns_of(view, side.types())).collect()
}

pub(super) fn columns_of(view: &FeatureView, types: &[NamedType]) -> Result<ViewColumns> {
    let column = |(feature, missing): (&Feature, Value)| {
        let full = format!("{}.{}", view.name, feature.name);
        let kind = types.iter().find(|(name, _)| *name == full).map(|(_, kind)| *kind);
        let kind = kind.with_context(|| format!("{full} has no type"))?;
        Ok(ViewColumn { name: feature.name.clone(), kind, missing })
    };
    Ok(ViewColumns {
        name: view.name.clone(),
        columns: view.features.iter().zip(unknown_values(view)).map(column).collect::<Result<_>>()?,
    })
}

/// What was published.
#[derive(Clone)]
pub enum Artifact {
    /// Users get items.
    Recommender(Box<PublishedRecommender>),
    /// Rows get scores.
    Rows(Predictor),
    /// There is no model: the features alone are served.
    Features,
}

/// How factors are fitted, as the manifest says it.
fn fit_of(goal: &Recommend) -> String {
    let Als { name: _, factors, regularization, iterations, alpha } = &goal.factors;
    format!("factors = {factors}, iterations = {iterations}, alpha = {alpha:?}, regularization = {regularization:?}")
}

/// Loads the promoted version of a pipeline; one without a `[model]` is its own.
///
/// # Errors
/// When none was published, with what to do about it; when it is damaged, or the pipeline says another fit of its
/// factors; when there is neither model nor view.
pub fn load_artifact(pipeline: &Pipeline, models: &Path) -> Result<(Digest, Artifact)> {
    if pipeline.model.is_none() {
        if pipeline.views.is_empty() {
            bail!(
                "pipeline {:?} has neither a [model] nor a [features.NAME], so there is nothing to serve",
                pipeline.name
            );
        }
        return Ok((pipeline.digest(), Artifact::Features));
    }
    let artifact = ArtifactRegistry::new(models).load_current(&pipeline.name);
    let artifact = artifact.map_err(|error| match error {
        ArtifactError::NotFound { .. } => anyhow::Error::new(error).context(format!(
            "nothing was published for pipeline {:?} yet: `paceline run` publishes what holds the budget into its --out \
             folder; name that folder's {MODELS_FOLDER} with --models",
            pipeline.name
        )),
        other => anyhow::Error::new(other),
    })?;
    let context = || format!("artifact {} {}", pipeline.name, artifact.digest);
    if let (Some(goal), Some(fit)) = (pipeline.recommend(), artifact.manifest.inputs.get(FACTORS))
        && *fit != fit_of(goal)
    {
        bail!(
            "{}: its factors were fitted by {fit}, but the pipeline's \"als\" teacher now says {}; run the pipeline again",
            context(),
            fit_of(goal)
        );
    }
    let content = match artifact.manifest.task.as_str() {
        "recommend" => Artifact::Recommender(Box::new(unpack(&artifact.files).with_context(context)?)),
        _ => Artifact::Rows(Predictor::from_files(&artifact.files).with_context(context)?),
    };
    Ok((artifact.digest, content))
}

/// Loads the promoted version of a recommender.
///
/// # Errors
/// As [`load_artifact`], and when it is of another kind.
pub fn load_current(pipeline: &Pipeline, models: &Path) -> Result<(Digest, PublishedRecommender)> {
    match load_artifact(pipeline, models)? {
        (digest, Artifact::Recommender(model)) => Ok((digest, *model)),
        (digest, Artifact::Rows(_) | Artifact::Features) => {
            bail!("artifact {} {digest} is no recommender", pipeline.name)
        }
    }
}

/// The goal of a recommender.
///
/// # Errors
/// For any other pipeline.
pub fn goal_of(pipeline: &Pipeline) -> Result<&Recommend> {
    pipeline.recommend().context(match pipeline.model {
        Some(_) => "[model] task is not \"recommend\"",
        None => "the pipeline has no [model], so there is nothing to serve",
    })
}
