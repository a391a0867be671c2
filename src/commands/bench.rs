//! `muster bench`, hidden: one part of the product by itself, for `checks/bench` to measure.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{Failure, block_on};
use crate::cli::{BenchArgs, BenchCommand};
use crate::coordinator::local::LocalStore;
use crate::coordinator::upload::{Carrier, InFlight};
use crate::domain::{PathInfo, StoreDir, StorePath};
use crate::edge::channel::Transport;
use crate::edge::pool::Pool;
use crate::edge::process::DaemonProcess;

const PATIENCE: Duration = Duration::from_secs(10);
/// As between machines that are near each other.
const ABREAST: usize = 2;

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let BenchCommand::Copy { from, to, path } = &args.command;
    block_on(async { copy(from, to, path).await.map_err(Failure::Failed) })
}

/// Moves a closure between two stores just as a build's inputs are moved to its builder.
async fn copy(from: &str, to: &str, path: &str) -> anyhow::Result<()> {
    let dir = StoreDir::default();
    let root = dir.parse_path(path)?;
    let tracker = TaskTracker::new();
    let (source, builder) = (pool(from, &dir, &tracker), pool(to, &dir, &tracker));
    let local = Arc::new(LocalStore::new(Arc::clone(&source), Duration::ZERO));

    let closure = local.closure(&BTreeSet::from([root])).await?;
    let paths: Vec<StorePath> = closure.iter().map(|info| info.path.clone()).collect();
    let mut channel = builder.checkout().await?;
    let valid = channel.root_and_query(&paths).await?;
    let missing: Vec<Arc<PathInfo>> =
        closure.iter().filter(|info| !valid.contains(&info.path)).cloned().collect();
    let (pool, in_flight) = (Arc::clone(&builder), Arc::new(InFlight::default()));
    let landings = in_flight.landings();
    let carrier = Carrier { local, pool, in_flight, abreast: ABREAST, stalled_after: PATIENCE };
    carrier.upload(&mut channel, missing, landings).await?;

    drop(channel);
    for pool in [source, builder] {
        pool.cut("done");
    }
    tracker.close();
    tracker.wait().await;
    Ok(())
}

fn pool(store: &str, dir: &StoreDir, tracker: &TaskTracker) -> Arc<Pool> {
    let daemon = DaemonProcess { program: PathBuf::from("nix-daemon"), store: Some(store.to_owned()) };
    Pool::new(Transport::Process(daemon), dir.clone(), PATIENCE, tracker.clone())
}
