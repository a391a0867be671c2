//! Inputs of a build that waits travel ahead to the builder where it is likely to run.
//!
//! They hold no slot and take one stream, so that a build's own inputs come first. What they send is in the table of
//! what is under way there, so nothing travels twice; what has arrived stays rooted on a channel as long as it is wanted.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::job::Job;
use super::reach::Reach;
use super::upload::Carrier;
use super::{News, World};
use crate::domain::{AttemptId, BuildId, BuilderName, PathInfo, StorePath};
use crate::policy::Event;

/// Streams that one prefetch takes.
const ABREAST: usize = 1;

/// What ends one.
pub(super) struct Prefetching {
    /// At once, in the middle of whatever.
    cancel: CancellationToken,
    /// When what is under way has arrived.
    enough: CancellationToken,
}

impl Driver {
    /// Sends them, unless that is being done.
    pub(super) fn prefetch(&mut self, build: BuildId, builder: &BuilderName) {
        let key = (build, builder.clone());
        let asked = self.state.asked_by(build);
        let job = asked.iter().find_map(|request| self.requests.get(request)).map(|waiting| &waiting.job);
        let (Some(reach), Some(job)) = (self.reaches.get(builder), job) else { return };
        if self.prefetching.contains_key(&key) {
            return;
        }
        let (cancel, enough) = (reach.retired.child_token(), CancellationToken::new());
        let ahead = Ahead { world: Arc::clone(&self.world), reach: Arc::clone(reach), job: Arc::clone(job) };
        self.world.tracker.spawn(ahead.run(cancel.clone(), enough.clone()));
        self.prefetching.insert(key, Prefetching { cancel, enough });
    }

    /// Nobody wants them there any more.
    pub(super) fn end_prefetch(&mut self, build: BuildId, builder: &BuilderName) {
        if let Some(prefetching) = self.prefetching.remove(&(build, builder.clone())) {
            prefetching.cancel.cancel();
        }
    }

    /// The build begins there: what is under way is waited for by the attempt, which has roots of its own.
    pub(super) fn prefetched(&mut self, attempt: AttemptId, builder: &BuilderName) {
        if let Some(prefetching) = self.prefetching.remove(&(attempt.build, builder.clone())) {
            prefetching.enough.cancel();
        }
    }
}

struct Ahead {
    world: Arc<World>,
    reach: Arc<Reach>,
    job: Arc<Job>,
}

impl Ahead {
    async fn run(self, cancel: CancellationToken, enough: CancellationToken) {
        let pools = self.reach.pools();
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = pools.bulk.was_cut() => {}
            carried = self.carry(&enough) => {
                if let Err(error) = carried {
                    let (builder, drv) = (self.reach.name(), &self.job.drv);
                    tracing::debug!(%builder, %drv, "its inputs do not travel ahead: {error:#}");
                }
            }
        }
    }

    async fn carry(&self, enough: &CancellationToken) -> Result<(), anyhow::Error> {
        let pool = self.reach.pools().bulk;
        let mut channel = pool.checkout().await?;
        channel.holds_roots();
        let paths: Vec<StorePath> = self.job.closure.iter().map(|info| info.path.clone()).collect();
        let landings = self.reach.in_flight.landings();
        let mut valid = channel.root_and_query(&paths).await?;
        let absent: Vec<StorePath> = paths.into_iter().filter(|path| !valid.contains(path)).collect();
        if !absent.is_empty() && self.world.config().builders_use_substitutes == Some(true) {
            valid.extend(channel.query_valid_paths(&absent, true).await?);
        }
        self.present(valid.iter()).await;
        let missing: Vec<Arc<PathInfo>> =
            self.job.closure.iter().filter(|info| !valid.contains(&info.path)).cloned().collect();
        let sent: Vec<StorePath> = missing.iter().map(|info| info.path.clone()).collect();
        let carrier = Carrier {
            local: Arc::clone(&self.world.local),
            pool,
            in_flight: Arc::clone(&self.reach.in_flight),
            abreast: ABREAST,
            stalled_after: self.world.config().timeouts.stalled_after,
        };
        let bytes = carrier.upload(&mut channel, missing, landings).await?;
        self.present(sent.iter()).await;
        let (builder, drv) = (self.reach.name(), &self.job.drv);
        tracing::debug!(%builder, %drv, bytes, "its inputs have travelled ahead");
        enough.cancelled().await;
        Ok(())
    }

    async fn present(&self, paths: impl Iterator<Item = &StorePath>) {
        let paths = paths.map(StorePath::hash).collect();
        self.world.tell(News::Event(Event::Present(self.reach.name().clone(), paths))).await;
    }
}
