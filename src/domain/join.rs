//! How a machine joins a tailnet.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::tailnet::dns_label;

/// A label is never longer.
const LONGEST_LABEL: usize = 63;
/// A secret is never longer; tokens of providers have some thousand bytes.
pub const LONGEST_SECRET: usize = 16 << 10;
/// What an OAuth client's secret begins with.
const CLIENT_SECRET: &str = "tskey-client-";

/// What is asked of the tailnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The name to ask for.
    pub host_name: HostName,
    /// The tags to have.
    pub tags: BTreeSet<Tag>,
    /// The control server; none for Tailscale's own.
    pub login_server: Option<LoginServer>,
    /// Whether Tailscale SSH shall run.
    pub ssh: bool,
    /// Whether others may connect to this machine.
    pub is_open: bool,
    /// Who else may manage Tailscale here.
    pub operator: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// By what right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An auth key; what it allows was said when it was made.
    AuthKey(Secret),
    /// An OAuth client's secret, and what the key that it makes shall allow.
    Client(Secret, Minting),
    /// A federated identity.
    Workload {
        /// Its id, which is no secret.
        client_id: String,
        /// Who vouches.
        proof: Proof,
        /// What the key that it makes shall allow.
        minting: Minting,
    },
}

/// How a workload's provider vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a token that we have.
    Token(Secret),
    /// By one that `tailscale` asks it for.
    Audience(String),
}

/// What a key allows that is made for this machine alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minting {
    /// The machine is forgotten as soon as it is gone.
    pub ephemeral: bool,
    /// Nobody has to approve it.
    pub preauthorized: bool,
}

/// A text that nobody shall see: it has no way into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

impl Secret {
    /// The text of a file, without the white space around it.
    pub fn parse(text: &[u8]) -> Result<Self, BadJoin> {
        let text = text.trim_ascii();
        match text {
            [] => Err(BadJoin::EmptySecret),
            text if text.len() > LONGEST_SECRET => Err(BadJoin::LongSecret),
            text if text.iter().all(u8::is_ascii_graphic) => {
                Ok(Self(String::from_utf8_lossy(text).into_owned()))
            }
            _ => Err(BadJoin::OddSecret),
        }
    }

    /// What must be handed over, and shown to nobody.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is one of Tailscale's own control server.
    pub fn is_tailscale(&self) -> bool {
        self.0.starts_with("tskey-")
    }

    /// Whether it is an OAuth client's.
    pub fn is_client(&self) -> bool {
        self.0.starts_with(CLIENT_SECRET)
    }

    /// The same text without the secret, and without what stands between `?` options and it.
    pub fn redact(&self, text: &str) -> String {
        let bare = self.0.split('?').next().unwrap_or_default();
        text.replace(&self.0, "(secret)").replace(bare, "(secret)")
    }
}

/// A name that a machine asks for, as the tailnet would write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Letters, digits and `-`; what else separates words becomes `-`.
    pub fn parse(text: &str) -> Result<Self, BadJoin> {
        let odd = |c: &char| !c.is_ascii_alphanumeric() && !"-._".contains(*c);
        if let Some(odd) = text.chars().find(odd) {
            return Err(BadJoin::HostName(format!("{:?} has no place in it", odd)));
        }
        if text.trim_matches(['-', '.', '_']).len() > LONGEST_LABEL {
            return Err(BadJoin::HostName(format!("it is longer than {LONGEST_LABEL} characters")));
        }
        match dns_label(text) {
            label if label.is_empty() => Err(BadJoin::HostName("nothing is left of it".to_owned())),
            label => Ok(Self(label)),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tag of a tailnet's policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// `tag:` and a word, as Tailscale has it (`tailcfg.CheckTag`).
    pub fn parse(text: &str) -> Result<Self, BadJoin> {
        let bare = text.strip_prefix("tag:").unwrap_or_default();
        let letter = bare.starts_with(|first: char| first.is_ascii_alphabetic());
        let good = letter && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if good { Ok(Self(text.to_owned())) } else { Err(BadJoin::Tag(text.chars().take(100).collect())) }
    }

    /// With `tag:` before it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A control server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginServer(String);

impl LoginServer {
    /// `https://HOST`, or `http://` where somebody wants that.
    pub fn parse(text: &str) -> Result<Self, BadJoin> {
        let bare = text.trim_end_matches('/');
        let host = bare.strip_prefix("https://").or(bare.strip_prefix("http://")).unwrap_or_default();
        let good = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        if good { Ok(Self(bare.to_owned())) } else { Err(BadJoin::LoginServer) }
    }

    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What cannot be asked of a tailnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "their texts say it")]
pub enum BadJoin {
    #[error("--hostname: {0}; letters, digits and - . _ are allowed")]
    HostName(String),
    #[error("--tag: {0:?} is no tag; say one such as tag:nix-builder")]
    Tag(String),
    #[error("--login-server: say a URL such as https://headscale.example.org, without a user in it")]
    LoginServer,
    #[error("--operator: {0}")]
    Operator(String),
    #[error("it is empty")]
    EmptySecret,
    #[error("it is longer than any key")]
    LongSecret,
    #[error("it holds more than one word, or what no key can hold")]
    OddSecret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_the_label_that_the_tailnet_makes_of_it_or_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(HostName::parse(text).map(|name| name.0), Ok(expected.to_owned()), "{text}");
        };
        check("b1", "b1");
        check("nix-builder-1a-Ubuntu-24.04_1", "nix-builder-1a-ubuntu-24-04-1");
        check("-b1.", "b1");
        for text in ["", "-", "$(reboot)", "a b", "b1;x", "b1\n", "Käse", &"a".repeat(64)] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn tags_and_servers_are_words_of_their_kind() {
        for (text, good) in
            [("tag:ci", true), ("ci", false), ("tag:", false), ("tag:1", false), ("tag:a,tag:b", false)]
        {
            assert_eq!(Tag::parse(text).is_ok(), good, "{text}");
        }
        for (text, good) in [
            ("https://h.example.org/", true),
            ("http://10.0.0.1:8080", true),
            ("h.example.org", false),
            ("https://", false),
            ("https://u:p@h", false),
            ("--x", false),
        ] {
            assert_eq!(LoginServer::parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_secret_is_one_word_that_no_log_shows() {
        let secret = Secret::parse(b" tskey-client-abc?baseURL=http://x\n").expect("a secret");
        assert_eq!((secret.expose(), secret.is_client()), ("tskey-client-abc?baseURL=http://x", true));
        assert_eq!(format!("{secret:?}"), "a secret");
        assert_eq!(secret.redact("no tskey-client-abc here"), "no (secret) here");
        for text in [&b""[..], b" \n", b"a b", b"a\nb", b"\x00", &[b'a'; LONGEST_SECRET + 1]] {
            assert!(Secret::parse(text).is_err());
        }
    }
}
