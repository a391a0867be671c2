//! Direct attach without staying.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, NEWS_WAITING, RunError};
use super::offer::Writes;
use super::{World, install};
use crate::config::Config;
use crate::policy::Snapshot;
use crate::policy::snapshot::HealthWord;

/// How long sources may take, beside the probes, where the coordinator does not stay.
const ONCE_SOURCES: Duration = Duration::from_secs(40);

/// Direct attach without staying: asks every source and probes every builder once, and writes the lines of those that
/// are healthy. Where none is, nothing is written.
pub async fn once(config: Config, interrupted: CancellationToken) -> Result<Once, RunError> {
    let shutdown = interrupted.child_token();
    let (news, mut heard) = mpsc::channel(NEWS_WAITING);
    let patience = config.timeouts.probe + ONCE_SOURCES;
    let world = World::new(config, news)?;
    // Nobody would renew them.
    world.claims.never();
    let mut driver = Driver::new(Arc::clone(&world));
    driver.writes = Writes::Never;
    driver.discover(&shutdown)?;
    let settled = timeout(patience, driver.settle(&mut heard, &shutdown)).await;
    let snapshot = driver.state.snapshot(driver.now());
    let text = driver.lines()?;
    let place = driver.place();
    let healthy = snapshot.builders.iter().any(|row| row.health == HealthWord::Healthy);
    if healthy && !shutdown.is_cancelled() {
        driver.writes = Writes::Now;
        driver.write_lines()?;
    }
    driver.end(&shutdown).await;
    settled.unwrap_or(Ok(()))?;
    Ok(Once { snapshot, lines: text, advice: install::advice(&world.config(), place) })
}

/// What [`once`] found.
#[derive(Debug)]
pub struct Once {
    /// Every builder.
    pub snapshot: Snapshot,
    /// The lines of the healthy ones.
    pub lines: String,
    /// What is left to do so that Nix finds them.
    pub advice: Option<String>,
}
