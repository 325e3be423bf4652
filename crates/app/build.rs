//! Tells the program which compiler built it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = Command::new(compiler).arg("--version").output().ok().and_then(|o| String::from_utf8(o.stdout).ok());
    // "rustc 1.95.0 (59807616e 2026-04-14)" without the name
    let version = answer.as_deref().and_then(|text| text.trim().strip_prefix("rustc ")).unwrap_or("unknown");
    println!("cargo::rustc-env=PACELINE_RUSTC={version}");
}
