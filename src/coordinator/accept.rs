//! Accepting connections until the end.

use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::World;

/// After a failed accept (no descriptor is left, say), to let others go on.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves each connection in a task of its own, until `shutdown` ends them all.
pub(super) async fn accept<Session>(
    listener: &UnixListener,
    world: &World,
    shutdown: &CancellationToken,
    serve: impl Fn(UnixStream) -> Session,
) where
    Session: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (session, shutdown) = (serve(stream), shutdown.clone());
                world.tracker.spawn(async move { shutdown.run_until_cancelled(session).await });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
