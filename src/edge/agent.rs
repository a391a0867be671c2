//! The client's end of an agent's socket.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;
use tokio::time::timeout;

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

/// Joins a coordinator at our standard streams to the agent, until one of them ends, and first says where its login comes
/// from, as sshd has it.
pub async fn join(socket: &Path, from: Option<IpAddr>) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    if let Some(from) = from {
        stream.write_all(&agent::origin(from)).await?;
    }
    join_streams(&mut stream).await
}

/// Joins our standard streams to a socket.
pub async fn pump(socket: &Path) -> io::Result<()> {
    join_streams(&mut UnixStream::connect(socket).await?).await
}

/// Until either end is gone: a daemon that builds would not notice that one direction alone is closed.
async fn join_streams(stream: &mut UnixStream) -> io::Result<()> {
    let (mut from, mut to) = (Pollable::stdin()?, Pollable::stdout()?);
    let (mut hears, mut says) = stream.split();
    let ended = tokio::select! {
        ended = copy(&mut from, &mut says) => ended,
        ended = copy(&mut hears, &mut to) => ended,
    };
    ended.map(drop)
}
