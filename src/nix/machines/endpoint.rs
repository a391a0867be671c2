//! The URI of muster's own lines, and what reaches the program through it.
//!
//! For `ssh-ng://localhost?remote-program=PROGRAM&remote-store=LINE` stock Nix starts `PROGRAM --stdio --store LINE`.
//! What survives that way is settled by the oldest and the newest of them: 2.19 and older (and Lix) hand PROGRAM to a
//! shell unquoted, 2.20 and newer split it at white space, so a program's path is plain or refused. LINE comes
//! through percent-encoding intact. Nix names its slot files after the URI, encoding it again from 2.26 on, so
//! we write the very form that Nix would write, and keep it short enough for a file name.

use std::fmt;

use super::line::{BadField, MachineUri};
use crate::domain::Label;
use crate::domain::route::BadLabel;

/// What can be wrong with an endpoint's URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not something that every Nix starts as it is.
    #[error(
        "Nix cannot start the program '{0}': it must be an absolute path of letters, digits and any of /._+@%,:=-"
    )]
    Program(String),
    /// Not a place for a socket.
    #[error("'{0}' is not an absolute path to a socket")]
    Socket(String),
    /// Nix makes file names of it.
    #[error(
        "the line's URI takes {0} bytes and Nix names files after it, {URI_MAX} are allowed: shorten its name or path"
    )]
    TooLong(usize),
    /// Cannot happen: encoded text fits a machines line.
    #[error(transparent)]
    Field(#[from] BadField),
}

/// A file name has 255 bytes; Nix adds `.upload-lock` or a dash and a number.
const URI_MAX: usize = 255 - ".upload-lock".len();

/// A line's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineName(String);

/// What a line of ours says of the endpoint, as `--store` of the program that Nix starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LineRef {
    /// `NAME` or `NAME@SOCKET`.
    Line {
        /// The line.
        name: LineName,
        /// The endpoint's socket, an absolute path; none = the default one.
        socket: Option<String>,
    },
    /// `use:LABEL` or `use:LABEL@SOCKET`: any builder with that label.
    Use {
        /// What the user calls the builders.
        label: Label,
        /// As above.
        socket: Option<String>,
    },
}

/// A text that refers to no line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLineRef {
    /// Not a name.
    #[error("'{0}' is not the name of a line: 1 to 200 letters, digits and . _ - , are allowed")]
    Name(String),
    /// Behind `use:`.
    #[error(transparent)]
    Label(#[from] BadLabel),
    /// Behind the `@`.
    #[error("'{0}' is not an absolute path to a socket, percent-encoded")]
    Socket(String),
}

/// The URI of a line of ours.
pub fn endpoint_uri(program: &str, reference: &LineRef) -> Result<MachineUri, BadEndpoint> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+@%,:=-".contains(&byte);
    if !(program.starts_with('/') && program.bytes().all(plain)) {
        return Err(BadEndpoint::Program(shown(program)));
    }
    let (LineRef::Line { socket, .. } | LineRef::Use { socket, .. }) = reference;
    if let Some(socket) = socket.as_deref().filter(|socket| !is_socket(socket)) {
        return Err(BadEndpoint::Socket(shown(socket)));
    }
    let program = encode(program, b"/@:");
    let store = encode(&reference.to_string(), b"/@:");
    let uri = format!("ssh-ng://localhost?remote-program={program}&remote-store={store}");
    if uri.len() > URI_MAX {
        return Err(BadEndpoint::TooLong(uri.len()));
    }
    Ok(MachineUri::parse(&uri)?)
}

impl LineName {
    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self, BadLineRef> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-,".contains(&byte);
        let good = (1..=200).contains(&name.len()) && name.bytes().all(allowed);
        if good { Ok(Self(name.to_owned())) } else { Err(BadLineRef::Name(shown(name))) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LineRef {
    /// Reads what the program is given.
    pub fn parse(text: &str) -> Result<Self, BadLineRef> {
        let (name, socket) = match text.split_once('@') {
            None => (text, None),
            Some((name, socket)) => (name, Some(read_socket(socket)?)),
        };
        if let Some(label) = name.strip_prefix("use:") {
            return Ok(Self::Use { label: Label::parse(label)?, socket });
        }
        Ok(Self::Line { name: LineName::parse(name)?, socket })
    }
}

impl fmt::Display for LineRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Use { label, socket: None } => write!(f, "use:{label}"),
            Self::Use { label, socket: Some(socket) } => write!(f, "use:{label}@{}", encode(socket, b"/")),
            Self::Line { name, socket: None } => write!(f, "{name}"),
            Self::Line { name, socket: Some(socket) } => write!(f, "{name}@{}", encode(socket, b"/")),
        }
    }
}

fn read_socket(encoded: &str) -> Result<String, BadLineRef> {
    let bad = || BadLineRef::Socket(shown(encoded));
    decode(encoded).filter(|socket| is_socket(socket)).ok_or_else(bad)
}

fn is_socket(path: &str) -> bool {
    path.len() > 1 && path.starts_with('/') && !path.contains('\0')
}

/// Percent-encodes all but letters, digits, `-._~` and what is kept.
fn encode(text: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn shown(text: &str) -> String {
    text.escape_debug().take(300).collect()
}
