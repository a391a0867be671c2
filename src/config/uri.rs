//! How a builder, and the local store, are reached: texts that the user writes, as types.

pub(super) mod ssh;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub use ssh::{SshScheme, SshUri};

/// How a builder is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuilderUri {
    /// An embedded builder: a `nix-daemon --stdio` of our own over a store in a directory of this machine.
    Process {
        /// The root that the builder's store lies under; absolute.
        root: PathBuf,
        /// The nix-daemon to start; none = the one of the configuration.
        program: Option<PathBuf>,
    },
    /// A machine that ssh reaches.
    Ssh(SshUri),
}

/// Why a text is no builder's URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBuilderUri {
    /// A scheme that there is not.
    #[error(
        "'{0}' has no scheme that muster knows; write HOST, USER@HOST, ssh-ng://USER@HOST or process:/absolute/root"
    )]
    Scheme(String),
    /// One part makes no sense.
    #[error("'{part}' of '{uri}' {why}")]
    Part {
        /// The URI.
        uri: String,
        /// The part that is wrong.
        part: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl BadBuilderUri {
    fn part(uri: &str, part: &str, why: &'static str) -> Self {
        Self::Part { uri: clip(uri), part: clip(part), why }
    }
}

impl BuilderUri {
    /// Reads `process:/absolute/root`, with `?program=/absolute/path` where one is wanted, or what ssh reaches:
    /// `[ssh://|ssh-ng://][USER@]HOST[:PORT]`, with the parameters that Nix knows. All is percent-encoded.
    pub fn parse(uri: &str) -> Result<Self, BadBuilderUri> {
        match uri.strip_prefix("process:") {
            Some(rest) => Self::parse_process(uri, rest),
            None => SshUri::parse(uri).map(Self::Ssh),
        }
    }

    fn parse_process(uri: &str, rest: &str) -> Result<Self, BadBuilderUri> {
        let (root, query) = rest.split_once('?').map_or((rest, None), |(root, query)| (root, Some(query)));
        let bad = |part: &str, why| BadBuilderUri::part(uri, part, why);
        let path = |text: &str| absolute(text).map_err(|why| bad(text, why));
        let root = path(root)?;
        let mut program = None;
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            match pair.split_once('=') {
                Some(("program", value)) if program.is_none() => program = Some(path(value)?),
                _ => return Err(bad(pair, "is not understood: only one program=PATH may follow the '?'")),
            }
        }
        Ok(Self::Process { root, program })
    }

    /// The name that a builder has where the user gave it none.
    pub fn default_name(&self) -> &str {
        match self {
            Self::Process { root, .. } => root.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Self::Ssh(uri) => &uri.host,
        }
    }
}

impl fmt::Display for BuilderUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, program) = match self {
            Self::Process { root, program } => (root, program),
            Self::Ssh(uri) => return uri.fmt(f),
        };
        write!(f, "process:{}", Encoded(root))?;
        program.as_ref().map_or(Ok(()), |program| write!(f, "?program={}", Encoded(program)))
    }
}

/// The store of the machine that muster runs on: where inputs come from and outputs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalStore {
    /// The daemon's socket if there is one, else the store itself.
    Auto,
    /// The daemon's socket at its usual place.
    Daemon,
    /// A daemon's socket elsewhere; absolute.
    Socket(PathBuf),
    /// A store that `nix-daemon --stdio --store URI` serves, such as `local?root=/srv/x`.
    Uri(String),
}

/// A text that names no local store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no local store: write auto, daemon, unix:///path/of/a/socket, local, or local?root=/srv/x")]
pub struct BadLocalStore(String);

impl LocalStore {
    /// Reads `auto`, `daemon`, `unix:///path` or a `local` store's URI.
    pub fn parse(text: &str) -> Result<Self, BadLocalStore> {
        let bad = || BadLocalStore(clip(text));
        match text {
            "auto" => Ok(Self::Auto),
            "daemon" => Ok(Self::Daemon),
            "local" => Ok(Self::Uri(text.to_owned())),
            _ if text.bytes().any(|byte| !byte.is_ascii_graphic()) => Err(bad()),
            _ => match text.strip_prefix("unix://") {
                Some(path) => absolute(path).map(Self::Socket).map_err(|_| bad()),
                None if text.starts_with("local?") => Ok(Self::Uri(text.to_owned())),
                None => Err(bad()),
            },
        }
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Daemon => f.write_str("daemon"),
            Self::Socket(path) => write!(f, "unix://{}", Encoded(path)),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

/// A percent-encoded absolute path.
fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let bytes = decode(text).ok_or("has a '%' without two hexadecimal digits after it")?;
    if bytes.contains(&0) {
        return Err("has a zero byte");
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    if path.is_absolute() { Ok(path) } else { Err("is not an absolute path") }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()?.first().copied()?);
        rest = tail;
    }
    Some(bytes)
}

/// A path as [`absolute`] reads it.
struct Encoded<'a>(&'a Path);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.as_os_str().as_bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"/._-~+=@:".contains(&byte);
            if plain { write!(f, "{}", char::from(byte))? } else { write!(f, "%{byte:02x}")? }
        }
        Ok(())
    }
}

fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(root: &str, program: Option<&str>) -> BuilderUri {
        BuilderUri::Process { root: root.into(), program: program.map(PathBuf::from) }
    }

    #[test]
    fn a_process_builder_is_a_root_and_perhaps_a_program() {
        let check = |uri: &str, expected| assert_eq!(BuilderUri::parse(uri), Ok(expected));
        check("process:/srv/b1", process("/srv/b1", None));
        check("process:/srv/b%201?program=/opt/nix%2d2/bin/nix-daemon", {
            process("/srv/b 1", Some("/opt/nix-2/bin/nix-daemon"))
        });
    }

    #[test]
    fn a_wrong_uri_is_refused_with_the_part_that_is_wrong() {
        let check = |uri: &str, part: &str| {
            let error = BuilderUri::parse(uri).expect_err(uri).to_string();
            assert!(error.contains(part), "{error}");
        };
        check("https://host", "write HOST, ");
        check("process2:/a", "'/a' of");
        check("process:relative", "'relative' of");
        check("process:", "is not an absolute path");
        check("process:/a%zz", "two hexadecimal digits");
        check("process:/a%2", "two hexadecimal digits");
        check("process:/a%00", "zero byte");
        check("process:/a?programm=/b", "'programm=/b'");
        check("process:/a?program=/b&program=/c", "'program=/c'");
        check("process:/a?program=b", "'b' of");
    }

    #[test]
    fn local_stores_are_words_sockets_and_local_uris() {
        for text in ["auto", "daemon", "unix:///run/x.sock", "local", "local?root=/srv/x"] {
            assert_eq!(LocalStore::parse(text).map(|store| store.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "ssh://host", "unix://x", "https://cache", "local?root=/a b", "localhost", "--help"]
        {
            assert!(LocalStore::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_path_survives_its_uri(root in "/\\PC{0,40}", program in proptest::option::of("/\\PC{0,40}")) {
            let uri = process(&root, program.as_deref());
            prop_assert_eq!(BuilderUri::parse(&uri.to_string()), Ok(uri));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "(process:|unix://)?.{0,80}") {
            let _ = BuilderUri::parse(&text);
            let _ = LocalStore::parse(&text);
        }
    }
}
