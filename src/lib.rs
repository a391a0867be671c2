//! muster turns any machines you can reach into one Nix build cluster.

pub mod cli;
pub mod config;
pub mod domain;
pub mod nix;
pub mod policy;
pub mod render;
pub mod wire;
