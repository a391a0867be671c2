//! What a client adds to the store: passed on to the local daemon.
//!
//! A small upload is held until it is whole, so that it can be made again where the daemon dies over it: old versions of
//! Nix send one before each build, be it of no paths. A larger one travels as it comes.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::{Session, SessionError};
use crate::coordinator::World;
use crate::coordinator::local::LocalError;
use crate::edge::link::LinkReader;
use crate::edge::pool::Lease;
use crate::nix::client::Error;
use crate::nix::ops::{Reply, Request};
use crate::wire::link::{DATA_CHUNK, Unit};

/// The largest upload that is held.
const HELD: usize = 64 << 10;

/// What has come of an upload.
enum Come {
    Whole(Vec<u8>),
    Beginning(Vec<u8>),
}

/// The channel, and what the daemon said.
type Added = (Lease, Result<Reply, Error>);

impl Session {
    pub(super) async fn add_to_local_store(&mut self, request: &Request) -> Result<(), SessionError> {
        match beginning(&mut self.reader).await? {
            Come::Whole(body) => self.add_whole(request, &body).await,
            Come::Beginning(body) => self.add_as_it_comes(request, &body).await,
        }
    }

    async fn add_whole(&mut self, request: &Request, body: &[u8]) -> Result<(), SessionError> {
        let (world, options) = (Arc::clone(&self.world), self.options.clone());
        let mut own = self.daemon.take();
        let add = || {
            let (own, world, options) = (own.take(), &world, options.as_ref());
            async move {
                let mut daemon = match own {
                    Some(daemon) => daemon,
                    None => open(world, options).await?,
                };
                match daemon.upload_from(request, &mut &*body, &mut drop).await {
                    Err(error) if error.is_loss() => Err(error.into()),
                    added => Ok((daemon, added)),
                }
            }
        };
        let added = self.persist(add).await?;
        self.added(added).await
    }

    async fn add_as_it_comes(&mut self, request: &Request, begun: &[u8]) -> Result<(), SessionError> {
        let (pipe, mut upload) = tokio::io::duplex(DATA_CHUNK);
        let opened = self.local_daemon().await;
        // Without a daemon the upload is still taken to its end: what follows it is the next request.
        let added = async move {
            let mut daemon = opened?;
            let added = daemon.upload_from(request, &mut upload, &mut drop).await;
            Ok::<_, LocalError>((daemon, added))
        };
        let added = async { Ok(added.await) };
        let (added, ()) = tokio::try_join!(added, receive(&mut self.reader, begun, pipe))?;
        self.added(added).await
    }

    async fn added(&mut self, added: Result<Added, LocalError>) -> Result<(), SessionError> {
        let reply = added.and_then(|(daemon, reply)| {
            self.keep(daemon);
            Ok(reply?)
        });
        self.reply_or_error(reply).await
    }
}

/// A channel to the local daemon, with the client's options where it has set any.
pub(super) async fn open(world: &World, options: Option<&Request>) -> Result<Lease, LocalError> {
    let mut daemon = world.local.try_daemon().await?;
    if let Some(options) = options {
        daemon.keep_private();
        daemon.call(options, &mut drop).await?;
    }
    Ok(daemon)
}

async fn beginning(reader: &mut LinkReader) -> Result<Come, SessionError> {
    let mut body = Vec::new();
    while body.len() <= HELD {
        match reader.recv().await? {
            Some((Unit::Data(bytes), _)) => body.extend(bytes),
            Some((Unit::End, _)) => return Ok(Come::Whole(body)),
            Some((unit, _)) => return Err(SessionError::OutOfPlace(unit.name())),
            None => return Err(SessionError::Closed),
        }
    }
    Ok(Come::Beginning(body))
}

/// Takes an upload to its end, also when nobody wants it any more: what follows it is the next request.
async fn receive(
    reader: &mut LinkReader,
    begun: &[u8],
    mut to: impl AsyncWriteExt + Unpin,
) -> Result<(), SessionError> {
    let mut wanted = to.write_all(begun).await.is_ok();
    loop {
        match reader.recv().await? {
            Some((Unit::Data(bytes), _)) => wanted = wanted && to.write_all(&bytes).await.is_ok(),
            Some((Unit::End, _)) => break,
            Some((unit, _)) => return Err(SessionError::OutOfPlace(unit.name())),
            None => return Err(SessionError::Closed),
        }
    }
    // Where the other end is gone already, its own error says why.
    let _ = to.shutdown().await;
    Ok(())
}
