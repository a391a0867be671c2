//! What ssh said, as an error that says what to do.

use std::time::Duration;

use super::command::shell_quoted;
use crate::config::SshUri;

/// Why a builder could not be reached by ssh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// `ssh` itself could not be started, or a file for it not be written.
    #[error("cannot start ssh: {0}")]
    Start(String),
    /// The key that the user named is not there or not ours to read.
    #[error("its ssh key {path} cannot be read: {why}")]
    Key {
        /// Which file.
        path: String,
        /// Why not.
        why: String,
    },
    /// Nobody vouched for the server's key.
    #[error(
        "nobody vouches for its host key{}: accept it with `muster doctor {host} --pin {}` if \
         `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the builder prints the same",
        fingerprint.as_ref().map(|print| format!(" {print}")).unwrap_or_default(),
        fingerprint.as_deref().unwrap_or("FINGERPRINT")
    )]
    UnknownHostKey {
        /// As the user named it.
        host: String,
        /// Of the key that the server has.
        fingerprint: Option<String>,
    },
    /// The server has another key than the known one.
    #[error(
        "its host key has changed{}: either the machine was installed anew, or somebody stands between. It {}",
        fingerprint.as_ref().map(|print| format!(" (now {print})")).unwrap_or_default(),
        known.advice()
    )]
    ChangedHostKey {
        /// As the user named it.
        host: String,
        /// Of the key that the server has.
        fingerprint: Option<String>,
        /// The key that it should have.
        known: Known,
    },
    /// No key of ours is welcome.
    #[error("its ssh server lets us in with none of our keys: {0}")]
    Denied(String),
    /// The tailnet's policy does not let us in.
    #[error("{said}: add this to the `ssh` rules of the tailnet's policy: {rule}")]
    Policy {
        /// Tailscale's own words.
        said: String,
        /// The rule to add.
        rule: String,
    },
    /// The tailnet's policy wants somebody to look at a page first, for which nobody is here.
    #[error(
        "the tailnet's policy lets us in only after a check in a browser{}, which no coordinator can do: make the \
         rule's `action` `accept`, as in {rule}",
        page.as_ref().map(|page| format!(" ({page})")).unwrap_or_default()
    )]
    Check {
        /// Where to look.
        page: Option<String>,
        /// The rule that needs none.
        rule: String,
    },
    /// ssh ended; its own words.
    #[error("ssh: {}", .0.strip_prefix("ssh: ").unwrap_or(.0))]
    Failed(String),
    /// The server opens no session.
    #[error("its ssh server opens no session: {0}")]
    Refused(String),
    /// The connection was there, and is gone.
    #[error("ssh: {0}")]
    Lost(String),
    /// No channel to a socket there.
    #[error("no channel to {path} there: {said}")]
    Forward {
        /// Which socket.
        path: String,
        /// What ssh said.
        said: String,
    },
    /// Nothing came.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
}

/// Who knows another key than the server's, and its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// ssh's own files, under this name.
    Hosts(String),
    /// The configuration, or a line for Nix.
    Configuration(String),
    /// The tailnet.
    Tailnet(String),
}

impl Known {
    /// What pins a builder's key, beside ssh's own files.
    pub(super) fn of(uri: &SshUri) -> Option<Self> {
        let known = uri.host_key.as_ref()?.fingerprint();
        Some(if uri.admission.is_some() { Self::Tailnet(known) } else { Self::Configuration(known) })
    }

    fn advice(&self) -> String {
        match self {
            Self::Hosts(name) => format!(
                "is not the one in ssh's known hosts; if the new one is right, remove the old line with `ssh-keygen -R \
                 {}`",
                shell_quoted(name)
            ),
            Self::Configuration(known) => {
                format!(
                    "should be {known}, as the configuration says; if the new one is right, write it there"
                )
            }
            Self::Tailnet(known) => format!(
                "should be {known}, as the tailnet says; if the new one is right, restart tailscaled there, which then \
                 tells its keys anew"
            ),
        }
    }
}

impl SshError {
    /// Reads what ssh said before it ended. `pinned` is the key that is asked for.
    pub(super) fn from_stderr(host: &str, pinned: Option<Known>, said: &str) -> Self {
        let last = reason(said);
        let unknown = said.contains("host key is known for") && said.contains("strict checking");
        let changed = said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED");
        match () {
            () if changed || (unknown && pinned.is_some()) => {
                let known = pinned.unwrap_or_else(|| Known::Hosts(known_as(said).unwrap_or(host).to_owned()));
                Self::ChangedHostKey { host: host.to_owned(), fingerprint: fingerprint(said), known }
            }
            () if unknown => Self::UnknownHostKey { host: host.to_owned(), fingerprint: fingerprint(said) },
            () if said.contains("kex_exchange_identification") => {
                Self::Failed(format!("{last}; `muster doctor {host}` asks the server why"))
            }
            () if last.contains("Permission denied") || last.contains("Too many authentication failures") => {
                Self::Denied(last)
            }
            () => Self::Failed(last),
        }
    }

    /// Whether a closer look would tell the server's key.
    pub(super) fn wants_fingerprint(&self) -> bool {
        matches!(
            self,
            Self::UnknownHostKey { fingerprint: None, .. } | Self::ChangedHostKey { fingerprint: None, .. }
        )
    }

    pub(super) fn with_fingerprint(mut self, found: Option<String>) -> Self {
        if let Self::UnknownHostKey { fingerprint, .. } | Self::ChangedHostKey { fingerprint, .. } = &mut self
        {
            *fingerprint = found;
        }
        self
    }
}

/// The last line, which is why ssh gave up; what stands before it is the server's chatter. Where the last one alone
/// says nothing, the one before is added.
fn reason(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let Some(last) = lines.next() else { return "it ended and said nothing".to_owned() };
    let vague = last.starts_with("Connection closed") || last.starts_with("kex_exchange_identification");
    match lines.next().filter(|_| vague) {
        Some(before) => clip(&format!("{before}; {last}")),
        None => clip(last),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(500).collect()
}

/// The fingerprint that ssh names: in its warning, or in its debug messages.
pub(super) fn fingerprint(said: &str) -> Option<String> {
    let server = said.lines().find_map(|line| line.split_once("Server host key: ").map(|(_, rest)| rest));
    let words = server.unwrap_or(said).split_whitespace();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    words
        .map(|word| word.trim_end_matches('.'))
        .find(|word| {
            word.strip_prefix("SHA256:").is_some_and(|rest| rest.len() == 43 && rest.bytes().all(plain))
        })
        .map(str::to_owned)
}

/// The name in known hosts that ssh speaks of, which has the port where that is not 22.
fn known_as(said: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"[]:._-%".contains(&byte);
    let name = said.split_once("Host key for ")?.1.split_once(" has changed")?.0;
    let is_name = !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain);
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::BuilderUri;
    use crate::domain::{Admission, HostKey};

    const PRINT: &str = "SHA256:uNiVztksCsDhcc0u9e8BrvA8RE8Il5bXbXwVdGhyR5s";

    fn check(said: &str, expected: SshError) {
        assert_eq!(SshError::from_stderr("h", None, said), expected);
    }

    #[test]
    fn the_last_line_is_the_reason() {
        let denied = "eva@h: Permission denied (publickey).";
        check(&format!("*** Welcome ***\nAll is logged\n{denied}\n"), SshError::Denied(denied.to_owned()));
        let refused = "ssh: connect to host h port 22: Connection refused";
        check(refused, SshError::Failed(refused.to_owned()));
        let hung_up = "kex_exchange_identification: Connection closed by remote host";
        let more = format!("{hung_up}; `muster doctor h` asks the server why");
        check(hung_up, SshError::Failed(more));
        check("", SshError::Failed("it ended and said nothing".to_owned()));
        check(
            "channel 0: open failed\nConnection closed by h port 22",
            SshError::Failed("channel 0: open failed; Connection closed by h port 22".to_owned()),
        );
    }

    #[test]
    fn an_unknown_key_is_told_from_a_changed_one() {
        let unknown = "No ED25519 host key is known for h and you have requested strict checking.\n\
                       Host key verification failed.";
        check(unknown, SshError::UnknownHostKey { host: "h".to_owned(), fingerprint: None });
        let changed = format!(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nThe fingerprint for the ED25519 key sent by the \
             remote host is\n{PRINT}.\nHost key verification failed."
        );
        let error = |fingerprint: Option<&str>, known| SshError::ChangedHostKey {
            host: "h".to_owned(),
            fingerprint: fingerprint.map(str::to_owned),
            known,
        };
        check(&changed, error(Some(PRINT), Known::Hosts("h".to_owned())));
        let pinned = Known::Configuration("SHA256:x".to_owned());
        let other_type = SshError::from_stderr("h", Some(pinned.clone()), unknown);
        assert_eq!(other_type, error(None, pinned));
    }

    #[test]
    fn a_changed_key_is_said_with_who_knows_another_one_and_the_fix() {
        let check = |uri: &str, from_tailnet: bool, expected: &[&str]| {
            let Ok(BuilderUri::Ssh(mut uri)) = BuilderUri::parse(uri) else { panic!("a good URI") };
            let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJJy/nnmYKbcfZlGVrkt2n1RNclWNnPtIAl7JCpmyKqq";
            uri.host_key = from_tailnet.then(|| HostKey::parse(key).expect("a key"));
            let (source, destination) = ("tag:ci".to_owned(), "tag:nix-builder".to_owned());
            uri.admission = from_tailnet.then_some(Admission { source, destination });
            let said = format!("REMOTE HOST IDENTIFICATION HAS CHANGED!\n{PRINT}.\n");
            let error = SshError::from_stderr("h", Known::of(&uri), &said).to_string();
            assert!(error.contains(PRINT), "{error}");
            expected.iter().for_each(|part| assert!(error.contains(part), "{error}"));
        };
        check("ssh-ng://h", false, &["ssh's known hosts", "`ssh-keygen -R h`"]);
        check("ssh-ng://h", true, &["should be SHA256:", "as the tailnet says", "restart tailscaled there"]);
        let configured = Known::Configuration("SHA256:x".to_owned()).advice();
        assert!(configured.contains("should be SHA256:x, as the configuration says"), "{configured}");
    }

    #[test]
    fn the_old_line_is_removed_under_the_name_that_ssh_gives_it() {
        let advice = |name: &str| {
            let said = format!(
                "REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key for {name} has changed and you have requested strict \
                 checking."
            );
            SshError::from_stderr("h", None, &said).to_string()
        };
        assert!(advice("[h]:2222").contains("`ssh-keygen -R '[h]:2222'`"), "{}", advice("[h]:2222"));
        for odd in ["", "-f", "h; reboot", "h'"] {
            assert!(advice(odd).contains("`ssh-keygen -R h`"), "{}", advice(odd));
        }
    }

    #[test]
    fn the_fix_holds_the_fingerprint_and_the_host() {
        let error = SshError::UnknownHostKey { host: "h".to_owned(), fingerprint: Some(PRINT.to_owned()) };
        assert!(error.to_string().contains(&format!("muster doctor h --pin {PRINT}")), "{error}");
    }

    #[test]
    fn the_servers_key_is_found_among_debug_messages() {
        let debug = format!(
            "debug1: identity SHA256:no\r\ndebug1: Server host key: ssh-ed25519 {PRINT}\r\ndebug1: x"
        );
        assert_eq!(fingerprint(&debug).as_deref(), Some(PRINT));
        assert_eq!(fingerprint("SHA256:short"), None);
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_the_error_stays_small(said in "\\PC{0,2000}") {
            prop_assert!(SshError::from_stderr("h", None, &said).to_string().len() < 3000);
        }
    }
}
