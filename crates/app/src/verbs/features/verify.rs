//! `paceline features verify`: does serving answer what training sees, and did it?

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use paceline_core::Value;

use super::{JoinArguments, Outcome, counting, open};
use crate::messages::Terminal;
use crate::pipeline::TimeUnit;
use crate::stores::StoreArguments;
use crate::training_set::SpineSpec;
use crate::verify::{self, Cause, Difference, OnlinePath, Verification};

/// Replay the rows of a spine, or logged requests, and count the values in which the batch join and the online path
/// differ.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file; name, sources and features are enough.
    pipeline: PathBuf,
    /// The spine: Parquet or CSV with the entities' key columns, `time`, and any other columns.
    #[arg(long, value_name = "FILE", required_unless_present = "requests")]
    spine: Option<String>,
    /// Unit of the spine's `time` where it holds whole numbers.
    #[arg(long, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,
    /// Instead of a spine: the folder of requests that `serve` logged with `[serve] log_requests = true`, such as
    /// .paceline/requests.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["spine", "time_unit", "store", "data_dir"])]
    requests: Option<String>,
    /// Compare what the online store holds too; with --data-dir alone the embedded one.
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    join: JoinArguments,
}

/// Replays a spine or logged requests. Unequal values are [`Outcome::Negative`].
///
/// # Errors
/// When the pipeline, its sources or the spine have mistakes, or the store fails.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let pipeline = open(&arguments.pipeline, terminal)?;
    let means = arguments.join.means()?;
    let with_store = arguments.store.store.is_some() || arguments.store.data_dir.is_some();
    let store = with_store.then(|| arguments.store.open_existing(&pipeline.folder)).transpose()?;
    let progress = counting(terminal, "replaying");
    let on_rows: &mut dyn FnMut(u64) = &mut |rows| progress.inc(rows);
    let spec = |location: &String| SpineSpec { location: location.clone(), time_unit: arguments.time_unit };
    let found = match (&arguments.requests, &arguments.spine) {
        (Some(requests), _) => verify::verify_requests(&pipeline, &spec(requests), &means, on_rows)?,
        (None, Some(spine)) => verify::verify(&pipeline, &spec(spine), store.as_deref(), &means, on_rows)?,
        (None, None) => bail!("give --spine FILE or --requests DIR"),
    };
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
    for name in &found.not_logged {
        writeln!(text, "{name} is not among the logged requests, so it was not compared")?;
    }
    for (cause, count) in &found.causes {
        writeln!(text, "{count} unequal because {}", reason(*cause))?;
    }
    for (source, late) in found.late_for_stream.iter().filter(|(_, late)| **late > 0) {
        writeln!(
            text,
            "{late} rows of {source} came too late for a stream; [sources.{source}] max_lateness is what it waits"
        )?;
    }
    writeln!(text, "{} of {} values unequal, {} rows replayed", found.unequal, found.values, found.rows)?;
    Ok(text)
}

fn describe_difference(text: &mut String, difference: &Difference) -> anyhow::Result<()> {
    let path = match difference.path {
        OnlinePath::Computed => "a request computes",
        OnlinePath::Materialized => "a materialization writes",
        OnlinePath::Stream => "a stream holds",
        OnlinePath::Store => "the store holds",
        OnlinePath::Logged => "the request was answered with",
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
    if let (Some(as_of), Some(recomputed)) = (difference.table_as_of, &difference.recomputed) {
        writeln!(text, "    the table was as of {as_of}; as of then the sources now give {}", shown(recomputed))?;
    }
    for (name, value) in &difference.inputs {
        writeln!(text, "    it reads {name} = {}", shown(value))?;
    }
    for row in &difference.rows {
        let event = row.event_time.map_or_else(|| "no time".to_owned(), |at| at.to_string());
        let known = row.available_time.map(|at| format!(", known from {at}")).unwrap_or_default();
        writeln!(text, "    row of {event}{known}: {}", shown(&row.value))?;
    }
    Ok(())
}

fn reason(cause: Cause) -> &'static str {
    match cause {
        Cause::StaleTable => {
            "the table was not as of the time that training takes: not refreshed yet, or the view has no schedule"
        }
        Cause::SourceChanged => {
            "the sources now say something else of the table's time: rows came late or were changed, or the view was"
        }
        Cause::InputsDiffer => "features that a request-time feature reads differ",
        Cause::ExpressionChanged => "the expression of a request-time feature was another",
    }
}

fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| format!("{value:?}"))
}
