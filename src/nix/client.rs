//! The client's end of the worker protocol.
//!
//! One operation at a time. Everything is sent while the answer is read, so neither end can wait for the other for
//! ever. A client is *clean* between operations; one whose operation was interrupted (its future dropped) or broke
//! is not, and must be thrown away: there is no way back into step, and no other way to cancel.
//!
//! | part | what |
//! |---|---|
//! | `calls` | the operations |
//! | `exchange` | sending while reading |
//! | `upload` | operations with a stream |

mod calls;
mod exchange;
mod upload;

#[cfg(test)]
mod tests;

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, BufWriter};

pub use upload::Upload;

use super::handshake::{self, HandshakeError, Version};
use super::logs::DaemonError;
use super::nar::CopyError;
use super::wire::{Dialect, ProtocolError};
use crate::domain::{StoreDir, Trust};

const READ_BUFFER: usize = 64 << 10;

/// So many NARs may be asked for at once: a daemon that writes the first one reads no further, and must not keep us from
/// having asked.
pub const NARS_AT_ONCE: usize = 32;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon said so, in its own words.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Its answer breaks the protocol, or did not come.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Nothing more can be sent.
    #[error("{operation}: cannot send: {error}")]
    Io {
        /// What was under way.
        operation: &'static str,
        /// The cause.
        #[source]
        error: io::Error,
    },
    /// The answer came before the question was complete.
    #[error("{operation}: answered before all of it was sent")]
    Early {
        /// What was under way.
        operation: &'static str,
    },
    /// The archive is none, or did not arrive.
    #[error("NarFromPath: {0}")]
    Nar(#[source] CopyError),
    /// Our own source of what was to be sent failed.
    #[error("{operation}: cannot read what is to be sent: {error}")]
    Source {
        /// What was under way.
        operation: &'static str,
        /// The cause.
        #[source]
        error: io::Error,
    },
    /// It cannot be asked in this way: a stream belongs to it, or its layout is unknown.
    #[error("{operation} is no plain question and answer")]
    NotPlain {
        /// What was asked.
        operation: &'static str,
    },
}

impl Error {
    /// Whether the connection was lost, and nobody spoke nonsense.
    pub fn is_loss(&self) -> bool {
        match self {
            Error::Protocol(error) => error.is_loss(),
            Error::Nar(error) => {
                matches!(error, CopyError::Source { .. } | CopyError::Truncated { .. })
            }
            Error::Io { .. } => true,
            _ => false,
        }
    }
}

/// A connection to a daemon.
pub struct Client<R, W> {
    from: BufReader<R>,
    to: BufWriter<W>,
    dialect: Dialect,
    daemon_version: Option<String>,
    trust: Trust,
    clean: bool,
    /// NARs that were asked for and have not come yet.
    nars_owed: usize,
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Shakes hands with a daemon whose store lies in `store_dir`.
    pub async fn handshake(reader: R, writer: W, store_dir: StoreDir) -> Result<Self, HandshakeError> {
        Self::handshake_at(Version::OURS, reader, writer, store_dir).await
    }

    /// The same, speaking `version` at most: for passing on what somebody else says in that version.
    pub async fn handshake_at(
        version: Version,
        reader: R,
        writer: W,
        store_dir: StoreDir,
    ) -> Result<Self, HandshakeError> {
        let mut from = BufReader::with_capacity(READ_BUFFER, reader);
        let mut to = BufWriter::new(writer);
        let greeting = handshake::greet(&mut from, &mut to, store_dir, version).await?;
        let handshake::Greeting { dialect, daemon_version, trust } = greeting;
        Ok(Self { from, to, dialect, daemon_version, trust, clean: true, nars_owed: 0 })
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.dialect.version
    }

    /// Store directory and version.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Where its paths lie.
    pub fn store_dir(&self) -> &StoreDir {
        &self.dialect.dir
    }

    /// Whether the daemon trusts us.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The daemon's Nix version, where it said it.
    pub fn daemon_version(&self) -> Option<&str> {
        self.daemon_version.as_deref()
    }

    /// Whether another operation may follow.
    pub fn is_clean(&self) -> bool {
        self.clean && self.from.buffer().is_empty()
    }

    /// Whether the daemon keeps the connection open and silent, as far as can be seen without asking it.
    pub async fn is_open(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.from.fill_buf() => false,
            () = std::future::ready(()) => true,
        }
    }

    /// The two streams, with what was read ahead, for a raw pipe.
    pub fn into_parts(self) -> (BufReader<R>, BufWriter<W>) {
        (self.from, self.to)
    }
}
