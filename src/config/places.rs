//! Where things are when nobody says so: the system's places for root, the XDG ones for everybody else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{ConfigError, Environment, NixFiles};

/// Where the system's coordinator has its sockets.
pub(super) const SYSTEM_RUNTIME: &str =
    if cfg!(target_os = "macos") { "/var/run/muster" } else { "/run/muster" };

/// Where the system's coordinator keeps its state.
pub const SYSTEM_STATE: &str = "/var/lib/muster";

/// The configuration that is read where none is named.
pub(super) fn default_file(environment: &Environment) -> Result<PathBuf, ConfigError> {
    match environment.uid {
        0 => Ok("/etc/muster/config.toml".into()),
        _ => {
            let base =
                xdg(environment, &environment.config_home, ".config", "the configuration", "--config")?;
            Ok(base.join("muster/config.toml"))
        }
    }
}

/// Where the state is kept.
pub(super) fn state_dir(typed: Option<&Path>, environment: &Environment) -> Result<PathBuf, ConfigError> {
    match (typed, environment.uid) {
        (Some(typed), _) => Ok(environment.cwd.join(typed)),
        (None, 0) => Ok(SYSTEM_STATE.into()),
        (None, _) => {
            let base = xdg(environment, &environment.state_home, ".local/state", "the state", "--state-dir")?;
            Ok(base.join("muster"))
        }
    }
}

/// Where the sockets are. A user without a runtime directory gets one below the state.
pub(super) fn runtime_dir(typed: Option<&Path>, environment: &Environment, state_dir: &Path) -> PathBuf {
    match (typed, environment.uid) {
        (Some(typed), _) => environment.cwd.join(typed),
        (None, 0) => SYSTEM_RUNTIME.into(),
        (None, _) => match absolute(environment.runtime_dir.as_ref()) {
            Some(base) => base.join("muster"),
            None => state_dir.join("run"),
        },
    }
}

/// Where a builder's agent listens. A user without a runtime directory has it below `/tmp`, under the own number.
pub(super) fn agent_socket(typed: Option<&Path>, environment: &Environment) -> PathBuf {
    match (typed, environment.uid) {
        (Some(typed), _) => environment.cwd.join(typed),
        (None, 0) => system_agent_socket(),
        (None, uid) => absolute(environment.runtime_dir.as_ref())
            .unwrap_or_else(|| format!("/tmp/muster-{uid}").into())
            .join(AGENT),
    }
}

const AGENT: &str = "muster-builder/agent.sock";

pub(super) fn system_agent_socket() -> PathBuf {
    Path::new(if cfg!(target_os = "macos") { "/var/run" } else { "/run" }).join(AGENT)
}

/// The system's control socket, for a user who did not say where the sockets are.
pub(super) fn system_control(typed: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    (typed.is_none() && environment.uid != 0).then(|| Path::new(SYSTEM_RUNTIME).join("control.sock"))
}

/// Nix's own configuration, as Nix finds it: an ordinary user's files come on top of the system's.
pub(super) fn nix_files(typed: Option<&Path>, environment: &Environment) -> NixFiles {
    let dir = typed.map_or_else(|| "/etc/nix".into(), |typed| environment.cwd.join(typed));
    let named = environment.nix_user_conf_files.as_deref().map(|files| files.to_string_lossy().into_owned());
    let user = match named {
        // Nix reads the last one first, so that the first one wins.
        Some(files) => {
            files.split(':').rev().filter(|file| file.starts_with('/')).map(PathBuf::from).collect()
        }
        None if environment.uid == 0 => Vec::new(),
        None => xdg(environment, &environment.config_home, ".config", "nix.conf", "NIX_USER_CONF_FILES")
            .map(|base| vec![base.join("nix/nix.conf")])
            .unwrap_or_default(),
    };
    NixFiles { dir, user }
}

fn xdg(
    environment: &Environment,
    variable: &Option<OsString>,
    below_home: &str,
    what: &'static str,
    flag: &'static str,
) -> Result<PathBuf, ConfigError> {
    let home = || absolute(environment.home.as_ref()).map(|home| home.join(below_home));
    absolute(variable.as_ref()).or_else(home).ok_or(ConfigError::Homeless { what, flag })
}

/// XDG says that a relative path counts as none.
fn absolute(variable: Option<&OsString>) -> Option<PathBuf> {
    variable.map(PathBuf::from).filter(|path| path.is_absolute())
}
