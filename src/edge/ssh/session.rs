//! One command on a builder, or one channel to a socket there.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::task::TaskTracker;

use super::master::Seat;
use super::mux::{self, Running, Stream};
use crate::edge::channel::{Behind, Channel};
use crate::edge::process::Said;

/// A pipe gives this much at once.
const READ: usize = 64 << 10;
/// For the last of a command's standard error.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A command that runs; ended when dropped.
pub struct Session {
    /// To the command.
    pub stdin: Sender,
    /// From it.
    pub stdout: Receiver,
    /// What keeps it running.
    pub hold: Hold,
}

/// Keeps a session, and what it said on its standard error.
pub struct Hold {
    said: Said,
    connection: UnixStream,
    // Behind the connection: the place is free when the session is closed.
    _seat: Seat,
}

impl Session {
    pub(super) fn new(running: Running, seat: Seat, tracker: &TaskTracker) -> Self {
        let Running { stdin, stdout, stderr, connection } = running;
        let hold = Hold { said: Said::listen_to(stderr, tracker), connection, _seat: seat };
        Self { stdin, stdout, hold }
    }

    pub(super) fn into_channel(self) -> Channel {
        Channel {
            reader: Box::new(self.stdout),
            writer: Box::new(self.stdin),
            behind: Some(Behind::Session(self.hold)),
        }
    }
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// On its standard output.
    pub stdout: Vec<u8>,
    /// The last of it on its standard error.
    pub stderr: String,
}

impl Session {
    /// Sends the whole input, and reads until the command ends, has said `end`, or `most` bytes and more.
    pub(super) async fn talk(self, input: &[u8], end: &[u8], most: usize) -> io::Result<Output> {
        let Session { mut stdin, mut stdout, hold } = self;
        let send = async {
            // A command that does not want its input says why on its stderr.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let hear = async {
            let mut said = Vec::new();
            while said.len() <= most && stdout.read_buf(&mut said).await? > 0 {
                let new = said.len().saturating_sub(READ + end.len());
                if said[new..].windows(end.len()).any(|window| window == end) {
                    break;
                }
            }
            Ok::<_, io::Error>(said)
        };
        let ((), stdout) = tokio::join!(send, hear);
        Ok(Output { stdout: stdout?, stderr: hold.settled(LAST_WORDS).await })
    }
}

impl Hold {
    /// The last words on its standard error, so far.
    pub fn last_words(&self) -> String {
        self.said.text()
    }

    /// The same when it has said all, or after `limit`.
    pub async fn settled(&self, limit: Duration) -> String {
        self.said.settled(limit).await
    }

    /// The command's exit code, when it ends; none where it was killed or the connection lost.
    pub async fn exit_code(&mut self) -> Option<u32> {
        mux::exit_code(&mut self.connection).await
    }
}

/// A stream to a socket there.
pub(super) fn forwarded(stream: Stream, seat: Seat) -> Channel {
    let Stream { writer, reader, connection } = stream;
    let behind = Forwarded { _connection: connection, _seat: seat };
    Channel { reader: Box::new(reader), writer: Box::new(writer), behind: Some(Behind::Forward(behind)) }
}

/// Keeps a stream and its master as long as a channel runs over it.
pub struct Forwarded {
    _connection: UnixStream,
    // Behind the connection: the place is free when the stream is closed.
    _seat: Seat,
}
