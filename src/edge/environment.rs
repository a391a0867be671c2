//! The process's surroundings, read once.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

use crate::config::Environment;

/// The command line, the program's own name first.
pub fn words() -> Vec<OsString> {
    env::args_os().collect()
}

/// Reads everything that [`Environment`] holds. Nothing else reads the environment.
pub fn read() -> io::Result<Environment> {
    Ok(Environment {
        uid: rustix::process::geteuid().as_raw(),
        home: env::var_os("HOME"),
        config_home: env::var_os("XDG_CONFIG_HOME"),
        state_home: env::var_os("XDG_STATE_HOME"),
        runtime_dir: env::var_os("XDG_RUNTIME_DIR"),
        nix_user_conf_files: env::var_os("NIX_USER_CONF_FILES"),
        nix_sshopts: env::var_os("NIX_SSHOPTS"),
        // A removed directory is no reason to fail: only relative paths that were typed need it.
        cwd: env::current_dir().unwrap_or_else(|_| "/".into()),
        exe: env::current_exe()?,
        width: width(),
    })
}

/// The columns of the terminal that stdout is, if it is one and says so.
fn width() -> Option<u16> {
    const NARROWEST: u16 = 40;
    let columns = env::var("COLUMNS").ok()?.parse().ok()?;
    (io::stdout().is_terminal() && columns >= NARROWEST).then_some(columns)
}
