//! The state as people and programs see it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::{BuilderName, Feature, Stage, System, Trust};

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
    /// Builds that it finished since the start.
    pub built: u64,
    /// Attempts that were lost on it since the start.
    pub lost: u64,
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
