//! The process's surroundings, read once.

use std::collections::BTreeMap;
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

/// What GitHub, or who acts for it, says to a job's step. Nothing else of the environment comes with it.
pub fn job() -> BTreeMap<String, String> {
    let words = ["ACTIONS_", "GITHUB_", "INPUT_", "MUSTER_", "RUNNER_"];
    let ours = |name: &str| name == "PATH" || words.iter().any(|word| name.starts_with(word));
    let texts = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| ours(name)).collect()
}

/// The columns of the terminal that stdout is, if it is one: as `COLUMNS` says, which a person may set, else its own.
fn width() -> Option<u16> {
    let stdout = io::stdout();
    let measured = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col);
    stdout.is_terminal().then(|| columns(env::var("COLUMNS").ok().as_deref(), measured()))?
}

/// A terminal of no columns, or hardly any, says nothing.
fn columns(said: Option<&str>, measured: Option<u16>) -> Option<u16> {
    const NARROWEST: u16 = 40;
    said.and_then(|said| said.parse().ok()).or(measured).filter(|&columns| columns >= NARROWEST)
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn what_a_person_says_of_the_width_counts_more_than_what_the_terminal_says() {
        assert_eq!(columns(None, Some(132)), Some(132));
        assert_eq!(columns(Some("100"), Some(132)), Some(100));
        assert_eq!(columns(Some("wide"), Some(132)), Some(132));
        assert_eq!(columns(None, Some(0)), None);
        assert_eq!(columns(None, None), None);
    }
}
