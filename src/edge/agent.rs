//! The client's end of an agent's socket.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::stdio::Pollable;
use crate::wire::agent::{self, AgentError, Ask, Tell};

/// An agent that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks one thing.
pub async fn ask(socket: &Path, ask: &Ask) -> Result<Tell, AgentError> {
    let talk = async {
        let stream = UnixStream::connect(socket).await?;
        let (_, mut hears, mut says) = agent::open(stream).await?;
        says.ask(ask).await?;
        hears.tell().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
    };
    let silent = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}"));
    timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(silent().into()))
}

/// Why our standard streams are not joined to a socket, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody listens there.
    #[error(transparent)]
    Socket(io::Error),
    /// They cannot be waited for: regular files, say.
    #[error("standard input and output must be pipes, sockets or a terminal: {0}")]
    Streams(io::Error),
    /// What was joined broke.
    #[error("the connection broke: {0}")]
    Broke(#[from] io::Error),
}

/// Joins a coordinator at our standard streams to the agent, until one of them ends, and first says where its login comes
/// from, as sshd has it. Who says no more still hears what the agent has to say to it.
pub async fn join(socket: &Path, from: Option<IpAddr>) -> Result<(), JoinError> {
    let (mut input, mut output) = streams()?;
    let mut stream = connect(socket).await?;
    if let Some(from) = from {
        stream.write_all(&agent::origin(from)).await?;
    }
    let (mut hears, mut says) = stream.split();
    let said = async {
        copy(&mut input, &mut says).await?;
        says.shutdown().await?;
        sleep(PATIENCE).await;
        Ok(())
    };
    tokio::select! {
        said = said => said,
        ended = copy(&mut hears, &mut output) => Ok(ended.map(drop)?),
    }
}

/// Joins our standard streams to a daemon's socket, until either end is gone: a daemon that builds would not notice that one
/// direction alone is closed.
pub async fn pump(socket: &Path) -> Result<(), JoinError> {
    let (mut input, mut output) = streams()?;
    let mut stream = connect(socket).await?;
    let (mut hears, mut says) = stream.split();
    let ended = tokio::select! {
        ended = copy(&mut input, &mut says) => ended,
        ended = copy(&mut hears, &mut output) => ended,
    };
    Ok(ended.map(drop)?)
}

async fn connect(socket: &Path) -> Result<UnixStream, JoinError> {
    UnixStream::connect(socket).await.map_err(JoinError::Socket)
}

fn streams() -> Result<(Pollable, Pollable), JoinError> {
    let both = || Ok((Pollable::stdin()?, Pollable::stdout()?));
    both().map_err(JoinError::Streams)
}
