//! Accepting a host key by its fingerprint: somebody has compared it, and only that key is believed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::host::known_key;
use super::{Around, login};
use crate::config::SshUri;
use crate::doctor::ssh::Settings;
use crate::domain::HostKey;
use crate::edge::files;
use crate::edge::ssh::known;

/// Why a key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// ssh's own configuration is wrong.
    #[error("{0}")]
    Settings(String),
    /// It has other keys.
    #[error("{host} has no key with the fingerprint {wanted}; it has {}", found.join(", "))]
    Other {
        /// The host.
        host: String,
        /// What was asked for.
        wanted: String,
        /// What it has.
        found: Vec<String>,
    },
    /// It showed none.
    #[error("{0} showed no key: see `muster doctor {0}`")]
    None(String),
    /// Known hosts are not looked at.
    #[error(
        "the configuration pins its key, and known hosts are not looked at; write there: host_key = \"{0}\""
    )]
    Configured(HostKey),
    /// ssh looks at no file of the user's.
    #[error("ssh is told to use no file of known hosts; write in the configuration: host_key = \"{0}\"")]
    NoFile(HostKey),
    /// The file cannot be written.
    #[error("cannot write {}: {why}; or write in the configuration: host_key = \"{key}\"", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        why: io::Error,
        /// What should stand there.
        key: HostKey,
    },
}

/// A key that is known now.
#[derive(Debug)]
pub struct Pinned {
    /// The file that knows it.
    pub file: PathBuf,
    /// Whether it was known before.
    pub known_before: bool,
}

/// Adds the key with that fingerprint to the known hosts that ssh uses. Another key of the same kind is taken out.
pub async fn pin(
    uri: &SshUri,
    around: &Around,
    home: Option<&Path>,
    wanted: &str,
) -> Result<Pinned, PinError> {
    let settings = login::settings(uri, around).await.map_err(PinError::Settings)?;
    let mut keys = match settings.proxy {
        None => scan(&settings, around).await,
        Some(_) => Vec::new(),
    };
    if !keys.iter().any(|key| key.fingerprint() == wanted) {
        keys.extend(shown(uri, around).await);
    }
    let found: Vec<String> = keys.iter().map(HostKey::fingerprint).collect();
    let host = uri.host.clone();
    let Some(key) = keys.into_iter().find(|key| key.fingerprint() == wanted) else {
        return Err(match found.is_empty() {
            true => PinError::None(host),
            false => PinError::Other { host, wanted: wanted.to_owned(), found },
        });
    };
    if uri.host_key.is_some() {
        return Err(PinError::Configured(key));
    }
    let Some(file) = known_hosts(&settings, home) else { return Err(PinError::NoFile(key)) };
    let before = known::entries(&settings.known_as(), &file).await;
    if before.contains(&key) {
        return Ok(Pinned { file, known_before: true });
    }
    if before.iter().any(|old| old.kind() == key.kind()) {
        keygen(&["-R", &settings.known_as(), "-f", &file.to_string_lossy()], around).await;
    }
    let line = format!("{} {key}\n", settings.known_as());
    append(&file, &line).map_err(|why| PinError::File { file: file.clone(), why, key })?;
    Ok(Pinned { file, known_before: false })
}

/// The first file of known hosts that ssh may write to.
fn known_hosts(settings: &Settings, home: Option<&Path>) -> Option<PathBuf> {
    let first = settings.known_hosts.iter().find(|file| !matches!(file.as_str(), "none" | "/dev/null"))?;
    match (first.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Some(home.join(rest)),
        (Some(_), None) => None,
        (None, _) => Some(first.into()),
    }
}

/// All keys that a server shows to whoever asks.
async fn scan(settings: &Settings, around: &Around) -> Vec<HostKey> {
    let mut scan = Command::new("ssh-keyscan");
    let seconds = around.terms.patience.connect.as_secs().max(1).to_string();
    scan.args(["-T", &seconds, "-p", &settings.port.to_string(), "--", &settings.hostname]);
    keys_of(scan, around).await
}

/// The key that a server shows on the way that ssh takes to it.
async fn shown(uri: &SshUri, around: &Around) -> Vec<HostKey> {
    let file = around.sockets.fresh('k');
    let path = file.to_string_lossy().into_owned();
    let options = [
        "StrictHostKeyChecking=accept-new".to_owned(),
        format!("UserKnownHostsFile={path}"),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "HashKnownHosts=no".to_owned(),
        "KnownHostsCommand=none".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        "LogLevel=DEBUG1".to_owned(),
        "IgnoreUnknown=KnownHostsCommand,RemoteCommand,UpdateHostKeys,ForkAfterAuthentication,StdinNull,SessionType"
            .to_owned(),
    ];
    let first = options.into_iter().flat_map(|option| ["-o".to_owned(), option]);
    login::attempt_with(first.chain(login::words(uri, around, None)), uri, around).await;
    let text = files::read_bounded(&file).unwrap_or_default();
    files::remove(&file);
    text.lines().filter_map(known_key).collect()
}

async fn keys_of(mut command: Command, around: &Around) -> Vec<HostKey> {
    const LONGEST: u64 = 256 << 10;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let Ok(mut child) = command.spawn() else { return Vec::new() };
    let Some(stdout) = child.stdout.take() else { return Vec::new() };
    let mut said = Vec::new();
    // What came in time is what there is.
    let _ = timeout(around.terms.patience.connect * 2, stdout.take(LONGEST).read_to_end(&mut said)).await;
    let _ = child.kill().await;
    String::from_utf8_lossy(&said)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(known_key)
        .collect()
}

async fn keygen(words: &[&str], around: &Around) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    if let Ok(mut child) = keygen.spawn() {
        // Where the old entry stays, the checks that follow will say so.
        let _ = timeout(around.terms.patience.connect, child.wait()).await;
    }
}

fn append(file: &Path, line: &str) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        files::make_dir(dir, 0o700).map_err(io::Error::other)?;
    }
    let whole = files::read_bounded(file).is_none_or(|text| text.is_empty() || text.ends_with('\n'));
    let mut open = OpenOptions::new();
    let mut file = open.append(true).create(true).mode(0o600).open(file)?;
    file.write_all(format!("{}{line}", if whole { "" } else { "\n" }).as_bytes())
}
