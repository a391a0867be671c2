//! Points in time of one run, as the policy sees them.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A monotonic point in time: how long after the start of the coordinator it lies.
///
/// The policy never reads a clock; whoever calls it says what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(Duration);

impl Time {
    /// The start of the run.
    pub const ZERO: Time = Time(Duration::ZERO);

    /// The point that lies `elapsed` after the start.
    pub const fn after_start(elapsed: Duration) -> Self {
        Time(elapsed)
    }

    /// How long after the start this is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not later.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, by: Duration) -> Time {
        Time(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, by: Duration) -> Time {
        Time(self.0.saturating_sub(by))
    }
}
