//! Sending while reading.

use std::future::Future;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::{Client, Error};
use crate::nix::logs::{DaemonError, Frame, LogMessage};
use crate::nix::ops::{Op, Reply, Request, Stream};
use crate::nix::wire::{Decoder, Dialect, ProtocolError};

/// What becomes of log messages.
pub(super) type OnLog<'a> = &'a mut (dyn FnMut(LogMessage) + Send);

/// Requests are written in pieces of about this size.
const PIECE: usize = 32 << 10;

impl<R, W> Client<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Asks for any operation without a stream.
    pub async fn call(&mut self, request: &Request, on_log: OnLog<'_>) -> Result<Reply, Error> {
        let Some(op) = request.op().filter(|op| op.stream() == Stream::None) else {
            return Err(Error::NotPlain { operation: request.name() });
        };
        self.clean = false;
        let question = request.encode(&self.dialect);
        let writing = async {
            self.to.write_all(&question).await?;
            self.to.flush().await
        };
        let reading = async {
            end_of_log(&mut self.from, &self.dialect, op, on_log).await??;
            Ok(Reply::take(op, &mut Decoder::new(&mut self.from, &self.dialect, op.name())).await?)
        };
        let (answer, in_step) = exchange(op, writing, reading).await;
        self.clean = in_step && still_usable(op, &answer);
        answer
    }

    /// Asks many questions without waiting in between. The first refusal is the result, but all are asked.
    pub(super) async fn pipeline(&mut self, questions: &[Request]) -> Result<Vec<Reply>, Error> {
        let ops: Vec<Op> = questions.iter().filter_map(Request::op).collect();
        let Some(&last) = ops.last() else { return Ok(Vec::new()) };
        self.clean = false;
        let writing = async {
            let mut piece = Vec::new();
            for question in questions {
                piece.extend(question.encode(&self.dialect));
                if piece.len() >= PIECE {
                    self.to.write_all(&piece).await?;
                    piece.clear();
                }
            }
            self.to.write_all(&piece).await?;
            self.to.flush().await
        };
        let reading = answers(&mut self.from, &self.dialect, &ops);
        let (answers, in_step) = exchange(last, writing, reading).await;
        self.clean = in_step && still_usable(last, &answers);
        answers
    }
}

async fn answers<R: AsyncRead + Unpin + Send>(
    from: &mut BufReader<R>,
    dialect: &Dialect,
    ops: &[Op],
) -> Result<Vec<Reply>, Error> {
    let mut replies = Vec::new();
    let mut refused = None;
    for &op in ops {
        match end_of_log(from, dialect, op, &mut drop).await? {
            Ok(()) => replies.push(Reply::take(op, &mut Decoder::new(from, dialect, op.name())).await?),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(replies), |error| Err(error.into()))
}

/// Reads log messages until the reply begins or the daemon refuses.
pub(super) async fn end_of_log<R: AsyncRead + Unpin + Send>(
    from: &mut BufReader<R>,
    dialect: &Dialect,
    op: Op,
    on_log: OnLog<'_>,
) -> Result<Result<(), DaemonError>, ProtocolError> {
    loop {
        match Decoder::new(from, dialect, op.name()).take("log").await? {
            Frame::Log(message) => on_log(message),
            Frame::Last => return Ok(Ok(())),
            Frame::Error(error) => return Ok(Err(error)),
        }
    }
}

/// Sends and reads at the same time. Also says whether everything was sent, without which nothing can follow.
///
/// A daemon that refuses may close before it has read all: then its words count, not the broken pipe.
async fn exchange<T>(
    op: Op,
    writing: impl Future<Output = io::Result<()>>,
    reading: impl Future<Output = Result<T, Error>>,
) -> (Result<T, Error>, bool) {
    let mut reading = pin!(reading);
    tokio::select! {
        biased;
        sent = writing => match sent {
            Ok(()) => (reading.await, true),
            Err(error) => (Err(blame(op, error, reading.await)), false),
        },
        answer = &mut reading => (too_early(op, answer), false),
    }
}

/// Which of two failures tells more.
pub(super) fn blame<T>(op: Op, error: io::Error, answer: Result<T, Error>) -> Error {
    match answer {
        Err(said @ Error::Daemon(_)) => said,
        _ => Error::Io { operation: op.name(), error },
    }
}

pub(super) fn too_early<T>(op: Op, answer: Result<T, Error>) -> Result<T, Error> {
    answer.and_then(|_| Err(Error::Early { operation: op.name() }))
}

/// Whether both ends are in step after this answer.
pub(super) fn still_usable<T>(op: Op, answer: &Result<T, Error>) -> bool {
    match answer {
        Ok(_) => true,
        Err(Error::Daemon(_)) => !op.refusal_is_fatal(),
        Err(_) => false,
    }
}
