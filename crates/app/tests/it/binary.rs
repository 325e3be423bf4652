//! The binary under test.

use std::path::Path;
use std::process::Command;

/// `paceline`, run in `folder`.
pub(crate) fn paceline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paceline"));
    command.current_dir(folder);
    command
}

/// The same with the LightGBM that `make setup` brought.
pub(crate) fn paceline_that_trains(folder: &Path) -> Command {
    let mut command = paceline(folder);
    command.env("PACELINE_LIGHTGBM", Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.runtime/lib/lib_lightgbm.so"));
    command
}
