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
    hangup: Signal,
}

impl Signals {
    /// Catches them.
    pub fn catch() -> io::Result<Self> {
        let caught = |kind| signal(kind);
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            hangup: caught(SignalKind::hangup())?,
        })
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
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ending::Terminated,
                _ = self.interrupt.recv() => return Ending::Interrupted,
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP is ignored: there is no reload yet; restart to read the configuration again");
                }
            }
        }
    }
}
