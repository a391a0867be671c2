//! Streams whose length is not known beforehand: frames of a length and as many bytes, and an empty one at the end.
//!
//! The state of a stream lives outside of the adapters that move it, so that whoever drops an adapter in the middle
//! loses nothing: the next one goes on where it stopped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

const HEADER: usize = 8;
/// The bytes of one frame of ours. With its header it fills a pipe: a byte more would take a write of its own, and a wait.
const FRAME: usize = (64 << 10) - HEADER;

/// How far an incoming stream was read.
#[derive(Debug, Clone)]
pub struct Frames {
    header: [u8; HEADER],
    got: usize,
    left: u64,
    ended: bool,
}

impl Frames {
    /// At the beginning of a stream.
    pub fn begin() -> Self {
        Self { header: [0; HEADER], got: 0, left: 0, ended: false }
    }

    /// Where there is no stream, or after its end.
    pub fn ended() -> Self {
        Self { ended: true, ..Self::begin() }
    }

    /// Whether the last frame was seen.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let took = bytes.len().min(HEADER - self.got);
        self.header[self.got..self.got + took].copy_from_slice(&bytes[..took]);
        self.got += took;
        if self.got == HEADER {
            self.got = 0;
            self.left = u64::from_le_bytes(self.header);
            self.ended = self.left == 0;
        }
        took
    }
}

/// The bytes within the frames of `from`. It ends with the stream and reads nothing beyond.
pub struct Framed<'a, R> {
    from: &'a mut R,
    frames: &'a mut Frames,
}

impl<'a, R: AsyncBufRead + Unpin> Framed<'a, R> {
    /// Goes on where `frames` stopped.
    pub fn new(from: &'a mut R, frames: &'a mut Frames) -> Self {
        Self { from, frames }
    }
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Framed<'_, R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.frames.left == 0 && !this.frames.ended {
            let bytes = ready!(Pin::new(&mut *this.from).poll_fill_buf(cx))?;
            if bytes.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let took = this.frames.take_header(bytes);
            Pin::new(&mut *this.from).consume(took);
        }
        if this.frames.ended {
            return Poll::Ready(Ok(&[]));
        }
        let left = usize::try_from(this.frames.left).unwrap_or(usize::MAX);
        let bytes = ready!(Pin::new(&mut *this.from).poll_fill_buf(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(&bytes[..bytes.len().min(left)]))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.frames.left -= amount as u64;
        Pin::new(&mut *this.from).consume(amount);
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Framed<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = bytes.len().min(to.remaining());
        to.put_slice(&bytes[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

/// The frame that is being filled or sent.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    /// How much of it is out; none while it is being filled.
    sent: Option<usize>,
}

impl Outgoing {
    /// At the beginning of a stream.
    pub fn begin() -> Self {
        Self { bytes: vec![0; HEADER], sent: None }
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let took = bytes.len().min(FRAME + HEADER - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..took]);
        if self.bytes.len() == FRAME + HEADER {
            self.seal();
        }
        took
    }

    fn seal(&mut self) {
        let length = (self.bytes.len() - HEADER) as u64;
        if self.sent.is_none() && length > 0 {
            self.bytes[..HEADER].copy_from_slice(&length.to_le_bytes());
            self.sent = Some(0);
        }
    }

    fn poll_send<W: AsyncWrite + Unpin>(&mut self, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(sent) = self.sent {
            let wrote = ready!(Pin::new(&mut *to).poll_write(cx, &self.bytes[sent..]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent = Some(sent + wrote);
            if sent + wrote == self.bytes.len() {
                self.bytes.truncate(HEADER);
                self.sent = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Puts what is written into frames.
pub struct Framing<'a, W> {
    to: &'a mut W,
    outgoing: &'a mut Outgoing,
}

impl<'a, W: AsyncWrite + Unpin> Framing<'a, W> {
    /// Goes on where `outgoing` stopped.
    pub fn new(to: &'a mut W, outgoing: &'a mut Outgoing) -> Self {
        Self { to, outgoing }
    }

    /// Sends what is left, and the last frame.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.to.write_all(&[0; HEADER]).await?;
        self.to.flush().await
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Framing<'_, W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_send(this.to, cx))?;
        Poll::Ready(Ok(this.outgoing.fill(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.outgoing.seal();
        ready!(this.outgoing.poll_send(this.to, cx))?;
        Pin::new(&mut *this.to).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
