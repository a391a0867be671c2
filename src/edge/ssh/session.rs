//! One command on a builder, or one channel to a socket there.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::task::TaskTracker;

use super::master::Seat;
use super::mux::{self, Running};
use crate::edge::channel::{Behind, Channel};
use crate::edge::process::Said;

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
pub(super) fn forwarded(stream: UnixStream, seat: Seat) -> Channel {
    let (reader, writer) = stream.into_split();
    Channel {
        reader: Box::new(reader),
        writer: Box::new(writer),
        behind: Some(Behind::Forward(Forwarded(seat))),
    }
}

/// Keeps a master as long as a channel runs over it.
pub struct Forwarded(#[expect(dead_code, reason = "held, not read")] Seat);
