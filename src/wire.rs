//! Our own protocols: bytes to meaning and back, over whatever carries them.
//!
//! Each begins with a versioned hello. Deliberately absent: sockets, clocks, and Nix's protocol, which is in
//! [`crate::nix`].

pub mod control;
pub mod link;
pub mod listing;
pub mod mux;
pub mod notice;
pub mod probe;
pub mod ssh_config;
pub mod tailscale;
