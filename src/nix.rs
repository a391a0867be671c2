//! Nix's formats, and both ends of its worker protocol over any `AsyncRead` and `AsyncWrite`.
//!
//! | module | what |
//! |---|---|
//! | `wire` | the protocol's integers, strings and lists, every length limited before it is believed |
//! | `handshake` | versions, trust |
//! | `logs` | the log and error frames before each reply |
//! | `framed` | streams of unknown length |
//! | `ops` | requests and replies as types |
//! | `client`, `server` | the two ends |
//! | `nar`, `aterm`, `base32`, `machines`, `conf` | the formats |
//! | `section` | a section of ours in somebody else's file |
//! | `refusal` | how a daemon says what it is |
//!
//! Deliberately absent: processes, sockets, clocks, and any policy.

pub mod aterm;
pub mod base32;
pub mod benchmark;
pub mod client;
pub mod conf;
pub mod framed;
pub mod handshake;
pub mod logs;
pub mod machines;
pub mod nar;
pub mod ops;
pub mod refusal;
pub mod section;
pub mod server;
pub mod wire;
