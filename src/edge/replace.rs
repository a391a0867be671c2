//! Becoming another program.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes `program`, whose Nix has these `builders`. The environment says so, since that reaches every Nix that the
/// command starts, wherever the command's own options belong. Returns only where it fails.
pub fn become_with_builders(program: &OsStr, words: &[OsString], builders: &str) -> io::Error {
    let mut config = env::var_os("NIX_CONFIG").unwrap_or_default();
    config.push(format!("\nbuilders = {builders}\n"));
    Command::new(program).args(words).env("NIX_CONFIG", config).exec()
}
