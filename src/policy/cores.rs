//! How many cores a build may use: the builder's cores, shared among what runs there.
//!
//! A build gets an equal part for each slot that is or could be in use, at least one core. One that asks for
//! `big-parallel` may have all that nobody was given, if that is more. It is a number for the start of the build, which
//! nobody can change later.

use super::fleet::Builder;
use super::queue::Shape;
use super::state::State;
use crate::domain::{BuildId, BuilderName};

/// The feature by which a package says that it makes use of many cores.
const BIG: &str = "big-parallel";

impl State {
    /// None where nobody knows how many cores the builder has.
    pub(super) fn cores_for(&self, id: BuildId, name: &BuilderName) -> Option<u32> {
        let builder = self.fleet.get(name)?;
        let build = self.builds.get(id)?;
        let total = builder.caps.as_ref()?.cores?.max(1);
        let given: u32 = self.given(builder);
        let share = total / self.users_of(builder, id).max(1);
        let idle = total.saturating_sub(given);
        let cores = if is_big(&build.shape) { share.max(idle) } else { share };
        Some(cores.max(1))
    }

    /// What those that run there were told that they may use.
    fn given(&self, builder: &Builder) -> u32 {
        let running =
            builder.attempts.iter().filter_map(|id| self.builds.get(id.build)?.attempts.get(&id.number));
        running.filter(|attempt| attempt.holds_slot()).filter_map(|attempt| attempt.cores).sum()
    }

    /// Slots that are in use, this one, and those that what waits could fill.
    fn users_of(&self, builder: &Builder, id: BuildId) -> u32 {
        let fitting = self.queue.groups.values().filter(|group| group.fits.contains(builder.bit));
        let others = fitting.flat_map(|group| group.builds()).filter(|other| *other != id);
        let free = builder.slots().saturating_sub(builder.busy() + 1);
        let coming = others.take(free as usize).count();
        builder.busy() + 1 + u32::try_from(coming).unwrap_or(free)
    }
}

fn is_big(shape: &Shape) -> bool {
    shape.features.iter().any(|feature| feature.as_str() == BIG)
}
