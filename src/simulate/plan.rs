//! The graph and the builders of a run, and how long things take.

use std::collections::BTreeMap;

use crate::wire::recording::{RecordedBuild, RecordedBuilder, Recording};

/// What is to be built where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who builds; one at least, each name once.
    pub builders: Vec<RecordedBuilder>,
    /// What is built; each build comes after those that it needs.
    pub builds: Vec<RecordedBuild>,
    /// By build: the indices of those that it needs.
    pub(super) needs: Vec<Vec<usize>>,
    /// By build: the indices of those that need it.
    pub(super) users: Vec<Vec<usize>>,
    /// By build: the indices of the builders that can build it; one at least.
    pub(super) fits: Vec<Vec<usize>>,
}

/// Why nothing can be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// There is nothing to do, or nobody to do it.
    #[error("there are no builds or no builders")]
    Empty,
    /// A build has nowhere to run.
    #[error("no builder can build {0}")]
    Homeless(String),
}

impl Plan {
    /// Takes a recording, which holds together, for a plan.
    pub fn new(recording: Recording) -> Result<Self, BadPlan> {
        let Recording { builders, builds } = recording;
        if builders.is_empty() || builds.is_empty() {
            return Err(BadPlan::Empty);
        }
        let indices: BTreeMap<_, _> =
            builds.iter().enumerate().map(|(index, build)| (&build.drv, index)).collect();
        let needs: Vec<Vec<usize>> = builds
            .iter()
            .map(|build| build.needs.iter().filter_map(|need| indices.get(need).copied()).collect())
            .collect();
        let mut users = vec![Vec::new(); builds.len()];
        for (index, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| users[*need].push(index));
        }
        let mut fits = Vec::new();
        for build in &builds {
            let able = |builder: &RecordedBuilder| {
                builder.systems.contains_key(&build.system) && build.features.is_subset(&builder.features)
            };
            let able: Vec<_> = (0..builders.len()).filter(|index| able(&builders[*index])).collect();
            if able.is_empty() {
                return Err(BadPlan::Homeless(build.drv.to_string()));
            }
            fits.push(able);
        }
        Ok(Self { builders, builds, needs, users, fits })
    }

    pub(super) fn speed(&self, build: usize, builder: usize) -> f64 {
        self.builders[builder].systems.get(&self.builds[build].system).copied().unwrap_or(1.0)
    }

    /// Seconds that it builds there.
    pub(super) fn work(&self, build: usize, builder: usize) -> f64 {
        self.builds[build].seconds / self.speed(build, builder)
    }

    /// Seconds until so many bytes are there.
    pub(super) fn upload(&self, builder: usize, bytes: u64) -> f64 {
        if bytes == 0 { 0.0 } else { self.carried(builder, bytes) + self.round_trip(builder) * 2.0 }
    }

    /// Seconds until its outputs are here.
    pub(super) fn fetch(&self, build: usize, builder: usize) -> f64 {
        self.carried(builder, self.builds[build].output_bytes) + self.round_trip(builder)
    }

    fn round_trip(&self, builder: usize) -> f64 {
        self.builders[builder].rtt_ms / 1e3
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes that take time")]
    fn carried(&self, builder: usize, bytes: u64) -> f64 {
        bytes as f64 / self.builders[builder].link
    }
}
