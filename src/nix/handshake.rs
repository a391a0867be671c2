//! The handshake of the worker protocol: versions, trust, and the name of the daemon.
//!
//! We announce 1.35: old enough for every Nix since 2.4 and every Lix, and no feature strings follow it.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};

use super::logs::{DaemonError, Frame};
use super::wire::{Decoder, Dialect, Encoder, Problem, ProtocolError, Wire, printable};
use crate::domain::{StoreDir, Trust};

const MAGIC_CLIENT: u64 = 0x6e69_7863;
const MAGIC_SERVER: u64 = 0x6478_696f;
const OPERATION: &str = "handshake";
const VERSION_TEXT_MAX: u64 = 256;
const JUNK_MAX: usize = 200;

/// A version of the worker protocol, always 1.N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u8);

impl Version {
    /// What we announce.
    pub const OURS: Version = Version(35);
    /// What we accept at least: Nix 2.4, the first with AddMultipleToStore.
    pub const OLDEST: Version = Version(32);

    /// Version 1.`minor`.
    pub const fn new(minor: u8) -> Self {
        Self(minor)
    }

    /// The N of 1.N.
    pub fn minor(self) -> u8 {
        self.0
    }

    fn to_wire(self) -> u64 {
        0x100 | u64::from(self.0)
    }

    fn from_wire(word: u64) -> Result<Self, HandshakeError> {
        match u8::try_from(word ^ 0x100) {
            Ok(minor) if minor >= Self::OLDEST.0 => Ok(Self(minor)),
            _ => Err(HandshakeError::Version { major: word >> 8, minor: word & 0xff }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other end does not speak this protocol: a login banner, a shell's complaint.
    #[error("protocol mismatch, got \"{got}\"")]
    Mismatch {
        /// What came, short and printable.
        got: String,
    },
    /// A version from another time.
    #[error("the other end speaks version {major}.{minor} of the worker protocol; {oldest} or a later 1.x is needed", oldest = Version::OLDEST)]
    Version {
        /// Before the dot.
        major: u64,
        /// After it.
        minor: u64,
    },
    /// The daemon refused us in its own words.
    #[error("refused: {0}")]
    Refused(DaemonError),
    /// What came breaks the protocol, or nothing came.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Nothing could be sent.
    #[error("handshake: cannot send: {0}")]
    Send(#[from] io::Error),
}

impl HandshakeError {
    /// Whether the connection was lost, and nobody spoke nonsense.
    pub fn is_loss(&self) -> bool {
        match self {
            HandshakeError::Protocol(error) => error.is_loss(),
            HandshakeError::Send(_) => true,
            _ => false,
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The newest version to speak.
    pub version: Version,
    /// Its Nix version (sent since 1.33).
    pub daemon_version: String,
    /// Whether it trusts this client (sent since 1.35).
    pub trust: Trust,
}

/// What a client learned.
pub(super) struct Greeting {
    pub dialect: Dialect,
    pub daemon_version: Option<String>,
    pub trust: Trust,
}

/// The client's side. Both magic and version go out at once: one round trip less, and every server takes it.
pub(super) async fn greet<R, W>(
    from: &mut BufReader<R>,
    to: &mut BufWriter<W>,
    dir: StoreDir,
    ours: Version,
) -> Result<Greeting, HandshakeError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut dialect = Dialect { dir, version: ours };
    let mut hello = Encoder::new(&dialect);
    hello.u64(MAGIC_CLIENT).u64(ours.to_wire());
    send(to, &hello.bytes).await?;
    expect_magic(from, MAGIC_SERVER).await?;
    let theirs = Version::from_wire(Decoder::new(from, &dialect, OPERATION).u64("version").await?)?;
    dialect.version = theirs.min(ours);
    // The obsolete CPU affinity and reserved space.
    send(to, &[0; 16]).await?;
    let mut decoder = Decoder::new(from, &dialect, OPERATION);
    let daemon_version = match dialect.version {
        Version(33..) => Some(decoder.text("daemon version", VERSION_TEXT_MAX).await?),
        _ => None,
    };
    let trust = match dialect.version {
        Version(35..) => decoder.take("trust").await?,
        _ => Trust::Unknown,
    };
    first_log(from, &dialect).await?;
    Ok(Greeting { dialect, daemon_version, trust })
}

/// Startup messages concern nobody; a startup error does.
async fn first_log<R: AsyncRead + Unpin + Send>(
    from: &mut BufReader<R>,
    dialect: &Dialect,
) -> Result<(), HandshakeError> {
    loop {
        match Decoder::new(from, dialect, OPERATION).take("log").await? {
            Frame::Log(_) => {}
            Frame::Last => return Ok(()),
            Frame::Error(error) => return Err(HandshakeError::Refused(error)),
        }
    }
}

/// The server's side. Old clients wait for our magic and version before they send theirs.
pub(super) async fn receive<R, W>(
    from: &mut BufReader<R>,
    to: &mut BufWriter<W>,
    dir: StoreDir,
    offer: &Offer,
) -> Result<Dialect, HandshakeError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut dialect = Dialect { dir, version: offer.version };
    expect_magic(from, MAGIC_CLIENT).await?;
    let mut hello = Encoder::new(&dialect);
    hello.u64(MAGIC_SERVER).u64(offer.version.to_wire());
    send(to, &hello.bytes).await?;
    let theirs = Version::from_wire(Decoder::new(from, &dialect, OPERATION).u64("version").await?)?;
    dialect.version = theirs.min(offer.version);
    let mut decoder = Decoder::new(from, &dialect, OPERATION);
    if decoder.u64("CPU affinity").await? != 0 {
        decoder.u64("CPU affinity").await?;
    }
    decoder.u64("reserved space").await?;
    let mut answer = Encoder::new(&dialect);
    if dialect.version >= Version(33) {
        answer.string(offer.daemon_version.as_bytes());
    }
    if dialect.version >= Version(35) {
        answer.put(&offer.trust);
    }
    answer.put(&Frame::Last);
    send(to, &answer.bytes).await?;
    Ok(dialect)
}

async fn send<W: AsyncWrite + Unpin>(to: &mut BufWriter<W>, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Reads the magic. Whatever else is there, as far as it has come, goes into the error.
async fn expect_magic<R: AsyncRead + Unpin + Send>(
    from: &mut BufReader<R>,
    magic: u64,
) -> Result<(), HandshakeError> {
    let mut got = Vec::new();
    let read = (&mut *from).take(8).read_to_end(&mut got).await;
    let failed = |problem| ProtocolError { operation: OPERATION, field: "magic", problem };
    read.map_err(|error| failed(error.into()))?;
    if got == magic.to_le_bytes() {
        return Ok(());
    }
    if got.is_empty() {
        return Err(failed(Problem::Ended).into());
    }
    got.extend_from_slice(from.buffer());
    Err(HandshakeError::Mismatch { got: printable(&got, JUNK_MAX) })
}

impl Wire for Trust {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(match self {
            Trust::Unknown => 0,
            Trust::Trusted => 1,
            Trust::Untrusted => 2,
        });
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        match from.u64(field).await? {
            0 => Ok(Trust::Unknown),
            1 => Ok(Trust::Trusted),
            2 => Ok(Trust::Untrusted),
            value => Err(from.fail(field, Problem::Value { value, expected: "0, 1 or 2" })),
        }
    }
}
