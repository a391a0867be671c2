//! What ssh's own configuration says of a host, asked of `ssh -G` once for each connection; and what ssh can do.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::command;
use crate::config::SshUri;
use crate::wire::mux;
use crate::wire::ssh_config::Settings;

/// Cheap where the processor has instructions for them.
const FAST: [&str; 2] = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
/// What `ssh -G` may take; it opens no connection, but a `Match exec` runs whatever the user wrote.
const ASK: Duration = Duration::from_secs(5);

/// The settings for a host, with the words of its master.
pub async fn settings(uri: &SshUri, master: &[String]) -> Option<Settings> {
    ask(master, &command::destination(uri)).await
}

/// The list of ciphers with the fast ones first, where nobody chose another one and the processor is made for them.
pub async fn ciphers(settings: &Settings) -> Option<String> {
    static DEFAULT: OnceCell<Option<String>> = OnceCell::const_new();
    if !has_aes() {
        return None;
    }
    let default = DEFAULT.get_or_init(async || {
        let none = ["-F", "none"].map(str::to_owned);
        ask(&none, &["--", "localhost"].map(str::to_owned)).await?.ciphers
    });
    fast_first(default.await.as_deref()?, settings.ciphers.as_deref()?)
}

fn fast_first(default: &str, chosen: &str) -> Option<String> {
    let all: Vec<&str> = default.split(',').collect();
    let fast: Vec<&str> = FAST.into_iter().filter(|cipher| all.contains(cipher)).collect();
    if default != chosen || fast.is_empty() {
        return None;
    }
    let others = all.iter().copied().filter(|cipher| !FAST.contains(cipher));
    Some(fast.iter().copied().chain(others).collect::<Vec<_>>().join(","))
}

/// Whether a master of ours can open a stream to a Unix socket; asked once.
pub async fn can_stream() -> bool {
    static CAN: OnceCell<bool> = OnceCell::const_new();
    let can = CAN.get_or_init(async || {
        let mut command = Command::new("ssh");
        command.arg("-V").stdin(Stdio::null()).kill_on_drop(true);
        let said = timeout(ASK, command.output()).await.ok().and_then(Result::ok);
        said.is_some_and(|said| mux::can_stream(&String::from_utf8_lossy(&said.stderr)))
    });
    *can.await
}

async fn ask(first: &[String], last: &[String]) -> Option<Settings> {
    let mut command = Command::new("ssh");
    command.arg("-G").args(first).args(last).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(ASK, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| Settings::parse(&String::from_utf8_lossy(&output.stdout)))
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_ciphers_come_first_only_where_nobody_chose() {
        let default = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com";
        let first = "aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(fast_first(default, default).as_deref(), Some(first));
        assert_eq!(fast_first(default, "aes128-ctr"), None);
        assert_eq!(fast_first("aes128-ctr", "aes128-ctr"), None);
    }
}
