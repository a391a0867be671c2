//! The grammar of a NAR as a push parser.
//!
//! ```text
//! nar   = "nix-archive-1" node
//! node  = "(" "type" ( "regular" [ "executable" "" ] "contents" bytes
//!                    | "symlink" "target" bytes
//!                    | "directory" { "entry" "(" "name" bytes "node" node ")" } ) ")"
//! ```
//! Every word is a token: a length of 8 bytes, little endian, then the bytes, then zeros up to a multiple of 8.
//! Memory is bounded by the longest path, whatever the archive claims.

use super::{MAGIC, padding};

/// Nix's bounds on names and link targets.
const NAME_MAX: u64 = 255;
const TARGET_MAX: u64 = 4095;
/// The bytes of the names on the way to a node, each counted with its slash. Nix itself goes 64 directories
/// deep at most, which is this much; older versions go deeper, but not with longer paths.
const PATH_MAX: usize = 64 * 256;
/// No keyword is longer; the magic word is.
const WORD_MAX: u64 = 32;
/// What a daemon sends before an error message, also in the middle of an archive.
const STDERR_ERROR: u64 = 0x6378_7470;

/// How far one feeding came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Bytes that belong to the archive.
    pub consumed: usize,
    /// Whether the archive is complete. No byte after its end is consumed.
    pub done: bool,
}

/// Why a walk ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarError {
    /// A daemon gave up and sends its error message where the archive should go on.
    #[error("the daemon broke off its archive with an error")]
    Daemon {
        /// Bytes of this feeding up to the message.
        consumed: usize,
    },
    /// The bytes are not an archive.
    #[error("not a valid NAR at byte {at}: {flaw}")]
    Grammar {
        /// Where the offending token begins.
        at: u64,
        /// What is wrong there.
        flaw: Flaw,
    },
}

/// Which rule an archive breaks. Foreign bytes are shown escaped and cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each message says what its fields are.
pub enum Flaw {
    #[error("'{found}' where {expected} is due")]
    Word { expected: &'static str, found: String },
    #[error("{what} of {length} bytes, {limit} are allowed")]
    TooLong { what: &'static str, length: u64, limit: u64 },
    #[error("padding that is not zero")]
    Padding,
    #[error("'{0}' is not the name of a directory entry")]
    Name(String),
    #[error("the entry '{name}' comes after '{previous}'")]
    Order { name: String, previous: String },
    #[error("'{0}' is not the target of a symbolic link")]
    Target(String),
    #[error("a path of more than {PATH_MAX} bytes")]
    Depth,
}

/// What the next token must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Magic,
    NodeOpen,
    Type,
    Kind,
    ExecutableOrContents,
    ExecutableValue,
    Contents,
    Bytes,
    Target,
    TargetValue,
    EntryOrClose,
    EntryOpen,
    Name,
    NameValue,
    Node,
    NodeClose,
    EntryClose,
    Nothing,
}

/// Which part of a token comes next.
#[derive(Debug, Clone, Copy)]
enum Part {
    Length { got: u8 },
    Body { left: u64, pad: u8 },
    Padding { left: u8 },
}

/// A walk over one archive, fed piece by piece.
#[derive(Debug)]
pub struct Walker {
    due: Due,
    part: Part,
    length: [u8; 8],
    token: Vec<u8>,
    /// The path of the current node: in each open directory, the entry that was read last.
    path: Vec<u8>,
    /// Where the entry of each open directory begins in `path`.
    open: Vec<u16>,
    /// Bytes consumed so far, and where the current token begins.
    at: u64,
    token_at: u64,
}

impl Default for Walker {
    fn default() -> Self {
        Self::new()
    }
}

impl Walker {
    /// At the beginning of an archive.
    pub fn new() -> Self {
        Self {
            due: Due::Magic,
            part: Part::Length { got: 0 },
            length: [0; 8],
            token: Vec::new(),
            path: Vec::new(),
            open: Vec::new(),
            at: 0,
            token_at: 0,
        }
    }

    /// Whether the whole archive was seen.
    pub fn is_done(&self) -> bool {
        self.due == Due::Nothing
    }

    /// Takes as many bytes as belong to the archive. After an error the walk is over.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, NarError> {
        let mut consumed = 0;
        while consumed < bytes.len() && !self.is_done() {
            let rest = &bytes[consumed..];
            let took = match self.part {
                Part::Length { got } => self.take_length(rest, got, consumed)?,
                Part::Body { left, pad } => self.take_body(rest, left, pad)?,
                Part::Padding { left } => self.take_padding(rest, left)?,
            };
            consumed += took;
            self.at += took as u64;
        }
        Ok(Fed { consumed, done: self.is_done() })
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.token.capacity() + self.path.capacity() + 2 * self.open.capacity()
    }

    fn take_length(&mut self, rest: &[u8], got: u8, before: usize) -> Result<usize, NarError> {
        if got == 0 {
            self.token_at = self.at;
            self.token.clear();
        }
        let start = usize::from(got);
        let took = rest.len().min(8 - start);
        self.length[start..start + took].copy_from_slice(&rest[..took]);
        if start + took < 8 {
            self.part = Part::Length { got: got + took as u8 };
            return Ok(took);
        }
        let length = u64::from_le_bytes(self.length);
        // A file may well be 0x63787470 bytes long; no other token may.
        if length == STDERR_ERROR && self.due != Due::Bytes {
            return Err(NarError::Daemon { consumed: before + took });
        }
        self.check_length(length)?;
        self.body(length, padding(length))?;
        Ok(took)
    }

    fn check_length(&self, length: u64) -> Result<(), NarError> {
        let (what, limit) = match self.due {
            Due::Bytes => return Ok(()),
            Due::NameValue => ("a name", NAME_MAX),
            Due::TargetValue => ("a link's target", TARGET_MAX),
            Due::ExecutableValue => ("an executable marker", 0),
            _ => ("a word", WORD_MAX),
        };
        if length > limit { Err(self.flaw(Flaw::TooLong { what, length, limit })) } else { Ok(()) }
    }

    fn take_body(&mut self, rest: &[u8], left: u64, pad: u8) -> Result<usize, NarError> {
        let took = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        if self.due != Due::Bytes {
            self.token.extend_from_slice(&rest[..took]);
        }
        self.body(left - took as u64, pad)?;
        Ok(took)
    }

    fn take_padding(&mut self, rest: &[u8], left: u8) -> Result<usize, NarError> {
        let took = rest.len().min(usize::from(left));
        if rest[..took].iter().any(|byte| *byte != 0) {
            return Err(self.flaw(Flaw::Padding));
        }
        self.padding(left - took as u8)?;
        Ok(took)
    }

    fn body(&mut self, left: u64, pad: u8) -> Result<(), NarError> {
        if left == 0 {
            return self.padding(pad);
        }
        self.part = Part::Body { left, pad };
        Ok(())
    }

    fn padding(&mut self, left: u8) -> Result<(), NarError> {
        if left == 0 {
            self.part = Part::Length { got: 0 };
            self.due = self.next()?;
        } else {
            self.part = Part::Padding { left };
        }
        Ok(())
    }

    /// One whole token is here: what it is, and what is due after it.
    fn next(&mut self) -> Result<Due, NarError> {
        match (self.due, self.token.as_slice()) {
            (Due::Magic, MAGIC) => Ok(Due::NodeOpen),
            (Due::NodeOpen, b"(") => Ok(Due::Type),
            (Due::Type, b"type") => Ok(Due::Kind),
            (Due::Kind, b"regular") => Ok(Due::ExecutableOrContents),
            (Due::Kind, b"symlink") => Ok(Due::Target),
            (Due::Kind, b"directory") => self.enter(),
            (Due::ExecutableOrContents, b"executable") => Ok(Due::ExecutableValue),
            (Due::ExecutableValue, _) => Ok(Due::Contents),
            (Due::ExecutableOrContents | Due::Contents, b"contents") => Ok(Due::Bytes),
            (Due::Bytes, _) => Ok(Due::NodeClose),
            (Due::Target, b"target") => Ok(Due::TargetValue),
            (Due::TargetValue, _) => self.target(),
            (Due::EntryOrClose, b"entry") => Ok(Due::EntryOpen),
            (Due::EntryOrClose, b")") => Ok(self.leave()),
            (Due::EntryOpen, b"(") => Ok(Due::Name),
            (Due::Name, b"name") => Ok(Due::NameValue),
            (Due::NameValue, _) => self.name(),
            (Due::Node, b"node") => Ok(Due::NodeOpen),
            (Due::NodeClose, b")") => Ok(self.close()),
            (Due::EntryClose, b")") => Ok(Due::EntryOrClose),
            (due, found) => Err(self.flaw(Flaw::Word { expected: expected(due), found: shown(found) })),
        }
    }

    fn enter(&mut self) -> Result<Due, NarError> {
        let start = u16::try_from(self.path.len()).map_err(|_| self.flaw(Flaw::Depth))?;
        self.open.push(start);
        Ok(Due::EntryOrClose)
    }

    fn leave(&mut self) -> Due {
        let start = self.open.pop().unwrap_or_default();
        self.path.truncate(usize::from(start));
        self.close()
    }

    fn close(&self) -> Due {
        if self.open.is_empty() { Due::Nothing } else { Due::EntryClose }
    }

    fn name(&mut self) -> Result<Due, NarError> {
        let start = usize::from(self.open.last().copied().unwrap_or_default());
        let name = self.token.as_slice();
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(self.flaw(Flaw::Name(shown(name))));
        }
        // The slash after each name keeps paths apart; it is no part of the comparison.
        if let Some((_slash, previous)) = self.path[start..].split_last()
            && name <= previous
        {
            return Err(self.flaw(Flaw::Order { name: shown(name), previous: shown(previous) }));
        }
        if start + name.len() + 1 > PATH_MAX {
            return Err(self.flaw(Flaw::Depth));
        }
        self.path.truncate(start);
        self.path.extend_from_slice(name);
        self.path.push(b'/');
        Ok(Due::Node)
    }

    fn target(&self) -> Result<Due, NarError> {
        if self.token.is_empty() || self.token.contains(&0) {
            return Err(self.flaw(Flaw::Target(shown(&self.token))));
        }
        Ok(Due::NodeClose)
    }

    fn flaw(&self, flaw: Flaw) -> NarError {
        NarError::Grammar { at: self.token_at, flaw }
    }
}

fn expected(due: Due) -> &'static str {
    match due {
        Due::Magic => "'nix-archive-1'",
        Due::NodeOpen | Due::EntryOpen => "'('",
        Due::Type => "'type'",
        Due::Kind => "'regular', 'symlink' or 'directory'",
        Due::ExecutableOrContents => "'executable' or 'contents'",
        Due::Contents => "'contents'",
        Due::Target => "'target'",
        Due::EntryOrClose => "'entry' or ')'",
        Due::Name => "'name'",
        Due::Node => "'node'",
        Due::NodeClose | Due::EntryClose => "')'",
        Due::ExecutableValue | Due::Bytes | Due::TargetValue | Due::NameValue | Due::Nothing => "anything",
    }
}

fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(80)];
    format!("{}{}", cut.escape_ascii(), if cut.len() < bytes.len() { "..." } else { "" })
}
