//! What Nix is offered: the machines lines, written whenever they change.
//!
//! What a former coordinator left stays until this one knows as much: with fewer lines in between, Nix would turn away
//! builds that it should have kept.

use super::direct::{self, Member};
use super::driver::{Driver, RunError, write};
use super::install::{self, Place};
use super::{lines, probe, sources};
use crate::config::Attach;
use crate::edge::discover::machines;
use crate::edge::files;
use crate::nix::machines::BadEndpoint;

/// For a person who looks why there is none.
const LEFT_TO_NIX: &str = "# No builder is there: Nix builds by itself until one is.\n";

/// Whether the lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// Whenever they change.
    Now,
    /// As soon as every source has told something and every builder has answered its first probe, or failed to.
    OnceSettled,
    /// Not at all.
    Never,
}

impl Driver {
    /// Writes the first lines, or waits until they are as good as those that are there.
    pub(super) fn begin_to_write(&mut self) -> Result<(), RunError> {
        let left = files::read_bounded(&self.world.config().endpoint.machines_file);
        if left.is_some_and(|text| !text.is_empty()) {
            self.writes = Writes::OnceSettled;
        }
        self.write_lines()
    }

    pub(super) fn write_if_settled(&mut self) -> Result<(), RunError> {
        if self.writes == Writes::OnceSettled && self.is_settled() {
            self.writes = Writes::Now;
            return self.write_lines();
        }
        Ok(())
    }

    pub(super) fn write_lines(&mut self) -> Result<(), RunError> {
        let config = self.world.config();
        if self.writes != Writes::Now {
            return Ok(());
        }
        let lines = self.lines()?;
        let text = install::own_file(&lines, &self.look, &self.served_lines());
        write(&config.endpoint.machines_file, &text)?;
        if self.place() == Place::Section {
            self.write_section(&lines);
        }
        Ok(())
    }

    /// Nothing of ours is offered any more; what else stands in the file stays.
    pub(super) fn withdraw_lines(&mut self) -> Result<(), RunError> {
        let text = install::own_file("", &self.look, &self.served_lines());
        write(&self.world.config().endpoint.machines_file, &text)?;
        if self.place() == Place::Section {
            self.write_section("");
        }
        Ok(())
    }

    /// That Nix's own file cannot be changed keeps nobody from using ours.
    fn write_section(&mut self, lines: &str) {
        // The setup may be younger than our last look, and has removed the section.
        if machines::look(&sources::machines_source(&self.world.config())).reads_ours {
            return;
        }
        let trouble =
            install::write_section(&self.world.config(), lines).err().map(|error| error.to_string());
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.last_trouble.as_ref() != Some(*trouble))
        {
            tracing::warn!("{trouble}; {}", install::option_to_set(&self.world.config()));
        }
        self.last_trouble = trouble;
    }

    pub(super) fn lines(&self) -> Result<String, BadEndpoint> {
        let (config, system) = (self.world.config(), probe::this_system());
        if self.is_all_left_to_nix() {
            return Ok(String::new());
        }
        let now = self.now();
        let gone = |systems: &_, features: &_| self.state.leaves_to_nix(systems, features, now);
        let lines = match config.attach {
            Attach::Endpoint => {
                let found = self.state.fleet().map(|(_, found, _)| found);
                lines::lines(&config, &system, found, gone)?
            }
            Attach::Direct => {
                let fleet = self.state.fleet();
                let fleet = fleet.filter_map(|(name, caps, is_up)| {
                    let learned = self.reaches.get(name).map(|reach| reach.learned()).unwrap_or_default();
                    Some(Member { builder: self.roster.get(name)?, caps, is_up, learned })
                });
                direct::lines(&config, &system, &fleet.collect::<Vec<_>>())?
            }
        };
        if lines.is_empty() && config.attach == Attach::Endpoint {
            return Ok(LEFT_TO_NIX.to_owned());
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }

    /// The lines of adopted builders that turned out to be machines for stock Nix, word for word.
    fn served_lines(&self) -> Vec<&str> {
        let adopted = self.look.adopted.iter().filter(|builder| {
            let name = &builder.spec.name;
            let served = self.reaches.get(name).is_some_and(|reach| reach.learned().serves_only);
            served && self.roster.get(name) == Some(builder)
        });
        adopted
            .filter_map(|builder| self.look.adopted_lines.get(&builder.spec.name))
            .map(String::as_str)
            .collect()
    }

    /// Whether nobody is left whom a line of ours could lead to: it would only keep builds from those that Nix has.
    fn is_all_left_to_nix(&self) -> bool {
        let expects = !self.world.config().expect.is_empty();
        let known = self.state.fleet().next().is_some();
        let waiting = self.reaches.values().any(|reach| !reach.learned().serves_only);
        self.look.reads_ours && !expects && !known && !waiting && !self.served_lines().is_empty()
    }
}
