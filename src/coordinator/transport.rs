//! Configured words -> ways to reach a daemon.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::config::{Builder, BuilderUri, Config, LocalStore};
use crate::edge::channel::Transport;
use crate::edge::files;
use crate::edge::process::DaemonProcess;
use crate::edge::ssh::{Host, Lane, Patience, SocketDir, Terms};

/// Where Nix's daemon listens (`NIX_STATE_DIR` aside).
const DAEMON_SOCKET: &str = "/nix/var/nix/daemon-socket/socket";

/// How that builder is reached.
pub(super) fn of_builder(
    config: &Config,
    builder: &Builder,
    ssh_sockets: &Arc<SocketDir>,
    tracker: &TaskTracker,
) -> Transport {
    match &builder.uri {
        BuilderUri::Process { root, program } => of_process(config, root, program.as_deref()),
        BuilderUri::Ssh(uri) => {
            let sockets = Arc::clone(ssh_sockets);
            let host = Host::new(uri.clone(), sockets, terms(config), tracker.clone());
            Transport::Ssh(host, Lane::Control)
        }
    }
}

/// How an embedded builder is reached.
pub fn of_process(config: &Config, root: &Path, program: Option<&Path>) -> Transport {
    let program = program.unwrap_or(&config.nix_daemon).to_owned();
    Transport::Process(DaemonProcess { program, store: Some(store_below(root)) })
}

/// How ssh is run.
pub fn terms(config: &Config) -> Terms {
    let patience = Patience { connect: config.timeouts.connect, lost_after: config.timeouts.lost_after };
    Terms { patience, options: config.ssh_options.clone().into() }
}

/// The store of an embedded builder.
pub(super) fn store_below(root: &Path) -> String {
    format!("local?root={}", encode(root))
}

/// How the local store is reached.
pub fn of_local_store(config: &Config) -> Transport {
    let process = |store| Transport::Process(DaemonProcess { program: config.nix_daemon.clone(), store });
    match &config.local_store {
        LocalStore::Daemon => Transport::Socket(DAEMON_SOCKET.into()),
        LocalStore::Auto if files::is_there(Path::new(DAEMON_SOCKET)) => {
            Transport::Socket(DAEMON_SOCKET.into())
        }
        LocalStore::Auto => process(None),
        LocalStore::Socket(path) => Transport::Socket(path.clone()),
        LocalStore::Uri(uri) => process(Some(uri.clone())),
    }
}

/// As a value of a store URI's query: Nix cuts it at `&`, and from 2.34 on takes ASCII only.
pub(super) fn encode(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    let encode = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_with_odd_characters_survives_nix() {
        assert_eq!(encode(Path::new("/srv/b 1&é")), "/srv/b%201%26%C3%A9");
    }
}
