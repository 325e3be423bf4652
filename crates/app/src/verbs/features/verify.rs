//! `paceline features verify`: does serving answer what training sees?

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use paceline_core::Value;

use super::{JoinArguments, Outcome, SpineArguments, counting, open};
use crate::messages::Terminal;
use crate::stores::StoreArguments;
use crate::verify::{self, Difference, OnlinePath, Verification};

/// Replay the rows of a spine and count the values in which the batch join and the online path differ.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file; name, sources and features are enough.
    pipeline: PathBuf,
    #[command(flatten)]
    spine: SpineArguments,
    /// Compare what the online store holds too; with --data-dir alone the embedded one.
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    join: JoinArguments,
}

/// Replays a spine. Unequal values are [`Outcome::Negative`].
///
/// # Errors
/// When the pipeline, its sources or the spine have mistakes, or the store fails.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let pipeline = open(&arguments.pipeline, terminal)?;
    let means = arguments.join.means()?;
    let with_store = arguments.store.store.is_some() || arguments.store.data_dir.is_some();
    let store = with_store.then(|| arguments.store.open_existing(&pipeline.folder)).transpose()?;
    let progress = counting(terminal, "replaying");
    let spine = arguments.spine.spec();
    let found = verify::verify(&pipeline, &spine, store.as_deref(), &means, &mut |rows| progress.inc(rows))?;
    drop(progress);
    if terminal.wants_json() {
        terminal.result_json(&found)?;
    } else {
        terminal.result(&describe(&found)?)?;
    }
    Ok(if found.unequal == 0 { Outcome::Success } else { Outcome::Negative })
}

fn describe(found: &Verification) -> anyhow::Result<String> {
    let mut text = String::new();
    for difference in &found.differences {
        describe_difference(&mut text, difference)?;
    }
    let described = found.differences.len() as u64;
    if found.unequal > described {
        writeln!(text, "... and {} more", found.unequal - described)?;
    }
    for (view, as_of) in &found.store_as_of {
        writeln!(text, "the store holds {view} as of {as_of}")?;
    }
    for view in &found.not_in_store {
        writeln!(text, "the store does not hold {view}; write it with `paceline features materialize`")?;
    }
    writeln!(text, "{} of {} values unequal, {} rows replayed", found.unequal, found.values, found.rows)?;
    Ok(text)
}

fn describe_difference(text: &mut String, difference: &Difference) -> anyhow::Result<()> {
    let path = match difference.path {
        OnlinePath::Computed => "a request computes",
        OnlinePath::Materialized => "a materialization writes",
        OnlinePath::Store => "the store holds",
    };
    writeln!(
        text,
        "{} of {} as of {}: the batch join gives {}, {path} {}",
        difference.feature,
        difference.entity,
        difference.time,
        shown(&difference.batch),
        shown(&difference.online)
    )?;
    for row in &difference.rows {
        let event = row.event_time.map_or_else(|| "no time".to_owned(), |at| at.to_string());
        let known = row.available_time.map(|at| format!(", known from {at}")).unwrap_or_default();
        writeln!(text, "    row of {event}{known}: {}", shown(&row.value))?;
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| format!("{value:?}"))
}
