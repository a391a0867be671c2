//! The user's own words for builders, and the rules that send builds to them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Feature, System};

/// A word that the user gives to builders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Arc<str>);

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a label: 1 to 64 letters, digits and . _ - are allowed, no dash first")]
pub struct BadLabel(String);

impl Label {
    /// Checks the word: it stands in a machines line's URI.
    pub fn parse(word: &str) -> Result<Self, BadLabel> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = (1..=64).contains(&word.len()) && !word.starts_with('-') && word.bytes().all(allowed);
        if good { Ok(Self(word.into())) } else { Err(BadLabel(word.chars().take(100).collect())) }
    }

    /// The word itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = BadLabel;
    fn try_from(word: String) -> Result<Self, BadLabel> {
        Self::parse(&word)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0.to_string()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern for names: `*` stands for any text, `?` for any one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// The pattern itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it fits the whole of `text`. Its time is the product of both lengths at most.
    pub fn fits(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(&byte) if byte == b'?' || byte == text[t] => (p, t) = (p + 1, t + 1),
                _ => match star {
                    Some((at, taken)) => {
                        star = Some((at, taken + 1));
                        (p, t) = (at + 1, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

/// A rule that sends builds to labels. A condition that is not there fits every build.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Fits the package's name.
    pub pname: Option<Glob>,
    /// Is what the build is for.
    pub system: Option<System>,
    /// Is among what the build requires.
    pub feature: Option<Feature>,
    /// The builder must have one of them; at least one.
    pub labels: BTreeSet<Label>,
}

impl Route {
    /// Whether it speaks of such a build.
    pub fn fits(&self, pname: &str, system: &System, features: &BTreeSet<Feature>) -> bool {
        self.pname.as_ref().is_none_or(|glob| glob.fits(pname))
            && self.system.as_ref().is_none_or(|wanted| wanted == system)
            && self.feature.as_ref().is_none_or(|feature| features.contains(feature))
    }
}

/// The package in a derivation's name, as Nix tells it apart: what stands before the first dash that no letter follows.
pub fn pname(name: &str) -> &str {
    let name = name.strip_suffix(".drv").unwrap_or(name);
    let next = |at: usize| name.as_bytes().get(at + 1).copied();
    let cut =
        name.char_indices().find(|(at, c)| *c == '-' && next(*at).is_some_and(|b| !b.is_ascii_alphabetic()));
    cut.map_or(name, |(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_names() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Glob::new(pattern).fits(text), expected, "{pattern} {text}");
        };
        check("hello", "hello", true);
        check("hello", "hello2", false);
        check("linux*", "linux-firmware", true);
        check("*-unwrapped", "gcc-unwrapped", true);
        check("*-unwrapped", "gcc-unwrapped-x", false);
        check("a?c*e*", "abcde", true);
        check("*", "", true);
        check("?", "", false);
        check(&"*a".repeat(50), &"a".repeat(49), false);
    }

    #[test]
    fn a_packages_name_ends_where_its_version_begins() {
        let check = |name: &str, expected: &str| assert_eq!(pname(name), expected);
        check("hello-2.12.1.drv", "hello");
        check("linux-firmware-20240909.drv", "linux-firmware");
        check("source.drv", "source");
        check("a-", "a-");
    }

    #[test]
    fn a_label_is_a_word_that_a_line_can_hold() {
        for word in ["", "-x", "a b", "a@b", "a:b", "a,b", &"x".repeat(65)] {
            assert!(Label::parse(word).is_err(), "{word:?}");
        }
        assert!(Label::parse("big-2.x_y").is_ok());
    }
}
