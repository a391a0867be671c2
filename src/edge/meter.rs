//! Whether anything moves on a channel.
//!
//! A peer that answers pings on one channel may have frozen another. Where bytes ought to flow, a channel on which
//! none have moved for a while is given up. Whether bytes ought to flow, the caller knows: a quiet build is no stall.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

/// So often is looked within the time that a channel may rest.
const LOOKS: u32 = 8;

/// Nothing has moved for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing has moved on its connection for {}", humantime::format_duration(*.0))]
pub struct Stalled(pub Duration);

/// Counts what moves on a channel, in either direction. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// A stream whose bytes count.
    pub fn on<S>(&self, stream: S) -> Metered<S> {
        Metered { stream, meter: self.clone() }
    }

    /// Does the work, unless for `limit` nothing moves.
    pub async fn watch<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Stalled> {
        let mut work = pin!(work);
        let (mut seen, mut rested) = (self.moved(), 0);
        loop {
            tokio::select! {
                // What has come meanwhile is read first.
                biased;
                done = &mut work => return Ok(done),
                () = sleep(limit / LOOKS) => {}
            }
            match self.moved() {
                same if same == seen && rested + 1 == LOOKS => return Err(Stalled(limit)),
                same if same == seen => rested += 1,
                more => (seen, rested) = (more, 0),
            }
        }
    }

    fn moved(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A stream whose bytes are counted.
pub struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        self.meter.count(into.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.meter.count(*bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{pause, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(80);

    #[tokio::test]
    async fn a_stream_that_trickles_is_no_stall_and_one_that_rests_is() {
        pause();
        let meter = Meter::default();
        let (near, mut far) = duplex(64);
        let mut near = meter.on(near);
        let trickle = tokio::spawn(async move {
            for _ in 0..20 {
                sleep(LIMIT / 2).await;
                far.write_all(b"x").await.expect("room");
            }
            far
        });
        let mut bytes = [0; 20];
        let read = meter.watch(LIMIT, near.read_exact(&mut bytes)).await;
        assert!(matches!(read, Ok(Ok(20))), "{read:?}");
        let far = trickle.await.expect("it ended");
        assert_eq!(meter.watch(LIMIT, near.read_u8()).await.err(), Some(Stalled(LIMIT)));
        drop(far);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_a_stall() {
        pause();
        let meter = Meter::default();
        let (near, _far) = duplex(16);
        let mut near = meter.on(near);
        let sent = meter.watch(LIMIT, near.write_all(&[0; 64]));
        let sent = timeout(LIMIT * 1000, sent).await.expect("it is noticed at all");
        assert_eq!(sent.err(), Some(Stalled(LIMIT)));
    }
}
