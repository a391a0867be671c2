//! SIGTERM, Ctrl-C and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What ended the process before it had ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM.
    Terminated,
    /// SIGINT: Ctrl-C.
    Interrupted,
}

/// The signals that the coordinator catches, from when this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them.
    pub fn catch() -> io::Result<Self> {
        let caught = |kind| signal(kind);
        Ok(Self { terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? })
    }

    /// Runs `work`. The first SIGTERM or SIGINT cancels `shutdown`, so that it comes to its end; a second one ends it
    /// there and then.
    pub async fn guard<T>(
        mut self,
        shutdown: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, Ending> {
        let twice = async {
            self.next().await;
            shutdown.cancel();
            self.next().await
        };
        tokio::select! {
            biased;
            ending = twice => Err(ending),
            done = work => Ok(done),
        }
    }

    async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::Terminated,
            _ = self.interrupt.recv() => Ending::Interrupted,
        }
    }
}

/// SIGHUP, from when this is made: it ends nothing any more.
pub struct Hangups(Signal);

impl Hangups {
    /// Catches it.
    pub fn catch() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Returns when it has come since the last time.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}
