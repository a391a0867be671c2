//! Outputs on their way from a builder: small ones on the build's own channel in one go, large ones abreast on the bulk
//! lane, where they stand in nobody's way. Each is compared with its record before anybody is told of it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::{JoinError, JoinSet};

use super::World;
use super::feed::Output;
use super::reach::Reach;
use crate::domain::{PathInfo, StorePath};
use crate::edge::meter::Stalled;
use crate::edge::pool::{CheckoutError, Lease, Pool};
use crate::edge::spool::{Nar, Spool};
use crate::nix::client::{Error, NARS_AT_ONCE};
use crate::nix::nar::CopyError;

/// What is larger goes by the bulk lane.
const SMALL: u64 = 1 << 20;

/// Why an output did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not what the builder said, or what a build may give.
    #[error("'{path}': {reason}")]
    Bad {
        /// Which one.
        path: StorePath,
        /// What is wrong.
        reason: String,
    },
    /// It is larger than we may take.
    #[error(
        "the output '{path}' has {bytes} bytes, and limits.max_nar of muster's configuration allows {limit}; raise it there, or build something smaller"
    )]
    TooLarge {
        /// Which one.
        path: StorePath,
        /// What its NAR has.
        bytes: u64,
        /// What it may have.
        limit: u64,
    },
    /// There is no room for it here.
    #[error("cannot keep '{path}' in {} (limits.spool_dir): {why}", dir.display())]
    Local {
        /// Which one.
        path: StorePath,
        /// Where.
        dir: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The builder could not be reached.
    #[error(transparent)]
    Unreachable(#[from] CheckoutError),
    /// The builder failed.
    #[error(transparent)]
    Builder(#[from] Error),
    /// Nothing moves any more.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// Our own task failed.
    #[error("fetching broke off: {0}")]
    Broken(#[from] JoinError),
}

/// The way of outputs from one builder.
#[derive(Clone)]
pub struct Fetcher {
    bulk: Arc<Pool>,
    spool: Spool,
    max_nar: u64,
    abreast: usize,
    stalled_after: Duration,
}

impl Fetcher {
    /// From that builder.
    pub(super) fn new(world: &World, reach: &Reach) -> Self {
        Self {
            bulk: reach.pools().bulk,
            spool: world.config().spool.clone(),
            max_nar: world.config().limits.max_nar,
            abreast: reach.abreast(),
            stalled_after: world.config().timeouts.stalled_after,
        }
    }

    /// Fetches these paths, which the builder must have. `channel` keeps them from being collected meanwhile.
    pub async fn fetch(&self, channel: &mut Lease, paths: &[StorePath]) -> Result<Vec<Output>, FetchError> {
        let meter = channel.meter();
        let infos = meter.watch(self.stalled_after, channel.query_path_infos(paths)).await??;
        let mut wanted = Vec::new();
        for (path, info) in paths.iter().zip(infos) {
            wanted.push(self.acceptable(path, info)?);
        }
        let (small, large): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|info| info.nar_size <= SMALL);
        let mut outputs = meter.watch(self.stalled_after, self.all(channel, small)).await??;
        outputs.extend(self.abreast(large).await?);
        // As they were asked for.
        let mut by_path: BTreeMap<_, _> =
            outputs.into_iter().map(|output| (output.info.path.clone(), output)).collect();
        Ok(paths.iter().filter_map(|path| by_path.remove(path)).collect())
    }

    fn acceptable(&self, path: &StorePath, info: Option<PathInfo>) -> Result<PathInfo, FetchError> {
        let bad = |reason: String| FetchError::Bad { path: path.clone(), reason };
        let info =
            info.ok_or_else(|| bad("the builder said that it built it, but does not have it".into()))?;
        if info.nar_size > self.max_nar {
            let (path, bytes, limit) = (path.clone(), info.nar_size, self.max_nar);
            return Err(FetchError::TooLarge { path, bytes, limit });
        }
        Ok(info)
    }

    /// One after the other, asked for many at once.
    async fn all(&self, channel: &mut Lease, infos: Vec<PathInfo>) -> Result<Vec<Output>, FetchError> {
        let mut outputs = Vec::new();
        for infos in infos.chunks(NARS_AT_ONCE) {
            let paths: Vec<StorePath> = infos.iter().map(|info| info.path.clone()).collect();
            channel.ask_for_nars(&paths).await?;
            for info in infos {
                outputs.push(self.receive(channel, info.clone()).await?);
            }
        }
        Ok(outputs)
    }

    /// Side by side, each on a channel of its own.
    async fn abreast(&self, infos: Vec<PathInfo>) -> Result<Vec<Output>, FetchError> {
        // Dropped, it ends all that is under way.
        let mut under_way = JoinSet::new();
        let mut outputs = Vec::new();
        for info in infos {
            while under_way.len() >= self.abreast {
                outputs.extend(next(&mut under_way).await?);
            }
            under_way.spawn(self.clone().alone(info));
        }
        while !under_way.is_empty() {
            outputs.extend(next(&mut under_way).await?);
        }
        Ok(outputs)
    }

    async fn alone(self, info: PathInfo) -> Result<Output, FetchError> {
        let mut channel = self.bulk.checkout().await?;
        let meter = channel.meter();
        let fetched = meter.watch(self.stalled_after, self.all(&mut channel, vec![info])).await;
        let fetched = fetched.inspect_err(|_| self.bulk.doubt())??;
        Ok(fetched.into_iter().next().expect("as many as were asked for"))
    }

    async fn receive(&self, channel: &mut Lease, info: PathInfo) -> Result<Output, FetchError> {
        let path = info.path.clone();
        let local =
            |why: io::Error| FetchError::Local { path: path.clone(), dir: self.spool.dir().to_owned(), why };
        let mut sink = tokio::fs::File::from_std(self.spool.create(info.nar_size).map_err(local)?);
        let seen = channel.next_nar(&mut sink, info.nar_size).await.map_err(|error| match error {
            Error::Nar(CopyError::Sink { error, .. }) => local(error),
            Error::Nar(error @ (CopyError::Grammar { .. } | CopyError::TooLarge { .. })) => {
                FetchError::Bad { path: path.clone(), reason: error.to_string() }
            }
            other => other.into(),
        })?;
        if (seen.hash, seen.bytes) != (info.nar_hash, info.nar_size) {
            let (hash, bytes) = (info.nar_hash, info.nar_size);
            let reason = format!(
                "it came as {} bytes with {}, the builder promised {bytes} bytes with {hash}",
                seen.bytes, seen.hash
            );
            return Err(FetchError::Bad { path, reason });
        }
        sink.flush().await.map_err(local)?;
        Ok(Output { info, nar: Nar::from_file(sink.into_std().await) })
    }
}

async fn next(under_way: &mut JoinSet<Result<Output, FetchError>>) -> Result<Option<Output>, FetchError> {
    under_way.join_next().await.map(|fetched| fetched?).transpose()
}
