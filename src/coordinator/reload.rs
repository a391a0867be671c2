//! How the loop takes in a configuration that was read again. No build is lost for it: builders that are named no longer
//! finish what they have.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::driver::{self, Driver, RunError};
use super::sources;
use crate::config::{Config, Timeouts};
use crate::edge::discover::Rank;
use crate::edge::files;
use crate::policy::Event;

impl Driver {
    pub(super) fn reload(&mut self, config: Config, shutdown: &CancellationToken) -> Result<(), RunError> {
        let before = self.world.config();
        for key in self.world.configured.replace(config) {
            tracing::warn!("`{key}` is another one now: it changes with the next restart only");
        }
        let now = self.world.config();
        if before.timeouts != now.timeouts {
            self.retime(&before.timeouts, &now.timeouts, shutdown);
        }
        self.step(Event::Configured(driver::settings(&now)))?;
        if before.sources != now.sources || before.endpoint.program != now.endpoint.program {
            self.rediscover(shutdown)?;
        }
        if before.endpoint.socket_mode() != now.endpoint.socket_mode() {
            let changed = files::set_mode(&now.endpoint.socket, now.endpoint.socket_mode());
            let _ =
                changed.inspect_err(|error| tracing::error!("{error}; `allow` waits for the next restart"));
        }
        self.learn(Rank::Static, now.builders.clone())?;
        // The lines of before still lead here.
        if let Err(error) = self.write_lines() {
            tracing::error!("{error}; tried again at the next change");
        }
        tracing::info!("the configuration was read again and is in force");
        Ok(())
    }

    fn retime(&mut self, before: &Timeouts, now: &Timeouts, shutdown: &CancellationToken) {
        for (key, before, now) in [
            ("connect_timeout", before.connect, now.connect),
            ("lost_after", before.lost_after, now.lost_after),
        ] {
            if before != now {
                tracing::warn!(
                    "`{key}` is another one now: connections to builders of before keep the former one until the \
                     next restart"
                );
            }
        }
        self.world.local.set_patience(now.reconnect);
        self.announce(shutdown);
    }

    /// Ends the sources and starts those that are named now. What a former one knew holds until its successor speaks;
    /// where it has none, it is forgotten.
    fn rediscover(&mut self, shutdown: &CancellationToken) -> Result<(), RunError> {
        self.sources.cancel();
        self.sources = shutdown.child_token();
        let before = std::mem::take(&mut self.reporting);
        self.reporting = sources::start(&Arc::clone(&self.world), &self.sources);
        let gone: Vec<Rank> = before.difference(&self.reporting).copied().collect();
        self.sights.clear();
        self.awaited.retain(|rank| self.reporting.contains(rank));
        gone.into_iter().try_for_each(|rank| self.learn(rank, Vec::new()))
    }
}
