//! The clock.

use std::time::Instant;

/// Now, for measuring how long something takes.
pub fn now() -> Instant {
    Instant::now()
}
