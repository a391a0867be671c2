//! One archive in flight: its grammar, its digest and its size, in constant memory.

use sha2::Digest as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Fed, NarError, Walker};
use crate::domain::Sha256;

/// What an archive turned out to be. Nix calls these narHash and narSize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The digest of its bytes.
    pub hash: Sha256,
    /// How many there are.
    pub bytes: u64,
}

/// Watches an archive pass by.
#[derive(Debug, Default)]
pub struct Checker {
    walker: Walker,
    sha256: sha2::Sha256,
    bytes: u64,
}

impl Checker {
    /// At the beginning of an archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes as many bytes as belong to the archive; see [`Walker::feed`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, NarError> {
        let fed = self.walker.feed(bytes)?;
        self.sha256.update(&bytes[..fed.consumed]);
        self.bytes += fed.consumed as u64;
        Ok(fed)
    }

    /// Bytes seen so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the archive was; nothing while it is incomplete.
    pub fn finish(self) -> Option<Summary> {
        let Self { walker, sha256, bytes } = self;
        walker.is_done().then(|| Summary { hash: Sha256(sha256.finalize().into()), bytes })
    }
}

/// Why an archive was not copied. What was written before is then worthless.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source failed.
    #[error("cannot read the archive after {bytes} bytes: {error}")]
    Source {
        /// Written so far.
        bytes: u64,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// The source ended within the archive.
    #[error("the archive ends after {bytes} bytes, before it is complete")]
    Truncated {
        /// Written so far.
        bytes: u64,
    },
    /// The sink failed.
    #[error("cannot write the archive after {bytes} bytes: {error}")]
    Sink {
        /// Written so far.
        bytes: u64,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// The bytes are not an archive; the source is lost in its stream.
    #[error(transparent)]
    Grammar(NarError),
    /// More than was allowed.
    #[error("the archive is longer than the {limit} bytes that are allowed")]
    TooLarge {
        /// What was allowed.
        limit: u64,
    },
    /// A daemon's error message follows in the source: its marker is consumed, the message is next.
    #[error("the daemon broke off its archive with an error after {bytes} bytes")]
    Daemon {
        /// Written so far.
        bytes: u64,
    },
}

/// Copies exactly one archive of at most `max_bytes`, and leaves the source right behind it.
///
/// The sink is not flushed. Cancelling loses the archive, and so the channels at both ends.
pub async fn copy<R, W>(from: &mut R, to: &mut W, max_bytes: u64) -> Result<Summary, CopyError>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut sha256 = sha2::Sha256::new();
    let bytes = pass(from, to, max_bytes, |piece| sha256.update(piece)).await?;
    Ok(Summary { hash: Sha256(sha256.finalize().into()), bytes })
}

/// The same for whoever leaves the digest to the receiver; says how many bytes there were.
pub async fn relay<R, W>(from: &mut R, to: &mut W, max_bytes: u64) -> Result<u64, CopyError>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pass(from, to, max_bytes, |_| ()).await
}

async fn pass<R, W>(
    from: &mut R,
    to: &mut W,
    max_bytes: u64,
    mut see: impl FnMut(&[u8]),
) -> Result<u64, CopyError>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut walker = Walker::new();
    let mut bytes = 0;
    while !walker.is_done() {
        let piece = from.fill_buf().await.map_err(|error| CopyError::Source { bytes, error })?;
        if piece.is_empty() {
            return Err(CopyError::Truncated { bytes });
        }
        let fed = match walker.feed(piece) {
            Ok(fed) => fed,
            Err(NarError::Daemon { consumed }) => {
                from.consume(consumed);
                return Err(CopyError::Daemon { bytes });
            }
            Err(error) => return Err(CopyError::Grammar(error)),
        };
        if bytes + fed.consumed as u64 > max_bytes {
            return Err(CopyError::TooLarge { limit: max_bytes });
        }
        see(&piece[..fed.consumed]);
        let written = to.write_all(&piece[..fed.consumed]).await;
        written.map_err(|error| CopyError::Sink { bytes, error })?;
        bytes += fed.consumed as u64;
        from.consume(fed.consumed);
    }
    Ok(bytes)
}
