//! The clock.

use std::time::Instant;

/// Now, for measuring how long something takes.
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for comparing clocks.
pub fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
