//! Probing builders without a coordinator, all at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::reach::Reach;
use super::{probe, transport};
use crate::config::{Attach, Builder, Config};
use crate::domain::{BuilderName, Capabilities};
use crate::edge::clock;
use crate::edge::ssh::SocketDir;

/// For what the probes leave to be ended.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// What came of one probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Surveyed {
    /// Of whom.
    pub name: BuilderName,
    /// What it can do, or why it can't be used.
    pub found: Result<Capabilities, String>,
    /// How long that took.
    pub took: Duration,
}

/// Probes them side by side, in their order; each takes `timeouts.probe` at most.
pub async fn survey(config: &Config, builders: &[Builder]) -> io::Result<Vec<Surveyed>> {
    let tracker = TaskTracker::new();
    let sockets = Arc::new(SocketDir::temporary()?);
    let limit = config.timeouts.probe;
    let probes: Vec<_> = builders
        .iter()
        .map(|builder| {
            let transport = transport::of_builder(config, builder, &sockets, &tracker);
            let (store_dir, patience) = (config.store_dir.clone(), config.timeouts.connect);
            let reach = Reach::new(builder, transport, store_dir, patience, tracker.clone());
            let name = builder.spec.name.clone();
            (name, tracker.spawn(survey_one(reach, config.attach, limit)))
        })
        .collect();
    let mut surveyed = Vec::new();
    for (name, probe) in probes {
        let (found, took) = probe.await.map_err(io::Error::other)?;
        surveyed.push(Surveyed { name, found, took });
    }
    tracker.close();
    // Whatever hangs is killed with the runtime.
    let _ = timeout(LAST_WORDS, tracker.wait()).await;
    Ok(surveyed)
}

async fn survey_one(
    reach: Reach,
    attach: Attach,
    limit: Duration,
) -> (Result<Capabilities, String>, Duration) {
    let began = clock::now();
    let found = timeout(limit, probe::capabilities(&reach, attach, limit)).await;
    let found = found.unwrap_or_else(|_| Err(probe::no_answer(limit)));
    reach.cut("the probe is over");
    (found, began.elapsed())
}
