//! `paceline plan`: where each feature should be computed, with figures.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use paceline_core::Period;

use super::Outcome;
use super::run::library;
use crate::messages::Terminal;
use crate::pipeline::{self, Weight};
use crate::plan;
use crate::run::Means;
use crate::run::trials::Trials;

/// Measure what each feature costs in a request, in batch and in a stream, and what old values do to the metric; place
/// each view.
///
/// A view that the pipeline file places (`schedule` or `placement`) stays there. The tuning slice decides; the report
/// slice stays closed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Schedules to try, such as 1h or 7d. By default 1h, 6h, 1d and 7d.
    #[arg(long, value_name = "PERIOD", value_delimiter = ',')]
    schedules: Vec<Period>,
    /// Threads for training and evaluation; results do not depend on them, and costs are those of one. By default all
    /// cores.
    #[arg(long)]
    threads: Option<usize>,
}

/// Prints the plan. Placements that keep less than the pipeline asks for are [`Outcome::Negative`].
///
/// # Errors
/// When the pipeline has mistakes, LightGBM is missing, or a source cannot be read.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let (pipeline, warnings) = pipeline::open(&arguments.pipeline)?;
    terminal.mistakes(&warnings, Weight::Warning);
    if pipeline.views.is_empty() && pipeline.request_features.is_empty() {
        bail!("pipeline {} has no feature to place; add a [features.NAME]", pipeline.name);
    }
    if let Some(wrong) = arguments.schedules.iter().find(|schedule| schedule.micros().is_none_or(|micros| micros <= 0))
    {
        bail!("--schedules {wrong}: a schedule has a fixed length, such as 1h or 7d");
    }
    let schedules = if arguments.schedules.is_empty() { &plan::SCHEDULES[..] } else { &arguments.schedules };
    let say = |text: &str| terminal.say(text);
    let threads =
        arguments.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n.max(1));
    let found = match pipeline.model {
        None => plan::plan(&pipeline, None, schedules)?,
        Some(_) => {
            let library = library().open().context("plan trains with LightGBM")?;
            let trials = Trials::measuring(pipeline.digest());
            let means = Means {
                library: &library,
                threads,
                say: &say,
                trials: &trials,
                open_report: false,
                out: Path::new("."),
                shared_store: None,
                commands: &[],
            };
            plan::plan(&pipeline, Some(&means), schedules)?
        }
    };
    if terminal.wants_json() {
        terminal.result_json(&found)?;
    } else {
        terminal.result(&found.shown())?;
    }
    let keep = pipeline.optimize.as_ref().map(|optimize| optimize.keep.min(1.0));
    let is_kept = keep.zip(found.together).is_none_or(|(keep, together)| together.ci[0] >= keep);
    Ok(if is_kept { Outcome::Success } else { Outcome::Negative })
}
