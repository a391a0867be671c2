//! What starts next, and where; and what is said to those who wait.

use std::sync::Arc;

use super::bits::Bits;
use super::builds::{Attempt, Build};
use super::event::Effect;
use super::fleet::{Builder, Health};
use super::place::{Reasons, unfit};
use super::queue::{Group, Key, Shape};
use super::state::{Drain, State};
use super::waiting::{self, Waiting};
use crate::domain::{AttemptId, BuildId, BuilderName, Stage, Time, WhenEmpty};

/// Attempts of one build at a time.
const MOST_ATTEMPTS: usize = 2;

impl State {
    pub(super) fn schedule(&mut self, now: Time) {
        self.want_second_attempts();
        self.want_stragglers_elsewhere(now);
        self.refresh_groups();
        while matches!(self.drain, Drain::No) {
            let Some((build, builder, reasons)) = self.next_start(now) else { break };
            self.start(build, builder, reasons, now);
        }
    }

    pub(super) fn enqueue(&mut self, id: BuildId) {
        let Some(build) = self.builds.get_mut(id).filter(|build| !build.queued && !build.settled) else {
            return;
        };
        build.queued = true;
        build.said = None;
        self.queue.insert(&build.shape, build.key);
        self.fresh.push(id);
    }

    pub(super) fn dequeue(&mut self, id: BuildId) {
        let Some(build) = self.builds.get_mut(id).filter(|build| build.queued) else { return };
        build.queued = false;
        self.held.remove(&id);
        self.queue.remove(&build.shape, build.key);
    }

    /// A build all of whose attempts run on suspect builders wants another one.
    fn want_second_attempts(&mut self) {
        let suspects = self.fleet.iter().filter(|(_, builder)| builder.health == Health::Suspect);
        let builds = suspects.flat_map(|(_, builder)| &builder.attempts).map(|attempt| attempt.build);
        let wanting = |id: &BuildId| self.builds.get(*id).is_some_and(|build| self.wants_second(build));
        let wanting: Vec<_> = builds.filter(wanting).collect();
        wanting.into_iter().for_each(|id| self.enqueue(id));
    }

    /// The builder is well again: what runs there needs no second attempt.
    pub(super) fn no_second_attempts(&mut self, name: &BuilderName) {
        let Some(builder) = self.fleet.get(name) else { return };
        let builds: Vec<_> = builder.attempts.iter().map(|attempt| attempt.build).collect();
        for id in builds {
            if self.runs(id) {
                self.dequeue(id);
            }
        }
    }

    fn wants_second(&self, build: &Build) -> bool {
        let silent = |name: &BuilderName| {
            self.fleet.get(name).is_some_and(|builder| builder.health == Health::Suspect)
        };
        !build.settled
            && build.live().count() < MOST_ATTEMPTS
            && build.live().all(|(_, attempt)| silent(&attempt.builder))
    }

    fn refresh_groups(&mut self) {
        let (fleet, settings) = (&self.fleet, &self.settings);
        for (shape, group) in &mut self.queue.groups {
            if group.fits_for != Some(fleet.version) {
                group.fits = fleet.set_of(|builder| unfit(shape, builder, settings).is_none());
                group.fits_for = Some(fleet.version);
            }
        }
    }

    /// The first build in the order that can start now, and had better do so.
    fn next_start(&self, now: Time) -> Option<(BuildId, BuilderName, Reasons)> {
        let free = self.fleet.set_of(Builder::has_free_slot);
        if free.is_empty() {
            return None;
        }
        let groups = self.queue.groups.values().filter(|group| group.fits.intersects(&free));
        let mut firsts: Vec<_> = groups
            .filter_map(|group| {
                self.first_of(group, &free, now).map(|(key, id)| (self.queue.place(key), id, group))
            })
            .collect();
        firsts.sort_by_key(|(place, ..)| *place);
        firsts.into_iter().find_map(|(_, first, group)| {
            self.placed(first, 0, now).or_else(|| self.last_placed(group, first, now))
        })
    }

    fn placed(&self, id: BuildId, ahead: usize, now: Time) -> Option<(BuildId, BuilderName, Reasons)> {
        let (builder, reasons) = self.place_behind(id, ahead, now)?.outline()?;
        Some((id, builder, reasons))
    }

    /// Where the first one had better wait for a fast builder, the last one of an invocation may have to wait for so long that a
    /// slow one is right for it; but nobody is sent there of whom nothing is known. Invocations are asked in turn, so that
    /// slow builders are nobody's lot; one that has fewer builds before its last than another who declined is not asked.
    fn last_placed(
        &self,
        group: &Group,
        first: BuildId,
        now: Time,
    ) -> Option<(BuildId, BuilderName, Reasons)> {
        let outlook = self.outlook();
        let plain = |id: BuildId| {
            self.builds.get(id).is_some_and(|build| !build.is_particular() && outlook.knows(build))
        };
        let lasts = group.order.values().filter_map(|builds| Some((builds.last_key_value()?, builds.len())));
        let mut lasts: Vec<_> = lasts
            .filter(|((_, id), _)| **id != first && plain(**id))
            .map(|((key, id), count)| (self.queue.place(*key), *id, count))
            .collect();
        lasts.sort_by_key(|(place, ..)| *place);
        let mut declined = 0;
        lasts.into_iter().find_map(|(_, last, count)| {
            let ahead = group.before_the_last_of(count);
            if ahead <= declined {
                return None;
            }
            declined = ahead;
            self.placed(last, ahead, now)
        })
    }

    fn first_of(&self, group: &Group, free: &Bits, now: Time) -> Option<(Key, BuildId)> {
        let can_start = |id: BuildId| match self.builds.get(id) {
            Some(build) if build.is_particular() => {
                self.has_hope(build, group, free)
                    && self.place_behind(id, 0, now).is_some_and(|place| place.choice.is_some())
            }
            other => other.is_some(),
        };
        let of_users = group.order.values();
        let firsts = of_users.filter_map(|builds| builds.iter().find(|(_, id)| can_start(**id)));
        firsts.map(|(key, id)| (*key, *id)).min_by_key(|(key, _)| self.queue.place(*key))
    }

    /// Spares a whole placement where every free builder has failed the build and a busy one has not.
    fn has_hope(&self, build: &Build, group: &Group, free: &Bits) -> bool {
        let untried = |bit: usize| {
            self.fleet.by_bit(bit).is_some_and(|(name, builder)| {
                builder.takes_builds() && build.failures_on(name) == 0 && !build.runs_on(name)
            })
        };
        group.fits.iter().any(|bit| free.contains(bit) && untried(bit)) || !group.fits.iter().any(untried)
    }

    fn start(&mut self, id: BuildId, name: BuilderName, reasons: Reasons, now: Time) {
        let cores = self.cores_for(id, &name);
        let (Some(build), Some(builder)) = (self.builds.get(id), self.fleet.get(&name)) else { return };
        let expected = self.outlook().expected(build, builder);
        self.dequeue(id);
        let Some(build) = self.builds.get_mut(id) else { return };
        self.queue.started(build.key, self.settings.patience);
        build.newest += 1;
        let attempt = AttemptId { build: id, number: build.newest };
        let first = build.live().next().map(|(_, first)| first.builder.clone());
        let is_silent = |name: &BuilderName| {
            self.fleet.get(name).is_some_and(|builder| builder.health == Health::Suspect)
        };
        let second = first.map(|first| (is_silent(&first), first));
        let Some(builder) = self.fleet.get_mut(&name) else { return };
        let builder_name = name.clone();
        let new = Attempt {
            builder: builder_name,
            stage: Stage::Preparing,
            since: now,
            building: None,
            built: None,
            cores,
            cancelled: false,
            reasons,
        };
        build.attempts.insert(attempt.number, new);
        build.said = None;
        builder.attempts.insert(attempt);
        self.ahead.started(id, &name);
        builder.occupy(attempt, expected, &build.shape.features, now);
        let note = build.note.take();
        let requests = build.requests.clone();
        let line = match (note, second) {
            (Some(note), _) => Some(format!("{note}; building again on {name}")),
            (None, Some((true, first))) => {
                Some(format!("{first} does not answer; building on {name} as well"))
            }
            (None, Some((false, first))) => {
                Some(format!("it takes much longer than before on {first}; building on {name} as well"))
            }
            (None, None) if attempt.number > 1 => Some(format!("building again on {name}")),
            (None, None) => None,
        };
        if let Some(line) = line {
            self.say(id, &line);
        }
        self.out.push(Effect::Start { attempt, builder: name, requests, cores });
    }

    /// When a build may be tried again where, or although, it has just failed.
    pub(super) fn next_hold_end(&self, now: Time) -> Option<Time> {
        let held = self.held.iter().filter_map(|id| self.builds.get(*id));
        held.filter_map(|build| build.next_hold_end(now)).min()
    }

    /// Says why they wait to those who came in this step, and to all for whom it changed.
    pub(super) fn say_why_they_wait(&mut self, now: Time) {
        let mut tell = std::mem::take(&mut self.fresh);
        let mut changed = Vec::new();
        for (shape, group) in &self.queue.groups {
            let why = self.group_reason(shape, group, now);
            if group.said.as_ref() != Some(&why) {
                tell.extend(group.builds());
                changed.push((Arc::clone(shape), why));
            }
        }
        for (shape, why) in changed {
            if let Some(group) = self.queue.groups.get_mut(&shape) {
                group.said = Some(why);
            }
        }
        for id in tell {
            self.tell(id, now);
        }
    }

    fn group_reason(&self, shape: &Shape, group: &Group, now: Time) -> Waiting {
        let why = waiting::reason(group, shape, &self.fleet, &self.settings);
        let unsigned = matches!(why, Waiting::Unsigned(..));
        let alone =
            !unsigned && self.settings.when_empty == WhenEmpty::Local && self.is_empty_for(shape, now);
        if alone { Waiting::Alone(Box::new(why)) } else { why }
    }

    fn tell(&mut self, id: BuildId, now: Time) {
        let Some(why) = self.why_it_waits(id, now) else { return };
        let Some(build) = self.builds.get_mut(id) else { return };
        if build.said.as_ref() == Some(&why) {
            return;
        }
        let line = waiting::say(&why, build, &self.fleet, now);
        build.said = Some(why.clone());
        match build.note.take() {
            Some(note) => self.say(id, &format!("{note}; {line}")),
            None => {
                let effects =
                    build.requests.iter().map(|request| waiting::effect(&why, *request, line.clone()));
                self.out.extend(effects);
            }
        }
    }

    /// Why nothing runs for a build that is wanted.
    pub(super) fn why_it_waits(&self, id: BuildId, now: Time) -> Option<Waiting> {
        let build = self.builds.get(id).filter(|build| build.queued && build.live().next().is_none())?;
        let group = self.queue.groups.get(&build.shape)?;
        let why = self.group_reason(&build.shape, group, now);
        let room =
            || group.fits.iter().filter_map(|bit| self.fleet.by_bit(bit)).any(|(_, b)| b.has_free_slot());
        Some(if why == Waiting::Busy && build.is_particular() && room() { Waiting::Again } else { why })
    }
}
