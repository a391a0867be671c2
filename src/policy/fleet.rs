//! The builders that are known, and what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bits::Bits;
use super::machine::{Machine, Strain};
use crate::domain::{AttemptId, BuilderName, BuilderSpec, Capabilities, Feature, Slots, System, Time};

/// The speed of an emulated system where it was not measured, as part of the native one's: QEMU's user mode.
const EMULATED: f64 = 0.1;

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
    pub machine: Machine,
    /// Its place in sets of builders.
    pub bit: usize,
    pub health: Health,
    /// Since when it is so.
    pub health_since: Time,
    /// Whether it counts as there: from a good probe until it is down, leaves or is drained.
    pub up: bool,
    /// Since when it is not.
    pub absent_since: Option<Time>,
    /// No source knows it any more.
    pub leaving: bool,
    /// Somebody wants nothing new to start there; who.
    pub drained: Option<String>,
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
    in_use: BTreeMap<AttemptId, InUse>,
    /// Builds by the features that they make use of.
    uses: BTreeMap<Feature, u32>,
    pub built: u64,
    pub lost: u64,
}

impl Builder {
    fn new(spec: BuilderSpec, bit: usize, now: Time) -> Self {
        Self {
            spec,
            caps: None,
            machine: Machine::default(),
            bit,
            health: Health::Probing,
            health_since: now,
            up: false,
            absent_since: Some(now),
            leaving: false,
            drained: None,
            reason: None,
            last_seen: now,
            ping: Ping::Due(now),
            probe: Probe::Idle,
            failures: 0,
            incidents: 0,
            attempts: BTreeSet::new(),
            in_use: BTreeMap::new(),
            uses: BTreeMap::new(),
            built: 0,
            lost: 0,
        }
    }

    /// It is so from now on, if it was not before.
    pub(super) fn turn(&mut self, health: Health, now: Time) {
        if self.health != health {
            (self.health, self.health_since) = (health, now);
        }
    }

    /// Whether it counts as there from now on.
    pub(super) fn be_there(&mut self, up: bool, now: Time) {
        self.absent_since = if up { None } else { self.absent_since.or(Some(now)) };
        self.up = up;
    }

    /// Builds at once, as configured, learned, or found.
    pub(super) fn capacity(&self) -> u32 {
        self.caps.as_ref().map_or(0, |caps| caps.slots.get())
    }

    /// The same before anything was learned.
    pub(super) fn stated(&self) -> u32 {
        self.found().map_or(self.capacity(), |slots| slots.get())
    }

    fn found(&self) -> Option<Slots> {
        self.spec.slots.or_else(|| self.caps.as_ref()?.measured.as_ref()?.slots)
    }

    /// Takes over what its agent says that it bears, where the user said nothing; true where that changes something. Each build
    /// needs a user of its own.
    pub(super) fn bear(&mut self) -> bool {
        let Some(found) = self.found() else { return false };
        let bears = self.machine.grant.bears.filter(|_| self.spec.slots.is_none());
        let Some(caps) = &mut self.caps else { return false };
        let users = caps.measured.as_ref().and_then(|measured| measured.build_users);
        let bears = bears.map(|slots| users.map_or(slots, |users| slots.min(users)));
        let bears = bears.and_then(Slots::new).unwrap_or(found);
        std::mem::replace(&mut caps.slots, bears) != bears
    }

    /// Builds at once that we may have there: others may have claims, too.
    pub(super) fn slots(&self) -> u32 {
        self.machine.grant.slots.map_or(self.capacity(), |granted| granted.min(self.capacity()))
    }

    /// The part of its slots that is in use, in units of 2^-32.
    pub(super) fn fullness(&self) -> u64 {
        (u64::from(self.busy()) << 32) / u64::from(self.slots().max(1))
    }

    /// Who wants nothing new to start here.
    pub(super) fn closed_by(&self) -> Option<&String> {
        self.drained.as_ref().or(self.machine.grant.closed.as_ref())
    }

    /// How fast it is for that system: what the user said, or what was measured, or what can be assumed.
    pub(super) fn speed(&self, system: &System) -> f64 {
        let Some(caps) = &self.caps else { return 1.0 };
        let emulated = caps.measured.as_ref().is_some_and(|measured| measured.emulated.contains(system));
        let emulation = if emulated { EMULATED } else { 1.0 };
        let said = self.spec.speed_factor.map(|factor| factor * emulation);
        // A machine that was measured for one of its own systems is as fast for the others of them.
        let own = || if emulated { None } else { self.machine.speeds.values().next() };
        let speed = said.or_else(|| self.machine.speeds.get(system).or_else(own).copied());
        let speed = speed.unwrap_or(caps.speed_factor * emulation);
        if speed.is_finite() { speed.clamp(1e-3, 1e3) } else { 1.0 }
    }

    /// The same for what it builds without an emulator.
    pub(super) fn own_speed(&self) -> f64 {
        let Some(caps) = &self.caps else { return self.spec.speed_factor.unwrap_or(1.0) };
        let emulated = |system: &&System| {
            caps.measured.as_ref().is_some_and(|measured| measured.emulated.contains(*system))
        };
        let native = caps.systems.iter().find(|system| !emulated(system));
        native.or_else(|| caps.systems.first()).map_or(1.0, |system| self.speed(system))
    }

    /// Whether new attempts may be placed here, slots apart.
    pub(super) fn takes_builds(&self) -> bool {
        self.health == Health::Healthy && !self.leaving && self.closed_by().is_none()
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.takes_builds() && self.busy() < self.slots() && self.strain().is_none()
    }

    /// What keeps it from more than it does, slots apart: one that does nothing can always begin something.
    pub(super) fn strain(&self) -> Option<Strain> {
        let memory = self.caps.as_ref().and_then(|caps| caps.memory);
        if self.busy() == 0 { None } else { self.machine.strain(memory, self.capacity()) }
    }

    /// Whether what runs there goes on, as far as is known.
    pub(super) fn takes_part(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Probing)
    }

    /// Slots in use.
    pub(super) fn busy(&self) -> u32 {
        u32::try_from(self.in_use.len()).unwrap_or(u32::MAX)
    }

    /// How long the first of its slots is in use still, as far as was known when that began.
    pub(super) fn next_slot(&self, now: Time) -> Duration {
        self.in_use.values().map(|slot| slot.left(now)).min().unwrap_or_default()
    }

    /// Inputs are there: it is from now on that it builds.
    pub(super) fn begins(&mut self, attempt: AttemptId, now: Time) {
        if let Some(slot) = self.in_use.get_mut(&attempt) {
            slot.since = now;
        }
    }

    /// A build takes a slot, and what it consumes.
    pub(super) fn occupy(
        &mut self,
        attempt: AttemptId,
        expected: Duration,
        features: &BTreeSet<Feature>,
        now: Time,
    ) {
        self.in_use.insert(attempt, InUse { since: now, expected });
        for feature in features {
            *self.uses.entry(feature.clone()).or_default() += 1;
        }
    }

    /// It gives them back.
    pub(super) fn vacate(&mut self, attempt: AttemptId, features: &BTreeSet<Feature>) {
        self.in_use.remove(&attempt);
        for feature in features {
            if let Some(uses) = self.uses.get_mut(feature) {
                *uses = uses.saturating_sub(1);
            }
        }
        self.uses.retain(|_, uses| *uses > 0);
    }

    /// Of these features, one of which as many builds make use as may.
    pub(super) fn exhausted<'a>(&self, features: &'a BTreeSet<Feature>) -> Option<&'a Feature> {
        let used_up = |feature: &&Feature| {
            let most = self.spec.consumables.get(*feature);
            most.is_some_and(|most| self.uses.get(*feature).is_some_and(|uses| uses >= most))
        };
        features.iter().find(used_up)
    }

    /// Whether it is pinged.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Suspect)
    }
}

/// A slot in use.
#[derive(Debug)]
struct InUse {
    since: Time,
    /// How long it should build.
    expected: Duration,
}

impl InUse {
    /// What is past its estimate is taken to need a quarter of what it took so far, and the estimate once more at most.
    fn left(&self, now: Time) -> Duration {
        let took = now.since(self.since);
        self.expected.saturating_sub(took).max((took / 4).min(self.expected))
    }
}

/// All builders.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    builders: BTreeMap<BuilderName, Builder>,
    by_bit: Vec<Option<BuilderName>>,
    /// Who wants nothing new to start on which builder, be it that it is not known at the moment.
    drained: BTreeMap<BuilderName, String>,
    /// When one was last forgotten.
    pub last_left: Time,
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
        let mut builder = Builder::new(spec, bit, now);
        builder.drained = self.drained.get(&builder.spec.name).cloned();
        self.builders.insert(builder.spec.name.clone(), builder);
        self.version += 1;
        true
    }

    pub(super) fn drains(&self) -> &BTreeMap<BuilderName, String> {
        &self.drained
    }

    /// Whether anything new may start there, and who said so.
    pub(super) fn drain(&mut self, name: &BuilderName, by: Option<String>) {
        match &by {
            Some(by) => self.drained.insert(name.clone(), by.clone()),
            None => self.drained.remove(name),
        };
        if let Some(builder) = self.builders.get_mut(name) {
            builder.drained = by;
            self.version += 1;
        }
    }

    pub(super) fn remove(&mut self, name: &BuilderName, now: Time) -> Option<Builder> {
        let builder = self.builders.remove(name)?;
        self.last_left = self.last_left.max(builder.absent_since.unwrap_or(now));
        self.by_bit[builder.bit] = None;
        self.version += 1;
        Some(builder)
    }
}
