//! `paceline run`: from the sources to a measured ladder.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use paceline_learn::forest::LibrarySearch;

use super::Outcome;
use crate::messages::Terminal;
use crate::pipeline::{self, Weight};
use crate::run::recommend::{self, Findings, Means, StepFinding};

/// Train the teacher, search for the cheapest pipeline that holds the budget, and report what was measured.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Folder for `findings.json`; it is made when missing.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Keep the report slice closed: for development.
    #[arg(long)]
    no_report: bool,
    /// Threads for training and evaluation; results do not depend on them. By default all cores.
    #[arg(long)]
    threads: Option<usize>,
}

impl Arguments {
    /// A run with the report, on all cores.
    #[must_use]
    pub fn new(pipeline: PathBuf, out: PathBuf) -> Self {
        Arguments { pipeline, out, no_report: false, threads: None }
    }
}

/// Runs the pipeline. A budget that nothing holds is [`Outcome::Negative`]; the findings are written then too.
///
/// # Errors
/// When the pipeline has mistakes, LightGBM is missing, or a source cannot be read.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let (pipeline, warnings) = pipeline::open(&arguments.pipeline)?;
    terminal.mistakes(&warnings, Weight::Warning);
    let library = library().open().context("run trains with LightGBM")?;
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let say = |text: &str| terminal.say(text);
    let means = Means { library: &library, threads, say: &say, open_report: !arguments.no_report };
    let findings = recommend::run(&pipeline, &means)?;
    write(&findings, &arguments.out)?;
    if terminal.wants_json() {
        terminal.result_json(&findings)?;
    } else {
        terminal.result(&table(&findings))?;
    }
    let held = findings.chosen.is_some() && findings.held_on_report != Some(false);
    Ok(if held { Outcome::Success } else { Outcome::Negative })
}

/// Where LightGBM may be on this machine.
fn library() -> LibrarySearch {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
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

/// Writes `findings.json` under a temporary name first, so that a reader never sees half of it.
fn write(findings: &Findings, folder: &PathBuf) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (partial, whole) = (folder.join("findings.json.partial"), folder.join("findings.json"));
    let text = serde_json::to_string_pretty(findings)?;
    std::fs::write(&partial, text).with_context(|| format!("cannot write {}", partial.display()))?;
    std::fs::rename(&partial, &whole).with_context(|| format!("cannot write {}", whole.display()))
}

/// The ladder, what was rejected, and the verdict.
fn table(findings: &Findings) -> String {
    let mut lines = vec![format!(
        "{:<34} {:>10} {:>10} {:>9}  {:<24} {:<24}",
        "step", "p50 ms", "p99 ms", "faster", "tuning: kept [95 %]", "report: kept [95 %]"
    )];
    let percent = |e: &paceline_core::metrics::Estimate| format!("{:.3} [{:.3}, {:.3}]", e.value, e.low, e.high);
    let line = |step: &StepFinding| {
        format!(
            "{:<34} {:>10.4} {:>10.4} {:>8.1}x  {:<24} {:<24}",
            step.step,
            step.latency_ms.p50,
            step.latency_ms.p99,
            step.times_faster,
            percent(&step.tuning_retention),
            step.report_retention.as_ref().map_or_else(|| "closed".to_owned(), percent),
        )
    };
    lines.extend(findings.ladder.iter().map(line));
    if !findings.rejected.is_empty() {
        lines.push("tried and rejected:".to_owned());
        lines.extend(
            findings
                .rejected
                .iter()
                .map(|step| format!("  {}: {}", step.step, step.rejected.as_deref().unwrap_or_default())),
        );
    }
    lines.push(match (&findings.chosen, findings.held_on_report) {
        (Some(chosen), Some(false)) => {
            format!("chosen on tuning data: {chosen}; it misses the floor on the report slice")
        }
        (Some(chosen), Some(true)) => format!("chosen: {chosen}; it holds the floor on the report slice too"),
        (Some(chosen), None) => format!("chosen: {chosen}; the report slice stayed closed"),
        (None, _) => format!("nothing holds the budget; nearest: {}", findings.nearest_misses.join(" | ")),
    });
    lines.join("\n")
}
