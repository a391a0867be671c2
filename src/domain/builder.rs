//! Builders: their names, what a person said of them, and what was found true.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Feature, Label, Measured, System};

/// The name by which the user knows a builder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuilderName(Arc<str>);

/// A text that cannot name a builder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a builder: 1 to 128 letters, digits and . _ @ : - are allowed, no dash first")]
pub struct BadBuilderName(String);

impl BuilderName {
    /// Checks the name: it appears in log lines, in commands and on ssh's command line.
    pub fn parse(name: &str) -> Result<Self, BadBuilderName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@:-".contains(&b);
        let good = (1..=128).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(allowed);
        if good { Ok(Self(name.into())) } else { Err(BadBuilderName(name.chars().take(150).collect())) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BuilderName {
    type Error = BadBuilderName;
    fn try_from(name: String) -> Result<Self, BadBuilderName> {
        Self::parse(&name)
    }
}

impl From<BuilderName> for String {
    fn from(name: BuilderName) -> String {
        name.0.to_string()
    }
}

impl fmt::Display for BuilderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many builds may run on a builder at once.
pub type Slots = NonZeroU32;

/// Whether a daemon lets us import paths without signatures. Said in its handshake since protocol 1.35.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// It did not say (an older daemon).
    Unknown,
    /// It does.
    Trusted,
    /// It does not.
    Untrusted,
}

/// What the user said of a builder; a value given here wins over a measured one.
#[derive(Debug, Clone, PartialEq)]
pub struct BuilderSpec {
    /// Its name.
    pub name: BuilderName,
    /// The systems that it builds for.
    pub systems: Option<BTreeSet<System>>,
    /// The features that it offers.
    pub features: Option<BTreeSet<Feature>>,
    /// Features that a build must ask for to be placed here.
    pub mandatory: BTreeSet<Feature>,
    /// Builds at once.
    pub slots: Option<Slots>,
    /// Relative speed, 1.0 where nothing is known.
    pub speed_factor: Option<f64>,
    /// Processors that builds may use.
    pub cores: Option<u32>,
    /// Memory in bytes that builds may use.
    pub memory: Option<u64>,
    /// Features of which only so many builds may make use at once.
    pub consumables: BTreeMap<Feature, u32>,
    /// The user's own words for it.
    pub labels: BTreeSet<Label>,
}

impl BuilderSpec {
    /// One of which nothing is said but its name.
    pub fn named(name: BuilderName) -> Self {
        Self {
            name,
            systems: None,
            features: None,
            mandatory: BTreeSet::new(),
            slots: None,
            speed_factor: None,
            cores: None,
            memory: None,
            consumables: BTreeMap::new(),
            labels: BTreeSet::new(),
        }
    }
}

/// What a probe found true of a builder, the user's own values already laid over it.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// The systems that it builds for.
    pub systems: BTreeSet<System>,
    /// The features that it offers, mandatory ones included.
    pub features: BTreeSet<Feature>,
    /// Features that a build must ask for to be placed here.
    pub mandatory: BTreeSet<Feature>,
    /// Builds at once.
    pub slots: Slots,
    /// Relative speed, finite and above zero.
    pub speed_factor: f64,
    /// Processors that builds may use; none where nobody knows.
    pub cores: Option<u32>,
    /// Memory in bytes that builds may use; none where nobody knows.
    pub memory: Option<u64>,
    /// Whether its daemon trusts us.
    pub trust: Trust,
    /// Nix's version as its daemon says it; none before protocol 1.33.
    pub nix_version: Option<String>,
    /// What was measured, where that was possible.
    pub measured: Option<Arc<Measured>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_taken_for_an_option_or_break_a_line_are_refused() {
        for name in ["", "-oProxyCommand=x", "a b", "a\nb", "a'b", "a;b", &"x".repeat(129)] {
            assert!(BuilderName::parse(name).is_err(), "{name:?}");
        }
        for name in ["b1", "root@host.example.org:2222", "nix-builder-1a-ubuntu-24.04-1"] {
            assert!(BuilderName::parse(name).is_ok(), "{name:?}");
        }
    }
}
