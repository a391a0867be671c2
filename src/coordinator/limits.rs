//! How long a build may take, and be silent.
//!
//! Stock Nix applies its own limits to no build that it hands over, and tells nobody of them, so they are kept here. The
//! clocks begin when the builder begins: what waits there for a build user or a lock is not counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::config::{Limit, Timeouts};
use crate::edge::clock;
use crate::nix::logs::{LogMessage, activity, result};

/// The clocks of one build. Clones are the same clocks.
#[derive(Clone)]
pub(super) struct Clocks {
    silence: Option<Duration>,
    whole: Option<Duration>,
    times: Arc<Mutex<Option<Times>>>,
}

/// None before the builder has begun.
struct Times {
    began: Instant,
    heard: Instant,
}

impl Clocks {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        let limit = |limit| match limit {
            Some(Limit::After(limit)) => Some(limit),
            Some(Limit::Off) | None => None,
        };
        Self { silence: limit(timeouts.max_silent), whole: limit(timeouts.build), times: Arc::default() }
    }

    /// Takes note of what the builder says.
    pub(super) fn hear(&self, message: &LogMessage) {
        let now = clock::now();
        let mut times = self.lock();
        match (&mut *times, message) {
            (times @ None, LogMessage::StartActivity { kind: activity::BUILD, .. }) => {
                *times = Some(Times { began: now, heard: now });
            }
            (Some(times), LogMessage::Result { kind: result::LOG_LINE, .. }) => times.heard = now,
            _ => {}
        }
    }

    /// Resolves with the reason when its time is over.
    pub(super) async fn over(&self) -> String {
        loop {
            let next = match self.next() {
                Ok(next) => next,
                Err(why) => return why,
            };
            sleep_until(next.into()).await;
        }
    }

    /// When to look again, or what has passed.
    fn next(&self) -> Result<Instant, String> {
        /// Between looks at a build that has not begun.
        const LOOK: Duration = Duration::from_millis(500);
        let now = clock::now();
        let times = self.lock();
        let Some(times) = &*times else { return Ok(now + LOOK) };
        let limits = [
            (self.whole, times.began, "", "build_timeout"),
            (self.silence, times.heard, " of silence", "max_silent_time"),
        ];
        let mut next = now + Duration::from_secs(3600);
        for (limit, since, of, key) in limits {
            let Some(limit) = limit else { continue };
            if now.duration_since(since) >= limit {
                let limit = humantime::format_duration(limit);
                return Err(format!(
                    "timed out after {limit}{of} ({key} of muster's configuration, or of nix.conf)"
                ));
            }
            next = next.min(since + limit);
        }
        Ok(next)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Times>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
