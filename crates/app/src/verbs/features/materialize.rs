//! `paceline features materialize`: the newest values into the online store.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{JoinArguments, Outcome, counting, open, parse_time};
use crate::materialize::{self, Extent, Run};
use crate::messages::Terminal;
use crate::stores::StoreArguments;

/// Write the values of every view as of a time to the online store.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file; name, sources and features are enough.
    pipeline: PathBuf,
    /// As of when, such as 2011-12-01 or 2011-12-01T06:00:00Z. A scheduled view is written as of the last point of its
    /// schedule at or before it.
    #[arg(long, value_name = "TIME")]
    until: String,
    /// Write every entity. By default only those whose values can have changed since the version in the store are
    /// written, where that was made by the same view and source.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    join: JoinArguments,
}

/// Brings the tables of all views to the time.
///
/// # Errors
/// When the pipeline or its sources have mistakes, the store holds newer values, or it fails.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let until = parse_time("--until", &arguments.until)?;
    let pipeline = open(&arguments.pipeline, terminal)?;
    let means = arguments.join.means()?;
    materialize::check_has_views(&pipeline)?;
    let store = arguments.store.open(&pipeline.folder)?;
    let progress = counting(terminal, "reading");
    let extent = if arguments.full { Extent::Whole } else { Extent::Changes };
    let run = Run { extent, store: &*store, means: &means };
    let targets = materialize::targets(&pipeline, until);
    let written = materialize::materialize(&pipeline, &targets, &run, &mut |rows| progress.inc(rows))?;
    drop(progress);
    let place = arguments.store.shown(&pipeline.folder);
    if terminal.wants_json() {
        terminal.result_json(&json!({ "store": place, "until": until, "views": written }))?;
    } else {
        let width = written.iter().map(|view| view.view.len()).max().unwrap_or(0).max("view".len());
        let mut text = format!(
            "{:width$}  {:11}  {:>12}  {:>8}  {:20}  {:>8}\n",
            "view", "written", "entities", "removed", "as of", "seconds"
        );
        for view in &written {
            writeln!(
                text,
                "{:width$}  {:11}  {:>12}  {:>8}  {:20}  {:>8.2}",
                view.view,
                if view.is_incremental { "incremental" } else { "full" },
                view.rows,
                view.removed,
                view.as_of.to_string(),
                view.seconds
            )?;
        }
        writeln!(text, "written to {place}")?;
        terminal.result(&text)?;
    }
    Ok(Outcome::Success)
}
