//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use paceline_learn::forest::{Library, LibrarySearch};

/// `paceline`, run in `folder`.
pub(crate) fn paceline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paceline"));
    command.current_dir(folder);
    command
}

/// The same with the LightGBM that `make setup` brought.
pub(crate) fn paceline_that_trains(folder: &Path) -> Command {
    let mut command = paceline(folder);
    command.env("PACELINE_LIGHTGBM", library());
    command
}

/// That LightGBM in this process.
pub(crate) fn lightgbm() -> Library {
    LibrarySearch { explicit: Some(library()), ..LibrarySearch::default() }.open().unwrap()
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.runtime/lib/lib_lightgbm.so")
}
