//! The coordinator's decisions: `State::step(event, now) -> effects`.
//!
//! Everything that happens is a variant of [`Event`]; everything that follows is an [`Effect`] for the driver to
//! carry out. Nothing here performs I/O, waits, or reads a clock: time is an argument.

pub mod event;
pub mod snapshot;

pub use event::{Answer, Ask, Effect, Event, Input};
pub use snapshot::Snapshot;
