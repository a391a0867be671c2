//! What `muster builder serve` runs in place of the command that its caller named.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::ancestry;
use crate::wire::served;

/// Where Nix's programs are, beside PATH: a login by ssh often has them not there.
const PLACES: [&str; 5] =
    ["/nix/var/nix/profiles/default/bin", "/run/current-system/sw/bin", "/usr/local/bin", "/usr/bin", "/bin"];
/// A probe's script is far shorter.
const LONGEST_SCRIPT: u64 = 64 << 10;
/// Who serves builds.
const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nix is not here.
    #[error("there is no {0} on PATH, nor where Nix is installed")]
    NoProgram(&'static str),
    /// It could not be run.
    #[error("cannot run {program}: {why}")]
    Run {
        /// Which program.
        program: String,
        /// Why not.
        why: io::Error,
    },
    /// What came on standard input does not begin as a probe does.
    #[error("what came on standard input is no probe of muster's")]
    NoProbe,
}

/// What sshd says of a login.
pub struct Login {
    /// The command that was asked for (`SSH_ORIGINAL_COMMAND`).
    pub command: Option<String>,
    /// Where the login comes from (`SSH_CONNECTION`).
    pub from: Option<std::net::IpAddr>,
}

/// Reads it.
pub fn login() -> Login {
    let command = env::var_os("SSH_ORIGINAL_COMMAND").map(|words| words.to_string_lossy().into_owned());
    let connection = env::var("SSH_CONNECTION").ok();
    let from = connection.as_deref().and_then(ancestry::connecting);
    Login { command, from }
}

/// The daemon's socket.
pub fn daemon_socket() -> PathBuf {
    let state = || Some(Path::new(&env::var_os("NIX_STATE_DIR")?).join("daemon-socket/socket"));
    env::var_os("NIX_DAEMON_SOCKET_PATH").map(PathBuf::from).or_else(state).unwrap_or_else(|| SOCKET.into())
}

/// Takes the place of this process.
pub fn become_program(name: &'static str, words: &[String]) -> ServeError {
    let Some(program) = find(name) else { return ServeError::NoProgram(name) };
    let why = Command::new(&program).args(words).exec();
    ServeError::Run { program: program.display().to_string(), why }
}

/// Runs our own probe with the mark of the one that comes on standard input; its exit code. It says that we serve, as
/// `own`, and where the agent would be.
pub fn probe(own: &Path, agent: &Path) -> Result<u8, ServeError> {
    let mut asked = Vec::new();
    let failed = |why| ServeError::Run { program: "/bin/sh".to_owned(), why };
    io::stdin().take(LONGEST_SCRIPT).read_to_end(&mut asked).map_err(failed)?;
    let script = served::probe_script(&asked).ok_or(ServeError::NoProbe)?;
    let mut shell = Command::new("/bin/sh");
    shell.arg("-s").env("MUSTER_SERVE", own).env("MUSTER_AGENT_SOCKET", agent).stdin(Stdio::piped());
    let mut child = shell.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        io::Write::write_all(&mut stdin, script.as_bytes()).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    places.map(|place| place.join(name)).find(|file| fs::metadata(file).is_ok_and(|file| file.is_file()))
}
