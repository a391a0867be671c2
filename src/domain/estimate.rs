//! What estimates are made of: what builds taught, and what was measured of builders.
//!
//! These are plain reports. What is absurd in them (no time at all, a speed that is no number) is refused by the
//! policy, which alone decides by them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BuilderName, StoreHash, System};

/// What one finished build taught. It is kept in the history, and recalled at the next start.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The package's name.
    pub pname: String,
    /// What it was built for.
    pub system: System,
    /// Where.
    pub builder: BuilderName,
    /// How fast that builder was taken to be for that system then; 1.0 is the reference machine.
    pub speed: f64,
    /// The size of the closure of its inputs.
    pub closure_bytes: u64,
    /// The cores that it was given; none where the builder's own configuration decided.
    pub cores: Option<u32>,
    /// How long the building stage took, as the coordinator saw it.
    pub took: Duration,
    /// The builder had its outputs already, or downloaded them: nothing was built.
    pub substituted: bool,
    /// Seconds since 1970. The policy has no calendar and says 0; whoever keeps it puts in the time.
    pub at: u64,
}

/// What was measured of a builder.
#[derive(Debug, Clone, PartialEq)]
pub enum Measurement {
    /// The fixed benchmark: how many times as fast as the reference machine it is for that system.
    Cpu {
        /// For which system; an emulated one is slower.
        system: System,
        /// 1.0 is the reference machine.
        score: f64,
    },
    /// A transfer that was large enough to tell.
    Link {
        /// Whether we sent it; else it came from there.
        sent: bool,
        /// How much.
        bytes: u64,
        /// In what time.
        took: Duration,
    },
    /// From a question to its answer.
    RoundTrip(Duration),
}

/// What a machine has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Processors.
    pub cores: u32,
    /// In bytes.
    pub memory: u64,
}

/// How a builder bears its load, as its own machine says. What a machine cannot say is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Percent of the last ten seconds in which some task waited for a processor (PSI `some avg10`).
    pub cpu: Option<f64>,
    /// The same, for memory.
    pub memory: Option<f64>,
    /// The same, for disks.
    pub io: Option<f64>,
    /// Bytes of memory that can still be had without swapping.
    pub memory_available: Option<u64>,
    /// Tasks that want to run, over the last minute.
    pub average: Option<f64>,
    /// Processors that had nothing to do, over the last seconds.
    pub idle: Option<f64>,
}

impl Load {
    /// Without what no machine can say: another machine said it.
    pub fn sane(self) -> Self {
        let percent = |value: Option<f64>| value.filter(|value| (0.0..=100.0).contains(value));
        Self {
            cpu: percent(self.cpu),
            memory: percent(self.memory),
            io: percent(self.io),
            memory_available: self.memory_available.filter(|bytes| *bytes < 1 << 50),
            average: self.average.filter(|value| (0.0..=1e6).contains(value)),
            idle: self.idle.filter(|value| (0.0..=1e5).contains(value)),
        }
    }
}

/// One derivation of the graph that an invocation of Nix is on its way through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphNode {
    /// The derivation.
    pub drv: StoreHash,
    /// The package's name.
    pub pname: String,
    /// What it is built for.
    pub system: System,
    /// The derivations whose outputs it needs.
    pub needs: Vec<StoreHash>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_no_machine_has_is_left_out() {
        let absurd = Load {
            cpu: Some(f64::NAN),
            memory: Some(-1.0),
            io: Some(101.0),
            memory_available: Some(u64::MAX),
            average: Some(f64::INFINITY),
            idle: Some(-0.5),
        };
        assert_eq!(absurd.sane(), Load::default());
        let good = Load { cpu: Some(12.5), memory_available: Some(1 << 33), ..Load::default() };
        assert_eq!(good.sane(), good);
    }
}
