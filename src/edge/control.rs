//! The client's end of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::policy::Snapshot;
use crate::wire::control::{Caller, ControlError, Reply, Request, ask_status};

/// A coordinator that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the coordinator behind this socket for its state.
pub async fn status(socket: &Path, patience: Duration) -> Result<Snapshot, ControlError> {
    let ask = async { ask_status(UnixStream::connect(socket).await?).await };
    within(patience, ask).await
}

/// A connection for several questions.
pub struct Line {
    caller: Caller<UnixStream>,
}

impl Line {
    /// Opens one.
    pub async fn open(socket: &Path) -> io::Result<Self> {
        Ok(Self { caller: Caller::new(UnixStream::connect(socket).await?) })
    }

    /// Asks something.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, ControlError> {
        within(PATIENCE, self.caller.ask(request)).await
    }
}

async fn within<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}"));
    timeout(patience, asked).await.unwrap_or_else(|_| Err(silent().into()))
}
