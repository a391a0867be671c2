//! A second attempt for what takes far longer than it should, where somebody idles.
//!
//! Bounded: only while nothing waits, only of builds whose like was seen before, and of few at a time. The first valid result
//! wins, and the other attempt is cancelled.

use std::time::Duration;

use super::bits::Bits;
use super::fleet::{Builder, Health};
use super::state::State;
use crate::domain::{AttemptId, BuildId, Stage, Time};

/// So many times its estimate, and so long beyond it.
const FAR: u32 = 3;
const LEAST: Duration = Duration::from_secs(30);
/// One second attempt for so many slots, one at least.
const SLOTS_FOR_ONE: u32 = 20;

impl State {
    /// Puts those into the queue that shall have one.
    pub(super) fn want_stragglers_elsewhere(&mut self, now: Time) {
        if !self.queue.groups.is_empty() {
            return;
        }
        let free = self.fleet.set_of(Builder::has_free_slot);
        let slots: u32 = self.fleet.iter().map(|(_, builder)| builder.slots()).sum();
        let second = self.builds.iter().filter(|(_, build)| build.live().count() > 1).count();
        let most = (slots / SLOTS_FOR_ONE).max(1) as usize;
        for id in self.stragglers(&free, now).into_iter().take(most.saturating_sub(second)) {
            self.enqueue(id);
        }
    }

    /// The longest overdue first.
    fn stragglers(&self, free: &Bits, now: Time) -> Vec<BuildId> {
        if free.is_empty() {
            return Vec::new();
        }
        let healthy = self.fleet.iter().filter(|(_, builder)| builder.health == Health::Healthy);
        let running = healthy.flat_map(|(_, builder)| builder.attempts.iter().map(move |id| (builder, *id)));
        let mut late: Vec<_> =
            running.filter_map(|(builder, id)| Some((self.overdue(builder, id, now)?, id.build))).collect();
        late.sort_by_key(|(overdue, id)| (std::cmp::Reverse(*overdue), *id));
        late.into_iter().map(|(_, id)| id).collect()
    }

    /// How long it is beyond all expectation; none where it is not, or where nobody knows.
    fn overdue(&self, builder: &Builder, id: AttemptId, now: Time) -> Option<Duration> {
        let build = self.builds.get(id.build).filter(|build| !build.settled && !build.ask.check)?;
        let attempt = build.attempts.get(&id.number).filter(|attempt| attempt.stage == Stage::Building)?;
        let outlook = self.outlook();
        if build.live().count() != 1 || !outlook.knows_by_name(build) {
            return None;
        }
        let took = now.since(attempt.building?);
        let limit = outlook.expected(build, builder) * FAR + LEAST;
        took.checked_sub(limit)
    }
}
