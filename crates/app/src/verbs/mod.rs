//! One module per command.

pub mod check;
pub mod demo;
pub mod events;
pub mod features;
pub mod init;
pub mod plan;
pub mod predict;
pub mod run;
pub mod schema;
pub mod serve;

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, bail};
use paceline_store::Format;

/// How a command ended, when it could say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked, or the answer is positive.
    Success,
    /// The answer is negative: drift found, budget not held, values unequal.
    Negative,
    /// It failed and has said why.
    Failure,
}

impl Outcome {
    /// 0, 1 or 2.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Success => 0,
            Outcome::Negative => 1,
            Outcome::Failure => 2,
        }
    }
}

/// Finds out before the work whether its result can be written.
fn check_writable(out: &Path) -> anyhow::Result<()> {
    if out.is_dir() {
        bail!("--out {} is a folder; name a file in it", out.display());
    }
    if Format::of_path(&out.to_string_lossy()).is_none() {
        bail!("--out {}: the name must end in .parquet or .csv", out.display());
    }
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("--out {}: there is no folder {}; make it first", out.display(), folder.display());
    }
    probe(folder).with_context(|| format!("--out {}: its folder cannot be written to", out.display()))
}

/// Finds out before the work whether the folder for its results is one, or can be made; it is not made yet.
fn check_folder(out: &Path) -> anyhow::Result<()> {
    let shown = out.display();
    for folder in out.ancestors() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if folder.is_dir() {
            return probe(folder).with_context(|| format!("--out {shown}: {} cannot be written to", folder.display()));
        }
        if folder.exists() {
            bail!("--out {shown}: {} is a file, not a folder; name another folder", folder.display());
        }
    }
    Ok(())
}

fn probe(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".paceline-{}.probe", std::process::id()));
    File::create(&probe).and_then(|_| fs::remove_file(&probe))
}
