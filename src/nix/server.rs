//! The server's end of the worker protocol.
//!
//! Its two halves may be used side by side: [`Requests`] sees that a client has gone while [`Replies`] writes the
//! log of its build.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};

use super::framed::{Framed, Frames};
use super::handshake::{self, HandshakeError, Offer, Version};
use super::logs::{DaemonError, Frame, LogMessage};
use super::ops::{Op, Reply, Request, Stream};
use super::wire::{self, Decoder, Dialect, ProtocolError, Wire};
use crate::domain::{PathInfo, StoreDir};

#[cfg(test)]
mod tests;

const READ_BUFFER: usize = 64 << 10;

/// A connection from a client.
pub struct Server<R, W> {
    /// What the client sends.
    pub requests: Requests<R>,
    /// What it is sent.
    pub replies: Replies<W>,
}

/// The half that reads.
pub struct Requests<R> {
    from: BufReader<R>,
    dialect: Dialect,
    frames: Frames,
}

/// The half that writes. Nothing leaves before a flush; a reply and an error flush themselves.
pub struct Replies<W> {
    to: BufWriter<W>,
    dialect: Dialect,
}

impl<R, W> Server<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Shakes hands with a client, whose paths lie in `store_dir`.
    pub async fn handshake(
        reader: R,
        writer: W,
        store_dir: StoreDir,
        offer: &Offer,
    ) -> Result<Self, HandshakeError> {
        let mut from = BufReader::with_capacity(READ_BUFFER, reader);
        let mut to = BufWriter::new(writer);
        let dialect = handshake::receive(&mut from, &mut to, store_dir, offer).await?;
        let replies = Replies { to, dialect: dialect.clone() };
        Ok(Self { requests: Requests { from, dialect, frames: Frames::ended() }, replies })
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.replies.dialect.version
    }

    /// Store directory and version.
    pub fn dialect(&self) -> &Dialect {
        &self.replies.dialect
    }

    /// See [`Requests::next`].
    pub async fn next_request(&mut self) -> Result<Option<Request>, ProtocolError> {
        self.requests.next().await
    }

    /// See [`Requests::framed`].
    pub fn framed(&mut self) -> Framed<'_, BufReader<R>> {
        self.requests.framed()
    }

    /// See [`Replies::log`].
    pub async fn log(&mut self, message: &LogMessage) -> io::Result<()> {
        self.replies.log(message).await
    }

    /// Reads the rest of the client's stream, if there is one, then ends the operation.
    pub async fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        self.requests.drain().await?;
        self.replies.reply(reply).await
    }

    /// Reads the rest of the client's stream, if there is one, then refuses the operation.
    pub async fn error(&mut self, error: &DaemonError) -> io::Result<()> {
        self.requests.drain().await?;
        self.replies.error(error).await
    }

    /// See [`Replies::begin_raw`].
    pub async fn begin_raw(&mut self) -> io::Result<()> {
        self.replies.begin_raw().await
    }

    /// See [`Replies::writer`].
    pub fn writer(&mut self) -> &mut BufWriter<W> {
        self.replies.writer()
    }

    /// Sends what is buffered.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.replies.to.flush().await
    }
}

impl<R: AsyncRead + Unpin + Send> Requests<R> {
    /// The next operation; none where the client has gone. What is left of a stream is skipped.
    pub async fn next(&mut self) -> Result<Option<Request>, ProtocolError> {
        let lost = |error: io::Error| ProtocolError {
            operation: "request",
            field: "operation",
            problem: error.into(),
        };
        self.drain().await.map_err(lost)?;
        if self.from.fill_buf().await.map_err(lost)?.is_empty() {
            return Ok(None);
        }
        let request = Request::take(&mut Decoder::new(&mut self.from, &self.dialect, "request")).await?;
        if request.op().is_some_and(|op| op.stream() == Stream::Upload) {
            self.frames = Frames::begin();
        }
        Ok(Some(request))
    }

    /// The stream of the operation that was just read; empty where it has none. A dropped one goes on with the next.
    pub fn framed(&mut self) -> Framed<'_, BufReader<R>> {
        Framed::new(&mut self.from, &mut self.frames)
    }

    /// The paths in the stream of AddMultipleToStore.
    pub async fn items(&mut self) -> Result<Items<'_, Framed<'_, BufReader<R>>>, ProtocolError> {
        Items::begin(Framed::new(&mut self.from, &mut self.frames), &self.dialect).await
    }

    /// Skips what is left of the stream.
    pub async fn drain(&mut self) -> io::Result<()> {
        let mut framed = self.framed();
        loop {
            let skipped = framed.fill_buf().await?.len();
            if skipped == 0 {
                return Ok(());
            }
            framed.consume(skipped);
        }
    }

    /// How many bytes of an operation of unknown layout are here to be taken; 0 where the client has gone. Cancel safe.
    pub async fn peek(&mut self) -> io::Result<usize> {
        Ok(self.from.fill_buf().await?.len())
    }

    /// Takes that many of the bytes that [`Requests::peek`] has seen.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let bytes = self.from.buffer()[..length].to_vec();
        self.from.consume(length);
        bytes
    }

    /// Returns when the client has gone. One that sends its next question early has not gone; its end is then seen
    /// only when that question was read.
    pub async fn gone(&mut self) {
        if let Ok(bytes) = self.from.fill_buf().await
            && !bytes.is_empty()
        {
            std::future::pending::<()>().await;
        }
    }
}

impl<W: AsyncWrite + Unpin + Send> Replies<W> {
    /// Adds a message to the log.
    pub async fn log(&mut self, message: &LogMessage) -> io::Result<()> {
        self.put(message).await
    }

    /// Ends the operation with a reply.
    pub async fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        self.put(&Frame::Last).await?;
        self.to.write_all(&reply.encode(&self.dialect)).await?;
        self.to.flush().await
    }

    /// Refuses the operation.
    pub async fn error(&mut self, error: &DaemonError) -> io::Result<()> {
        self.put(&Frame::Error(error.clone())).await?;
        self.to.flush().await
    }

    /// Ends the log. Exactly the reply must be written next, such as one NAR for NarFromPath, then flushed.
    pub async fn begin_raw(&mut self) -> io::Result<()> {
        self.put(&Frame::Last).await
    }

    /// Where raw bytes go.
    pub fn writer(&mut self) -> &mut BufWriter<W> {
        &mut self.to
    }

    /// Sends what is buffered.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.to.flush().await
    }

    async fn put(&mut self, value: &impl Wire) -> io::Result<()> {
        self.to.write_all(&wire::encode(value, &self.dialect)).await
    }
}

/// The paths in the stream of AddMultipleToStore: after each info, exactly its NAR must be read.
pub struct Items<'a, F> {
    from: F,
    dialect: &'a Dialect,
    left: u64,
}

impl<'a, F: AsyncBufRead + Unpin + Send> Items<'a, F> {
    /// Reads how many there are.
    pub async fn begin(mut from: F, dialect: &'a Dialect) -> Result<Self, ProtocolError> {
        let left = Decoder::new(&mut from, dialect, Op::AddMultipleToStore.name()).u64("count").await?;
        Ok(Self { from, dialect, left })
    }

    /// How many are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next path; none after the last.
    pub async fn next(&mut self) -> Result<Option<PathInfo>, ProtocolError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let operation = Op::AddMultipleToStore.name();
        Decoder::new(&mut self.from, self.dialect, operation).take("info").await.map(Some)
    }

    /// Where the NAR is read from.
    pub fn nar(&mut self) -> &mut F {
        &mut self.from
    }
}
