//! What a builder's agent and those who join it say: JSON, one message a line.
//!
//! Both ends begin with `{"muster":"agent","version":1}`; the lower version is spoken. Before it, the session that joins an
//! ssh login to the agent says where that login comes from. A coordinator's session then
//! claims, and says so again at least every ten seconds; the agent tells what it grants, and every three seconds how busy
//! the machine is. A person's command asks one thing. Nothing that a peer sends can make the other end hold more than one
//! line.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

use super::lines::{LineError, clip, line, read_line};
use crate::domain::{CoordinatorId, Demand, Load};

/// The version that this program speaks.
pub const VERSION: u32 = 1 + super::AHEAD;
/// A line is never longer.
pub const MAX_LINE: usize = 64 << 10;
/// A name in a claim is never longer.
const MAX_NAME: usize = 128;

/// What is said to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// A claim, or its renewal.
    Claim {
        /// Who claims.
        coordinator: CoordinatorId,
        /// Its name, for people.
        name: String,
        /// What it does here and would like to.
        #[serde(flatten)]
        demand: Demand,
        /// The slots that it takes for granted.
        granted: u32,
    },
    /// The claim is given back.
    GiveBack,
    /// What the agent knows.
    Status,
    /// Nothing new shall start here.
    Drain,
    /// It may again.
    Undrain,
    /// The agent shall end.
    Release,
}

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "kebab-case")]
pub enum Tell {
    /// What the claim comes to.
    Granted {
        /// Builds at once.
        slots: u32,
        /// The same, of all coordinators together, as the agent was told or has learned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bears: Option<u32>,
        /// Whether somebody else has a claim as well: then it wants to hear of each change.
        shared: bool,
        /// Milliseconds within which the claim must be renewed.
        lease_ms: u64,
    },
    /// A sign of life.
    Beat {
        /// How busy the machine is.
        load: Load,
        /// Who wants nothing new to start here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed: Option<String>,
    },
    /// The claim is given back.
    GivenBack,
    /// The agent ends, and why.
    Leaving {
        /// In words.
        why: String,
    },
    /// What the agent knows.
    Status {
        /// The picture of it.
        status: Status,
    },
    /// It is done.
    Done {
        /// What, in words.
        said: String,
    },
    /// It may not be, or cannot.
    Refused {
        /// Why.
        why: String,
    },
}

/// What an agent knows. `muster builder status --json` prints it as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The layout of this document; 1.
    pub schema: u32,
    /// Builds at once.
    pub slots: u32,
    /// The same before the agent learned what the machine bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_slots: Option<u32>,
    /// Whether its release command runs when it is given back.
    pub ephemeral: bool,
    /// Who wants nothing new to start here.
    pub closed: Option<String>,
    /// How busy the machine is.
    pub load: Load,
    /// Who holds claims.
    pub claims: Vec<ClaimRow>,
    /// Milliseconds since the agent began.
    pub age_ms: u64,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimRow {
    /// The coordinator's name.
    pub coordinator: String,
    /// Builds at once.
    pub granted: u32,
    /// Builds that run.
    pub running: u32,
    /// Builds that could.
    pub wanted: u32,
    /// Milliseconds until the claim lapses unless it is renewed.
    pub lasts_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    muster: String,
    version: u32,
}

/// Said by `muster builder session` before the hello of the coordinator that it joins to the agent.
#[derive(Serialize, Deserialize)]
struct Origin {
    muster: String,
    from: IpAddr,
}

/// The line that says where the ssh login behind a session comes from. Only the first line of a connection may.
pub fn origin(from: IpAddr) -> Vec<u8> {
    line(&Origin { muster: "origin".to_owned(), from })
}

fn read_origin(text: &[u8]) -> Option<IpAddr> {
    let origin = serde_json::from_slice::<Origin>(text).ok()?;
    (origin.muster == "origin").then_some(origin.from)
}

/// Why a conversation with an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The connection broke, or a line was too long.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The first line is something else.
    #[error("the first line is no hello of muster's agent protocol: {0:?}")]
    Hello(String),
    /// A version before the first.
    #[error("version {0} of the agent protocol does not exist")]
    Version(u32),
    /// Something else than a message.
    #[error("{0:?} is no message of the agent protocol: {1}")]
    Message(String, serde_json::Error),
    /// A name that breaks a line or fills a screen.
    #[error("the name in a claim has more than {MAX_NAME} bytes, or control characters")]
    Name,
}

impl From<std::io::Error> for AgentError {
    fn from(error: std::io::Error) -> Self {
        Self::Line(error.into())
    }
}

/// Who is at the other end of a connection to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// What is spoken.
    pub version: u32,
    /// Where its ssh login comes from, where it says so.
    pub from: Option<IpAddr>,
}

fn hello() -> Vec<u8> {
    line(&Hello { muster: "agent".to_owned(), version: VERSION })
}

fn read_hello(text: &[u8], from: Option<IpAddr>) -> Result<Peer, AgentError> {
    let said = serde_json::from_slice::<Hello>(text).ok().filter(|hello| hello.muster == "agent");
    match said.ok_or_else(|| AgentError::Hello(clip(text)))? {
        Hello { version: 0, .. } => Err(AgentError::Version(0)),
        Hello { version, .. } => Ok(Peer { version: version.min(VERSION), from }),
    }
}

impl Ask {
    /// Reads a line.
    pub fn decode(text: &[u8]) -> Result<Self, AgentError> {
        let ask = serde_json::from_slice(text).map_err(|error| AgentError::Message(clip(text), error))?;
        match &ask {
            Self::Claim { name, .. } if name.len() > MAX_NAME || name.contains(char::is_control) => {
                Err(AgentError::Name)
            }
            _ => Ok(ask),
        }
    }
}

impl Tell {
    /// Reads a line. What a machine cannot be is left out of its load.
    pub fn decode(text: &[u8]) -> Result<Self, AgentError> {
        match serde_json::from_slice(text).map_err(|error| AgentError::Message(clip(text), error))? {
            Self::Beat { load, closed } => Ok(Self::Beat { load: load.sane(), closed }),
            other => Ok(other),
        }
    }
}

/// The receiving half of a conversation.
pub struct Receiver<S>(BufReader<ReadHalf<S>>);

/// The sending half of a conversation.
pub struct Sender<S>(WriteHalf<S>);

/// Exchanges hellos. Whoever reads the other's may close the connection, but never waits for it to write its own.
pub async fn open<S: AsyncRead + AsyncWrite>(
    stream: S,
) -> Result<(Peer, Receiver<S>, Sender<S>), AgentError> {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    write.write_all(&hello()).await?;
    write.flush().await?;
    let mut said = read_line(&mut read, MAX_LINE).await?.ok_or(LineError::Closed)?;
    let from = read_origin(&said);
    if from.is_some() {
        said = read_line(&mut read, MAX_LINE).await?.ok_or(LineError::Closed)?;
    }
    Ok((read_hello(&said, from)?, Receiver(read), Sender(write)))
}

impl<S: AsyncRead> Receiver<S> {
    /// The next message to an agent; none at the end. May not be dropped half-way.
    pub async fn ask(&mut self) -> Result<Option<Ask>, AgentError> {
        let line = read_line(&mut self.0, MAX_LINE).await?;
        line.map(|line| Ask::decode(&line)).transpose()
    }

    /// The next message of an agent; none at the end. May not be dropped half-way.
    pub async fn tell(&mut self) -> Result<Option<Tell>, AgentError> {
        let line = read_line(&mut self.0, MAX_LINE).await?;
        line.map(|line| Tell::decode(&line)).transpose()
    }
}

impl<S: AsyncWrite> Sender<S> {
    /// Says something to an agent.
    pub async fn ask(&mut self, ask: &Ask) -> Result<(), AgentError> {
        self.say(&line(ask)).await
    }

    /// Says something as an agent.
    pub async fn tell(&mut self, tell: &Tell) -> Result<(), AgentError> {
        self.say(&line(tell)).await
    }

    async fn say(&mut self, line: &[u8]) -> Result<(), AgentError> {
        self.0.write_all(line).await?;
        Ok(self.0.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    fn claim() -> Ask {
        Ask::Claim {
            coordinator: CoordinatorId::parse("0123456789abcdef").expect("an id"),
            name: "desk".to_owned(),
            demand: Demand { running: 1, wanted: 3, capacity: 4 },
            granted: 2,
        }
    }

    #[test]
    fn messages_are_single_lines_with_the_documented_words() {
        let text = String::from_utf8(line(&claim())).expect("text");
        assert_eq!(
            text,
            "{\"ask\":\"claim\",\"coordinator\":\"0123456789abcdef\",\"name\":\"desk\",\"running\":1,\"wanted\":3,\"capacity\":4,\"granted\":2}\n"
        );
        assert_eq!(Ask::decode(text.as_bytes()).ok(), Some(claim()));
        let beat = Tell::Beat { load: Load { cpu: Some(1.5), ..Load::default() }, closed: None };
        assert_eq!(Tell::decode(&line(&beat)).ok(), Some(beat));
    }

    #[test]
    fn what_breaks_a_line_or_is_no_id_is_refused_by_name() {
        let check = |text: &str, expected: &str| {
            let error = Ask::decode(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(r#"{"ask":"explode"}"#, "unknown variant `explode`");
        check(
            r#"{"ask":"claim","coordinator":"x","name":"","running":0,"wanted":0,"capacity":1,"granted":0}"#,
            "no coordinator's id",
        );
        let named = |name: &str| {
            format!(
                r#"{{"ask":"claim","coordinator":"0123456789","name":"{name}","running":0,"wanted":0,"capacity":1,"granted":0}}"#
            )
        };
        check(&named(r"a\nb"), "control characters");
        check(&named(&"x".repeat(129)), "128 bytes");
        check(
            r#"{"ask":"claim","coordinator":"0123456789","name":"a","running":-1,"wanted":0,"capacity":1,"granted":0}"#,
            "invalid value",
        );
    }

    #[test]
    fn a_load_that_no_machine_has_is_left_out() {
        let told = Tell::decode(br#"{"tell":"beat","load":{"cpu":1e30,"io":3.5,"later":1},"more":[]}"#);
        let expected = Tell::Beat { load: Load { io: Some(3.5), ..Load::default() }, closed: None };
        assert_eq!(told.ok(), Some(expected));
    }

    #[test]
    fn a_later_version_is_spoken_to_in_ours_and_another_protocol_is_refused() {
        let later = read_hello(br#"{"muster":"agent","version":9,"later":true}"#, None);
        assert_eq!(later.ok(), Some(Peer { version: VERSION, from: None }));
        for bad in
            ["{\"muster\":\"control\",\"version\":1}", "SSH-2.0", "{\"muster\":\"agent\",\"version\":0}"]
        {
            assert!(read_hello(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn only_the_first_line_says_where_a_login_comes_from() {
        let (mut here, there) = duplex(1024);
        let lines = [
            origin("10.0.0.1".parse().expect("an address")),
            origin("10.0.0.2".parse().expect("an address")),
        ];
        here.write_all(&lines.concat()).await.expect("room");
        assert!(matches!(open(there).await, Err(AgentError::Hello(_))));
    }

    #[tokio::test]
    async fn two_ends_understand_each_other() {
        let (mut here, there) = duplex(1024);
        let from = "10.0.0.1".parse().expect("an address");
        here.write_all(&origin(from)).await.expect("room");
        let (one, other) = tokio::join!(open(here), open(there));
        let ((_, mut hears, mut says), (peer, mut agent_hears, mut agent_says)) =
            (one.expect("a hello"), other.expect("a hello"));
        assert_eq!(peer.from, Some(from));
        let (asked, heard) = tokio::join!(says.ask(&Ask::Drain), agent_hears.ask());
        asked.expect("said");
        assert_eq!(heard.expect("a line"), Some(Ask::Drain));
        let done = Tell::Done { said: "drained".to_owned() };
        let (told, heard) = tokio::join!(agent_says.tell(&done), hears.tell());
        told.expect("said");
        assert_eq!(heard.expect("a line"), Some(done));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Ask::decode(&bytes);
            let _ = Tell::decode(&bytes);
            let _ = read_hello(&bytes, read_origin(&bytes));
        }

        #[test]
        fn messages_that_were_bent_never_break_anything(at in 0usize..90, byte in any::<u8>()) {
            let mut bytes = line(&claim());
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            if let Ok(Ask::Claim { name, .. }) = Ask::decode(&bytes) {
                prop_assert!(name.len() <= MAX_NAME && !name.contains(char::is_control));
            }
        }
    }
}
