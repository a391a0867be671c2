//! What a client says to an ssh master at its control socket, and what the master answers.
//!
//! OpenSSH's `PROTOCOL.mux`, version 4: packets of a length and big-endian fields. Here are the few that are needed:
//! a session that runs a command, and a stream to a Unix socket there. Speaking to the master itself
//! instead of through another `ssh` has one great merit: a master that is gone is an error, while `ssh` would silently
//! open a connection of its own.

/// The longest answer that is read; a master's are a few dozen bytes.
pub const LONGEST_ANSWER: usize = 16 << 10;

const VERSION: u32 = 4;
const HELLO: u32 = 1;
const NEW_SESSION: u32 = 0x1000_0002;
const NEW_STDIO_FORWARD: u32 = 0x1000_0008;
const OK: u32 = 0x8000_0001;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;
const TTY_FAILED: u32 = 0x8000_0008;

/// Stands for a port where a path is meant.
const UNIX_SOCKET: u32 = -2_i32 as u32;
const NO_ESCAPE: u32 = u32::MAX;
/// One request travels over each connection to a master.
const REQUEST: u32 = 1;

/// What a master may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Run a command. Three descriptors follow: its standard input, output and error.
    Session {
        /// For the login shell over there.
        command: &'a str,
    },
    /// Connect to a Unix socket there. Two descriptors follow: where its input comes from, and where its output goes.
    Stream {
        /// Its path.
        socket: &'a str,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its greeting, with the version that it speaks.
    Hello(u32),
    /// Done.
    Ok,
    /// The session runs, or the stream is connected.
    SessionOpened,
    /// The session's command ended, with this code.
    Exited(u32),
    /// It would not, or could not.
    Refused(String),
    /// Something that nothing here depends on.
    Other(u32),
}

/// Why an answer makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It ends in the middle of a field.
    #[error("its answer ends too early")]
    Short,
    /// It is larger than any that makes sense.
    #[error("its answer claims to have {0} bytes")]
    Long(usize),
}

/// Our greeting and one request, ready to be sent.
pub fn request(ask: Ask<'_>) -> Vec<u8> {
    let mut bytes = packet(|fields| fields.number(HELLO).number(VERSION));
    bytes.extend(match ask {
        Ask::Session { command } => packet(|fields| {
            let fields = fields.number(NEW_SESSION).number(REQUEST).text("");
            // No terminal, no X11, no agent, no subsystem.
            fields.number(0).number(0).number(0).number(0).number(NO_ESCAPE).text("").text(command)
        }),
        Ask::Stream { socket } => packet(|fields| {
            fields.number(NEW_STDIO_FORWARD).number(REQUEST).text("").text(socket).number(UNIX_SOCKET)
        }),
    });
    bytes
}

/// Whether a master of this version, in the words of `ssh -V`, understands [`Ask::Stream`]. Before 9.4 it took the path for
/// a host's name.
pub fn can_stream(version: &str) -> bool {
    let numbers = version.trim_start().strip_prefix("OpenSSH_").unwrap_or_default();
    let mut numbers =
        numbers.split(|c: char| !c.is_ascii_digit()).map_while(|digits| digits.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(9), Some(4))
}

/// How many bytes follow the four that are given.
pub fn length(head: [u8; 4]) -> Result<usize, BadAnswer> {
    let length = u32::from_be_bytes(head) as usize;
    if length <= LONGEST_ANSWER { Ok(length) } else { Err(BadAnswer::Long(length)) }
}

/// Reads what follows the length.
pub fn answer(body: &[u8]) -> Result<Answer, BadAnswer> {
    let (kind, rest) = number(body)?;
    match kind {
        HELLO => Ok(Answer::Hello(number(rest)?.0)),
        OK => Ok(Answer::Ok),
        SESSION_OPENED => Ok(Answer::SessionOpened),
        EXIT_MESSAGE => Ok(Answer::Exited(number(number(rest)?.1)?.0)),
        PERMISSION_DENIED | FAILURE => Ok(Answer::Refused(text(number(rest)?.1)?)),
        TTY_FAILED => Ok(Answer::Other(kind)),
        other => Ok(Answer::Other(other)),
    }
}

#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend(length_of(text.as_bytes()));
        self.0.extend(text.as_bytes());
        self
    }
}

fn packet(fill: impl FnOnce(Fields) -> Fields) -> Vec<u8> {
    let body = fill(Fields::default()).0;
    [&length_of(&body)[..], &body].concat()
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), BadAnswer> {
    let (head, rest) = bytes.split_first_chunk().ok_or(BadAnswer::Short)?;
    Ok((u32::from_be_bytes(*head), rest))
}

fn text(bytes: &[u8]) -> Result<String, BadAnswer> {
    let (length, rest) = number(bytes)?;
    let text = rest.get(..length as usize).ok_or(BadAnswer::Short)?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_session_is_asked_for_as_the_protocol_says() {
        let bytes = request(Ask::Session { command: "id" });
        let expected = "00000008 00000001 00000004 \
             0000002e 10000002 00000001 00000000 00000000 00000000 00000000 00000000 ffffffff 00000000 00000002 6964";
        assert_eq!(hex(&bytes), expected.replace(' ', "").replace("0000002e", "0000002a"));
    }

    #[test]
    fn a_stream_names_the_socket() {
        let bytes = request(Ask::Stream { socket: "/b" });
        let expected = "00000008000000010000000400000016100000080000000100000000000000022f62fffffffe";
        assert_eq!(hex(&bytes), expected);
    }

    #[test]
    fn answers_are_understood() {
        let check = |fields: Fields, expected| assert_eq!(answer(&fields.0), expected);
        check(Fields::default().number(1).number(4), Ok(Answer::Hello(4)));
        check(Fields::default().number(0x8000_0001).number(1), Ok(Answer::Ok));
        check(Fields::default().number(0x8000_0006).number(1).number(7), Ok(Answer::SessionOpened));
        check(Fields::default().number(0x8000_0004).number(7).number(127), Ok(Answer::Exited(127)));
        check(Fields::default().number(0x8000_0003).number(1).text("no"), Ok(Answer::Refused("no".into())));
        check(Fields::default().number(0x8000_0003).number(1).number(9), Err(BadAnswer::Short));
        check(Fields::default(), Err(BadAnswer::Short));
        assert_eq!(length([1, 0, 0, 0]), Err(BadAnswer::Long(1 << 24)));
    }

    #[test]
    fn streams_to_sockets_take_openssh_9_4() {
        for version in ["OpenSSH_9.4p1, OpenSSL 3", "OpenSSH_10.0p2 Debian-7\n", "OpenSSH_9.10"] {
            assert!(can_stream(version), "{version}");
        }
        for version in
            ["OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.22", "OpenSSH_8.9", "OpenSSH_", "Sun_SSH_9.9", ""]
        {
            assert!(!can_stream(version), "{version}");
        }
    }

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&bytes);
        }
    }
}
