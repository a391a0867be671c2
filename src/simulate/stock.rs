//! What Nix's own build hook does with the same graph.
//!
//! As its source has it (`build-remote.cc` and `worker.cc` of 2.34):
//!
//! - of the machines with a free slot it takes the one with the least load / speed factor, of equals the fastest, then the
//!   one with the least load, then the first in the file;
//! - the goals that are awake run in the order of their keys, which begin with the derivation's name;
//! - where all slots are in use it says `postpone`, and the goal waits until all that do are woken together, five seconds
//!   (`build-poll-interval`) after they were last: a slot that is free earlier stays so;
//! - a slot is a lock of the hook's process, which ends when the outputs are here: it is held while they travel;
//! - an upload lock lets one build at a time send to a machine, for a quarter of an hour at most (links here carry one
//!   transfer at a time whoever uses them);
//! - nothing is repeated: a connection that breaks is the build's failure. With `--keep-going` the rest is built, and
//!   whoever wants the lost ones asks again, here in the moment when nothing else is left to do.
//!
//! In its favour: speed factors are the true speeds, connections take no time although the worker waits for each of them,
//! and a machine that is away is passed over at once.

use super::cluster::Absence;
use super::greedy::{Greedy, Rule};
use super::plan::Plan;

/// The makespan in seconds.
pub fn stock(plan: &Plan, absences: &[Absence]) -> f64 {
    let mut order: Vec<usize> = (0..plan.builds.len()).collect();
    order.sort_by_key(|build| plan.builds[*build].drv.name());
    let mut rank = vec![0; order.len()];
    order.into_iter().enumerate().for_each(|(place, build)| rank[build] = place);
    Greedy::new(plan, Rule::Stock, &rank, absences).run(f64::INFINITY).unwrap_or(f64::INFINITY)
}
