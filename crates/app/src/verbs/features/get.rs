//! `paceline features get`: the values of one entity.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, open, parse_time};
use crate::lookup::{self, Lookup, LookupView};
use crate::messages::Terminal;
use crate::stores::StoreArguments;

/// Look up the features of one entity: in the online store, or with --at computed from the sources.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file; name, sources and features are enough.
    pipeline: PathBuf,
    /// A key column and its value, such as user_id=42; repeat it for several. Views are looked up of which all key
    /// columns are given; with --at, other columns that request-time features read may be given too.
    #[arg(long, value_name = "COLUMN=VALUE", required = true)]
    entity: Vec<String>,
    /// Compute the values from the sources as a training set at this time has them.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["store", "data_dir"])]
    at: Option<String>,
    #[command(flatten)]
    store: StoreArguments,
}

/// Prints the values. An unknown entity is an answer too.
///
/// # Errors
/// When the pipeline has mistakes, a key does not fit, or the store fails.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let at = arguments.at.as_deref().map(|text| parse_time("--at", text)).transpose()?;
    let pipeline = open(&arguments.pipeline, terminal)?;
    let asked = lookup::Asked::parse(&pipeline, &arguments.entity)?;
    let found = match at {
        Some(at) => lookup::compute(&pipeline, &asked, at)?,
        None => {
            let store = arguments.store.open_existing(&pipeline.folder)?;
            lookup::read(&pipeline, &asked, &*store, arguments.store.shown(&pipeline.folder))?
        }
    };
    if terminal.wants_json() {
        terminal.result_json(&found)?;
    } else {
        terminal.result(&describe(&found))?;
    }
    Ok(Outcome::Success)
}

fn describe(found: &Lookup) -> String {
    let width = found.features.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<String> = found.features.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    let entity: Vec<String> = found.entity.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let entity = entity.join(", ");
    for (name, view) in &found.views {
        lines.push(match view {
            LookupView::Known { as_of } => format!("[features.{name}] as of {as_of}"),
            LookupView::Unknown { as_of } => {
                format!("[features.{name}] as of {as_of}: {entity} is unknown, so values are null and counts 0")
            }
            LookupView::NotMaterialized => {
                format!("[features.{name}] was never materialized here; run `paceline features materialize` first")
            }
            LookupView::NotAsked { missing } => format!("[features.{name}] needs --entity {missing}=VALUE too"),
        });
    }
    for (name, reason) in &found.not_computed {
        lines.push(format!("{name} is not computed: {reason}"));
    }
    lines.join("\n")
}
