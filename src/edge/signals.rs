//! SIGTERM and Ctrl-C.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cancels `shutdown` at the first SIGTERM, SIGINT or SIGHUP of a closed terminal; a second one ends the process as
/// the system does by default.
pub fn cancel_on_signal(shutdown: &CancellationToken, tracker: &TaskTracker) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = shutdown.clone();
    tracker.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = shutdown.cancelled() => return,
        }
        shutdown.cancel();
    });
    Ok(())
}
