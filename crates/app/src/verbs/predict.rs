//! `paceline predict`: offline scoring by the published artifact.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use super::Outcome;
use crate::messages::Terminal;
use crate::pipeline::{Goal, PipelineFile, Weight};
use crate::predict::{SpineScorer, score_file};
use paceline_serve::predict::Predictor;
use paceline_store::ArtifactRegistry;

/// Score every row of a table by the published model.
///
/// The table needs the columns that the model's source has in its files, as far as the model reads them, and for views
/// their key columns and a time. All its columns are kept, in their order, with `prediction` beside them: a probability
/// (classify), a value (regress) or a score that orders lists, higher first (rank).
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// The rows to score: Parquet or CSV, a file, folder or pattern.
    #[arg(long)]
    spine: String,
    /// The file to write: .parquet or .csv. It appears whole or not at all.
    #[arg(long)]
    out: PathBuf,
    /// Folder of published models: what `paceline run` wrote into its folder.
    #[arg(long, default_value = "out/models")]
    models: PathBuf,
    /// Threads for features; results do not depend on them. By default all cores.
    #[arg(long)]
    threads: Option<usize>,
}

/// Scores the spine.
///
/// # Errors
/// When the pipeline has mistakes, nothing is published, or a row does not fit the model.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let file = PipelineFile::read(&arguments.pipeline)?;
    // The sources' columns matter only where views read them, and are checked there.
    let (pipeline, warnings) = file.check(None)?;
    terminal.mistakes(&file.answer(warnings), Weight::Warning);
    match pipeline.model.as_ref().map(|model| &model.goal) {
        Some(Goal::Classify(_) | Goal::Regress(_) | Goal::Rank(_)) => {}
        Some(Goal::Recommend(_)) => bail!(
            "{}: task \"recommend\" answers users, not rows; ask the server: `paceline serve`, then GET \
             /v1/recommend/USER",
            arguments.pipeline.display()
        ),
        None => bail!("{}: there is no [model], so nothing predicts", arguments.pipeline.display()),
    }
    let artifact = published(&arguments.models, &pipeline.name)?;
    let predictor = Predictor::from_files(&artifact.files)
        .with_context(|| format!("model {} in {}", artifact.digest.short(), arguments.models.display()))?;
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let scorer = SpineScorer::new(&pipeline, predictor, threads)?;
    let progress = terminal.progress("rows scored", None);
    let rows = score_file(&scorer, &arguments.spine, &arguments.out, |rows| progress.inc(rows))?;
    drop(progress);
    let digest = artifact.digest.short();
    if terminal.wants_json() {
        let out = arguments.out.display().to_string();
        terminal.result_json(&serde_json::json!({ "rows": rows, "out": out, "model": artifact.digest }))?;
    } else {
        terminal.result(&format!("{rows} rows scored by model {digest} into {}", arguments.out.display()))?;
    }
    Ok(Outcome::Success)
}

fn published(folder: &Path, name: &str) -> anyhow::Result<paceline_store::Artifact> {
    ArtifactRegistry::new(folder).load_current(name).with_context(|| {
        format!(
            "no model of {name:?} is published in {}; `paceline run` publishes one that holds its budget",
            folder.display()
        )
    })
}
