//! Inputs on their way to a builder: several portions abreast, each path once per builder at a time.
//!
//! | part | what |
//! |---|---|
//! | `in_flight` | who sends what to one builder |
//! | `plan` | in which order and portions |
//! | `turn` | who is stuck when nothing moves |

mod in_flight;
mod plan;
mod turn;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::local::{ASK_AGAIN, LocalError, LocalStore};
use crate::domain::{PathInfo, StorePath};
use crate::edge::clock;
use crate::edge::meter::Stalled;
use crate::edge::pool::{CheckoutError, Lease, Pool};
use crate::nix::client::Error;
use crate::nix::nar::CopyError;
use crate::nix::ops::Request;
use crate::nix::wire::{self, Dialect};

use in_flight::Claim;
pub use in_flight::{InFlight, Landings};
use plan::Plan;
use turn::Turn;

/// Between reading from the local store and sending to the builder.
const PIPE: usize = 256 << 10;
/// What is written into it.
const PIPED: &str = "AddMultipleToStore";

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
    /// Nothing moves any more.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// Our own task failed.
    #[error("the upload broke off: {0}")]
    Broken(#[from] JoinError),
}

/// The way of inputs to one builder.
#[derive(Clone)]
pub struct Carrier {
    /// Where they come from.
    pub local: Arc<LocalStore>,
    /// Where they go.
    pub pool: Arc<Pool>,
    /// What others send there.
    pub in_flight: Arc<InFlight>,
    /// How many portions travel at once.
    pub abreast: usize,
    /// How long nothing may move.
    pub stalled_after: Duration,
}

/// A portion that was sent; it is nobody's business any more when this is dropped.
struct Sent {
    portion: Vec<Arc<PathInfo>>,
    result: Result<(), UploadError>,
    _claim: Claim,
}

impl Carrier {
    /// Sends `missing` (references first) to the builder; what another build sends at the same time is waited for.
    /// `asked` is what had landed there when the builder was asked what it misses. How many bytes were sent.
    pub async fn upload(
        &self,
        build_channel: &mut Lease,
        missing: Vec<Arc<PathInfo>>,
        asked: Landings,
    ) -> Result<u64, UploadError> {
        let missing = self.local.fresh(&missing).await?;
        let mut plan = Plan::new(missing, self.abreast);
        if self.in_flight.landings() != asked {
            plan.doubt();
        }
        // Dropped, it ends all that is under way.
        let mut under_way = JoinSet::new();
        let mut sent_bytes = 0;
        loop {
            let somebody_landed = self.in_flight.landed();
            let back = plan.given_back(|hash| self.in_flight.has(hash));
            self.settle(&mut plan, build_channel, back).await?;
            if plan.is_done() {
                break;
            }
            while under_way.len() < self.abreast {
                let mut claim = self.in_flight.claim();
                let Some(portion) = plan.next_portion(|hash| claim.take(hash)) else { break };
                under_way.spawn(self.clone().send(portion, claim));
            }
            tokio::select! {
                Some(sent) = under_way.join_next() => {
                    let Sent { portion, result, .. } = sent?;
                    match result {
                        Ok(()) => {
                            sent_bytes += portion.iter().map(|info| info.nar_size).sum::<u64>();
                            plan.landed(&portion);
                        }
                        // Nix before 2.18 takes the archive of a path that somebody has added meanwhile for the next record.
                        Err(error @ UploadError::Builder(Error::Daemon(_))) => {
                            if !self.settle(&mut plan, build_channel, portion).await? {
                                return Err(error);
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
                () = somebody_landed => {}
            }
        }
        Ok(sent_bytes)
    }

    /// Asks which of these paths, which others may have sent, are there now; the rest is sent again. Whether any is.
    async fn settle(
        &self,
        plan: &mut Plan,
        build_channel: &mut Lease,
        paths: Vec<Arc<PathInfo>>,
    ) -> Result<bool, UploadError> {
        if paths.is_empty() {
            return Ok(false);
        }
        let names: Vec<StorePath> = paths.iter().map(|info| info.path.clone()).collect();
        let meter = build_channel.meter();
        let asked = meter.watch(self.stalled_after, build_channel.query_valid_paths(&names, false));
        let valid: BTreeSet<StorePath> = asked.await??;
        let (there, absent): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|info| valid.contains(&info.path));
        plan.landed(&there);
        plan.send_again(absent);
        Ok(!there.is_empty())
    }

    /// The local daemon may die or freeze in the middle: another one is waited for, as when a build is prepared.
    async fn send(self, portion: Vec<Arc<PathInfo>>, claim: Claim) -> Sent {
        let began = clock::now();
        loop {
            match self.try_to_send(&portion).await {
                Err(UploadError::Local(error))
                    if error.may_pass() && began.elapsed() < self.local.patience() =>
                {
                    tracing::warn!("{error}; the inputs are sent again");
                    sleep(ASK_AGAIN).await;
                }
                result => return Sent { portion, result, _claim: claim },
            }
        }
    }

    async fn try_to_send(&self, portion: &[Arc<PathInfo>]) -> Result<(), UploadError> {
        let mut source = self.local.daemon().await.map_err(LocalError::from)?;
        let mut channel = self.pool.checkout().await?;
        channel.holds_roots();
        let meter = channel.meter();
        let turn = Turn::default();
        let copy = copy(&mut source, &mut channel, portion, &turn);
        match meter.watch(self.stalled_after, copy).await {
            Ok(copied) => copied?,
            Err(stalled) if turn.is_builders() => {
                self.pool.doubt();
                return Err(stalled.into());
            }
            Err(stalled) => return Err(LocalError::from(stalled).into()),
        }
        tracing::debug!(paths = portion.len(), "inputs sent");
        Ok(())
    }
}

async fn copy(
    source: &mut Lease,
    to: &mut Lease,
    portion: &[Arc<PathInfo>],
    turn: &Turn,
) -> Result<(), UploadError> {
    let dialect = to.dialect().clone();
    let (items, mut stream) = tokio::io::duplex(PIPE);
    let mut items = turn.on(items);
    let request = Request::AddMultipleToStore { repair: false, dont_check_sigs: true };
    let (read, sent) = tokio::join!(
        async {
            let read = read_items(source, &dialect, portion, &mut items).await;
            drop(items);
            turn.all_is_read();
            read
        },
        async {
            let sent = to.upload_from(&request, &mut stream, &mut drop).await;
            drop(stream);
            sent
        },
    );
    match (read, sent) {
        // The pipe between the two breaks when the builder wants no more: then its own words count.
        (Err(Error::Nar(CopyError::Sink { .. }) | Error::Io { operation: PIPED, .. }), Err(error)) => {
            Err(error.into())
        }
        (Err(error), _) => Err(LocalError::Store(error).into()),
        (Ok(()), sent) => Ok(sent.map(drop)?),
    }
}

/// Writes what AddMultipleToStore takes: how many, then each path's record and NAR.
async fn read_items(
    source: &mut Lease,
    dialect: &Dialect,
    portion: &[Arc<PathInfo>],
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Error> {
    let io = |error| Error::Io { operation: PIPED, error };
    to.write_all(&(portion.len() as u64).to_le_bytes()).await.map_err(io)?;
    for info in portion {
        to.write_all(&wire::encode(&**info, dialect)).await.map_err(io)?;
        // The builder's daemon compares the bytes with the hash in the record.
        source.relay_nar(&info.path, to, info.nar_size).await?;
    }
    Ok(())
}
