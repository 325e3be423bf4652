//! `paceline events`: what the event log holds of an entity.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Outcome;
use crate::forget::{self, Counts, Entity, Forgotten, Places};
use crate::messages::Terminal;
use crate::pipeline::{self, Weight};
use crate::stores::StoreArguments;

/// Look after the event log and what is known of an entity.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Forget(Forget),
}

/// Remove one entity's events, features and lists from log and store, and prove it by reading both again.
///
/// Run it again when it was interrupted. Exit code 1 says that something is still there, such as events that came in
/// meanwhile.
#[derive(Debug, Args)]
pub struct Forget {
    /// The pipeline file.
    pipeline: PathBuf,
    /// A key column and its value, such as user_id=42. Several must all agree; views whose key has more columns lose every
    /// row with this value.
    #[arg(long, value_name = "COLUMN=VALUE", required = true)]
    entity: Vec<String>,
    #[command(flatten)]
    stores: StoreArguments,
}

/// Runs one of the verbs.
///
/// # Errors
/// When the pipeline has mistakes, or what the verb says.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    match &arguments.verb {
        Verb::Forget(arguments) => forget(arguments, terminal),
    }
}

fn forget(arguments: &Forget, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let (pipeline, warnings) = pipeline::open_without_sources(&arguments.pipeline)?;
    terminal.mistakes(&warnings, Weight::Warning);
    let entity = Entity::parse(&pipeline, &arguments.entity)?;
    let stores = &arguments.stores;
    let folder = &pipeline.folder;
    // What was never made is not made now.
    let log = stores.log_exists(folder).then(|| stores.open_log(folder)).transpose()?;
    let store = stores.exists(folder).then(|| stores.open(folder)).transpose()?;
    let progress = terminal.progress("reading events", None);
    let places = Places { log: log.as_deref(), store: store.as_deref(), data_folder: &stores.data_folder(folder) };
    let forgotten = forget::forget(&pipeline, &entity, places, &mut |events| progress.inc(events))?;
    drop(progress);
    let place = stores.shown(folder);
    if terminal.wants_json() {
        terminal.result_json(&json!({ "store": place, "left": forgotten.left(), "forgotten": forgotten }))?;
    } else {
        terminal.result(&describe(&forgotten, &place)?)?;
    }
    Ok(if forgotten.left() == 0 { Outcome::Success } else { Outcome::Negative })
}

fn describe(forgotten: &Forgotten, place: &str) -> anyhow::Result<String> {
    let entity: Vec<String> = forgotten.entity.iter().map(|(column, value)| format!("{column}={value}")).collect();
    let mut text = format!("{} in {place}\n", entity.join(", "));
    let rows: Vec<(&str, Counts)> = std::iter::once(("events", forgotten.events))
        .chain([("logged requests", forgotten.requests)])
        .chain(forgotten.tables.iter().map(|table| (table.table.as_str(), table.rows)))
        .collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, Counts { removed, left }) in rows {
        writeln!(text, "  {name:width$}  {removed:>8} removed  {left:>8} left")?;
    }
    for folder in &forgotten.streams {
        writeln!(text, "  {folder}: removed; its stream begins anew from files and log")?;
    }
    match forgotten.left() {
        0 => writeln!(text, "read again: nothing is left")?,
        left => writeln!(text, "read again: {left} are left; do events still come in? Run it again")?,
    }
    for place in &forgotten.not_reached {
        writeln!(text, "not reached: {place}")?;
    }
    Ok(text)
}
