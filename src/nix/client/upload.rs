//! Operations that send a stream.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};

use super::exchange::{OnLog, blame, end_of_log, still_usable, too_early};
use super::{Client, Error};
use crate::domain::PathInfo;
use crate::nix::framed::{Framing, Outgoing};
use crate::nix::ops::{Op, Reply, Request, Stream};
use crate::nix::wire::{self, Decoder, Dialect};

const COPY_BUFFER: usize = 64 << 10;

/// Where the stream of an operation is written to.
pub struct Upload<'a, W> {
    framing: Framing<'a, BufWriter<W>>,
    dialect: &'a Dialect,
    operation: &'static str,
}

impl<W: AsyncWrite + Unpin + Send> Upload<'_, W> {
    /// Announces a path. Exactly its NAR must be written next.
    pub async fn begin(&mut self, info: &PathInfo) -> Result<(), Error> {
        let head = wire::encode(info, self.dialect);
        let operation = self.operation;
        self.framing.write_all(&head).await.map_err(|error| Error::Io { operation, error })
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Upload<'_, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.framing).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.framing).poll_flush(cx)
    }

    /// The stream's end is not for the body to write.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Asks for an operation with a stream, which `body` provides.
    ///
    /// The answer is read all the while: an early refusal ends the body. Where the body fails, its error is the
    /// result, and the daemon, which then has half a stream, is heard out, so that the connection stays usable.
    pub async fn upload<E: From<Error>>(
        &mut self,
        request: &Request,
        on_log: OnLog<'_>,
        body: impl AsyncFnOnce(&mut Upload<'_, W>) -> Result<(), E>,
    ) -> Result<Reply, E> {
        let Some(op) = request.op().filter(|op| op.stream() == Stream::Upload) else {
            return Err(Error::NotPlain { operation: request.name() }.into());
        };
        let operation = op.name();
        self.clean = false;
        let head = request.encode(&self.dialect);
        self.to.write_all(&head).await.map_err(|error| Error::Io { operation, error })?;
        let mut outgoing = Outgoing::begin();
        let mut reading = pin!(async {
            end_of_log(&mut self.from, &self.dialect, op, on_log).await??;
            Ok(Reply::take(op, &mut Decoder::new(&mut self.from, &self.dialect, operation)).await?)
        });
        let mut upload =
            Upload { framing: Framing::new(&mut self.to, &mut outgoing), dialect: &self.dialect, operation };
        let written = tokio::select! {
            biased;
            body = body(&mut upload) => Ok(body),
            answer = &mut reading => Err(too_early(op, answer)),
        };
        let body = match written {
            Ok(body) => body,
            Err(answer) => {
                finish_if_possible(&mut upload);
                return answer.map_err(E::from);
            }
        };
        let (answer, in_step) = finish(op, &mut upload, reading).await;
        self.clean = in_step && still_usable(op, &answer);
        match (body, answer) {
            (Ok(()), answer) => answer.map_err(E::from),
            // The body could write no more, and this is why.
            (Err(_), Err(said @ Error::Daemon(_))) if !in_step => Err(said.into()),
            (Err(error), _) => Err(error),
        }
    }

    /// The same, from a reader.
    pub async fn upload_from(
        &mut self,
        request: &Request,
        body: &mut (impl AsyncRead + Unpin + Send),
        on_log: OnLog<'_>,
    ) -> Result<Reply, Error> {
        let operation = request.name();
        self.upload(request, on_log, async |upload: &mut Upload<'_, W>| {
            let mut piece = vec![0; COPY_BUFFER];
            loop {
                match body.read(&mut piece).await {
                    Ok(0) => return Ok(()),
                    Ok(n) => {
                        upload.write_all(&piece[..n]).await.map_err(|error| Error::Io { operation, error })?
                    }
                    Err(error) => return Err(Error::Source { operation, error }),
                }
            }
        })
        .await
    }
}

/// Ends the stream and reads the answer. Also says whether everything was sent.
async fn finish<W: AsyncWrite + Unpin>(
    op: Op,
    upload: &mut Upload<'_, W>,
    mut reading: Pin<&mut impl Future<Output = Result<Reply, Error>>>,
) -> (Result<Reply, Error>, bool) {
    tokio::select! {
        biased;
        sent = upload.framing.finish() => match sent {
            Ok(()) => (reading.await, true),
            Err(error) => (Err(blame(op, error, reading.await)), false),
        },
        answer = &mut reading => (too_early(op, answer), false),
    }
}

/// Ends the stream as far as that goes without waiting, for a daemon that has refused it already.
fn finish_if_possible<W: AsyncWrite + Unpin>(upload: &mut Upload<'_, W>) {
    let ending = pin!(upload.framing.finish());
    let _ = ending.poll(&mut Context::from_waker(Waker::noop()));
}
