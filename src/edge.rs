//! The only code that touches the world.

pub mod control;
pub mod environment;
pub mod logging;
