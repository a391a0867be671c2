//! The process beside the Nix daemon that asks for builds: `run(config, listeners, shutdown)`.
//!
//! One loop owns the policy's [`State`](crate::policy::State). Everything that happens reaches it as [`News`]; what
//! follows is carried out by tracked tasks, which send news back. Nobody else changes the state.

mod attempt;
mod claim;
mod complaints;
mod configured;
mod control;
mod direct;
mod discovery;
mod drains;
mod driver;
mod drvs;
mod endpoint;
mod feed;
mod fetch;
#[cfg(test)]
mod fixtures;
mod gauge;
mod graph;
mod install;
mod job;
mod kept;
mod learning;
mod limits;
mod lines;
pub(crate) mod local;
mod measure;
mod narration;
mod offer;
mod once;
mod orders;
mod own_link;
mod prefetch;
mod probe;
mod reach;
pub mod record;
mod reload;
mod reporting;
mod roster;
mod sources;
pub mod survey;
pub mod transport;
pub(crate) mod upload;

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::domain::{AttemptId, AttemptOutcome, BuilderName, Client, Demand, Label, RequestId, StoreDir};
use crate::edge::discover::Report;
use crate::edge::ssh::SocketDir;
use crate::policy::Event;

pub use driver::{Listeners, RunError, run};
pub use install::option_to_set;
pub use lines::lines_for_label;
pub use once::{Once, once};
pub use sources::machines_source;

pub use crate::edge::discover::MachinesSource;

/// What tasks tell the loop.
enum News {
    /// Something for the policy.
    Event(Event),
    /// A client asks for a build.
    Requested {
        request: RequestId,
        client: Client,
        label: Option<Label>,
        job: Arc<job::Job>,
        feed: feed::Feed,
    },
    /// An attempt ended; outputs only with success.
    Ended { attempt: AttemptId, outcome: AttemptOutcome, outputs: Vec<feed::Output> },
    /// A client wants its build no more.
    Withdrawn(RequestId),
    /// A source tells whom it knows.
    Reported(Report),
    /// A probe found out something that the lines depend on.
    Learned,
    /// What we do with a builder, and would like to: its agent wants to know.
    Demand(BuilderName, oneshot::Sender<Demand>),
    /// The name of a builder that is gone is free for the one that has it now.
    Arrived(BuilderName),
    /// Somebody wants to see something, or to have it done.
    Ordered(orders::Order),
}

/// What every task of the coordinator shares.
struct World {
    configured: configured::Configured,
    store_dir: StoreDir,
    local: Arc<local::LocalStore>,
    /// Where ssh's masters listen.
    ssh_sockets: Arc<SocketDir>,
    kept: kept::Kept,
    /// All builders, for those who ask them all.
    reaches: Mutex<Vec<Arc<reach::Reach>>>,
    tracker: TaskTracker,
    /// Builders with agents that are held.
    claims: claim::Claims,
    /// Whose benchmark runs.
    benchmarks: measure::Turns,
    /// One token for each build whose client has not heard its end.
    unheard: TaskTracker,
    news: mpsc::Sender<News>,
}

impl World {
    /// The configuration in force.
    fn config(&self) -> Arc<configured::InForce> {
        self.configured.now()
    }

    /// Nothing to do where the loop has ended: then everything ends.
    async fn tell(&self, news: News) {
        let _ = self.news.send(news).await;
    }
}
