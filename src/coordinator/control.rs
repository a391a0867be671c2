//! Where people's commands come in. Anybody may: nobody is waited for long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::orders::Order;
use super::{News, World};
use crate::edge::accept::{Bounds, accept};
use crate::edge::{clock, users};
use crate::wire::control::{ControlError, Conversation, Reply, Request};

const BOUNDS: Bounds = Bounds { each: 32, all: 128 };
/// For the first words.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two requests, and for taking a reply.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers commands until `shutdown`.
pub(super) async fn serve(listener: UnixListener, world: Arc<World>, shutdown: CancellationToken) {
    let complaints = Arc::new(Complaints::default());
    let session = |stream, peer: UCred| {
        let (world, complaints) = (Arc::clone(&world), Arc::clone(&complaints));
        async move {
            let (uid, pid) = (peer.uid(), peer.pid());
            match converse(stream, |request| answer(Arc::clone(&world), peer, request)).await {
                Ok(()) => {}
                Err(error @ (ControlError::TooLong(_) | ControlError::Message(_))) => {
                    if let Some(left_out) = complaints.next(clock::now()) {
                        tracing::warn!(uid, pid, %error, left_out, "a client of the control socket does not keep to the protocol");
                    }
                }
                Err(error) => tracing::debug!(uid, pid, %error, "a control connection ended"),
            }
        }
    };
    accept(&listener, BOUNDS, &world.tracker, &shutdown, session).await;
}

async fn converse<S, Answer>(stream: S, answer: impl Fn(Request) -> Answer) -> Result<(), ControlError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Answer: Future<Output = Reply>,
{
    let Some(mut conversation) = within(HELLO_TIMEOUT, Conversation::open(stream)).await? else {
        return Ok(());
    };
    while let Some(request) = within(IDLE_TIMEOUT, conversation.request()).await? {
        let reply = match request {
            Ok(request) => answer(request).await,
            Err(error) => Reply::Error { message: error.to_string() },
        };
        within(IDLE_TIMEOUT, conversation.reply(&reply)).await?;
    }
    Ok(())
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {limit:?}"));
    timeout(limit, step).await.unwrap_or_else(|_| Err(silent().into()))
}

async fn answer(world: Arc<World>, peer: UCred, request: Request) -> Reply {
    let config = world.config();
    let group = config.control.group.as_ref();
    if !request.only_reads() && !users::may_control(peer.uid(), peer.gid(), group) {
        return Reply::Forbidden { message: who_may(&world) };
    }
    let (reply, answer) = oneshot::channel();
    let order = Order { request, by: users::name_of(peer.uid()), reply };
    world.tell(News::Ordered(order)).await;
    let ended = |_| Reply::Error { message: "the coordinator is about to end".to_owned() };
    answer.await.unwrap_or_else(ended)
}

fn who_may(world: &World) -> String {
    let own = match users::own() {
        0 => String::new(),
        own => format!(" and {}", users::name_of(own)),
    };
    let others = match &world.config().control.group {
        Some(group) => format!(", and the group {group}"),
        None => "; to let a group do so, too, name it in control.group of the configuration".to_owned(),
    };
    format!("only root{own} may order something here{others}")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::wire::control::encode_hello;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_is_closed() {
        let check = async |said: &[u8], limit: Duration| {
            let (mut client, server) = duplex(1 << 10);
            client.write_all(said).await.expect("room");
            let began = Instant::now();
            let ended = converse(server, async |_| Reply::Error { message: String::new() }).await;
            assert!(matches!(ended, Err(ControlError::Io(error)) if error.kind() == io::ErrorKind::TimedOut));
            assert!((limit..limit + Duration::from_secs(1)).contains(&began.elapsed()));
        };
        check(b"", HELLO_TIMEOUT).await;
        check(b"{\"muster\"", HELLO_TIMEOUT).await;
        check(&encode_hello(), IDLE_TIMEOUT).await;
        check(&[encode_hello(), Request::Status.encode()].concat(), IDLE_TIMEOUT).await;
    }
}
