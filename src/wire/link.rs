//! The protocol between `muster connect` and the coordinator.
//!
//! Whole units travel: `u32` length (little endian, of what follows), `u8` kind, payload. A [`Unit::Output`] carries
//! one file descriptor beside it. The first unit each way is a versioned hello. What Nix's own messages look like
//! inside a unit is the worker protocol's business (`nix::ops`, at version 1.35 whatever the client speaks).
//!
//! | from `connect` | then from the coordinator |
//! |---|---|
//! | `Hello` | `Welcome` or `Refused` |
//! | `Request` | any `Log`s and `Output`s, then `Reply` or `Error`; for a NAR: `Data`... `End` |
//! | `Request` of an unknown operation | `Error`, or an empty `Reply` |
//! | then `Data`..., its fields | `Log`s, then `Error`, or `End` and `Data`..., its reply |
//! | `End`, when the client asks for the next thing | `End` |
//! | `Request` of an upload, `Data`..., `End` | as above; may come before the upload's end |
//!
//! Closing the connection withdraws what was asked.

use serde::{Deserialize, Serialize};

/// The version that this binary speaks best.
pub const VERSION: u32 = 1 + super::AHEAD;
/// The oldest version that it still serves.
pub const OLDEST: u32 = 1;
/// The longest unit, in bytes; a message of the worker protocol has 64 MiB at most.
pub const MAX_UNIT: usize = 65 << 20;
/// The longest [`Unit::Hello`], in bytes: who sends it is not known yet.
pub const MAX_HELLO: usize = 4 << 10;
/// The longest [`Unit::Data`] that is sent.
pub const DATA_CHUNK: usize = 256 << 10;
const HEADER: usize = 5;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The best version that the sender speaks.
    pub version: u32,
    /// The oldest version that the sender speaks.
    pub oldest: u32,
    /// The line that stock Nix chose; none when it was not named.
    pub line: Option<String>,
    /// The minor version of the worker protocol that was negotiated with the client.
    pub protocol_minor: u8,
    /// Whether stock Nix's build hook started us, as far as can be seen.
    pub build_hook: bool,
    /// Who started us, from the inside out.
    pub processes: Processes,
    /// The client's user, where that could be seen. An older `connect` does not look.
    #[serde(default)]
    pub user: Option<u32>,
}

/// The processes behind a connection, by id; 0 where one could not be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// `connect` itself.
    pub connect: u32,
    /// Its parent: stock Nix's build hook, or a shell that it used.
    pub hook: u32,
    /// The hook's parent: the process that builds (a daemon's worker, or the client itself).
    pub parent: u32,
    /// The client that the daemon's worker serves; `parent` where there is no daemon.
    pub client: u32,
}

/// The coordinator's answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both speak.
    pub version: u32,
}

/// One whole unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// The first from `connect`.
    Hello(Hello),
    /// The first from the coordinator.
    Welcome(Welcome),
    /// The coordinator will not serve this connection, and why.
    Refused(String),
    /// One operation of the worker protocol, without its upload.
    Request(Vec<u8>),
    /// A piece of an upload or of a NAR.
    Data(Vec<u8>),
    /// The end of an upload or of a NAR.
    End,
    /// One log message for the client.
    Log(Vec<u8>),
    /// A built output that `connect` shall hold: its path's record; the NAR is the descriptor beside it.
    Output(Vec<u8>),
    /// The whole reply to the request.
    Reply(Vec<u8>),
    /// The request's failure, in words for the client.
    Error(String),
}

/// Bytes that are no unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUnit {
    /// Its length is above what is allowed here, [`MAX_UNIT`] at most, or zero.
    #[error("a unit of {0} bytes is out of bounds")]
    Length(u32),
    /// Its kind is unknown.
    #[error("a unit of unknown kind {0}")]
    Kind(u8),
    /// Its payload is not what its kind promises.
    #[error("the payload of a {kind} unit is malformed: {why}")]
    Payload {
        /// The kind's name.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Unit {
    /// The unit's kind, as a word for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Unit::Hello(_) => "hello",
            Unit::Welcome(_) => "welcome",
            Unit::Refused(_) => "refused",
            Unit::Request(_) => "request",
            Unit::Data(_) => "data",
            Unit::End => "end",
            Unit::Log(_) => "log",
            Unit::Output(_) => "output",
            Unit::Reply(_) => "reply",
            Unit::Error(_) => "error",
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Unit::Hello(_) => 1,
            Unit::Welcome(_) => 2,
            Unit::Refused(_) => 3,
            Unit::Request(_) => 4,
            Unit::Data(_) => 5,
            Unit::End => 6,
            Unit::Log(_) => 7,
            Unit::Output(_) => 8,
            Unit::Reply(_) => 9,
            Unit::Error(_) => 10,
        }
    }

    /// The unit's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0, 0, 0, 0, self.kind()];
        match self {
            Unit::Hello(hello) => out.extend(to_json(hello)),
            Unit::Welcome(welcome) => out.extend(to_json(welcome)),
            Unit::Refused(text) | Unit::Error(text) => out.extend_from_slice(text.as_bytes()),
            Unit::Request(bytes)
            | Unit::Data(bytes)
            | Unit::Log(bytes)
            | Unit::Output(bytes)
            | Unit::Reply(bytes) => out.extend_from_slice(bytes),
            Unit::End => {}
        }
        let length = u32::try_from(out.len() - HEADER + 1).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out
    }

    /// Takes the first unit off `bytes`; none while it is not whole. Gives how many bytes it took.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Unit, usize)>, BadUnit> {
        Self::decode_within(bytes, MAX_UNIT)
    }

    /// The same for a unit of `most` bytes.
    pub fn decode_within(bytes: &[u8], most: usize) -> Result<Option<(Unit, usize)>, BadUnit> {
        let Some((header, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let claimed = u32::from_le_bytes(*header);
        let length = claimed as usize;
        if length == 0 || length > most {
            return Err(BadUnit::Length(claimed));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let unit = Self::from_parts(body[0], &body[1..])?;
        Ok(Some((unit, 4 + length)))
    }

    fn from_parts(kind: u8, payload: &[u8]) -> Result<Unit, BadUnit> {
        Ok(match kind {
            1 => Unit::Hello(from_json("hello", payload)?),
            2 => Unit::Welcome(from_json("welcome", payload)?),
            3 => Unit::Refused(text("refused", payload)?),
            4 => Unit::Request(payload.to_vec()),
            5 => Unit::Data(payload.to_vec()),
            6 if payload.is_empty() => Unit::End,
            6 => return Err(BadUnit::Payload { kind: "end", why: "it is not empty".to_owned() }),
            7 => Unit::Log(payload.to_vec()),
            8 => Unit::Output(payload.to_vec()),
            9 => Unit::Reply(payload.to_vec()),
            10 => Unit::Error(text("error", payload)?),
            other => return Err(BadUnit::Kind(other)),
        })
    }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if cfg!(feature = "next-protocol") {
        // As later versions will: with something that this one must overlook.
        value["later"] = true.into();
    }
    value.to_string().into_bytes()
}

fn from_json<'a, T: Deserialize<'a>>(kind: &'static str, payload: &'a [u8]) -> Result<T, BadUnit> {
    serde_json::from_slice(payload).map_err(|error| BadUnit::Payload { kind, why: error.to_string() })
}

fn text(kind: &'static str, payload: &[u8]) -> Result<String, BadUnit> {
    String::from_utf8(payload.to_vec())
        .map_err(|_| BadUnit::Payload { kind, why: "it is not UTF-8".to_owned() })
}

/// The version that both ends speak, or why there is none.
pub fn agree(peer: &Hello) -> Result<u32, String> {
    let version = peer.version.min(VERSION);
    if version >= OLDEST.max(peer.oldest) {
        return Ok(version);
    }
    Err(format!(
        "this coordinator speaks versions {OLDEST} to {VERSION} of the connect protocol, the client {} to {}; \
         install the same muster for both",
        peer.oldest, peer.version
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(oldest: u32, version: u32) -> Hello {
        let processes = Processes { connect: 4, hook: 3, parent: 2, client: 1 };
        Hello {
            version,
            oldest,
            line: Some("x86_64-linux".to_owned()),
            protocol_minor: 34,
            build_hook: true,
            processes,
            user: Some(1000),
        }
    }

    fn any_unit() -> impl Strategy<Value = Unit> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            Just(Unit::Hello(hello(1, 1))),
            Just(Unit::Welcome(Welcome { version: 1 })),
            ".*".prop_map(Unit::Refused),
            bytes().prop_map(Unit::Request),
            bytes().prop_map(Unit::Data),
            Just(Unit::End),
            bytes().prop_map(Unit::Log),
            bytes().prop_map(Unit::Output),
            bytes().prop_map(Unit::Reply),
            ".*".prop_map(Unit::Error),
        ]
    }

    proptest! {
        #[test]
        fn every_unit_survives_its_bytes_and_leaves_the_next_alone(unit in any_unit(), rest in any::<[u8; 3]>()) {
            let mut bytes = unit.encode();
            let length = bytes.len();
            bytes.extend(rest);
            prop_assert_eq!(Unit::decode(&bytes), Ok(Some((unit, length))));
        }

        #[test]
        fn a_part_of_a_unit_is_no_unit_yet(unit in any_unit(), cut in any::<prop::sample::Index>()) {
            let bytes = unit.encode();
            prop_assert_eq!(Unit::decode(&bytes[..cut.index(bytes.len())]), Ok(None));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Unit::decode(&bytes);
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_its_bytes_come() {
        assert_eq!(Unit::decode(&[0, 0, 0, 0]), Err(BadUnit::Length(0)));
        assert_eq!(Unit::decode(&u32::MAX.to_le_bytes()), Err(BadUnit::Length(u32::MAX)));
        let longest = Unit::Request(vec![0; MAX_HELLO - 1]).encode();
        assert!(matches!(Unit::decode_within(&longest, MAX_HELLO), Ok(Some(_))));
        assert_eq!(Unit::decode_within(&4097_u32.to_le_bytes(), MAX_HELLO), Err(BadUnit::Length(4097)));
    }

    #[test]
    fn the_best_version_that_both_speak_is_taken() {
        assert_eq!(agree(&hello(1, 1)), Ok(1));
        assert_eq!(agree(&hello(1, VERSION + 1)), Ok(VERSION));
        assert!(agree(&hello(VERSION + 1, VERSION + 1)).is_err());
    }
}
