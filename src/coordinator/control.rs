//! Where people's commands come in.

use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{News, World};
use crate::wire::control::{self, Reply, Request};

/// Answers commands until `shutdown`.
pub(super) async fn serve(listener: UnixListener, world: Arc<World>, shutdown: CancellationToken) {
    let answer = |stream| converse(stream, Arc::clone(&world));
    super::accept::accept(&listener, &world, &shutdown, answer).await;
}

async fn converse(stream: UnixStream, world: Arc<World>) {
    let served = control::serve(stream, |request| {
        let world = Arc::clone(&world);
        async move {
            match request {
                Request::Status => snapshot(&world).await,
            }
        }
    });
    if let Err(error) = served.await {
        tracing::debug!(%error, "a control connection ended");
    }
}

async fn snapshot(world: &World) -> Reply {
    let (reply, answer) = oneshot::channel();
    world.tell(News::Snapshot(reply)).await;
    match answer.await {
        Ok(status) => Reply::Status { status },
        Err(_) => Reply::Error { message: "the coordinator is about to end".to_owned() },
    }
}
