//! muster turns any machines you can reach into one Nix build cluster.
//!
//! ```text
//!  sources ──> fleet ──> probe ──> health ─┐
//!                                          v
//!                                    ┌───────────┐   attempts    ┌─────────┐  channels to nix-daemon
//!  stock nix ── worker protocol ───> │coordinator│ ────────────> │ builder │
//!    (hook, by `connect`)    <────── │  policy   │ <──────────── │         │
//!                              logs, └───────────┘  outputs      └─────────┘
//!                              outputs     │
//!                                          └─> status
//! ```
//!
//! | layer | what it is | what it may know |
//! |---|---|---|
//! | [`domain`] | nouns, no decisions | nothing |
//! | [`policy`] | decisions: `State::step(event, now) -> effects` | domain |
//! | [`nix`] | Nix's formats and worker protocol, over any stream | domain |
//! | [`wire`] | our own protocols | domain, policy |
//! | [`simulate`] | whole runs of the policy in virtual time | domain, policy, wire |
//! | [`config`], [`cli`] | what was typed, and what it means | domain |
//! | [`action`] | what the GitHub Action decides | domain |
//! | [`render`] | what people read | config, doctor, domain, policy |
//! | [`doctor`] | facts about machines, and what is wrong with them | config, domain, wire |
//! | [`edge`] | the world: sockets, processes, ssh, files, the clock | all above |
//! | [`coordinator`], [`connect`] | the two ends of the endpoint | all above |
//! | [`builder`] | the agent of a builder | domain, edge, policy, render, wire |
//! | [`commands`] | one file per subcommand | everything |
//!
//! Imports go one way, and `tests/layers.rs` reads them all. Data flows one way, too: whatever happens becomes a variant
//! of [`policy::Event`]; one loop owns the [`policy::State`] and carries out the effects of each step.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod action;
pub mod builder;
pub mod cli;
pub mod commands;
pub mod config;
pub mod connect;
pub mod coordinator;
pub mod doctor;
pub mod domain;
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the edge is what touches the world")]
pub mod edge;
pub mod nix;
pub mod policy;
pub mod render;
pub mod simulate;
pub mod wire;
