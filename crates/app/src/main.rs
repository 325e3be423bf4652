//! The `paceline` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    paceline::cli::run(std::env::args_os())
}
