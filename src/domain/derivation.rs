//! A derivation as a builder needs it: without the graph behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::{StorePath, System};

/// One output, as the raw triple of the ATerm and of the worker protocol.
///
/// | kind | path | hash_algo | hash |
/// |---|---|---|---|
/// | input-addressed | set | "" | "" |
/// | fixed | set | `sha256`, `r:sha256` | digits |
/// | floating | none | `r:sha256` | "" |
/// | impure | none | `r:sha256` | `impure` |
/// | deferred | none | "" | "" |
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DerivationOutput {
    /// Where it will lie, if that is known before it is built.
    pub path: Option<StorePath>,
    /// How its content is hashed, with the method before it.
    pub hash_algo: String,
    /// The digest in base 16, or `impure`.
    pub hash: String,
}

/// A derivation whose inputs are plain store paths (Nix's `BasicDerivation`).
///
/// Builder, arguments and environment are bytes: they are passed on, never judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BasicDerivation {
    /// By output name.
    pub outputs: BTreeMap<String, DerivationOutput>,
    /// Store paths that must be valid where it is built; not a closure.
    pub inputs: BTreeSet<StorePath>,
    /// Where it can be built.
    pub platform: System,
    /// The program.
    pub builder: Vec<u8>,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// Its environment; `__json` holds structured attributes.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl BasicDerivation {
    /// The outputs whose place is known beforehand.
    pub fn known_outputs(&self) -> impl Iterator<Item = &StorePath> {
        self.outputs.values().filter_map(|output| output.path.as_ref())
    }

    /// Whether the outputs' content says whether it is right (fixed and floating ones): a daemon builds such a
    /// derivation for anybody.
    pub fn is_content_addressed(&self) -> bool {
        let addressed = |output: &DerivationOutput| !output.hash_algo.is_empty() && output.hash != "impure";
        self.outputs.values().all(addressed)
    }

    /// A variable of the environment, where it is text.
    pub fn env_text(&self, name: &str) -> Option<&str> {
        self.env.get(name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
    }
}
