//! `paceline run`: from the sources to a measured ladder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use paceline_learn::forest::LibrarySearch;

use super::{Outcome, check_folder};
use crate::messages::Terminal;
use crate::pipeline::{self, Weight};
use crate::report::{Report, terminal as screen};
use crate::run::trials::Trials;
use crate::run::{self, Means};
use crate::stores;

/// Train the teacher, search for the cheapest pipeline that holds the budget, and report what was measured.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Folder for `report.json`, `report.html` and `trials.json`; it is made when missing.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Keep the report slice closed, for development: all figures are of the tuning slice.
    #[arg(long)]
    no_report: bool,
    /// Threads for training and evaluation; results do not depend on them. By default all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Take latencies from a `trials.json` of an earlier run of this pipeline instead of measuring them: the same choice
    /// again.
    #[arg(long, value_name = "FILE")]
    replay_trials: Option<PathBuf>,
    /// Time precomputed lists in this store too: redis://[user:password@]host:port[/database].
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Arguments {
    /// A run with the report, on all cores.
    #[must_use]
    pub fn new(pipeline: PathBuf, out: PathBuf, store: Option<String>) -> Self {
        Arguments { pipeline, out, no_report: false, threads: None, replay_trials: None, store }
    }

    /// The command that repeats the run, and the one that repeats its choice.
    fn commands(&self) -> Vec<String> {
        let mut flags = if self.no_report { " --no-report".to_owned() } else { String::new() };
        if let Some(url) = &self.store {
            flags += &format!(" --store {}", stores::without_password(url));
        }
        let (pipeline, out) = (quoted(&self.pipeline), quoted(&self.out));
        let trials = quoted(&self.out.join(run::trials::FILE_NAME));
        vec![
            format!("paceline run {pipeline} --out {out}{flags}"),
            format!("paceline run {pipeline} --out {out}{flags} --replay-trials {trials}"),
        ]
    }
}

/// Runs the pipeline. A budget that nothing holds is [`Outcome::Negative`]; the report is written then too.
///
/// # Errors
/// When the pipeline has mistakes, LightGBM is missing, or a source cannot be read.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let report = produce(arguments, &arguments.commands(), terminal)?;
    show(&report, &arguments.out, terminal)?;
    Ok(outcome(&report))
}

/// Runs the pipeline and writes what it found into the folder.
pub(super) fn produce(arguments: &Arguments, commands: &[String], terminal: &Terminal) -> anyhow::Result<Report> {
    let (pipeline, warnings) = pipeline::open(&arguments.pipeline)?;
    terminal.mistakes(&warnings, Weight::Warning);
    check_folder(&arguments.out)?;
    let library = library().open().context("run trains with LightGBM")?;
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let trials = match &arguments.replay_trials {
        Some(path) => Trials::replaying(path, pipeline.digest())?,
        None => Trials::measuring(pipeline.digest()),
    };
    // Before the work, so that a store that is down costs no time.
    let shared_store = arguments.store.as_deref().map(stores::connect).transpose()?;
    let say = |text: &str| terminal.say(text);
    let means = Means {
        library: &library,
        threads,
        say: &say,
        trials: &trials,
        open_report: !arguments.no_report,
        out: &arguments.out,
        shared_store: shared_store.as_deref(),
        commands,
    };
    let report = run::run(&pipeline, &means)?;
    trials.write(&arguments.out)?;
    report.write(&arguments.out)?;
    Ok(report)
}

/// Ends with the ladder on the screen, or with the whole report as JSON.
pub(super) fn show(report: &Report, out: &Path, terminal: &Terminal) -> anyhow::Result<()> {
    if terminal.wants_json() {
        return terminal.result_json(report);
    }
    let (width, has_color) = terminal.result_look();
    terminal.result(&screen::ladder(report, width, has_color))?;
    terminal.say(&format!("the whole report: {}", out.join("report.html").display()));
    Ok(())
}

/// Whether the budget was held.
pub(super) fn outcome(report: &Report) -> Outcome {
    if report.held { Outcome::Success } else { Outcome::Negative }
}

/// As a shell reads it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Where LightGBM may be on this machine.
pub(super) fn library() -> LibrarySearch {
    // Set to nothing means not set.
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let prefixes = [
        variable("VIRTUAL_ENV"),
        variable("HOME").map(|home| home.join(".local")),
        Some("/usr/local".into()),
        Some("/usr".into()),
    ];
    LibrarySearch {
        explicit: None,
        environment: variable("PACELINE_LIGHTGBM"),
        executable: std::env::current_exe().ok(),
        project: std::env::current_dir().ok(),
        python_prefixes: prefixes.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        for (path, expected) in [("out/demo", "out/demo"), ("my data/a'b", r"'my data/a'\''b'"), ("", "''")] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
        let arguments = Arguments { no_report: true, ..Arguments::new("p.toml".into(), "out".into(), None) };
        assert_eq!(
            arguments.commands(),
            [
                "paceline run p.toml --out out --no-report",
                "paceline run p.toml --out out --no-report --replay-trials out/trials.json"
            ]
        );
    }
}
