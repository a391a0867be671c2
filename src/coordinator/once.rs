//! Direct attach without staying.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, NEWS_WAITING, RunError};
use super::offer::Writes;
use super::{News, World, install};
use crate::config::Config;
use crate::edge::clock;
use crate::policy::goal::{Goal, Standing};
use crate::policy::snapshot::HealthWord;
use crate::policy::{Event, Snapshot};

/// How long sources may take, beside the probes, where the coordinator does not stay.
const ONCE_SOURCES: Duration = Duration::from_secs(40);

/// Direct attach without staying: asks every source and probes every builder once, and writes the lines of those that
/// are healthy. Where none is, nothing is written.
///
/// With a goal, builders are waited for until it is met, or so long; where it is missed, nothing is written either.
pub async fn once(
    config: Config,
    gathering: Option<(Goal, Duration)>,
    interrupted: CancellationToken,
) -> Result<Once, RunError> {
    let shutdown = interrupted.child_token();
    let (news, mut heard) = mpsc::channel(NEWS_WAITING);
    let patience = config.timeouts.probe + ONCE_SOURCES;
    let world = World::new(config, news)?;
    // Nobody would renew them.
    world.claims.never();
    let mut driver = Driver::new(Arc::clone(&world));
    driver.writes = Writes::Never;
    driver.discover(&shutdown)?;
    let began = clock::now();
    let settled = match &gathering {
        None => timeout(patience, driver.settle(&mut heard, &shutdown)).await,
        Some((goal, wait)) => timeout(*wait, driver.gather(goal, &mut heard, &shutdown)).await,
    };
    let standing = gathering.map(|(goal, _)| goal.look(&driver.snapshot(), true));
    let missed = standing.filter(|standing| !standing.met).map(|standing| (standing, began.elapsed()));
    let snapshot = driver.snapshot();
    let text = driver.lines()?;
    let place = driver.place();
    let healthy = snapshot.builders.iter().any(|row| row.health == HealthWord::Healthy);
    if healthy && missed.is_none() && !shutdown.is_cancelled() {
        driver.writes = Writes::Now;
        driver.write_lines()?;
    }
    driver.end(&shutdown).await;
    settled.unwrap_or(Ok(()))?;
    Ok(Once { snapshot, missed, lines: text, advice: install::advice(&world.config(), place) })
}

impl Driver {
    /// Serves until the goal is met; builders that are down are tried again meanwhile.
    async fn gather(
        &mut self,
        goal: &Goal,
        heard: &mut mpsc::Receiver<News>,
        shutdown: &CancellationToken,
    ) -> Result<(), RunError> {
        while !goal.look(&self.snapshot(), false).met {
            let wake = self.wake_at.map(|time| self.started + time.since_start());
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(news) = heard.recv() => self.hear(news)?,
                () = sleep_until(wake.unwrap_or(self.started).into()), if wake.is_some() => {
                    self.wake_at = None;
                    self.step(Event::Woke)?;
                }
            }
        }
        Ok(())
    }
}

/// What [`once`] found.
#[derive(Debug)]
pub struct Once {
    /// Every builder.
    pub snapshot: Snapshot,
    /// How far it was from what was waited for, and after how long.
    pub missed: Option<(Standing, Duration)>,
    /// The lines of the healthy ones.
    pub lines: String,
    /// What is left to do so that Nix finds them.
    pub advice: Option<String>,
}
