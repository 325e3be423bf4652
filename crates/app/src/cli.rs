//! The command line: which verb runs, and which exit code its outcome has.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::messages::Terminal;
use crate::verbs::{Outcome, check, demo, features, init, predict, run, schema, serve};

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
    Features(features::Arguments),
    Run(run::Arguments),
    Predict(predict::Arguments),
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Schema(schema::Arguments),
}

const AFTER_HELP: &str = "\
Start with `paceline init TABLE.parquet`, then `paceline check pipeline.toml`.
Results go to stdout, messages to stderr. Exit codes: 0, 1 for a negative answer, 2 for a failure.";

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
        Verb::Features(arguments) => features::run(&arguments, &terminal),
        Verb::Run(arguments) => run::run(&arguments, &terminal),
        Verb::Predict(arguments) => predict::run(&arguments, &terminal),
        Verb::Serve(arguments) => serve::run(&arguments, &terminal),
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
