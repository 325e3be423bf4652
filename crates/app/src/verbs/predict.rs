//! `paceline predict`: offline scoring by the published artifact.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::{Outcome, check_writable};
use crate::messages::Terminal;
use crate::pipeline::{self, Goal, Pipeline, PipelineFile, TimeUnit, Weight};
use crate::predict::{Lists, SpineScorer, recommend_file, score_file};
use crate::run::recommend::World;
use crate::serving::{Artifact, goal_of, load_artifact};
use crate::training_set::SpineSpec;
use paceline_core::Digest;
use paceline_serve::ladder::ITEMS_MAX;
use paceline_serve::predict::Predictor;
use paceline_serve::recommend::artifact::PublishedRecommender;

/// Items of a list where `--k` does not say.
const ITEMS: u32 = 10;

/// Score every row of a table by the published model, or list items for its users.
///
/// classify, regress, rank: the table needs the columns that the model's source has in its files, as far as the model
/// reads them, and for views their key columns and a time. All its columns are kept, in their order, with `prediction`
/// beside them: a probability (classify), a value (regress) or a score that orders lists, higher first (rank).
///
/// recommend: the table needs the user column and may have `time`, as known before which each row is answered; without
/// it that is the end of the data. Each row becomes as many as its list has items: its own columns, `rank` from 1, the
/// item, and `score`, which is null for a popular item that filled a short list. Unknown users get the popular list.
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
    /// Items of each list, for `recommend` only; 10 where it is not given.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=ITEMS_MAX as i64))]
    k: Option<u32>,
    /// Unit of `time` where it holds whole numbers. By default that of the model's source.
    #[arg(long, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,
    /// Threads; results do not depend on them. By default all cores.
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
    let shown = arguments.pipeline.display();
    let recommends = match pipeline.model.as_ref().map(|model| &model.goal) {
        Some(Goal::Recommend(_)) => true,
        Some(Goal::Classify(_) | Goal::Regress(_) | Goal::Rank(_)) => false,
        None => bail!("{shown}: there is no [model], so nothing predicts"),
    };
    if let (Some(k), false) = (arguments.k, recommends) {
        bail!("--k {k}: only task \"recommend\" answers lists; {shown} scores every row, so leave it out");
    }
    check_writable(&arguments.out)?;
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    match (load_artifact(&pipeline, &arguments.models)?, recommends) {
        ((digest, Artifact::Rows(predictor)), false) => {
            score(arguments, &pipeline, (digest, predictor), threads, terminal)
        }
        ((digest, Artifact::Recommender(model)), true) => list(arguments, (digest, &model), threads, terminal),
        ((digest, _), _) => bail!(
            "{shown}: the model {} in {} was published for another task; run the pipeline again",
            digest.short(),
            arguments.models.display()
        ),
    }
}

fn score(
    arguments: &Arguments,
    pipeline: &Pipeline,
    (digest, predictor): (Digest, Predictor),
    threads: usize,
    terminal: &Terminal,
) -> anyhow::Result<Outcome> {
    let scorer = SpineScorer::new(pipeline, predictor, arguments.time_unit, threads)?;
    let progress = terminal.progress("rows scored", None);
    let rows = score_file(&scorer, &arguments.spine, &arguments.out, |rows| progress.inc(rows))?;
    drop(progress);
    let out = arguments.out.display();
    if terminal.wants_json() {
        terminal.result_json(&serde_json::json!({ "rows": rows, "out": out.to_string(), "model": digest }))?;
    } else {
        terminal.result(&format!("{rows} rows scored by model {} into {out}", digest.short()))?;
    }
    Ok(Outcome::Success)
}

fn list(
    arguments: &Arguments,
    (digest, model): (Digest, &PublishedRecommender),
    threads: usize,
    terminal: &Terminal,
) -> anyhow::Result<Outcome> {
    // Here the sources are read, so what does not fit their columns is told with its place.
    let (pipeline, _) = pipeline::open(&arguments.pipeline)?;
    let goal = goal_of(&pipeline)?;
    let progress = terminal.progress("reading sources", None);
    let world = World::load(&pipeline, goal)?;
    let unit = pipeline.source(&goal.label.source).and_then(|source| source.time_unit);
    let spine = SpineSpec { location: arguments.spine.clone(), time_unit: arguments.time_unit.or(unit) };
    let mut lists = Lists::new(&pipeline, &world, model, arguments.k.unwrap_or(ITEMS) as usize, threads)?;
    progress.set_message("users answered");
    let done = recommend_file(&mut lists, &spine, &arguments.out, |rows| progress.inc(rows))?;
    drop(progress);
    if let Some(end) = done.without_time {
        terminal.say(&format!("there is no column \"time\", so lists are as of the end of the data, {end}"));
    }
    let fitted = model.description.as_of;
    if let Some(oldest) = done.oldest.filter(|oldest| *oldest < fitted) {
        terminal.say(&format!(
            "warning: the model was published as of {fitted}; lists as of earlier times, such as {oldest}, know what came \
             later: do not judge the model by them"
        ));
    }
    if done.unknown_users > 0 {
        terminal.say(&format!(
            "{} of {} rows name no {:?} of whom something was known; they get the popular list",
            done.unknown_users, done.spine_rows, goal.user
        ));
    }
    let out = arguments.out.display();
    if terminal.wants_json() {
        terminal.result_json(&serde_json::json!({
            "spine_rows": done.spine_rows, "unknown_users": done.unknown_users, "rows": done.rows,
            "out": out.to_string(), "model": digest,
        }))?;
    } else {
        let text = format!("{} lists, {} rows, by model {} into {out}", done.spine_rows, done.rows, digest.short());
        terminal.result(&text)?;
    }
    Ok(Outcome::Success)
}
