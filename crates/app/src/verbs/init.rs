//! `paceline init`: a pipeline that runs on the user's own table.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::json;

use super::Outcome;
use crate::init::{Table, propose};
use crate::messages::Terminal;
use crate::pipeline::{PipelineFile, Weight};

/// Look at a table and write a pipeline that runs on it, with the reason beside each guess.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The table: a Parquet or CSV file, a directory of them, or a pattern with `*`.
    table: String,
    /// Where to write the pipeline.
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    out: PathBuf,
    /// The column to predict. By default one is guessed.
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Replace the pipeline file if there is one.
    #[arg(long)]
    force: bool,
}

/// Writes a pipeline for a table. What it writes has passed the same check as any pipeline file.
///
/// # Errors
/// When the table cannot be read, nothing in it can be predicted, or the pipeline file exists already.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let out = &arguments.out;
    if out.exists() && !arguments.force {
        bail!("{} exists already; name another file with --out, or replace it with --force", out.display());
    }
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        bail!("--out {}: there is no folder {}; make it first", out.display(), folder.display());
    }
    let progress = terminal.progress(&format!("reading {}", arguments.table), None);
    let table = Table::read(&arguments.table).with_context(|| format!("cannot look at {}", arguments.table))?;
    drop(progress);
    let proposal = propose(&table, arguments.label.as_deref())?;
    let text = proposal.to_toml(&pipeline_name(&arguments.table), &path_from(out, &arguments.table)?);
    let mut file = PipelineFile::parse(out, text.clone());
    let schemas = file.read_schemas();
    let (_, warnings) = file.check(Some(&schemas)).map_err(|mistakes| {
        anyhow!("the proposed pipeline does not fit the table; this is a bug, please report it with these messages:\n{mistakes}\n\n{text}")
    })?;
    write_whole(out, &text)?;
    terminal.mistakes(&file.answer(warnings), Weight::Warning);
    if terminal.wants_json() {
        terminal.result_json(&json!({ "pipeline": out, "rows": table.rows_read, "text": text }))?;
    } else {
        terminal.result(&text)?;
        terminal.say(&format!("wrote {}; next: paceline check {}", out.display(), out.display()));
    }
    Ok(Outcome::Success)
}

/// The table's name in letters that a pipeline's name may have.
fn pipeline_name(table: &str) -> String {
    let stem = Path::new(table).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match name.trim_start_matches('_') {
        "" => "table".to_owned(),
        name => name.to_owned(),
    }
}

/// `table`, which the user named from the current directory, as a path from the folder of `out`.
fn path_from(out: &Path, table: &str) -> anyhow::Result<String> {
    if table.contains("://") {
        return Ok(table.to_owned());
    }
    let folder = std::path::absolute(out)?.parent().map(Path::to_path_buf).unwrap_or_default();
    let table = std::path::absolute(table)?;
    let (folder, table): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), table.components().collect());
    let shared = folder.iter().zip(&table).take_while(|(a, b)| a == b).count();
    // A table that shares nothing but the root is better named from the root.
    if shared <= 1 {
        return Ok(table.iter().collect::<PathBuf>().display().to_string());
    }
    let up = folder[shared..].iter().map(|_| Component::ParentDir);
    Ok(up.chain(table[shared..].iter().copied()).collect::<PathBuf>().display().to_string())
}

/// Writes the file whole or not at all.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
