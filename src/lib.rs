//! muster turns any machines you can reach into one Nix build cluster.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod cli;
pub mod commands;
pub mod config;
pub mod connect;
pub mod coordinator;
pub mod domain;
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the edge is what touches the world")]
pub mod edge;
pub mod nix;
pub mod policy;
pub mod render;
pub mod wire;
