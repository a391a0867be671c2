//! A tailnet's machines: which of them are meant, and how they are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::builder::BuilderName;

/// Which machines of a tailnet are builders. What is not said does not count; all that is said must be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFilter {
    /// The tag that it has, `tag:` included.
    pub tag: Option<String>,
    /// What its name begins with.
    pub prefix: Option<String>,
    /// The names, one of which is its own.
    pub names: Option<BTreeSet<String>>,
}

impl NodeFilter {
    /// Whether a machine is meant, by the name that it asked for, the label that it got, and its tags.
    pub fn wants(&self, host_name: &str, label: &str, tags: &BTreeSet<String>) -> bool {
        self.missing_tag(tags).is_none() && self.fits(host_name, label)
    }

    /// Whether it is meant by its name, whatever its tags are.
    pub fn names(&self, host_name: &str, label: &str) -> bool {
        (self.prefix.is_some() || self.names.is_some()) && self.fits(host_name, label)
    }

    /// The tag that is asked for, and not among these.
    pub fn missing_tag(&self, tags: &BTreeSet<String>) -> Option<&String> {
        self.tag.as_ref().filter(|tag| !tags.contains(*tag))
    }

    /// Whether its name begins as is asked for.
    pub fn begins(&self, host_name: &str, label: &str) -> bool {
        let begins = |prefix: &String| host_name.starts_with(prefix) || label.starts_with(&plain(prefix));
        self.prefix.as_ref().is_none_or(begins)
    }

    fn fits(&self, host_name: &str, label: &str) -> bool {
        let is = |name: &String| host_name == name || label == dns_label(name);
        self.begins(host_name, label) && self.names.as_ref().is_none_or(|names| names.iter().any(is))
    }
}

/// Who answers on a machine's ssh port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshServer {
    /// Tailscale itself: no keys, and the tailnet vouches for its host keys.
    Tailscale,
    /// The machine's own sshd.
    Own,
}

/// How packets get to a machine of the tailnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailnetPath {
    /// From machine to machine.
    Direct,
    /// By a relay of that name, which is slow.
    Relayed(String),
}

impl fmt::Display for TailnetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Relayed(relay) => write!(f, "relayed by {relay}"),
        }
    }
}

/// What a tailnet tells of its machines beside how they are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// How packets get to those that are builders, as far as that is known.
    pub paths: BTreeMap<BuilderName, TailnetPath>,
    /// What those asked to be called that got another name.
    pub host_names: BTreeMap<BuilderName, String>,
    /// Those that are meant to be builders, and are none now.
    pub absent: Vec<Absentee>,
    /// Those that are not meant: by what, and their names, those that they asked for included.
    pub passed_over: BTreeMap<String, Vec<String>>,
}

/// A machine that is meant to be a builder, and is none now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absentee {
    /// As it may be shown.
    pub name: String,
    /// The name that it asked for, where that is another one.
    pub host_name: Option<String>,
    /// Whether the tailnet hears of it.
    pub online: bool,
    /// Why.
    pub why: String,
}

/// The sides of a rule that lets us in: what the tailnet's policy calls us and the other machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Our tag, or whose we are.
    pub source: String,
    /// Its tag, or whose it is.
    pub destination: String,
}

/// The label that a tailnet makes of the name that a machine asks for (Tailscale's `dnsname.SanitizeHostname`). Where
/// another machine has it already, control adds `-1` or the like.
pub fn dns_label(host_name: &str) -> String {
    const LONGEST: usize = 63;
    const SUFFIXES: [&str; 3] = [".local", ".localdomain", ".lan"];
    let bare = SUFFIXES.iter().fold(host_name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
    let end = bare.char_indices().map(|(at, _)| at).find(|at| *at >= LONGEST).unwrap_or(bare.len());
    plain(bare[..end].trim_matches(|c: char| !c.is_ascii_alphanumeric()))
}

/// In small letters, with dashes for separators, without what no label can hold.
fn plain(text: &str) -> String {
    let letter = |c: char| match c {
        ' ' | '.' | '@' | '_' => Some('-'),
        c if c.is_ascii_alphanumeric() || c == '-' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    text.chars().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_the_label_that_the_tailnet_gives_it() {
        let check = |name: &str, expected: &str| assert_eq!(dns_label(name), expected, "{name}");
        check("nix-builder-1a-ubuntu-24.04-1", "nix-builder-1a-ubuntu-24-04-1");
        check("Eva's MacBook Pro.local", "evas-macbook-pro");
        check("-b_1@x.", "b-1-x");
        check(&"a.".repeat(60), &format!("{}a", "a-".repeat(31)));
        check("Käse", "kse");
        check("", "");
    }

    #[test]
    fn a_machine_is_meant_by_tag_prefix_and_name_together() {
        let tags = BTreeSet::from(["tag:nix".to_owned(), "tag:ci".to_owned()]);
        let names = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let said = |tag: Option<&str>, prefix: Option<&str>, names| NodeFilter {
            tag: tag.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            names,
        };
        let wants = |filter: NodeFilter| filter.wants("b-24.04", "b-24-04-1", &tags);
        assert!(wants(said(Some("tag:nix"), None, None)));
        assert!(!wants(said(Some("tag:n"), None, None)));
        assert!(wants(said(None, Some("b-24.0"), None)) && wants(said(None, Some("B-24_04-"), None)));
        assert!(!wants(said(None, Some("b-24.04-x"), None)));
        assert!(wants(said(None, None, names(&["x", "b-24.04"]))), "the name that it asked for");
        assert!(wants(said(None, None, names(&["b-24.04-1"]))), "the name that it got");
        assert!(!wants(said(None, None, names(&["b", "b-24"]))));
        assert!(!wants(said(Some("tag:x"), Some("b"), names(&["b-24.04"]))), "all that is said must be true");
    }
}
