//! The process beside the Nix daemon that asks for builds: `run(config, listeners, shutdown)`.
//!
//! One loop owns the policy's [`State`](crate::policy::State). Everything that happens reaches it as [`News`]; what
//! follows is carried out by tracked tasks, which send news back. Nobody else changes the state.

mod accept;
mod attempt;
mod control;
mod driver;
mod endpoint;
mod feed;
mod job;
mod kept;
mod lines;
pub(crate) mod local;
mod narration;
mod probe;
mod reach;
mod transport;
pub(crate) mod upload;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::{AttemptId, AttemptOutcome, Client, RequestId, StoreDir};
use crate::edge::spool::Spool;
use crate::policy::{Event, Snapshot};

pub use driver::{Listeners, run};

/// What tasks tell the loop.
enum News {
    /// Something for the policy.
    Event(Event),
    /// A client asks for a build.
    Requested { request: RequestId, client: Client, job: Arc<job::Job>, feed: feed::Feed },
    /// An attempt ended; outputs only with success.
    Ended { attempt: AttemptId, outcome: AttemptOutcome, outputs: Vec<feed::Output> },
    /// A client wants its build no more.
    Withdrawn(RequestId),
    /// Somebody wants to see the state.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// What every task of the coordinator shares.
struct World {
    config: Config,
    store_dir: StoreDir,
    local: local::LocalStore,
    spool: Spool,
    kept: kept::Kept,
    /// All builders, for those who ask them all.
    reaches: Mutex<Vec<Arc<reach::Reach>>>,
    /// The users who may use the endpoint.
    allowed: BTreeSet<u32>,
    tracker: TaskTracker,
    news: mpsc::Sender<News>,
}

impl World {
    /// Nothing to do where the loop has ended: then everything ends.
    async fn tell(&self, news: News) {
        let _ = self.news.send(news).await;
    }
}
