//! The known graph above what is asked for: stock Nix asks for one build after the other, but the files of all of them
//! are in the local store, and those that need a build refer to it.
//!
//! Nothing waits for this. One task asks the store's daemon, over one channel; it looks at files of the last day only,
//! at so many, and for so long. A file that was looked at is not looked at again for a while.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::{News, World, drvs};
use crate::domain::{GraphNode, StorePath};
use crate::edge::clock;
use crate::edge::pool::Lease;
use crate::nix::client::Error;
use crate::nix::ops::{Reply, Request};
use crate::policy::Event;

/// Asked for and not looked at yet; beyond, a build's rank is its own.
const WAITING: usize = 4_096;
/// Looked at in one go.
const AT_ONCE: usize = 256;
/// What one look may find, and how long it may take.
const MOST: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(3);
/// Files that refer to one file, at most.
const MOST_REFERRERS: usize = 1_000;
/// What was written longer ago belongs to no invocation of now.
const RECENT: u64 = 24 * 3_600;
/// An invocation writes its files before it builds, and the next one may write others.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// The way of what is asked for to whoever looks above it.
pub(super) struct Graphs(Sender<StorePath>);

impl Graphs {
    /// Looks until the loop ends.
    pub fn start(world: &Arc<World>) -> Self {
        let (asked, asking) = channel(WAITING);
        world.tracker.spawn(look(Arc::clone(world), asking));
        Self(asked)
    }

    /// Never waits.
    pub fn look_above(&self, drv: &StorePath) {
        // Where too many wait, this one's rank is its own.
        let _ = self.0.try_send(drv.clone());
    }
}

async fn look(world: Arc<World>, mut asking: Receiver<StorePath>) {
    let (mut batch, mut seen) = (Vec::new(), HashMap::new());
    while asking.recv_many(&mut batch, AT_ONCE).await > 0 {
        let now = clock::now();
        seen.retain(|_, at: &mut Instant| now.saturating_duration_since(*at) < KNOWN_FOR);
        let mut found = Vec::new();
        let looked =
            timeout(PATIENCE, above(&world, std::mem::take(&mut batch), &mut seen, &mut found)).await;
        if let Ok(Err(error)) = &looked {
            tracing::debug!(%error, "the graph is not known whole");
        }
        if !found.is_empty() {
            tracing::debug!(derivations = found.len(), whole = looked.is_ok(), "the known graph");
            world.tell(News::Event(Event::Graph(found))).await;
        }
    }
}

/// Level by level: those that are asked for, those that need them, and so on.
async fn above(
    world: &World,
    asked: Vec<StorePath>,
    seen: &mut HashMap<StorePath, Instant>,
    found: &mut Vec<GraphNode>,
) -> Result<(), anyhow::Error> {
    let mut daemon = world.local.try_daemon().await?;
    let since = u64::try_from(clock::unix_seconds()).unwrap_or_default().saturating_sub(RECENT);
    // What a client asks for is of now, however old its file.
    let mut oldest = 0;
    let mut level: Vec<StorePath> = asked.into_iter().filter(|drv| !seen.contains_key(drv)).collect();
    while !level.is_empty() && found.len() < MOST {
        level.truncate(MOST);
        let now = clock::now();
        seen.extend(level.iter().map(|drv| (drv.clone(), now)));
        let infos = daemon.query_path_infos(&level).await?;
        let files: Vec<(StorePath, u64)> = level
            .into_iter()
            .zip(infos)
            .filter_map(|(path, info)| Some((path, info?)))
            .filter(|(_, info)| info.registration_time >= oldest)
            .map(|(path, info)| (path, info.nar_size))
            .collect();
        for (path, drv) in drvs::read(&mut daemon, &world.store_dir, &files).await? {
            found.push(drvs::node(&path, &drv));
        }
        level = referrers(&mut daemon, &files).await?;
        level.retain(|drv| !seen.contains_key(drv));
        oldest = since;
    }
    Ok(())
}

async fn referrers(daemon: &mut Lease, files: &[(StorePath, u64)]) -> Result<Vec<StorePath>, Error> {
    let mut all = HashSet::new();
    for (path, _) in files {
        let request = Request::QueryReferrers { path: path.clone() };
        if let Reply::Paths(paths) = daemon.call(&request, &mut drop).await? {
            let others = paths.into_iter().filter(|other| other.is_derivation() && other != path);
            all.extend(others.take(MOST_REFERRERS));
        }
    }
    Ok(all.into_iter().collect())
}
