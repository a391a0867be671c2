//! What a store knows of one valid path.

use std::collections::BTreeSet;

use super::{Sha256, StorePath};

/// A valid path's record (Nix's `ValidPathInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// The derivation that made it, where the store knows.
    pub deriver: Option<StorePath>,
    /// The hash of its NAR.
    pub nar_hash: Sha256,
    /// The paths that its content mentions; may include itself.
    pub references: BTreeSet<StorePath>,
    /// Seconds since 1970; 0 where unknown.
    pub registration_time: u64,
    /// The bytes of its NAR.
    pub nar_size: u64,
    /// Whether this store built it.
    pub ultimate: bool,
    /// Signatures, as `<key name>:<base 64>`.
    pub signatures: Vec<String>,
    /// The content address, as Nix renders it; none where it is input-addressed.
    pub ca: Option<String>,
}

impl PathInfo {
    /// Whether a daemon that does not trust us might take it: it is signed, or its content says that it is right.
    pub fn is_vouched_for(&self) -> bool {
        self.ca.is_some() || !self.signatures.is_empty()
    }
}
