//! Inputs on their way to a builder: each path once per builder at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::local::{LocalError, LocalStore};
use crate::domain::{PathInfo, StoreHash, StorePath};
use crate::edge::pool::{CheckoutError, Lease, Pool};
use crate::nix::client::Error;
use crate::nix::nar::CopyError;
use crate::nix::ops::Request;
use crate::nix::wire::{self, Dialect};

/// Between reading from the local store and sending to the builder.
const PIPE: usize = 256 << 10;

/// Why inputs did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The local store failed.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The builder could not be reached.
    #[error(transparent)]
    Unreachable(#[from] CheckoutError),
    /// The builder failed.
    #[error(transparent)]
    Builder(#[from] Error),
}

/// What is on its way to one builder.
#[derive(Default)]
pub struct InFlight {
    paths: Mutex<HashSet<StoreHash>>,
    landed: Notify,
}

impl InFlight {
    /// Claims all of `paths`, or none where another upload has one of them.
    fn claim<'a>(&'a self, paths: &[Arc<PathInfo>]) -> Option<Claim<'a>> {
        let hashes: Vec<StoreHash> = paths.iter().map(|info| info.path.hash()).collect();
        let mut in_flight = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.iter().any(|hash| in_flight.contains(hash)) {
            return None;
        }
        in_flight.extend(hashes.iter().copied());
        Some(Claim { table: self, hashes })
    }
}

/// Paths that this upload alone may send; given back when dropped.
struct Claim<'a> {
    table: &'a InFlight,
    hashes: Vec<StoreHash>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.table.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in &self.hashes {
            in_flight.remove(hash);
        }
        drop(in_flight);
        self.table.landed.notify_waiters();
    }
}

/// Sends `missing` (references first) to the builder; what another build sends at the same time is waited for.
pub async fn upload(
    local: &LocalStore,
    (pool, in_flight): (&Arc<Pool>, &InFlight),
    build_channel: &mut Lease,
    mut missing: Vec<Arc<PathInfo>>,
) -> Result<(), UploadError> {
    loop {
        let landed = in_flight.landed.notified();
        if let Some(_claim) = in_flight.claim(&missing) {
            return send(local, pool, &missing).await;
        }
        landed.await;
        let paths: Vec<StorePath> = missing.iter().map(|info| info.path.clone()).collect();
        let valid = build_channel.query_valid_paths(&paths, false).await?;
        missing.retain(|info| !valid.contains(&info.path));
        if missing.is_empty() {
            return Ok(());
        }
    }
}

async fn send(local: &LocalStore, pool: &Arc<Pool>, missing: &[Arc<PathInfo>]) -> Result<(), UploadError> {
    let missing = &local.fresh(missing).await?;
    let mut source = local.daemon().await.map_err(LocalError::from)?;
    let mut channel = pool.checkout().await?;
    let dialect = channel.dialect().clone();
    let (mut items, mut stream) = tokio::io::duplex(PIPE);
    let request = Request::AddMultipleToStore { repair: false, dont_check_sigs: true };
    let (read, sent) = tokio::join!(
        async {
            let read = read_items(&mut source, &dialect, missing, &mut items).await;
            drop(items);
            read
        },
        async {
            let sent = channel.upload_from(&request, &mut stream, &mut drop).await;
            drop(stream);
            sent
        },
    );
    match (read, sent) {
        // The pipe between the two breaks when the builder wants no more: then its own words count.
        (Err(Error::Nar(CopyError::Sink { .. }) | Error::Io { .. }), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(LocalError::Store(error).into()),
        (Ok(()), sent) => Ok(sent.map(drop)?),
    }
}

/// Writes what AddMultipleToStore takes: how many, then each path's record and NAR.
async fn read_items(
    source: &mut Lease,
    dialect: &Dialect,
    missing: &[Arc<PathInfo>],
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Error> {
    let io = |error| Error::Io { operation: "AddMultipleToStore", error };
    to.write_all(&(missing.len() as u64).to_le_bytes()).await.map_err(io)?;
    for info in missing {
        to.write_all(&wire::encode(&**info, dialect)).await.map_err(io)?;
        // The builder's daemon compares the bytes with the hash in the record.
        source.relay_nar(&info.path, to, info.nar_size).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sha256;

    fn info(letter: char) -> Arc<PathInfo> {
        let base = format!("{}-{letter}", letter.to_string().repeat(32));
        Arc::new(PathInfo {
            path: StorePath::from_base_name(&base).expect("a path"),
            deriver: None,
            nar_hash: Sha256([0; 32]),
            references: [].into(),
            registration_time: 0,
            nar_size: 1,
            ultimate: false,
            signatures: Vec::new(),
            ca: None,
        })
    }

    #[test]
    fn a_path_has_one_upload_at_a_time_and_a_failed_one_gives_it_back() {
        let table = InFlight::default();
        let first = table.claim(&[info('a'), info('b')]).expect("free");
        assert!(table.claim(&[info('b'), info('c')]).is_none());
        assert!(table.claim(&[info('c')]).is_some(), "a refused claim holds nothing");
        drop(first);
        assert!(table.claim(&[info('b')]).is_some());
    }
}
