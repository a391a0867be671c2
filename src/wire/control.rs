//! What `muster status` and its like say to the coordinator, and what they hear: JSON, one message a line.
//!
//! Both ends begin with `{"muster":"control","version":3}`; the lower version is spoken. Version 1 knew `status`
//! alone, version 2 no `report`. Then the client says `{"request":"status"}` and the like, and hears one reply to each, in order: `{"reply":"status","status":…}` or
//! `{"reply":"error","message":"…"}`. A line that is too long or no request ends the connection or is answered with
//! an error; nothing that a peer sends can make the other end hold more than one line.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::lines::{LineError, clip, line, read_line};
use crate::policy::{Explanation, Report, Snapshot};

/// The version that this program speaks.
pub const VERSION: u32 = 3 + super::AHEAD;

/// A hello is never longer, in bytes, its end of line included.
pub const MAX_HELLO: usize = 4 * 1024;

/// A request is never longer: room for some 100 names.
pub const MAX_REQUEST: usize = 64 * 1024;

/// A reply is never longer: room for some 100,000 builds.
pub const MAX_REPLY: usize = 64 * 1024 * 1024;

/// What a client wants to know, or to have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// The whole state.
    Status,
    /// What is known of one build or builder.
    Why {
        /// A builder's name, or a derivation's path or a prefix of it.
        name: String,
    },
    /// What was done since the start.
    Report,
    /// Nothing new shall start on these builders.
    Drain {
        /// Their names.
        builders: Vec<String>,
    },
    /// These builders take builds again.
    Undrain {
        /// Their names.
        builders: Vec<String>,
    },
    /// These builds shall end, whoever wants them.
    Cancel {
        /// Derivations' paths or prefixes of them.
        builds: Vec<String>,
    },
    /// The coordinator shall end for good.
    Stop {
        /// Without waiting for what runs.
        now: bool,
    },
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The whole state.
    Status {
        /// The picture of it.
        status: Snapshot,
    },
    /// What is known of one build or builder.
    Why {
        /// All of it.
        why: Explanation,
    },
    /// What was done since the start.
    Report {
        /// All of it.
        report: Report,
    },
    /// It is done.
    Done {
        /// What, in words.
        said: String,
    },
    /// It will end, and the connection with it.
    Stopping {
        /// Its process.
        pid: u32,
        /// How many builds run that it waits for.
        running: usize,
    },
    /// The caller may not have that done.
    Forbidden {
        /// Who may.
        message: String,
    },
    /// The request cannot be met.
    Error {
        /// Why.
        message: String,
    },
}

/// Why a message cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// The first line is something else.
    #[error("the first line is no hello of muster's control protocol: {0:?}")]
    Hello(String),
    /// A version before the first.
    #[error("version {0} of the control protocol does not exist")]
    Version(u32),
    /// A well-formed request that this version does not know.
    #[error("unknown request '{0}'; known: {known}", known = WORDS.join(", "))]
    Unknown(String),
    /// Something else than a request.
    #[error("{0:?} is no request: {1}")]
    Request(String, serde_json::Error),
    /// Something else than a reply.
    #[error("the reply is not understood: {0}")]
    Reply(serde_json::Error),
}

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer closed it before its message was complete.
    #[error("the connection was closed in the middle of the conversation")]
    Closed,
    /// The peer's line is longer than any message.
    #[error("a line has more than {0} bytes")]
    TooLong(usize),
    /// The peer speaks something else.
    #[error(transparent)]
    Message(#[from] BadMessage),
    /// The coordinator is older than we are.
    #[error(
        "the coordinator speaks version {0} of the control protocol, which knows nothing of this: restart it with this muster"
    )]
    Older(u32),
    /// The caller may not have that done.
    #[error("{0}")]
    Forbidden(String),
    /// The coordinator refused the request.
    #[error("the coordinator answered: {0}")]
    Refused(String),
}

impl From<LineError> for ControlError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Io(error) => Self::Io(error),
            LineError::Closed => Self::Closed,
            LineError::TooLong(most) => Self::TooLong(most),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Hello {
    muster: String,
    version: u32,
}

/// The requests that there are.
const WORDS: [&str; 7] = ["status", "why", "report", "drain", "undrain", "cancel", "stop"];

#[derive(Serialize, Deserialize)]
struct Named {
    request: String,
}

/// The first line of either end.
pub fn encode_hello() -> Vec<u8> {
    line(&Hello { muster: "control".to_owned(), version: VERSION })
}

/// The version to be spoken with whoever sent this first line.
pub fn decode_hello(line: &[u8]) -> Result<u32, BadMessage> {
    let hello = serde_json::from_slice::<Hello>(line).ok().filter(|hello| hello.muster == "control");
    match hello.ok_or_else(|| BadMessage::Hello(clip(line)))?.version {
        0 => Err(BadMessage::Version(0)),
        theirs => Ok(theirs.min(VERSION)),
    }
}

impl Request {
    /// The line that says it.
    pub fn encode(&self) -> Vec<u8> {
        line(self)
    }

    /// Whether it changes nothing: anybody may ask it.
    pub fn only_reads(&self) -> bool {
        matches!(self, Self::Status | Self::Why { .. } | Self::Report)
    }

    /// Reads a line.
    pub fn decode(line: &[u8]) -> Result<Self, BadMessage> {
        let named: Named =
            serde_json::from_slice(line).map_err(|error| BadMessage::Request(clip(line), error))?;
        if !WORDS.contains(&named.request.as_str()) {
            return Err(BadMessage::Unknown(clip(named.request.as_bytes())));
        }
        serde_json::from_slice(line).map_err(|error| BadMessage::Request(clip(line), error))
    }

    /// The first version that knows it.
    fn since(&self) -> u32 {
        match self {
            Self::Status => 1,
            Self::Report => 3,
            Self::Why { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Cancel { .. }
            | Self::Stop { .. } => 2,
        }
    }
}

impl Reply {
    /// The line that says it.
    pub fn encode(&self) -> Vec<u8> {
        line(self)
    }

    /// Reads a line.
    pub fn decode(line: &[u8]) -> Result<Self, BadMessage> {
        serde_json::from_slice(line).map_err(BadMessage::Reply)
    }
}

/// The coordinator's end of one connection, step by step: its caller limits how long each may take.
pub struct Conversation<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Exchanges hellos; none where the client closes without one.
    pub async fn open(stream: S) -> Result<Option<Self>, ControlError> {
        let mut stream = BufReader::new(stream);
        stream.write_all(&encode_hello()).await?;
        stream.flush().await?;
        let Some(hello) = read_line(&mut stream, MAX_HELLO).await? else { return Ok(None) };
        decode_hello(&hello)?;
        Ok(Some(Self { stream }))
    }

    /// The next request, or what else came in its place; none where the client has closed.
    pub async fn request(&mut self) -> Result<Option<Result<Request, BadMessage>>, ControlError> {
        let line = read_line(&mut self.stream, MAX_REQUEST).await?;
        Ok(line.map(|line| Request::decode(&line)))
    }

    /// Answers it.
    pub async fn reply(&mut self, reply: &Reply) -> Result<(), ControlError> {
        self.stream.write_all(&reply.encode()).await?;
        Ok(self.stream.flush().await?)
    }
}

/// The client's end of one connection.
pub struct Caller<S> {
    stream: BufReader<S>,
    /// What is spoken; none before the coordinator's hello.
    version: Option<u32>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Caller<S> {
    /// Nothing is said yet.
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), version: None }
    }

    /// Says a request, and hears the answer to it.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, ControlError> {
        let hello = if self.version.is_none() { encode_hello() } else { Vec::new() };
        self.stream.write_all(&[hello, request.encode()].concat()).await?;
        self.stream.flush().await?;
        let version = match self.version {
            Some(version) => version,
            None => {
                decode_hello(&read_line(&mut self.stream, MAX_HELLO).await?.ok_or(ControlError::Closed)?)?
            }
        };
        self.version = Some(version);
        if version < request.since() {
            return Err(ControlError::Older(version));
        }
        let reply = read_line(&mut self.stream, MAX_REPLY).await?.ok_or(ControlError::Closed)?;
        match Reply::decode(&reply)? {
            Reply::Error { message } => Err(ControlError::Refused(message)),
            Reply::Forbidden { message } => Err(ControlError::Forbidden(message)),
            reply => Ok(reply),
        }
    }
}

/// Asks for the state once.
pub async fn ask_status<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<Snapshot, ControlError> {
    match Caller::new(stream).ask(&Request::Status).await? {
        Reply::Status { status } => Ok(status),
        _ => Err(ControlError::Refused("something else than the state".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::policy::snapshot::Totals;

    fn snapshot() -> Snapshot {
        let builder = serde_json::json!({
            "name": "b1", "health": "down", "reason": "two\nlines", "retry_in_ms": 8000, "systems": ["x86_64-linux"],
            "features": ["kvm"], "mandatory": [], "slots": 4, "busy": 0, "speed_factor": 1.5, "trust": "trusted",
            "nix_version": "2.34.8", "built": 7, "lost": 1
        });
        let builder = serde_json::from_value(builder).expect("a builder");
        Snapshot {
            schema: 1,
            builders: vec![builder],
            builds: vec![],
            totals: Totals::default(),
            absent: vec![],
            passed_over: [].into(),
        }
    }

    /// Without limits of time.
    async fn serve(stream: tokio::io::DuplexStream, reply: Reply) -> Result<(), ControlError> {
        let Some(mut conversation) = Conversation::open(stream).await? else { return Ok(()) };
        while let Some(request) = conversation.request().await? {
            let reply =
                request.map_or_else(|error| Reply::Error { message: error.to_string() }, |_| reply.clone());
            conversation.reply(&reply).await?;
        }
        Ok(())
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn a_client_hears_the_state() {
        let (client, server) = duplex(64);
        let answer = Reply::Status { status: snapshot() };
        let (asked, served) = run(async { tokio::join!(ask_status(client), serve(server, answer)) });
        assert_eq!(asked.expect("an answer"), snapshot());
        served.expect("a clean end");
    }

    /// What the server says to these bytes, its hello left out, and how it ends.
    fn hears(bytes: &[u8]) -> (String, Result<(), ControlError>) {
        let (mut client, server) = duplex(1 << 20);
        let answer = Reply::Error { message: "served".to_owned() };
        let served = run(async {
            client.write_all(bytes).await.expect("room");
            client.shutdown().await.expect("closed");
            serve(server, answer).await
        });
        let mut said = String::new();
        run(client.read_to_string(&mut said)).expect("text");
        let hello = String::from_utf8(encode_hello()).expect("text");
        (said.strip_prefix(&hello).expect("a hello first").to_owned(), served)
    }

    #[test]
    fn an_unknown_request_is_answered_and_the_next_one_served() {
        let bytes =
            [encode_hello(), b"{\"request\":\"explode\"}\nnonsense\n".to_vec(), Request::Status.encode()];
        let (said, end) = hears(&bytes.concat());
        let said: Vec<_> = said.lines().collect();
        assert_eq!(
            said[0],
            r#"{"reply":"error","message":"unknown request 'explode'; known: status, why, report, drain, undrain, cancel, stop"}"#
        );
        assert!(said[1].contains("is no request"), "{}", said[1]);
        assert_eq!(said[2], r#"{"reply":"error","message":"served"}"#);
        end.expect("a clean end");
    }

    #[test]
    fn another_protocol_a_flood_and_a_torn_line_end_the_connection() {
        let check = |bytes: &[u8], expected: &str| {
            let (said, end) = hears(bytes);
            assert_eq!((said.as_str(), end.expect_err("an error").to_string().as_str()), ("", expected));
        };
        check(
            b"GET / HTTP/1.1\n",
            "the first line is no hello of muster's control protocol: \"GET / HTTP/1.1\"",
        );
        check(
            b"{\"muster\":\"control\",\"version\":0}\n",
            "version 0 of the control protocol does not exist",
        );
        check(&[b'x'; 10_000], "a line has more than 4096 bytes");
        check(b"{\"muster\"", "the connection was closed in the middle of the conversation");
    }

    #[test]
    fn a_later_version_is_spoken_to_in_ours() {
        let hello = br#"{"muster":"control","version":9,"later":true}"#;
        assert_eq!(decode_hello(hello).ok(), Some(VERSION));
        assert_eq!(encode_hello(), b"{\"muster\":\"control\",\"version\":3}\n");
    }

    #[test]
    fn every_message_is_one_line() {
        let reply = Reply::Status { status: snapshot() };
        let line = reply.encode();
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(Reply::decode(&line).expect("a reply"), reply);
        assert_eq!(Request::decode(&Request::Status.encode()).ok(), Some(Request::Status));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_decoders(at in 0..600_usize, with in any::<Vec<u8>>(), cut in 0..40_usize) {
            let good = [encode_hello(), Request::Status.encode(), Reply::Status { status: snapshot() }.encode()];
            for mut line in good {
                let at = at.min(line.len());
                let end = (at + cut).min(line.len());
                line.splice(at..end, with.iter().copied());
                let _ = (decode_hello(&line), Request::decode(&line), Reply::decode(&line));
            }
        }
    }
}
