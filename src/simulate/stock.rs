//! What Nix's own build hook does with the same graph.
//!
//! It takes the builder with the least load / speed factor, the fastest of equals; those that are ready are asked for by
//! name; where all slots are in use the build is postponed, and asked for again every five seconds
//! (`poll-interval`). The hook keeps its slot until the outputs are here. Its upload lock, by which
//! one build at a time sends to a builder, is left out, in its favour. Nothing is repeated: no builder is lost here.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::lists::{micros, missing, seconds};
use super::plan::Plan;

/// Between two tries of a build that was postponed.
const POLL: u64 = 5_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Done { build: usize, builder: usize },
    Poll,
}

struct Hook<'a> {
    plan: &'a Plan,
    load: Vec<u32>,
    has: Vec<Vec<bool>>,
    now: u64,
    agenda: BinaryHeap<Reverse<(u64, Next)>>,
}

/// The makespan in seconds.
pub fn stock(plan: &Plan) -> f64 {
    let mut hook = Hook {
        plan,
        load: vec![0; plan.builders.len()],
        has: vec![vec![false; plan.builds.len()]; plan.builders.len()],
        now: 0,
        agenda: BinaryHeap::new(),
    };
    let named = |build: usize| (plan.builds[build].drv.name(), build);
    let mut left: Vec<usize> = plan.needs.iter().map(Vec::len).collect();
    let mut ready: BTreeSet<_> = (0..left.len()).filter(|build| left[*build] == 0).map(named).collect();
    let mut postponed = BTreeSet::new();
    let mut ended = 0;
    loop {
        for (name, build) in std::mem::take(&mut ready) {
            if !hook.start(build) {
                if postponed.is_empty() {
                    hook.agenda.push(Reverse((hook.now + POLL, Next::Poll)));
                }
                postponed.insert((name, build));
            }
        }
        let Some(Reverse((at, next))) = hook.agenda.pop() else { return seconds(ended) };
        hook.now = at;
        match next {
            Next::Poll => ready = std::mem::take(&mut postponed),
            Next::Done { build, builder } => {
                ended = at;
                hook.load[builder] -= 1;
                for user in &plan.users[build] {
                    left[*user] -= 1;
                    if left[*user] == 0 {
                        ready.insert(named(*user));
                    }
                }
            }
        }
    }
}

impl Hook<'_> {
    fn start(&mut self, build: usize) -> bool {
        let plan = self.plan;
        let key = |builder: usize| {
            let speed = plan.speed(build, builder);
            (f64::from(self.load[builder]) / speed, -speed)
        };
        let open = plan.fits[build].iter().copied().filter(|b| self.load[*b] < plan.builders[*b].slots);
        let best = open.min_by(|a, b| {
            let ((load_a, speed_a), (load_b, speed_b)) = (key(*a), key(*b));
            load_a.total_cmp(&load_b).then(speed_a.total_cmp(&speed_b))
        });
        let Some(builder) = best else { return false };
        let sent = missing(plan, build, &self.has[builder]);
        let takes = plan.upload(builder, sent) + plan.work(build, builder) + plan.fetch(build, builder);
        self.load[builder] += 1;
        plan.needs[build].iter().for_each(|need| self.has[builder][*need] = true);
        self.has[builder][build] = true;
        self.agenda.push(Reverse((self.now + micros(takes), Next::Done { build, builder })));
        true
    }
}
