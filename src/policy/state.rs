//! The coordinator's whole state, and its only door: [`State::step`].
//!
//! What a step does is spread by concern: `health` (builders), `requests` (clients), `attempts` (how attempts go and
//! end), `schedule` (what starts where), `waiting` (what is said meanwhile). Each pushes its effects onto `out`.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::builds::Builds;
use super::estimate::Estimates;
use super::event::{Effect, Event};
use super::finish::Outlook;
use super::fleet::{Fleet, Probe};
use super::graph::Graph;
use super::journal::Journal;
use super::memory::Memory;
use super::outage::Outage;
use super::place::{self, Placement, Weighed};
use super::prefetch::Ahead;
use super::presence::Presence;
use super::queue::Queue;
use super::settings::Settings;
use super::snapshot::Totals;
use crate::domain::{BuildId, BuilderName, Capabilities, RequestId, Time};

/// How far the end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// Who wants it.
    Draining(String),
    Drained,
}

/// Everything that the coordinator knows.
#[derive(Debug)]
pub struct State {
    pub(super) settings: Settings,
    pub(super) fleet: Fleet,
    pub(super) builds: Builds,
    pub(super) queue: Queue,
    pub(super) presence: Presence,
    pub(super) ahead: Ahead,
    pub(super) estimates: Estimates,
    pub(super) graph: Graph,
    pub(super) totals: Totals,
    pub(super) memory: Memory,
    pub(super) journal: Journal,
    pub(super) rng: Rng,
    /// Since when all builders together are silent.
    pub(super) link_suspect: Option<Time>,
    /// The last time that our own link was down.
    pub(super) outage: Outage,
    pub(super) drain: Drain,
    /// Builds that came to the queue in this step, and whose requests have not heard why they wait.
    pub(super) fresh: Vec<BuildId>,
    /// Builds in the queue that may not start everywhere at once.
    pub(super) held: BTreeSet<BuildId>,
    pub(super) fleet_changed: bool,
    pub(super) out: Vec<Effect>,
    /// When it was last looked whether nobody is there.
    pub(super) looked_at: Time,
    wake: Option<Time>,
}

impl State {
    /// Nothing is known, nothing is wanted.
    pub fn new(settings: Settings) -> Self {
        Self {
            fleet: Fleet::default(),
            builds: Builds::default(),
            queue: Queue::default(),
            presence: Presence::new(settings.known_paths),
            ahead: Ahead::default(),
            estimates: Estimates::default(),
            graph: Graph::default(),
            totals: Totals::default(),
            memory: Memory::new(settings.remembered),
            journal: Journal::default(),
            rng: Rng::with_seed(settings.seed),
            link_suspect: None,
            outage: Outage::default(),
            drain: Drain::No,
            fresh: Vec::new(),
            held: BTreeSet::new(),
            fleet_changed: false,
            out: Vec::new(),
            looked_at: Time::ZERO,
            wake: None,
            settings,
        }
    }

    /// Takes note of what happened, and says what has to be done.
    ///
    /// `now` never runs backwards. Events about what is no longer known are ignored: they were under way.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Time) -> Vec<Effect> {
        let woke = event == Event::Woke;
        self.forgive_oversleep(now);
        self.hear(event, now);
        self.tick(now);
        self.notice_emptiness(now);
        self.turn_away_what_waits(now);
        self.schedule(now);
        self.prefetch(now);
        self.measure_the_idle(now);
        self.give_up_where_empty(now);
        self.say_why_they_wait(now);
        if std::mem::take(&mut self.fleet_changed) {
            self.out.push(Effect::FleetChanged);
        }
        self.finish_drain();
        self.ask_to_be_woken(woke, now);
        std::mem::take(&mut self.out)
    }

    /// The builders whose capabilities are known, for the machines lines; and whether each is there now.
    pub fn fleet(&self) -> impl Iterator<Item = (&BuilderName, &Capabilities, bool)> {
        self.fleet.iter().filter_map(|(name, builder)| Some((name, builder.caps.as_ref()?, builder.up)))
    }

    /// Whether a builder of that name is known, be it that it is about to leave.
    pub fn knows(&self, builder: &BuilderName) -> bool {
        self.fleet.get(builder).is_some()
    }

    /// Which builders are drained and by whom, also those that no source knows now.
    pub fn drains(&self) -> &BTreeMap<BuilderName, String> {
        self.fleet.drains()
    }

    /// Who asks for a build; nobody where it is not known (any more).
    pub fn asked_by(&self, build: BuildId) -> &[RequestId] {
        self.builds.get(build).map_or(&[], |build| &build.requests)
    }

    /// Where a build could start now, with the reasons; none where it is not known (any more).
    pub fn place(&self, build: BuildId, now: Time) -> Option<Placement> {
        Some(self.place_behind(build, 0, now)?.remember())
    }

    /// The same with so many others like it before it.
    pub(super) fn place_behind(&self, build: BuildId, ahead: usize, now: Time) -> Option<Weighed<'_>> {
        Some(place::place(self.builds.get(build)?, &self.outlook(), ahead, now))
    }

    pub(super) fn outlook(&self) -> Outlook<'_> {
        let Self { fleet, presence, estimates, graph, settings, .. } = self;
        Outlook { fleet, presence, estimates, graph, settings }
    }

    fn hear(&mut self, event: Event, now: Time) {
        match event {
            Event::Found(spec) => self.found(spec, now),
            Event::Vanished(builder) => self.vanished(&builder, now),
            Event::Probed(builder, answer) => self.probed(&builder, answer, now),
            Event::Pinged(builder, answer) => self.pinged(&builder, answer, now),
            Event::Present(builder, paths) => {
                if let Some(builder) = self.fleet.get(&builder) {
                    self.presence.add(builder.bit, paths);
                }
            }
            Event::Moved { builder, sent, received } => self.journal.moved(&builder, sent, received),
            Event::Requested(request, ask) => self.requested(request, ask, now),
            Event::Withdrawn(request) => self.withdrawn(request, now),
            Event::Reached(attempt, stage) => self.reached(attempt, stage, now),
            Event::Ended(attempt, outcome) => self.ended(attempt, outcome, now),
            Event::Configured(settings) => self.settings = settings,
            Event::LinkDown(builders) => self.outage.begin(builders, now),
            Event::LinkUp => self.link_is_back(now),
            Event::Recalled(seen) => self.recalled(&seen),
            Event::Measured(builder, measurement) => self.measured(&builder, measurement),
            Event::Loaded(builder, load) => self.loaded(&builder, load, now),
            Event::Claimed(builder, grant) => self.claimed(&builder, grant, now),
            Event::Graph(nodes) => self.learn_graph(nodes),
            Event::Woke => {}
            Event::Drained(builder, by) => self.drain(&builder, Some(by), now),
            Event::Undrained(builder) => self.drain(&builder, None, now),
            Event::Cancelled(build, by) => self.cancel_build(build, &by, now),
            Event::Stopping(by) => self.stop(by),
            Event::Stopped(by) => self.stop_at_once(by, now),
        }
    }

    /// Time in which we did not run is not the builders' silence.
    fn forgive_oversleep(&mut self, now: Time) {
        let overslept = self.wake.map_or_else(Default::default, |wake| now.since(wake));
        if overslept <= self.settings.ping_every {
            return;
        }
        for (_, builder) in self.fleet.iter_mut() {
            builder.last_seen = (builder.last_seen + overslept).min(now);
            if let Probe::Sent { deadline, .. } = &mut builder.probe {
                *deadline = *deadline + overslept;
            }
        }
    }

    fn ask_to_be_woken(&mut self, woke: bool, now: Time) {
        let next = self.next_deadline().into_iter().chain(self.next_hold_end(now));
        let next = next.chain(self.next_emptiness(now)).min();
        if let Some(at) = next
            && (woke || self.wake != next)
        {
            self.out.push(Effect::WakeAt(at));
        }
        self.wake = next;
    }

    /// How much is remembered of builds and requests.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let attempts: usize = self.fleet.iter().map(|(_, builder)| builder.attempts.len()).sum();
        let waiting = self.queue.size() + self.fresh.len() + self.held.len() + self.ahead.len();
        self.builds.size() + attempts + waiting
    }
}
