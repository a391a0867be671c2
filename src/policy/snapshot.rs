//! The state as people and programs see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::builds::Build;
use super::fleet::{Builder, Health, Probe};
use super::state::State;
use super::waiting;
use crate::domain::{BuildId, BuilderName, Feature, Label, Measured, Stage, System, Time, Trust};

/// A picture of the whole state at one moment. `muster status --json` prints it as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The layout of this document; 1.
    pub schema: u32,
    /// By name.
    pub builders: Vec<BuilderRow>,
    /// Builds that run or wait: running ones first, then in the order in which they will start.
    pub builds: Vec<BuildRow>,
    /// Since the start.
    pub totals: Totals,
    /// Machines of a tailnet that are meant to be builders, and are none now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<AbsentRow>,
    /// Machines of a tailnet that no source means, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passed_over: BTreeMap<String, Vec<String>>,
}

/// A machine that is meant to be a builder, and is none now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentRow {
    /// Its name.
    pub name: String,
    /// The name that it asked for, where it got another one.
    #[serde(default)]
    pub host_name: Option<String>,
    /// Whether the tailnet hears of it.
    pub online: bool,
    /// Why.
    pub reason: String,
}

/// How a builder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the design")]
pub enum HealthWord {
    Unknown,
    Probing,
    Healthy,
    Suspect,
    Down,
    Gone,
}

/// One builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuilderRow {
    /// Its name.
    pub name: BuilderName,
    /// How it is.
    pub health: HealthWord,
    /// Why it is not healthy; the last error.
    pub reason: Option<String>,
    /// Milliseconds until it is tried again, where it is down.
    pub retry_in_ms: Option<u64>,
    /// What it builds for.
    pub systems: BTreeSet<System>,
    /// What it offers.
    pub features: BTreeSet<Feature>,
    /// What a build must ask for to be placed here.
    pub mandatory: BTreeSet<Feature>,
    /// The user's own words for it.
    #[serde(default)]
    pub labels: BTreeSet<Label>,
    /// Who drains it, where somebody does: nothing new starts there.
    #[serde(default)]
    pub drained: Option<String>,
    /// Builds at once; 0 before the first probe.
    pub slots: u32,
    /// Slots in use.
    pub busy: u32,
    /// Relative speed.
    pub speed_factor: f64,
    /// Whether it trusts us; none before the first probe.
    pub trust: Option<Trust>,
    /// Nix's version there.
    pub nix_version: Option<String>,
    /// What was measured; none where nothing was.
    #[serde(default)]
    pub measured: Option<MeasuredRow>,
    /// How packets get there, where a tailnet says it: `direct`, or `relayed by NAME`.
    #[serde(default)]
    pub path: Option<String>,
    /// The name that it asked for in its tailnet, where it got another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Builds that it finished since the start.
    pub built: u64,
    /// Attempts that were lost on it since the start.
    pub lost: u64,
}

/// What was measured of a builder, beside what the user said. What nobody could find out is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRow {
    /// What its Nix builds for.
    pub systems: BTreeSet<System>,
    /// Those that need an emulator there.
    pub emulated: BTreeSet<System>,
    /// Features that hold what they promise.
    pub features: BTreeSet<Feature>,
    /// Builds at once that it bears.
    pub slots: Option<u32>,
    /// Processors.
    pub cores: Option<u32>,
    /// In bytes.
    pub memory: Option<u64>,
    /// Users that its daemon builds as.
    pub build_users: Option<u32>,
    /// Free bytes where the store is.
    pub store_free: Option<u64>,
    /// Milliseconds from a question to its answer.
    pub rtt_ms: Option<f64>,
    /// Megabytes per second that reach it, as real transfers show.
    #[serde(default)]
    pub link_mb_s: Option<f64>,
    /// Seconds that its clock is ahead of ours.
    pub clock_ahead_s: Option<i64>,
}

impl From<&Measured> for MeasuredRow {
    fn from(measured: &Measured) -> Self {
        Self {
            systems: measured.systems.clone(),
            emulated: measured.emulated.clone(),
            features: measured.features.clone(),
            slots: measured.slots.map(|slots| slots.get()),
            cores: measured.cores,
            memory: measured.memory,
            build_users: measured.build_users,
            store_free: measured.store_free,
            rtt_ms: measured.rtt.map(|rtt| (rtt.as_secs_f64() * 1e5).round() / 100.0),
            link_mb_s: None,
            clock_ahead_s: measured.clock_ahead,
        }
    }
}

/// One build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRow {
    /// The derivation's base name.
    pub drv: String,
    /// Where it can be built.
    pub system: System,
    /// What it requires.
    pub features: BTreeSet<Feature>,
    /// Its attempts that run now.
    pub attempts: Vec<AttemptRow>,
    /// Why it waits, where none runs.
    pub waiting: Option<String>,
    /// Milliseconds since it was first asked for.
    pub age_ms: u64,
    /// Requests that want it.
    pub requests: u32,
    /// Attempts that were lost so far.
    pub lost: u32,
    /// The labels that it is sent to.
    #[serde(default)]
    pub labels: BTreeSet<Label>,
}

/// One attempt that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Its number within the build.
    pub number: u32,
    /// Where it runs.
    pub builder: BuilderName,
    /// Where it stands.
    pub stage: Stage,
    /// Milliseconds since it began.
    pub age_ms: u64,
}

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests that were answered with success.
    pub succeeded: u64,
    /// Requests that were answered with a failure.
    pub failed: u64,
    /// Requests that were withdrawn.
    pub withdrawn: u64,
    /// Attempts that were lost and repeated elsewhere.
    pub repeated: u64,
    /// Finished builds by builder.
    pub built_by: BTreeMap<BuilderName, u64>,
}

impl State {
    /// The state as people and programs see it.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let running = self.builds.iter().filter(|(_, build)| build.live().next().is_some());
        let queued = self
            .queue
            .in_order(self.settings.patience)
            .into_iter()
            .filter_map(|id| Some((id, self.builds.get(id)?)));
        let waiting = queued.filter(|(_, build)| build.live().next().is_none());
        Snapshot {
            schema: 1,
            builders: self.fleet.iter().map(|(name, builder)| builder_row(name, builder, now)).collect(),
            builds: running.chain(waiting).map(|(id, build)| self.build_row(id, build, now)).collect(),
            totals: self.totals.clone(),
            absent: Vec::new(),
            passed_over: BTreeMap::new(),
        }
    }

    fn build_row(&self, id: BuildId, build: &Build, now: Time) -> BuildRow {
        let attempt_rows = build.live().map(|(number, attempt)| AttemptRow {
            number,
            builder: attempt.builder.clone(),
            stage: attempt.stage,
            age_ms: millis(now.since(attempt.since)),
        });
        BuildRow {
            drv: build.ask.drv.base_name().to_owned(),
            system: build.ask.system.clone(),
            features: build.ask.features.clone(),
            attempts: attempt_rows.collect(),
            waiting: self.why_it_waits(id, now).map(|why| waiting::say(&why, build, &self.fleet, now)),
            age_ms: millis(now.since(build.asked_at)),
            requests: count(build.requests.len()),
            lost: count(build.history.losses.len()),
            labels: build.shape.labels.clone(),
        }
    }
}

pub(super) fn builder_row(name: &BuilderName, builder: &Builder, now: Time) -> BuilderRow {
    let caps = builder.caps.as_ref();
    BuilderRow {
        name: name.clone(),
        health: match builder.health {
            Health::Probing => HealthWord::Probing,
            Health::Healthy => HealthWord::Healthy,
            Health::Suspect => HealthWord::Suspect,
            Health::Down => HealthWord::Down,
        },
        reason: match builder.health {
            Health::Healthy if builder.leaving => Some("no source knows it any more".to_owned()),
            Health::Healthy => None,
            _ => builder.reason.clone(),
        },
        retry_in_ms: match (builder.health, builder.probe) {
            (Health::Down, Probe::Due(at)) => Some(millis(at.since(now))),
            _ => None,
        },
        systems: caps.map(|caps| caps.systems.clone()).unwrap_or_default(),
        features: caps.map(|caps| caps.features.clone()).unwrap_or_default(),
        mandatory: caps.map_or_else(|| builder.spec.mandatory.clone(), |caps| caps.mandatory.clone()),
        labels: builder.spec.labels.clone(),
        drained: builder.closed_by().cloned(),
        slots: builder.slots(),
        busy: builder.busy(),
        speed_factor: (builder.own_speed() * 100.0).round() / 100.0,
        trust: caps.map(|caps| caps.trust),
        nix_version: caps.and_then(|caps| caps.nix_version.clone()),
        path: None,
        host_name: None,
        measured: caps.and_then(|caps| caps.measured.as_deref()).map(|measured| MeasuredRow {
            link_mb_s: builder.machine.link.map(|rate| (rate / 1e4).round() / 100.0),
            ..MeasuredRow::from(measured)
        }),
        built: builder.built,
        lost: builder.lost,
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
