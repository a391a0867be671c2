//! Runs of rules that start what is ready as soon as a slot is free.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::cluster::Absence;
use super::plan::Plan;
use super::world::World;

/// Between two tries of a build that was postponed.
const POLL: u64 = 5_000_000;

/// How it is decided, and what follows from a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Where it is done first; what was lost is ready again.
    List,
    /// As Nix's own build hook does ([`stock`](super::stock)).
    Stock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Begun(usize),
    Built(usize),
    Done(usize),
    Poll,
    Leave(usize),
    Return(usize),
}

#[derive(Debug, Clone, Copy)]
struct Running {
    build: usize,
    builder: usize,
    holds_slot: bool,
}

/// A run.
pub(super) struct Greedy<'a> {
    plan: &'a Plan,
    rule: Rule,
    /// By build: its place in the order.
    rank: &'a [usize],
    world: World<'a>,
    free: Vec<u32>,
    away: Vec<u32>,
    left: Vec<usize>,
    ready: BTreeSet<(usize, usize)>,
    postponed: BTreeSet<(usize, usize)>,
    failed: BTreeSet<(usize, usize)>,
    running: BTreeMap<usize, Running>,
    attempts: usize,
    agenda: BinaryHeap<Reverse<(u64, Next)>>,
    now: u64,
}

impl<'a> Greedy<'a> {
    pub(super) fn new(plan: &'a Plan, rule: Rule, rank: &'a [usize], absences: &[Absence]) -> Self {
        let left: Vec<usize> = plan.needs.iter().map(Vec::len).collect();
        let mut agenda = BinaryHeap::new();
        for absence in absences {
            agenda.push(Reverse((micros(absence.from), Next::Leave(absence.builder))));
            agenda.push(Reverse((micros(absence.from + absence.lasts), Next::Return(absence.builder))));
        }
        Self {
            plan,
            rule,
            rank,
            world: World::new(plan),
            free: plan.builders.iter().map(|builder| builder.slots).collect(),
            away: vec![0; plan.builders.len()],
            ready: (0..left.len())
                .filter(|build| left[*build] == 0)
                .map(|build| (rank[build], build))
                .collect(),
            left,
            postponed: BTreeSet::new(),
            failed: BTreeSet::new(),
            running: BTreeMap::new(),
            attempts: 0,
            agenda,
            now: 0,
        }
    }

    /// The makespan in seconds; none where it is no shorter than `limit`.
    pub(super) fn run(mut self, limit: f64) -> Option<f64> {
        let limit = if limit.is_finite() { micros(limit) } else { u64::MAX };
        let mut done = 0;
        loop {
            self.start_what_can();
            let Reverse((at, next)) = self.agenda.pop()?;
            self.now = at;
            if at >= limit {
                return None;
            }
            done += usize::from(self.happen(next));
            if done == self.plan.builds.len() {
                return Some(seconds(at));
            }
        }
    }

    fn start_what_can(&mut self) {
        if self.running.is_empty() && self.ready.is_empty() && self.postponed.is_empty() {
            // All that could be built is; somebody asks for the rest again.
            self.ready = std::mem::take(&mut self.failed);
        }
        let mut from = 0;
        while self.free.iter().any(|slots| *slots > 0) {
            let Some((rank, build)) = self.ready.range((from, 0)..).next().copied() else { break };
            from = rank + 1;
            if let Some(builder) = self.choose(build) {
                self.ready.remove(&(rank, build));
                self.start(build, builder);
            }
        }
        if self.rule == Rule::Stock && !self.ready.is_empty() {
            if self.postponed.is_empty() {
                self.agenda.push(Reverse((self.now + POLL, Next::Poll)));
            }
            self.postponed.append(&mut self.ready);
        }
    }

    fn choose(&self, build: usize) -> Option<usize> {
        let open = self.plan.fits[build].iter().copied().filter(|builder| self.free[*builder] > 0);
        let key = |builder: usize| match self.rule {
            Rule::List => {
                let arrival = self.world.arrival(build, builder, seconds(self.now));
                (arrival + self.world.lasts(build, builder), 0.0, 0)
            }
            Rule::Stock => {
                let (load, speed) =
                    (self.plan.builders[builder].slots - self.free[builder], self.plan.speed(build, builder));
                (f64::from(load) / speed, -speed, load)
            }
        };
        open.map(|builder| (key(builder), builder))
            .min_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)))
            .map(|(_, builder)| builder)
    }

    fn start(&mut self, build: usize, builder: usize) {
        self.free[builder] -= 1;
        self.attempts += 1;
        self.running.insert(self.attempts, Running { build, builder, holds_slot: true });
        let begun = self.world.send(build, builder, seconds(self.now));
        self.agenda.push(Reverse((micros(begun), Next::Begun(self.attempts))));
    }

    /// True where a build is done.
    fn happen(&mut self, next: Next) -> bool {
        let now = seconds(self.now);
        match next {
            Next::Begun(attempt) => {
                if let Some(&Running { build, builder, .. }) = self.running.get(&attempt) {
                    let built = now + self.world.lasts(build, builder);
                    self.world.begin(builder);
                    self.agenda.push(Reverse((micros(built), Next::Built(attempt))));
                }
            }
            Next::Built(attempt) => {
                if let Some(running) = self.running.get_mut(&attempt) {
                    self.world.end(running.builder);
                    let done = self.world.fetch(running.build, running.builder, now);
                    self.agenda.push(Reverse((micros(done), Next::Done(attempt))));
                    if self.rule == Rule::List {
                        running.holds_slot = false;
                        self.free[running.builder] += 1;
                    }
                }
            }
            Next::Done(attempt) => {
                if let Some(running) = self.running.remove(&attempt) {
                    self.done(running);
                    return true;
                }
            }
            Next::Poll => self.ready.append(&mut self.postponed),
            Next::Leave(builder) => self.leave(builder),
            Next::Return(builder) => {
                self.away[builder] -= 1;
                if self.away[builder] == 0 {
                    self.free[builder] = self.plan.builders[builder].slots;
                }
            }
        }
        false
    }

    fn done(&mut self, Running { build, builder, holds_slot }: Running) {
        self.free[builder] += u32::from(holds_slot);
        for user in &self.plan.users[build] {
            self.left[*user] -= 1;
            if self.left[*user] == 0 {
                self.ready.insert((self.rank[*user], *user));
            }
        }
    }

    fn leave(&mut self, builder: usize) {
        self.away[builder] += 1;
        self.free[builder] = 0;
        self.world.lose(builder, seconds(self.now));
        let lost = self.running.extract_if(.., |_, running| running.builder == builder);
        let lost = lost.map(|(_, running)| (self.rank[running.build], running.build));
        match self.rule {
            Rule::List => self.ready.extend(lost),
            Rule::Stock => self.failed.extend(lost),
        }
    }
}

/// Whole microseconds, so that times can be put in order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of recordings are bounded"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "times of recordings are bounded")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
