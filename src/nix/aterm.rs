//! Derivations as Nix stores them: `Derive(...)`, an ATerm in a `.drv` file.
//!
//! Bytes in, bytes out: what a derivation says is passed on and never judged. Only what the rest of the program
//! needs as a type (store paths, the platform, names of outputs) must be one. Written back, a file that Nix wrote
//! is the same byte for byte, since Nix writes every list in the order of our maps and sets.
//!
//! Deliberately absent: dynamic derivations (`DrvWithVersion`), which are refused by name.

mod parse;
mod print;

use std::collections::{BTreeMap, BTreeSet};

pub use parse::{DrvError, Wrong};

use crate::domain::{DerivationOutput, StorePath, System};

/// A derivation with the graph behind it.
///
/// Builder, arguments and environment are bytes; structured attributes lie in the variable `__json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Derivation {
    /// By output name.
    pub outputs: BTreeMap<String, DerivationOutput>,
    /// The derivations that it needs, and which of their outputs.
    pub input_drvs: BTreeMap<StorePath, BTreeSet<String>>,
    /// Store paths that it needs as they are.
    pub input_srcs: BTreeSet<StorePath>,
    /// Where it can be built.
    pub platform: System,
    /// The program.
    pub builder: Vec<u8>,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// Its environment.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[cfg(test)]
mod tests;
