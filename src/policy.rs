//! The coordinator's decisions: `State::step(event, now) -> effects`.
//!
//! Everything that happens is a variant of [`Event`]; everything that follows is an [`Effect`] for the driver to
//! carry out. Nothing here performs I/O, waits, or reads a clock: time is an argument.
//!
//! | file | what it decides |
//! |---|---|
//! | `health` (on `fleet`) | who is there, who is in doubt, who is left alone; `outage`: when it is our own link |
//! | `requests` (on `builds`) | who shares a build, who is answered, when it is forgotten |
//! | `schedule` (on `queue`, `turns`, `graph`) | what starts next; `place` says where, `waiting` what is said meanwhile |
//! | `estimate` | how long builds take; `machine`: how fast builders and links are |
//! | `finish` (on `estimate`) | when a build would be done where; `cores`: with how many |
//! | `stragglers` | what gets a second attempt because it takes so long |
//! | `orders` | what follows when people drain a builder, cancel a build, or stop |
//! | `empty` | what happens while no builder is there |
//! | `report` (on `journal`) | nothing: it tells what was done since the start |
//! | `why` (on `memory`) | what is said of one build or builder, afterwards too |
//! | `attempts` | what follows from the end of an attempt; `failure` is the table |
//! | `claims` | on a builder: who may use how much of it, and when it is given back |

mod attempts;
mod bits;
mod builds;
pub mod claims;
mod cores;
mod empty;
pub mod estimate;
pub mod event;
pub mod failure;
mod finish;
mod fleet;
pub mod goal;
mod graph;
mod health;
mod journal;
mod machine;
mod memory;
mod orders;
mod outage;
pub mod place;
mod prefetch;
mod presence;
mod queue;
pub mod report;
mod requests;
mod schedule;
pub mod settings;
pub mod snapshot;
pub mod state;
mod stragglers;
#[cfg(test)]
mod tests;
mod turns;
mod waiting;
pub mod why;

pub use event::{Answer, Ask, By, Effect, Event, Input};
pub use place::{Placement, Reason};
pub use report::Report;
pub use settings::{Limits, Settings};
pub use snapshot::Snapshot;
pub use state::State;
pub use why::Explanation;
