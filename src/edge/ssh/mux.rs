//! Speaking to an ssh master at its control socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::edge::link::transmit;
use crate::wire::mux::{self, Answer, Ask, BadAnswer};

/// Why the master did not do it.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// It is not there, or went away.
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
    /// It said no, mostly because the builder did.
    #[error("refused: {0}")]
    Refused(String),
    /// It speaks something else.
    #[error("the ssh master makes no sense: {0}")]
    Nonsense(#[from] BadAnswer),
    /// It answered another question.
    #[error("the ssh master answered with {0:?}")]
    Unexpected(Answer),
}

/// A command that runs over there. Dropping `connection` ends it.
pub struct Running {
    pub stdin: Sender,
    pub stdout: Receiver,
    pub stderr: Receiver,
    pub connection: UnixStream,
}

/// Runs `command` in the login shell over there.
pub async fn session(master: &Path, command: &str) -> Result<Running, MuxError> {
    let mut connection = UnixStream::connect(master).await?;
    let (its_stdin, stdin) = io::pipe()?;
    let (stdout, its_stdout) = io::pipe()?;
    let (stderr, its_stderr) = io::pipe()?;
    send(&connection, &mux::request(Ask::Session { command }), None).await?;
    for fd in [its_stdin.as_fd(), its_stdout.as_fd(), its_stderr.as_fd()] {
        send(&connection, &[0], Some(fd)).await?;
    }
    opened(&mut connection).await?;
    Ok(Running {
        stdin: Sender::from_owned_fd(OwnedFd::from(stdin))?,
        stdout: Receiver::from_owned_fd(OwnedFd::from(stdout))?,
        stderr: Receiver::from_owned_fd(OwnedFd::from(stderr))?,
        connection,
    })
}

/// A stream to a socket over there. Dropping `connection` closes it in both directions at once.
pub struct Stream {
    pub writer: Sender,
    pub reader: Receiver,
    pub connection: UnixStream,
}

/// Connects to `socket` over there. A listening socket here would do as well, but a master tells its builder only of
/// the direction that we closed, and a daemon that is told no more goes on building.
pub async fn stream(master: &Path, socket: &str) -> Result<Stream, MuxError> {
    let mut connection = UnixStream::connect(master).await?;
    let (its_input, writer) = io::pipe()?;
    let (reader, its_output) = io::pipe()?;
    send(&connection, &mux::request(Ask::Stream { socket }), None).await?;
    for fd in [its_input.as_fd(), its_output.as_fd()] {
        send(&connection, &[0], Some(fd)).await?;
    }
    opened(&mut connection).await?;
    Ok(Stream {
        writer: Sender::from_owned_fd(OwnedFd::from(writer))?,
        reader: Receiver::from_owned_fd(OwnedFd::from(reader))?,
        connection,
    })
}

/// The exit code of a session's command, when it ends.
pub async fn exit_code(connection: &mut UnixStream) -> Option<u32> {
    loop {
        match receive(connection).await.ok()? {
            Answer::Exited(code) => return Some(code),
            _ => continue,
        }
    }
}

async fn opened(connection: &mut UnixStream) -> Result<(), MuxError> {
    match receive(connection).await? {
        Answer::Hello(_) => {}
        other => return Err(unexpected(other)),
    }
    match receive(connection).await? {
        Answer::SessionOpened => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(answer: Answer) -> MuxError {
    match answer {
        Answer::Refused(why) => MuxError::Refused(why),
        other => MuxError::Unexpected(other),
    }
}

async fn receive(connection: &mut UnixStream) -> Result<Answer, MuxError> {
    let mut head = [0; 4];
    connection.read_exact(&mut head).await?;
    let mut body = vec![0; mux::length(head)?];
    connection.read_exact(&mut body).await?;
    Ok(mux::answer(&body)?)
}

async fn send(connection: &UnixStream, mut bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent =
            connection.async_io(Interest::WRITABLE, || transmit(connection.as_fd(), bytes, fd)).await?;
        fd = None;
        bytes = &bytes[sent..];
    }
    Ok(())
}
