//! Nix archives: a strict walk over bytes as they come, and what is built on it.
//!
//! A NAR on the wire carries no length, so whoever passes one on must find its end from its grammar.
//! The walk holds no contents, asks for nothing and knows no I/O: it is fed, and says how much it took.
//!
//! | module | what |
//! |---|---|
//! | `walk` | the grammar, as a push parser |
//! | `check` | the walk, a SHA-256 and a count over one stream; copying from a reader to a writer |
//! | `file` | the content of an archive that is one plain file |
//! | `node` | a small archive described in memory, and its bytes |
//!
//! Format: Nix's manual, "Nix Archive (NAR) format".

mod check;
mod file;
mod node;
mod walk;

pub use check::{Checker, CopyError, Summary, copy, relay};
pub use file::plain_file;
pub use node::Node;
pub use walk::{Fed, Flaw, NarError, Walker};

/// The first token of every archive.
pub(crate) const MAGIC: &[u8] = b"nix-archive-1";

/// How many zeros follow so many bytes.
pub(crate) const fn padding(length: u64) -> u8 {
    (length.wrapping_neg() % 8) as u8
}

#[cfg(test)]
mod tests;
