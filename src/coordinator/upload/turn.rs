//! Whose turn it is, while bytes travel from the local store to a builder: when nothing moves any more, that one is stuck.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Whether the builder has something to take, or to answer; else the local store has something to say.
    pub fn is_builders(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Everything has been read.
    pub fn all_is_read(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The way to the builder: as long as it takes nothing more, it is its turn.
    pub fn on<S>(&self, stream: S) -> Towards<S> {
        Towards { stream, turn: self.clone() }
    }
}

/// A stream that knows whether it is full.
pub struct Towards<S> {
    stream: S,
    turn: Turn,
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Towards<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.turn.0.store(written.is_pending(), Ordering::Relaxed);
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
    use tokio::time::{Duration, pause, timeout};

    use super::*;

    #[tokio::test]
    async fn it_is_the_builders_turn_while_the_way_to_it_is_full_and_when_all_is_read() {
        pause();
        let turn = Turn::default();
        let (near, mut far) = duplex(16);
        let mut near = turn.on(near);
        near.write_all(&[0; 16]).await.expect("room");
        assert!(!turn.is_builders());
        assert!(timeout(Duration::from_secs(1), near.write_all(&[0; 1])).await.is_err());
        assert!(turn.is_builders());
        far.read_exact(&mut [0; 16]).await.expect("there");
        near.write_all(&[0; 1]).await.expect("room");
        assert!(!turn.is_builders());
        turn.all_is_read();
        assert!(turn.is_builders());
    }
}
