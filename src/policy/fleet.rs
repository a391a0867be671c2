//! The builders that are known, and what is known of them.

use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;
use crate::domain::{AttemptId, BuilderName, BuilderSpec, Capabilities, Time};

/// How a builder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It is asked who it is, for the first time or because it is in doubt.
    Probing,
    /// It takes builds.
    Healthy,
    /// It has not answered for a while; what runs there may still succeed.
    Suspect,
    /// It is left alone until its back-off is over.
    Down,
}

/// When a builder is asked for a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ping {
    Due(Time),
    Sent,
}

/// When a builder is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    Idle,
    Due(Time),
    Sent {
        deadline: Time,
        /// There were news in the meantime: the answer is already old.
        again: bool,
    },
}

/// One builder.
#[derive(Debug)]
pub(super) struct Builder {
    pub spec: BuilderSpec,
    pub caps: Option<Capabilities>,
    /// Its place in sets of builders.
    pub bit: usize,
    pub health: Health,
    /// Whether it counts as there: from a good probe until it is down or leaves.
    pub up: bool,
    /// No source knows it any more.
    pub leaving: bool,
    /// The last error.
    pub reason: Option<String>,
    pub last_seen: Time,
    pub ping: Ping,
    pub probe: Probe,
    /// Probes in a row that failed.
    pub failures: u32,
    /// Incidents in a row without an attempt that succeeded.
    pub incidents: u32,
    pub attempts: BTreeSet<AttemptId>,
    /// Slots in use.
    pub busy: u32,
    pub built: u64,
    pub lost: u64,
}

impl Builder {
    fn new(spec: BuilderSpec, bit: usize, now: Time) -> Self {
        Self {
            spec,
            caps: None,
            bit,
            health: Health::Probing,
            up: false,
            leaving: false,
            reason: None,
            last_seen: now,
            ping: Ping::Due(now),
            probe: Probe::Idle,
            failures: 0,
            incidents: 0,
            attempts: BTreeSet::new(),
            busy: 0,
            built: 0,
            lost: 0,
        }
    }

    pub(super) fn slots(&self) -> u32 {
        self.caps.as_ref().map_or(0, |caps| caps.slots.get())
    }

    /// Whether new attempts may be placed here, slots apart.
    pub(super) fn takes_builds(&self) -> bool {
        self.health == Health::Healthy && !self.leaving
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.takes_builds() && self.busy < self.slots()
    }

    /// Whether it is pinged.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Suspect)
    }
}

/// All builders.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    builders: BTreeMap<BuilderName, Builder>,
    by_bit: Vec<Option<BuilderName>>,
    /// Rises whenever what builders can do changes.
    pub version: u64,
}

impl Fleet {
    pub(super) fn get(&self, name: &BuilderName) -> Option<&Builder> {
        self.builders.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &BuilderName) -> Option<&mut Builder> {
        self.builders.get_mut(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&BuilderName, &Builder)> {
        self.builders.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&BuilderName, &mut Builder)> {
        self.builders.iter_mut()
    }

    pub(super) fn by_bit(&self, bit: usize) -> Option<(&BuilderName, &Builder)> {
        self.by_bit.get(bit)?.as_ref().and_then(|name| self.builders.get_key_value(name))
    }

    /// One more than the highest bit.
    pub(super) fn width(&self) -> usize {
        self.by_bit.len()
    }

    pub(super) fn set_of(&self, wanted: impl Fn(&Builder) -> bool) -> Bits {
        self.builders.values().filter(|builder| wanted(builder)).map(|builder| builder.bit).collect()
    }

    /// Adds a builder, or updates what the user said of it; true where it is new.
    pub(super) fn learn(&mut self, spec: BuilderSpec, now: Time) -> bool {
        if let Some(builder) = self.builders.get_mut(&spec.name) {
            builder.spec = spec;
            builder.leaving = false;
            return false;
        }
        let free = self.by_bit.iter().position(Option::is_none);
        let bit = free.unwrap_or_else(|| {
            self.by_bit.push(None);
            self.by_bit.len() - 1
        });
        self.by_bit[bit] = Some(spec.name.clone());
        self.builders.insert(spec.name.clone(), Builder::new(spec, bit, now));
        self.version += 1;
        true
    }

    pub(super) fn remove(&mut self, name: &BuilderName) -> Option<Builder> {
        let builder = self.builders.remove(name)?;
        self.by_bit[builder.bit] = None;
        self.version += 1;
        Some(builder)
    }
}
