//! `paceline features`: training sets, the online store, look-ups and the replay.

pub mod build;
pub mod describe;
pub mod get;
pub mod list;
pub mod materialize;
pub mod verify;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use paceline_core::Timestamp;

use super::Outcome;
use crate::messages::Terminal;
use crate::pipeline::{self, Pipeline, TimeUnit, Weight};
use crate::training_set::{JoinMeans, SpineSpec};

/// Build training sets, fill the online store, look values up, and prove that both agree.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(build::Arguments),
    Materialize(materialize::Arguments),
    Get(get::Arguments),
    Verify(verify::Arguments),
    List(list::Arguments),
    Describe(describe::Arguments),
}

/// Runs one of the verbs.
///
/// # Errors
/// When the pipeline has mistakes, or what the verb says.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    match &arguments.verb {
        Verb::Build(arguments) => build::run(arguments, terminal),
        Verb::Materialize(arguments) => materialize::run(arguments, terminal),
        Verb::Get(arguments) => get::run(arguments, terminal),
        Verb::Verify(arguments) => verify::run(arguments, terminal),
        Verb::List(arguments) => list::run(arguments, terminal),
        Verb::Describe(arguments) => describe::run(arguments, terminal),
    }
}

/// How much of the machine a join may take; results do not depend on it.
#[derive(Debug, Clone, Args)]
pub struct JoinArguments {
    /// Memory that the join may take, in MiB; larger inputs are partitioned by entity on disk first.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mb: u32,
    /// Folder for what does not fit into memory; it is left as it was. By default the system's temporary folder.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Threads. By default all cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl JoinArguments {
    /// The same, checked.
    ///
    /// # Errors
    /// When the scratch folder is no folder.
    pub fn means(&self) -> anyhow::Result<JoinMeans> {
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        if !scratch.is_dir() {
            bail!("--scratch {}: there is no such folder", scratch.display());
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(JoinMeans {
            threads: self.threads.map_or_else(cores, usize::from),
            memory_bytes_max: (self.memory_mb as usize) << 20,
            scratch,
        })
    }
}

/// Which rows features are wanted for.
#[derive(Debug, Clone, Args)]
pub struct SpineArguments {
    /// The spine: Parquet or CSV with the entities' key columns, `time`, and any other columns.
    #[arg(long, value_name = "FILE")]
    spine: String,
    /// Unit of the spine's `time` where it holds whole numbers.
    #[arg(long, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,
}

impl SpineArguments {
    fn spec(&self) -> SpineSpec {
        SpineSpec { location: self.spine.clone(), time_unit: self.time_unit }
    }
}

/// Opens a pipeline and shows what is suspicious about it.
fn open(path: &Path, terminal: &Terminal) -> anyhow::Result<Pipeline> {
    let (pipeline, warnings) = pipeline::open(path)?;
    terminal.mistakes(&warnings, Weight::Warning);
    Ok(pipeline)
}

/// A spinner that counts rows.
fn counting(terminal: &Terminal, what: &str) -> ProgressBar {
    terminal.progress(what, None)
}

fn parse_time(flag: &str, text: &str) -> anyhow::Result<Timestamp> {
    text.parse().with_context(|| format!("{flag} {text:?}"))
}
