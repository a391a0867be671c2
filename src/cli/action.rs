//! `muster action`, as the action types it.

use clap::{Args, ValueEnum};

/// `muster action`
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ActionArgs {
    /// Which step; its inputs are in the environment.
    #[arg(value_enum)]
    pub step: ActionStep,
}

/// A step of the GitHub Action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActionStep {
    /// Refuse bad inputs.
    Check,
    /// Make room for the store.
    Disk,
    /// Write nix.conf.
    Configure,
    /// Prove that this builder builds.
    Probe,
    /// Enter the tailnet.
    Join,
    /// Be a builder, until released.
    Serve,
    /// Start the coordinator, and wait for its builders.
    Start,
    /// Take back what the others did.
    Teardown,
}
