//! One attempt to log in, listened to closely.
//!
//! It is made with the very words that a builder's master is started with, so what comes of it here comes of it there.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::Around;
use crate::config::SshUri;
use crate::doctor::ssh::{Attempt, Outcome, Settings, is_in};
use crate::domain::HostKey;
use crate::edge::files;
use crate::edge::ssh::command;

/// More than this is nothing that ssh says.
const LONGEST: u64 = 256 << 10;

/// The words that a master would be started with.
pub(super) fn words(uri: &SshUri, around: &Around, known_hosts: Option<&Path>) -> Vec<String> {
    command::master(uri, Path::new("none"), known_hosts, &around.terms)
}

/// What ssh's configuration says of the host.
pub(super) async fn settings(uri: &SshUri, around: &Around) -> Result<Settings, String> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-G").args(words(uri, around, None)).args(command::destination(uri));
    let output = timeout(around.terms.patience.connect, ssh.stdin(Stdio::null()).kill_on_drop(true).output());
    let output = output.await.map_err(|_| "`ssh -G` does not come to an end".to_owned())?;
    let output = output.map_err(|error| format!("cannot start ssh: {error}"))?;
    match output.status.success() {
        true => Ok(Settings::parse(&String::from_utf8_lossy(&output.stdout))),
        false => Err(Attempt::read(&String::from_utf8_lossy(&output.stderr)).last),
    }
}

/// Logs in and out again.
pub(super) async fn attempt(uri: &SshUri, around: &Around) -> Attempt {
    let known_hosts = uri.host_key.as_ref().map(|key| pinned(key, around));
    let first =
        ["-o", "LogLevel=DEBUG1", "-o", "ControlMaster=no", "-o", "ControlPath=none"].map(str::to_owned);
    let words = first.into_iter().chain(words(uri, around, known_hosts.as_deref()));
    let attempt = attempt_with(words, uri, around).await;
    known_hosts.as_deref().map(files::remove);
    attempt
}

/// A file that knows this key alone.
fn pinned(key: &HostKey, around: &Around) -> PathBuf {
    let file = around.sockets.fresh('k');
    if let Err(error) = files::replace(&file, &command::known_host(key)) {
        tracing::warn!(%error, "cannot write {}", file.display());
    }
    file
}

/// The same with other words. The first that sets an option wins.
pub(super) async fn attempt_with(
    words: impl Iterator<Item = String>,
    uri: &SshUri,
    around: &Around,
) -> Attempt {
    let mut ssh = Command::new("ssh");
    ssh.args(words).args(command::destination(uri));
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = match ssh.spawn() {
        Ok(child) => child,
        Err(error) => return failed(Outcome::Other, format!("cannot start ssh: {error}")),
    };
    let Some(stderr) = child.stderr.take() else { unreachable!("it was asked for") };
    let mut said = String::new();
    let ended = timeout(around.terms.patience.connect, listen(stderr, &mut said)).await;
    // Whether it is in or will never be: it has done its part.
    let _ = child.kill().await;
    match ended {
        Ok(()) => Attempt::read(&said),
        Err(_) => {
            let limit = humantime::format_duration(around.terms.patience.connect);
            Attempt {
                outcome: Outcome::TimedOut,
                last: format!("no answer within {limit}"),
                ..Attempt::read(&said)
            }
        }
    }
}

/// Listens until it is in, or has said all.
async fn listen(stderr: impl tokio::io::AsyncRead + Unpin, said: &mut String) {
    let mut lines = BufReader::new(stderr.take(LONGEST));
    let mut line = Vec::new();
    while let Ok(1..) = lines.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        said.push_str(&text);
        if is_in(&text) {
            return;
        }
        line.clear();
    }
}

/// An attempt that came to nothing before ssh said a word.
pub(super) fn failed(outcome: Outcome, last: String) -> Attempt {
    Attempt { outcome, last, host_key: None, keys: Vec::new(), accepted: None, offered: 0 }
}
