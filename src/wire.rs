//! Our own protocols: bytes to meaning and back, over whatever carries them.
//!
//! Each begins with a versioned hello. Deliberately absent: sockets, clocks, and Nix's protocol, which is in
//! [`crate::nix`].

pub mod agent;
pub mod control;
pub mod drains;
pub mod lines;
pub mod link;
pub mod listing;
pub mod mux;
pub mod notice;
pub mod pressure;
pub mod probe;
pub mod recording;
pub mod served;
pub mod ssh_config;
pub mod tailscale;

/// How far the versions of our protocols are ahead of what they are: a test of an upgrade needs a program of the
/// future.
pub(crate) const AHEAD: u32 = cfg!(feature = "next-protocol") as u32;
