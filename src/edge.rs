//! The only code that touches the world: sockets, processes, files.

pub mod activation;
pub mod ancestry;
pub mod channel;
pub mod clock;
pub mod control;
pub mod discover;
pub mod doctor;
pub mod edit;
pub mod environment;
pub mod files;
pub mod keys;
pub mod link;
pub mod logging;
pub mod machine;
pub mod pool;
pub mod process;
pub mod program;
pub mod scratch;
pub mod setup;
pub mod signals;
pub mod spool;
pub mod ssh;
pub mod stdio;
pub mod tools;
pub mod tree;
pub mod users;
