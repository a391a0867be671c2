//! Nix's words for what a machine can run: systems and system features.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A word that is no system or feature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not a {what}: {why}")]
pub struct BadWord {
    what: &'static str,
    word: String,
    why: &'static str,
}

/// Systems and features are words of machines lines: no white space, no comma, nothing a line would split at.
fn check_word(what: &'static str, word: &str) -> Result<(), BadWord> {
    let why = if word.is_empty() {
        "it is empty"
    } else if word.len() > 128 {
        "it is longer than 128 bytes"
    } else if word.starts_with('-') {
        "it begins with a dash"
    } else if !word
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b';' | b'#' | b'"' | b'\'' | b'\\'))
    {
        "it has a character that a machines line cannot hold"
    } else {
        return Ok(());
    };
    Err(BadWord { what, word: word.to_owned(), why })
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the word.
            pub fn parse(word: &str) -> Result<Self, BadWord> {
                check_word($what, word)?;
                Ok(Self(word.into()))
            }

            /// The word itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadWord;
            fn try_from(word: String) -> Result<Self, BadWord> {
                Self::parse(&word)
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// A Nix system, such as `x86_64-linux`, or `builtin`, which every builder can do.
    System,
    "system"
);
word!(
    /// A Nix system feature, such as `kvm` or `big-parallel`.
    Feature,
    "system feature"
);

impl System {
    /// The system of derivations that Nix itself carries out (`builtin:fetchurl`); every machine serves it.
    pub const BUILTIN: &'static str = "builtin";

    /// Whether any builder will do.
    pub fn is_builtin(&self) -> bool {
        self.as_str() == Self::BUILTIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_real_machines_are_taken() {
        for word in ["x86_64-linux", "aarch64-darwin", "builtin", "armv7l-linux"] {
            assert_eq!(System::parse(word).map(String::from), Ok(word.to_owned()));
        }
        assert!(Feature::parse("gccarch-znver3").is_ok());
    }

    #[test]
    fn words_that_would_break_a_machines_line_are_refused_by_name() {
        for word in ["", "a b", "a,b", "-x", "\"x86_64-linux\"", "a;b", "a\nb", "#x"] {
            assert!(System::parse(word).is_err(), "{word:?}");
        }
        let error = Feature::parse("a b").map_err(|e| e.to_string());
        assert_eq!(
            error,
            Err("'a b' is not a system feature: it has a character that a machines line cannot hold"
                .to_owned())
        );
    }
}
