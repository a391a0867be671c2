//! A small archive described in memory.

use std::collections::BTreeMap;

use super::{MAGIC, padding};

/// One file system object. Names and targets are bytes, as they are to Nix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file.
    Regular {
        /// Whether its owner may run it.
        executable: bool,
        /// All of it.
        contents: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A directory; a map is in the order that the format asks for.
    Directory(BTreeMap<Vec<u8>, Node>),
}

impl Node {
    /// A file that cannot be run.
    pub fn file(contents: impl Into<Vec<u8>>) -> Self {
        Self::Regular { executable: false, contents: contents.into() }
    }

    /// The archive. Names that Nix forbids are written as they are.
    pub fn to_nar(&self) -> Vec<u8> {
        let mut out = Vec::new();
        token(&mut out, MAGIC);
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        words(out, &["(", "type"]);
        match self {
            Self::Regular { executable, contents } => {
                words(out, &["regular"]);
                if *executable {
                    words(out, &["executable", ""]);
                }
                words(out, &["contents"]);
                token(out, contents);
            }
            Self::Symlink { target } => {
                words(out, &["symlink", "target"]);
                token(out, target);
            }
            Self::Directory(entries) => {
                words(out, &["directory"]);
                for (name, node) in entries {
                    words(out, &["entry", "(", "name"]);
                    token(out, name);
                    words(out, &["node"]);
                    node.write(out);
                    words(out, &[")"]);
                }
            }
        }
        words(out, &[")"]);
    }
}

fn words(out: &mut Vec<u8>, words: &[&str]) {
    for word in words {
        token(out, word.as_bytes());
    }
}

fn token(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len() as u64;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    out.resize(out.len() + usize::from(padding(length)), 0);
}
