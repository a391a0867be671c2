//! Inputs of builds that wait travel ahead to where they are likely to run.
//!
//! Bounded: to a builder whose slots are all in use, for one build at a time, and where the way takes long enough to be
//! worth it. It is a guess that costs bytes when it is wrong: where the build starts in the end is decided as ever, and
//! what has arrived counts in that place's favour.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bits::Bits;
use super::builds::Build;
use super::event::Effect;
use super::fleet::Builder;
use super::state::{Drain, State};
use crate::domain::{BuildId, BuilderName, Time};

/// Builds do not notice a shorter way.
const WORTH: Duration = Duration::from_millis(200);
/// So many builds of each invocation and shape may be next.
const AHEAD: usize = 16;

/// What travels ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    under_way: BTreeMap<BuilderName, BuildId>,
    /// Rises when one ends: then what was no candidate before may be one.
    round: u64,
}

impl Ahead {
    /// The build starts there: it waits itself for what is under way.
    pub(super) fn started(&mut self, build: BuildId, builder: &BuilderName) {
        if self.under_way.get(builder) == Some(&build) {
            self.under_way.remove(builder);
            self.round += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }
}

impl State {
    /// At most one build is looked at in a step, so that a step stays short.
    pub(super) fn prefetch(&mut self, now: Time) {
        self.end_prefetches();
        if !matches!(self.drain, Drain::No) {
            return;
        }
        let under_way = &self.ahead.under_way;
        let ready =
            self.fleet.set_of(|builder| is_full(builder) && !under_way.contains_key(&builder.spec.name));
        let Some(id) = self.next_to_look_at(&ready) else { return };
        let likely = self.likely_builder(id, now).filter(|name| !under_way.contains_key(name));
        if let Some(build) = self.builds.get_mut(id) {
            build.looked_at = Some(self.ahead.round);
        }
        if let Some(builder) = likely {
            self.ahead.under_way.insert(builder.clone(), id);
            self.out.push(Effect::Prefetch { build: id, builder });
        }
    }

    fn end_prefetches(&mut self) {
        let Self { fleet, builds, .. } = self;
        let is_wanted = |builder: &BuilderName, build: &BuildId| {
            fleet.get(builder).is_some_and(Builder::takes_builds)
                && builds.get(*build).is_some_and(|build| build.queued)
        };
        let over = self.ahead.under_way.extract_if(.., |builder, build| !is_wanted(builder, build));
        for (builder, build) in over {
            self.ahead.round += 1;
            self.out.push(Effect::EndPrefetch { build, builder });
        }
    }

    /// The first in the order that no builder is known for yet, among those that a ready one could take.
    fn next_to_look_at(&self, ready: &Bits) -> Option<BuildId> {
        if ready.is_empty() {
            return None;
        }
        let groups = self.queue.groups.values().filter(|group| group.fits.intersects(ready));
        let heads =
            groups.flat_map(|group| group.order.values()).flat_map(|builds| builds.iter().take(AHEAD));
        let new = heads.filter(|(_, id)| self.may_travel(**id));
        new.min_by_key(|(key, _)| self.queue.place(**key)).map(|(_, id)| *id)
    }

    fn may_travel(&self, id: BuildId) -> bool {
        let Ahead { under_way, round } = &self.ahead;
        let is_new = |build: &Build| {
            build.closure_bytes > 0 && !build.is_particular() && build.looked_at != Some(*round)
        };
        self.builds.get(id).is_some_and(is_new) && under_way.values().all(|build| *build != id)
    }

    /// Where it would be done first, if nothing joined it there and its inputs were worth the way.
    fn likely_builder(&self, id: BuildId, now: Time) -> Option<BuilderName> {
        let build = self.builds.get(id)?;
        let group = self.queue.groups.get(&build.shape)?;
        let outlook = self.outlook();
        let (work, missing) =
            (outlook.work(build), self.presence.missing(&build.ask.closure, self.fleet.width()));
        let takers = group.fits.iter().filter_map(|bit| self.fleet.by_bit(bit));
        let finish = |(name, builder): (&BuilderName, &Builder)| {
            let first = self.ahead.under_way.get(name).and_then(|first| self.builds.get(*first));
            let first = first.map_or(Duration::ZERO, |first| outlook.expected(first, builder));
            builder.next_slot(now) + first + outlook.lasts(build, builder, work, missing[builder.bit])
        };
        let (_, name, builder) = takers
            .filter(|(_, builder)| builder.takes_builds())
            .map(|taker| (finish(taker), taker.0, taker.1))
            .min_by_key(|(finish, name, _)| (*finish, *name))?;
        let worth = is_full(builder) && outlook.transfer(builder, missing[builder.bit]) >= WORTH;
        worth.then(|| name.clone())
    }
}

fn is_full(builder: &Builder) -> bool {
    builder.takes_builds() && builder.busy() > 0 && builder.busy() >= builder.slots()
}
