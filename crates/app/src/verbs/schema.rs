//! `paceline schema`: the pipeline file described for editors and for readers.

use clap::Args;

use super::Outcome;
use crate::messages::Terminal;
use crate::pipeline::reference;

/// Print the JSON schema of pipeline files, for editors that check TOML as you type.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the reference page instead.
    #[arg(long)]
    markdown: bool,
}

/// Prints the schema or the page.
///
/// # Errors
/// When stdout takes no text.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    terminal.result(&if arguments.markdown { reference::markdown() } else { reference::schema_json() })?;
    Ok(Outcome::Success)
}
