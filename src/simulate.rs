//! Whole runs in virtual time: a graph, a fleet, and what the policy makes of them.
//!
//! The policy that runs here is [`crate::policy::State`] itself. The world is simpler than the real one: the closure of a
//! build's inputs is its sources and what it needs directly, and builds slow each other down only where they outnumber the
//! cores.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | the graph and the builders, and how long things take |
//! | `generate` | seeded graphs and fleets |
//! | `cluster` | the policy's run |
//! | `world` | what lies where, and who uses which link |
//! | `greedy` | a run of a rule that starts what is ready as soon as a slot is free |
//! | `lists` | the bound, and list schedules to compare with |
//! | `stock` | what Nix's own build hook would do |

mod cluster;
mod generate;
mod greedy;
mod lists;
mod plan;
mod stock;
mod world;

pub use cluster::{Absence, Outcome, Stuck, Ways, run};
pub use generate::{Shape, fleet, graph, losses};
pub use lists::{best_of_random, lower_bound};
pub use plan::{BadPlan, Plan};
pub use stock::stock;

#[cfg(test)]
mod tests;
