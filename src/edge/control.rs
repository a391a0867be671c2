//! The client's end of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::policy::Snapshot;
use crate::wire::control::{ControlError, ask_status};

/// Asks the coordinator behind this socket for its state.
pub async fn status(socket: &Path, patience: Duration) -> Result<Snapshot, ControlError> {
    let ask = async { ask_status(UnixStream::connect(socket).await?).await };
    let silent = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}"));
    timeout(patience, ask).await.unwrap_or_else(|_| Err(silent().into()))
}
