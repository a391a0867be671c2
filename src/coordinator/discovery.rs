//! How the loop takes in what the sources tell: builders come, change, and leave.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, RunError};
use super::install::Place;
use super::offer::Writes;
use super::roster::Change;
use super::{News, install, sources};
use crate::config::Builder;
use crate::domain::{Absentee, BuilderName, TailnetPath};
use crate::edge::discover::{Rank, Report};
use crate::policy::snapshot::{AbsentRow, BuilderRow, HealthWord};
use crate::policy::{self, Event, Snapshot};

impl Driver {
    /// Takes in the builders that are named, and starts the sources of all others.
    pub(super) fn discover(&mut self, shutdown: &CancellationToken) -> Result<(), RunError> {
        self.say_where_lines_go();
        self.sources = shutdown.child_token();
        self.reporting = sources::start(&self.world, &self.sources);
        self.awaited.clone_from(&self.reporting);
        self.learn(Rank::Static, self.world.config().builders.clone())
    }

    pub(super) fn reported(&mut self, report: Report) -> Result<(), RunError> {
        match report {
            // A source of before a reload.
            Report::Known(rank, _) | Report::Failed(rank) | Report::Sight(rank, _)
                if !self.reporting.contains(&rank) => {}
            Report::Known(rank, builders) => {
                self.awaited.remove(&rank);
                self.learn(rank, builders)?;
            }
            Report::Failed(rank) => {
                self.awaited.remove(&rank);
            }
            Report::Sight(rank, sight) => {
                self.sights.insert(rank, sight);
            }
            Report::Nix(look) => {
                let before = self.place();
                self.undone |= self.look.reads_ours;
                self.look = look;
                if self.place() != before {
                    self.say_where_lines_go();
                }
                self.write_lines()?;
            }
        }
        self.write_if_settled()
    }

    /// The state as people see it.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.state.snapshot(self.now());
        for row in &mut snapshot.builders {
            let path = self.path_of(&row.name);
            row.path = path.filter(|_| row.health == HealthWord::Healthy).map(ToString::to_string);
            row.host_name = self.sights.values().find_map(|sight| sight.host_names.get(&row.name)).cloned();
        }
        let absent = self.sights.values().flat_map(|sight| sight.absent.iter().cloned());
        let row =
            |Absentee { name, host_name, online, why }| AbsentRow { name, host_name, online, reason: why };
        snapshot.absent = absent.map(row).collect();
        for (why, names) in self.sights.values().flat_map(|sight| &sight.passed_over) {
            snapshot.passed_over.entry(why.clone()).or_default().extend(names.iter().cloned());
        }
        snapshot
    }

    pub(super) fn report(&self) -> policy::Report {
        let mut report = self.state.report(self.now());
        for row in &mut report.builders {
            let path = self.path_of(&row.name);
            row.path = path.map(ToString::to_string);
        }
        report
    }

    fn path_of(&self, builder: &BuilderName) -> Option<&TailnetPath> {
        self.sights.values().find_map(|sight| sight.paths.get(builder))
    }

    /// Where the lines go.
    pub(super) fn place(&self) -> Place {
        install::place(&self.world.config(), &self.look, self.undone)
    }

    fn say_where_lines_go(&self) {
        if let Some(advice) =
            install::advice(&self.world.config(), self.place()).filter(|_| self.writes != Writes::Never)
        {
            tracing::info!("{advice}");
        }
    }

    pub(super) fn learn(&mut self, rank: Rank, builders: Vec<Builder>) -> Result<(), RunError> {
        for change in self.roster.learn(rank, builders) {
            match change {
                Change::Found(name) => self.welcome(&name)?,
                Change::Vanished(name) => {
                    tracing::info!(builder = %name, "no source knows it any more");
                    self.depart(name)?;
                }
                Change::Replaced(name) => {
                    tracing::info!(builder = %name, "another machine has this name now");
                    let reach = self.reaches.get(&name).map(Arc::clone);
                    self.depart(name)?;
                    // What runs on the former one has no way back.
                    if let Some(reach) = reach {
                        reach.cut("another machine has its name now");
                    }
                }
            }
        }
        Ok(())
    }

    /// One that is still about to leave stays, if it is the same machine; another one waits until the name is free.
    fn welcome(&mut self, name: &BuilderName) -> Result<(), RunError> {
        let Some(builder) = self.roster.get(name).cloned() else { return Ok(()) };
        let other = |uri| uri != &builder.uri;
        if self.state.knows(name) && self.reaches.get(name).map(|reach| &reach.uri).is_some_and(other) {
            return Ok(());
        }
        tracing::info!(builder = %name, uri = %builder.uri, "found");
        self.found(&builder)
    }

    fn depart(&mut self, name: BuilderName) -> Result<(), RunError> {
        self.departing.insert(name.clone());
        self.step(Event::Vanished(name))
    }

    /// Forgets the way to builders that the policy has let go. Who has their name now comes in by the queue, behind
    /// whatever tasks of the former one have told before they were stopped.
    pub(super) fn bid_farewell(&mut self) {
        let gone: Vec<_> = self.departing.iter().filter(|name| !self.state.knows(name)).cloned().collect();
        for name in gone {
            self.departing.remove(&name);
            if let Some(reach) = self.reaches.remove(&name) {
                reach.retired.cancel();
                reach.cut("no source knows it any more");
                self.publish_reaches();
            }
            if self.roster.get(&name).is_some() {
                let world = Arc::clone(&self.world);
                self.world.tracker.spawn(async move { world.tell(News::Arrived(name)).await });
            }
        }
    }

    pub(super) fn arrived(&mut self, name: &BuilderName) -> Result<(), RunError> {
        if self.state.knows(name) { Ok(()) } else { self.welcome(name) }
    }

    /// Serves until every source has told something and every builder has answered its probe, or failed to.
    pub(super) async fn settle(
        &mut self,
        heard: &mut mpsc::Receiver<News>,
        shutdown: &CancellationToken,
    ) -> Result<(), RunError> {
        while !self.is_settled() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(news) = heard.recv() => self.hear(news)?,
            }
        }
        Ok(())
    }

    /// Whether every source has told something, and every builder has answered a probe or failed to.
    pub(super) fn is_settled(&self) -> bool {
        let waited_for = |row: &BuilderRow| {
            matches!(row.health, HealthWord::Unknown | HealthWord::Probing) && row.reason.is_none()
        };
        self.awaited.is_empty() && !self.state.snapshot(self.now()).builders.iter().any(waited_for)
    }
}
