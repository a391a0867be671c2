//! `muster simulate`, as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A graph that is made out of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SimulatedGraph {
    /// Everything at once.
    Wide,
    /// A few long chains.
    Deep,
    /// Layers, with a few very long builds.
    Nixpkgs,
}

/// `muster simulate`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster simulate run.jsonl                     what muster record wrote, on the builders that it names
  muster simulate --graph nixpkgs --builds 500 --builders 10 --unequal
  muster simulate --graph wide --lost 2 --json | jq .ratios")]
pub struct SimulateArgs {
    /// A recording [default: a graph out of a seed].
    #[arg(value_name = "FILE", conflicts_with_all = ["graph", "builds"])]
    pub recording: Option<PathBuf>,
    /// Which graph.
    #[arg(long, value_enum, value_name = "SHAPE", default_value = "nixpkgs")]
    pub graph: SimulatedGraph,
    /// Of so many builds.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub builds: u32,
    /// On so many builders [default: those of the recording; 10].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub builders: Option<u32>,
    /// Their speeds and slots differ.
    #[arg(long)]
    pub unequal: bool,
    /// Where all random numbers come from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Random list schedules to compare with.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub lists: u32,
    /// Builds that Nix asks for at once [default: all that are ready].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub window: Option<u32>,
    /// Earlier runs taught how long each build takes.
    #[arg(long)]
    pub recall: bool,
    /// So many builders go away at random times, for a minute.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub lost: u32,
    /// The links of the last so many builders are a hundred times slower.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub slow: u32,
    /// The first builder goes away for five seconds of each thirty.
    #[arg(long)]
    pub flap: bool,
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
}
