//! Which keys of a host ssh's files of known hosts vouch for.
//!
//! `ssh-keygen -F` reads them, hashed names and patterns too. Keys that are marked (`@revoked`, `@cert-authority`) are
//! no keys of hosts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::domain::HostKey;
use crate::edge::users;
use crate::wire::ssh_config::Settings;

/// Reading a file takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of what `ssh-keygen` prints.
const LONGEST: u64 = 256 << 10;

/// The keys under the name that ssh looks up, each once; a name with a port is also looked up without it, as ssh does.
pub async fn keys(settings: &Settings) -> Vec<HostKey> {
    let mut names = vec![settings.known_as()];
    if settings.alias.is_none() && settings.port != 22 {
        names.push(settings.hostname.clone());
    }
    let mut keys = Vec::new();
    for name in names {
        for file in settings.known_hosts.iter().chain(&settings.system_known_hosts) {
            let Some(file) = path(file) else { continue };
            for key in entries(&name, &file).await {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        if !keys.is_empty() {
            break;
        }
    }
    keys
}

/// What one file knows of a name.
pub async fn entries(name: &str, file: &Path) -> Vec<HostKey> {
    let mut find = Command::new("ssh-keygen");
    find.args(["-F", name, "-f"]).arg(file);
    find.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let Ok(mut child) = find.spawn() else { return Vec::new() };
    let Some(stdout) = child.stdout.take() else { return Vec::new() };
    let mut said = Vec::new();
    // What came in time is what there is.
    let _ = timeout(PATIENCE, stdout.take(LONGEST).read_to_end(&mut said)).await;
    let _ = child.kill().await;
    String::from_utf8_lossy(&said).lines().filter_map(key).collect()
}

/// The key of a line of known hosts: `HOSTS KIND BLOB`.
fn key(line: &str) -> Option<HostKey> {
    if line.starts_with(['#', '@']) {
        return None;
    }
    let (_, key) = line.trim_start().split_once(char::is_whitespace)?;
    HostKey::parse(key).ok()
}

/// ssh expands a tilde by the user's entry, not by the environment.
fn path(file: &str) -> Option<PathBuf> {
    match file.strip_prefix("~/") {
        Some(rest) => users::home().map(|home| home.join(rest)),
        None => Some(file).filter(|file| file.starts_with('/')).map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";

    async fn check(text: &str, port: u16, expected: usize) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("known");
        std::fs::write(&file, text).expect("room");
        let system_known_hosts = vec![file.display().to_string()];
        let settings = Settings { hostname: "b1".into(), port, system_known_hosts, ..Settings::default() };
        assert_eq!(keys(&settings).await.len(), expected, "{text}");
    }

    #[tokio::test]
    async fn plain_and_hashed_names_and_other_ports_are_found() {
        check(&format!("b1,192.0.2.1 {KEY} comment\n"), 22, 1).await;
        check(&format!("[b1]:2222 {KEY}\n"), 2222, 1).await;
        check(&format!("b1 {KEY}\nb1 {KEY}\n"), 2222, 1).await;
        // HMAC-SHA1 of "b1", with a salt of twenty zeros.
        check(&format!("|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|MsWFDkB0bbFvekTNvIS4o0ULxIo= {KEY}\n"), 22, 1).await;
    }

    #[tokio::test]
    async fn keys_of_others_and_marked_keys_are_none() {
        check(&format!("b2 {KEY}\n"), 22, 0).await;
        check(&format!("@revoked b1 {KEY}\n@cert-authority b1 {KEY}\n"), 22, 0).await;
        check("b1 nonsense\n", 22, 0).await;
    }
}
