//! The command line: which verb runs, and which exit code its outcome has.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::messages::Terminal;
use crate::verbs::{Outcome, check, demo, events, features, init, plan, predict, run, schema, serve};

/// From raw tables to low-latency serving: state a quality floor and a latency budget, and get the cheapest pipeline
/// that holds both.
#[derive(Debug, Parser)]
#[command(name = "paceline", version, about, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Features(features::Arguments),
    Run(run::Arguments),
    Predict(predict::Arguments),
    Serve(serve::Arguments),
    Events(events::Arguments),
    Demo(demo::Arguments),
    Schema(schema::Arguments),
}

const AFTER_HELP: &str = "\
Start with `paceline init TABLE.parquet`, then `paceline check pipeline.toml`.
Results go to stdout, messages to stderr. Exit codes: 0, 1 for a negative answer, 2 for a failure.";

/// Every verb with its flags, as the page `docs/cli.md`.
#[must_use]
pub fn markdown() -> String {
    let mut page = "# Commands\n\nWritten from the command line's own description; `paceline VERB --help` says the same. Results go to stdout,\n\
                    messages to stderr. Exit codes: 0, 1 for a negative answer (values unequal, budget not held), 2 for a failure.\n\
                    Every verb takes `--json`.\n"
        .to_owned();
    let mut command = Cli::command();
    command.build();
    let verbs: Vec<&clap::Command> = command.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
    verbs.into_iter().for_each(|verb| describe(verb, "paceline", &mut page));
    page
}

fn describe(verb: &clap::Command, parent: &str, page: &mut String) {
    let name = format!("{parent} {}", verb.get_name());
    let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut inner = verb.get_subcommands().filter(|inner| inner.get_name() != "help").peekable();
    if inner.peek().is_some() {
        inner.for_each(|inner| describe(inner, &name, page));
        return;
    }
    let hidden = ["help", "version", "json"];
    let arguments = || verb.get_arguments().filter(|argument| !hidden.contains(&argument.get_id().as_str()));
    page.push_str(&format!("\n## `{name}`\n\n{about}\n\n| argument | by default | |\n|---|---|---|\n"));
    for argument in arguments() {
        let value =
            argument.get_value_names().map(|names| names.join(" ")).filter(|_| argument.get_action().takes_values());
        let shown = match (argument.get_long(), value) {
            (Some(long), Some(value)) => format!("--{long} {value}"),
            (Some(long), None) => format!("--{long}"),
            (None, value) => value.unwrap_or_else(|| argument.get_id().to_string()),
        };
        let takes_value = argument.get_action().takes_values();
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .filter(|_| takes_value)
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let default = match argument.is_required_set() {
            true => "required".to_owned(),
            false => defaults.join(", "),
        };
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let choices: Vec<String> =
            argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        let choices = match (takes_value, choices.is_empty()) {
            (true, false) => format!(". One of {}", choices.join(", ")),
            _ => String::new(),
        };
        page.push_str(&format!(
            "| `{shown}` | {default} | {}{choices} |\n",
            help.replace('\n', " ").replace('|', "\\|")
        ));
    }
}

/// Runs the command line `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; a wrong command line is a failure. Nothing is left to do when neither
            // stream takes the text.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let terminal = Terminal::detect(cli.json);
    let outcome = match cli.verb {
        Verb::Init(arguments) => init::run(&arguments, &terminal),
        Verb::Check(arguments) => check::run(&arguments, &terminal),
        Verb::Plan(arguments) => plan::run(&arguments, &terminal),
        Verb::Features(arguments) => features::run(&arguments, &terminal),
        Verb::Run(arguments) => run::run(&arguments, &terminal),
        Verb::Predict(arguments) => predict::run(&arguments, &terminal),
        Verb::Serve(arguments) => serve::run(&arguments, &terminal),
        Verb::Events(arguments) => events::run(&arguments, &terminal),
        Verb::Demo(arguments) => demo::run(&arguments, &terminal),
        Verb::Schema(arguments) => schema::run(&arguments, &terminal),
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            terminal.failure(&error);
            ExitCode::from(Outcome::Failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_page_of_commands_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let page = super::markdown();
        if std::env::var_os("PACELINE_WRITE_DOCS").is_some() {
            std::fs::write(&path, &page).expect("a generated file can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "docs/cli.md is not fresh; write it with PACELINE_WRITE_DOCS=1");
    }
}
