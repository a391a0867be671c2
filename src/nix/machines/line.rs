//! One machines line as types, and the text that every stock Nix from 2.8 on reads back the same.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::{Feature, System};

/// A field that a machines line cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}: {why}")]
pub struct BadField {
    /// What it should be, with its article.
    pub what: &'static str,
    /// What was given, cut short.
    pub text: String,
    /// Which rule it breaks.
    pub why: &'static str,
}

impl BadField {
    fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(200).collect(), why }
    }
}

/// A line. `Display` prints all eight fields; only a speed factor with a fraction is beyond Nix before 2.20.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Where the machine is.
    pub uri: MachineUri,
    /// What it builds for; none stands for the system of whoever reads the line.
    pub systems: BTreeSet<System>,
    /// The private key to log in with.
    pub ssh_key: Option<SshKey>,
    /// How many builds it is offered at once; 0 = none.
    pub max_jobs: u32,
    /// How fast it is beside the other lines.
    pub speed_factor: SpeedFactor,
    /// Features that a build may ask for.
    pub supported: BTreeSet<Feature>,
    /// Features that a build must ask for; they count as supported too.
    pub mandatory: BTreeSet<Feature>,
    /// The machine's public key.
    pub host_key: Option<HostKey>,
}

impl Line {
    /// A line with Nix's defaults: the local system, one job, factor 1.
    pub fn new(uri: MachineUri) -> Self {
        Self {
            uri,
            systems: BTreeSet::new(),
            ssh_key: None,
            max_jobs: 1,
            speed_factor: SpeedFactor::default(),
            supported: BTreeSet::new(),
            mandatory: BTreeSet::new(),
            host_key: None,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uri, ssh_key, max_jobs, speed_factor, host_key, .. } = self;
        let systems = commas(&self.systems);
        let (supported, mandatory) = (commas(&self.supported), commas(&self.mandatory));
        let key = ssh_key.as_ref().map_or("-", SshKey::as_str);
        let host = host_key.as_ref().map_or("-", HostKey::as_str);
        write!(f, "{uri} {systems} {key} {max_jobs} {speed_factor} {supported} {mandatory} {host}")
    }
}

fn commas<T: fmt::Display>(words: &BTreeSet<T>) -> String {
    if words.is_empty() {
        return "-".to_owned();
    }
    words.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// What holds for every field: it is one word, and no separator, comment or default.
fn check_word(what: &'static str, text: &str) -> Result<(), BadField> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text == "-" {
        "a dash stands for the default"
    } else if text.len() > 4096 {
        "it is longer than 4096 bytes"
    } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "it has white space or a control character"
    } else if text.contains([';', '#']) {
        "it has a ';' or '#', at which a machines line ends"
    } else {
        return Ok(());
    };
    Err(BadField::new(what, text, why))
}

macro_rules! field {
    ($(#[$doc:meta])* $name:ident, $what:literal, $($why:literal if $bad:expr),*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            pub fn parse(text: &str) -> Result<Self, BadField> {
                check_word($what, text)?;
                $(if $bad(text) {
                    return Err(BadField::new($what, text, $why));
                })*
                Ok(Self(text.to_owned()))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

field!(
    /// A store URI as a machines line has it. A bare host name is one too; Nix reads `ssh://` before it.
    MachineUri, "a store URI",
    "an '@' before it means a file of lines" if |text: &str| text.starts_with('@')
);
field!(
    /// The path of a private ssh key.
    SshKey, "the path of a key",
);
field!(
    /// A machine's public host key: a line of `known_hosts` without the host, in base 64.
    HostKey, "a host key in base 64",
    "it has another character" if |text: &str| !is_base64(text)
);

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// A speed factor: above zero, and at most 4 billion, which Nix 2.8 can still count. Whole ones print as integers, which 2.8 wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpeedFactor(f32);

impl SpeedFactor {
    /// Checks a number. As in Nix, 0 is taken for 1.
    pub fn new(factor: f32) -> Option<Self> {
        let factor = if factor == 0.0 { 1.0 } else { factor };
        (factor > 0.0 && factor <= 4e9).then_some(Self(factor))
    }

    /// The number.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Default for SpeedFactor {
    fn default() -> Self {
        Self(1.0)
    }
}

impl fmt::Display for SpeedFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
