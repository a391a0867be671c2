//! What was done since the start, for the report: nothing is decided by it.
//!
//! It outlives builders and builds. What it holds is bounded: the oldest attempts give way, and of builders those
//! that are gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::report::How;
use crate::domain::{BuilderName, Capabilities, System, Time};

/// Attempts that are remembered.
const ATTEMPTS: usize = 20_000;
/// Builders that are remembered, as long as there are gone ones to forget.
const BUILDERS: usize = 2_000;

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub drv: String,
    pub number: u32,
    pub builder: BuilderName,
    pub began: Time,
    pub ended: Time,
    pub how: How,
    pub said: Option<String>,
}

/// What one builder did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub systems: BTreeSet<System>,
    pub cores: Option<u32>,
    pub slots: u32,
    pub found: Time,
    /// When it first took builds.
    pub ready: Option<Time>,
    /// Since when it is not there, where it was before.
    pub gone: Option<Time>,
    pub built: u64,
    pub failed: u64,
    pub lost: u64,
    pub sent: u64,
    pub received: u64,
    /// How long its slots were held, by attempts that hold none any more.
    worked: Duration,
}

impl Tally {
    /// Of the time of its slots while it was there, how much was used; `running` is that of attempts that still run.
    pub(super) fn busy_percent(&self, running: Duration, now: Time) -> u32 {
        let there = self.ready.map_or(Duration::ZERO, |ready| self.gone.unwrap_or(now).since(ready));
        let all = there.as_secs_f64() * f64::from(self.slots);
        let used = (self.worked + running).as_secs_f64();
        // It is 0 to 100, rounded.
        if all > 0.0 { (used / all * 100.0).round().clamp(0.0, 100.0) as u32 } else { 0 }
    }
}

/// What was done since the start.
#[derive(Debug, Default)]
pub(super) struct Journal {
    tallies: BTreeMap<BuilderName, Tally>,
    entries: VecDeque<Entry>,
    forgotten: u64,
}

impl Journal {
    pub(super) fn found(&mut self, name: &BuilderName, now: Time) {
        if self.tallies.len() >= BUILDERS && !self.tallies.contains_key(name) {
            self.forget_one();
        }
        self.tallies.entry(name.clone()).or_insert_with(|| Tally { found: now, ..Tally::default() });
    }

    /// The builder that has been gone for longest.
    fn forget_one(&mut self) {
        let gone = self.tallies.iter().filter_map(|(name, tally)| Some((tally.gone?, name)));
        if let Some(name) = gone.min().map(|(_, name)| name.clone()) {
            self.tallies.remove(&name);
        }
    }

    pub(super) fn ready(&mut self, name: &BuilderName, caps: &Capabilities, now: Time) {
        let Some(tally) = self.tallies.get_mut(name) else { return };
        tally.systems.clone_from(&caps.systems);
        tally.cores = caps.measured.as_ref().and_then(|measured| measured.cores);
        tally.slots = caps.slots.get();
        tally.ready.get_or_insert(now);
        tally.gone = None;
    }

    /// It is not there from now on, or it is again.
    pub(super) fn there(&mut self, name: &BuilderName, up: bool, now: Time) {
        let Some(tally) = self.tallies.get_mut(name) else { return };
        tally.gone = if up { None } else { tally.gone.or(Some(now)) };
    }

    /// A slot was held that long.
    pub(super) fn worked(&mut self, name: &BuilderName, long: Duration) {
        if let Some(tally) = self.tallies.get_mut(name) {
            tally.worked += long;
        }
    }

    pub(super) fn moved(&mut self, name: &BuilderName, sent: u64, received: u64) {
        if let Some(tally) = self.tallies.get_mut(name) {
            tally.sent = tally.sent.saturating_add(sent);
            tally.received = tally.received.saturating_add(received);
        }
    }

    pub(super) fn ended(&mut self, entry: Entry) {
        if let Some(tally) = self.tallies.get_mut(&entry.builder) {
            match entry.how {
                How::Built => tally.built += 1,
                How::Failed => tally.failed += 1,
                How::Lost => tally.lost += 1,
                How::Cancelled | How::Running => {}
            }
        }
        if self.entries.len() >= ATTEMPTS {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(entry);
    }

    pub(super) fn tallies(&self) -> impl Iterator<Item = (&BuilderName, &Tally)> {
        self.tallies.iter()
    }

    /// In the order in which they ended.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
