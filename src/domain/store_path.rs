//! Store paths, and the store directory that they lie in.
//!
//! The directory is a value everywhere: two stores with different directories never share a path.

use std::fmt;
use std::sync::Arc;

/// Why a text is no store path or store directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStorePath {
    /// The directory is not absolute, or ends in a slash, or is not plain text.
    #[error("'{0}' is not a store directory: it must be an absolute path without a slash at its end")]
    Directory(String),
    /// The path lies elsewhere.
    #[error("'{path}' is not in the store directory '{dir}'")]
    Outside {
        /// What was given.
        path: String,
        /// Where it should lie.
        dir: String,
    },
    /// The base name breaks Nix's rules.
    #[error("'{base}' is not a store path's name: {why}")]
    BaseName {
        /// What was given.
        base: String,
        /// Which rule it breaks.
        why: &'static str,
    },
}

/// The directory of a store, such as `/nix/store`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreDir(Arc<str>);

impl StoreDir {
    /// Checks that `dir` is absolute and has no slash at its end.
    pub fn parse(dir: &str) -> Result<Self, BadStorePath> {
        let good =
            dir.len() > 1 && dir.starts_with('/') && !dir.ends_with('/') && !dir.contains(['\0', '\n']);
        if good { Ok(Self(dir.into())) } else { Err(BadStorePath::Directory(dir.to_owned())) }
    }

    /// The directory as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads an absolute path that must lie directly in this directory.
    pub fn parse_path(&self, path: &str) -> Result<StorePath, BadStorePath> {
        let base = path.strip_prefix(&*self.0).and_then(|rest| rest.strip_prefix('/'));
        let base = base.ok_or_else(|| BadStorePath::Outside { path: clip(path), dir: self.0.to_string() })?;
        StorePath::from_base_name(base)
    }

    /// The absolute path.
    pub fn full(&self, path: &StorePath) -> String {
        format!("{}/{}", self.0, path.base_name())
    }
}

impl Default for StoreDir {
    /// Nix's own default, `/nix/store`.
    fn default() -> Self {
        Self("/nix/store".into())
    }
}

/// The hash part of a store path, 32 characters of Nix's base 32. It alone names the path within a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreHash([u8; 32]);

impl fmt::Debug for StoreHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// A store path without its directory: `<hash>-<name>`.
///
/// Nix's rules: 32 characters of base 32, a dash, then 1 to 211 characters of `[0-9a-zA-Z+-._?=]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Arc<str>);

const HASH_LENGTH: usize = 32;
const NAME_MAX: usize = 211;
/// Nix's alphabet leaves out e, o, t and u.
const BASE32: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";

impl StorePath {
    /// Checks a base name such as `9csjdxv6ir8ccnjl6ijs36izswjgchn0-test`.
    pub fn from_base_name(base: &str) -> Result<Self, BadStorePath> {
        check_base_name(base.as_bytes())
            .map_err(|why| BadStorePath::BaseName { base: clip(base), why })
            .map(|()| Self(base.into()))
    }

    /// `<hash>-<name>`.
    pub fn base_name(&self) -> &str {
        &self.0
    }

    /// The hash part.
    pub fn hash(&self) -> StoreHash {
        let mut hash = [0; HASH_LENGTH];
        hash.copy_from_slice(&self.0.as_bytes()[..HASH_LENGTH]);
        StoreHash(hash)
    }

    /// The name after the hash.
    pub fn name(&self) -> &str {
        &self.0[HASH_LENGTH + 1..]
    }

    /// Whether it names a derivation (`.drv`).
    pub fn is_derivation(&self) -> bool {
        self.0.ends_with(".drv")
    }
}

fn check_base_name(base: &[u8]) -> Result<(), &'static str> {
    if base.len() < HASH_LENGTH + 2 {
        return Err("it is too short");
    }
    let (hash, rest) = base.split_at(HASH_LENGTH);
    if !hash.iter().all(|b| BASE32.contains(b)) {
        return Err("its first 32 characters are not a hash in Nix's base 32");
    }
    let Some((b'-', name)) = rest.split_first() else {
        return Err("there is no dash after its hash");
    };
    if name.len() > NAME_MAX {
        return Err("its name is longer than 211 characters");
    }
    if !name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-._?=".contains(b)) {
        return Err("its name has a character that Nix does not allow");
    }
    Ok(())
}

/// Foreign text goes into an error only so far.
fn clip(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "9csjdxv6ir8ccnjl6ijs36izswjgchn0-test.drv";

    #[test]
    fn a_path_survives_its_text_in_any_store_directory() {
        for dir in ["/nix/store", "/home/me/store"] {
            let dir = StoreDir::parse(dir).expect("a directory");
            let path = dir.parse_path(&format!("{}/{BASE}", dir.as_str())).expect("a path");
            assert_eq!((path.name(), path.is_derivation()), ("test.drv", true));
            assert_eq!(dir.full(&path), format!("{}/{BASE}", dir.as_str()));
        }
    }

    #[test]
    fn a_path_outside_the_store_directory_is_refused() {
        let dir = StoreDir::default();
        for path in ["/nix/other/x", BASE, "/nix/store", "/nix/storex/a", ""] {
            assert!(matches!(dir.parse_path(path), Err(BadStorePath::Outside { .. })), "{path}");
        }
    }

    #[test]
    fn names_that_nix_forbids_are_refused() {
        let hash = &BASE[..32];
        for base in [
            "short".to_owned(),
            format!("{hash}x"),
            format!("{hash}_name"),
            format!("{hash}-"),
            format!("{hash}-a/b"),
            format!("{hash}-a b"),
            format!("{hash}-{}", "a".repeat(212)),
            format!("{}-name", "e".repeat(32)),
            format!("{hash}-é"),
        ] {
            assert!(StorePath::from_base_name(&base).is_err(), "{base}");
        }
    }

    #[test]
    fn a_store_directory_is_absolute() {
        for dir in ["", "/", "nix/store", "/nix/store/"] {
            assert!(StoreDir::parse(dir).is_err(), "{dir}");
        }
    }
}
