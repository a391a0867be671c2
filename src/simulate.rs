//! Whole runs in virtual time: a graph, a fleet, and what the policy makes of them.
//!
//! The policy that runs here is [`crate::policy::State`] itself. The world is simpler than the real one: a link carries
//! each transfer at its full rate, a build takes `seconds / speed` whatever runs beside it, and the closure of a build's
//! inputs is its sources and what it needs directly.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | the graph and the builders, and how long things take |
//! | `generate` | seeded graphs and fleets |
//! | `cluster` | the policy's run |
//! | `lists` | the bound, and list schedules to compare with |
//! | `stock` | what Nix's own build hook would do |

mod cluster;
mod generate;
mod lists;
mod plan;
mod stock;

pub use cluster::{Absence, Outcome, Stuck, Ways, run};
pub use generate::{Shape, fleet, graph, losses};
pub use lists::{best_of_random, lower_bound};
pub use plan::{BadPlan, Plan};
pub use stock::stock;

#[cfg(test)]
mod tests;
