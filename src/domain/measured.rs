//! What was measured of a builder, beside what the user said.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Feature, Slots, System};

/// What a probe found, before the user's own values were laid over it. What nobody could find out is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// The systems that its Nix builds for.
    pub systems: BTreeSet<System>,
    /// Those of them that need an emulator there.
    pub emulated: BTreeSet<System>,
    /// The features that hold what they promise.
    pub features: BTreeSet<Feature>,
    /// Builds at once that its processors, memory and build users allow.
    pub slots: Option<Slots>,
    /// Processors.
    pub cores: Option<u32>,
    /// In bytes.
    pub memory: Option<u64>,
    /// How many users its daemon builds as.
    pub build_users: Option<u32>,
    /// Free bytes where the store is.
    pub store_free: Option<u64>,
    /// The time from a question to its answer.
    pub rtt: Option<Duration>,
    /// What its clock is ahead of ours in seconds, below zero where it is behind.
    pub clock_ahead: Option<i64>,
}
