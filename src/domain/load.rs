//! How busy a machine is.

use serde::{Deserialize, Serialize};

/// What a machine says of its load. What nobody could find out is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Percent of the last ten seconds in which some task waited for a processor (`some avg10` of Linux's pressure stall
    /// information, Documentation/accounting/psi.rst).
    pub cpu: Option<f32>,
    /// The same for memory.
    pub memory: Option<f32>,
    /// The same for disks.
    pub io: Option<f32>,
    /// Bytes that new processes can have without swapping.
    pub memory_available: Option<u64>,
    /// The load average of the last minute.
    pub average: Option<f32>,
}

impl Load {
    /// Without values that no machine can have: another machine said them.
    pub fn sane(self) -> Self {
        let percent = |value: Option<f32>| value.filter(|value| (0.0..=100.0).contains(value));
        Self {
            cpu: percent(self.cpu),
            memory: percent(self.memory),
            io: percent(self.io),
            memory_available: self.memory_available.filter(|bytes| *bytes < 1 << 50),
            average: self.average.filter(|value| (0.0..=1e6).contains(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_values_are_left_out() {
        let absurd = Load {
            cpu: Some(f32::NAN),
            memory: Some(-1.0),
            io: Some(101.0),
            memory_available: Some(u64::MAX),
            average: Some(f32::INFINITY),
        };
        assert_eq!(absurd.sane(), Load::default());
        let good = Load { cpu: Some(12.5), memory_available: Some(1 << 33), ..Load::default() };
        assert_eq!(good.sane(), good);
    }
}
