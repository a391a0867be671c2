//! What is asked and ordered of a running coordinator.

use std::ffi::OsString;

use clap::Args;

use super::Places;

/// `muster why`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster why 9csjdxv6                   a build by its hash, running, waiting or finished
  muster why hello                      the same by its name, as long as there is one only
  muster why b1                         a builder
  muster why b1 --json | jq .running")]
pub struct WhyArgs {
    /// A builder's name, or a derivation's path or the beginning of its hash or name.
    #[arg(value_name = "BUILD|BUILDER")]
    pub name: String,
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// `muster drain` and `muster undrain`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster drain b1 b2      before they are updated, say; it holds until undrain, over restarts too
  muster undrain b1 b2

Root, the coordinator's own user and the group `control.group` of the configuration may do so.")]
pub struct BuilderNames {
    /// Builders, by the names that muster status shows.
    #[arg(value_name = "BUILDER", required = true)]
    pub builders: Vec<String>,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// `muster cancel`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster cancel 9csjdxv6

Whoever wanted the build hears who cancelled it. Root, the coordinator's own user and the group `control.group` of the
configuration may do so.")]
pub struct BuildNames {
    /// Derivations' paths, or the beginnings of their hashes or names.
    #[arg(value_name = "BUILD", required = true)]
    pub builds: Vec<String>,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// `muster stop`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster stop          builds that run finish, within `stop_timeout` of the configuration
  muster stop --now

Builds that wait are answered with an error, and the machines lines are taken away, so that Nix builds by itself. For a
restart that no build notices, end the coordinator with SIGTERM (or systemctl restart) instead. Where no coordinator
runs, nothing is done, with success.")]
pub struct StopArgs {
    /// Cancel what runs.
    #[arg(long)]
    pub now: bool,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// `muster use`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster use big -- nix build .#chromium
  muster use eu -- nixos-rebuild build

The command gets the builders with that label as `builders` in NIX_CONFIG. With a Nix daemon, only users whom it trusts
may choose builders: of anybody else's command it ignores this, with a warning.")]
pub struct UseArgs {
    /// The label, as in `labels` of a [[builder]].
    pub label: String,
    /// The command and its arguments.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub command: Vec<OsString>,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}
