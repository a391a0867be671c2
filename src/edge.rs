//! The only code that touches the world.

pub mod control;
pub mod environment;
pub mod logging;
pub mod program;
pub mod scratch;
pub mod tools;
pub mod tree;
