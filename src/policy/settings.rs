//! The numbers of the policy, all of which a configuration may change.

use std::time::Duration;

use crate::domain::{Expect, Route, WhenEmpty};

/// The policy's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Between a builder's answer and the next ping.
    pub ping_every: Duration,
    /// Silence after which a builder is suspect.
    pub silent_after: Duration,
    /// Silence after which its channels are cut; and how long our own link is blamed at most.
    pub lost_after: Duration,
    /// How long a probe may take before the policy takes it for failed.
    pub probe_timeout: Duration,
    /// The first back-off of a builder that is down; it doubles from there.
    pub retry_min: Duration,
    /// The longest back-off.
    pub retry_max: Duration,
    /// Incidents in a row, without an attempt that succeeds, after which a builder is down although it answers.
    pub max_incidents: u32,
    /// What a build may suffer before it is given up.
    pub limits: Limits,
    /// Whether builders that do not trust us are used.
    pub use_untrusted: bool,
    /// Bytes per second that a link is assumed to carry.
    pub link_rate: u64,
    /// How long a build is assumed to take on a builder of speed 1 that does nothing else.
    pub build_time: Duration,
    /// For each build of its own client that waits before it, this many later requests may start before a build.
    pub patience: u64,
    /// Paths whose places are remembered; beyond it all are forgotten, which costs estimates only.
    pub known_paths: usize,
    /// What happens while no builder is there.
    pub when_empty: WhenEmpty,
    /// How long none must have been there for that.
    pub empty_after: Duration,
    /// Who is on the way, and waited for.
    pub expect: Vec<Expect>,
    /// For so long, from the start.
    pub expect_timeout: Duration,
    /// Which builds go where.
    pub routes: Vec<Route>,
    /// Builds that are over, and remembered.
    pub remembered: usize,
    /// Of the random numbers behind the jitter.
    pub seed: u64,
}

/// What a build may suffer before it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A derivation that lost this many different builders is the suspect: its next loss is its failure.
    pub builders_lost: usize,
    /// Losses on whatever builders.
    pub losses: u32,
    /// Attempts that builders refused or failed for reasons of their own.
    pub refusals: u32,
    /// Attempts for which inputs were missing in spite of the upload.
    pub uploads: u32,
    /// Failures of the local store or disk.
    pub local_errors: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { builders_lost: 2, losses: 5, refusals: 6, uploads: 2, local_errors: 3 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(3),
            silent_after: Duration::from_secs(10),
            lost_after: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(60),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            max_incidents: 3,
            limits: Limits::default(),
            use_untrusted: false,
            link_rate: 100_000_000,
            build_time: Duration::from_secs(10),
            patience: 8,
            known_paths: 1_000_000,
            when_empty: WhenEmpty::Wait,
            empty_after: Duration::from_secs(30),
            expect: Vec::new(),
            expect_timeout: Duration::from_secs(600),
            routes: Vec::new(),
            remembered: 1_000,
            seed: 0,
        }
    }
}

impl Settings {
    /// The `n`th wait of a series that doubles, before jitter; `n` begins at 1.
    pub(super) fn back_off(&self, n: u32) -> Duration {
        let doubled = 1_u32.checked_shl(n.max(1) - 1).unwrap_or(u32::MAX);
        self.retry_min.saturating_mul(doubled).min(self.retry_max)
    }
}
