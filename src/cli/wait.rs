//! `muster wait`, and what a coordinator that does not stay waits for.

use std::time::Duration;

use clap::Args;

use super::Places;

/// `muster wait`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster wait                         until there is a builder
  muster wait b1 b2 --wait 2min       until both are ready
  muster wait b1 b2 b3 --min-builders 1    all three for 300 s, and then whoever is there
  muster wait --min-builders 3 --json | jq '.builders[] | select(.state != \"healthy\")'

It ends as soon as all that are named are ready. When the time is over, --min-builders of them suffice. Where nobody is named,
so many builders are enough at once, whoever they are. A builder has come when it has answered its probe, not when somebody says that it is online; in a
tailnet it goes by the name that it asked for, whatever it is called there.

Exit codes: 0 met, 3 not within the time (with the reason of each that is missing), 4 no coordinator")]
pub struct WaitArgs {
    /// The builders that are waited for [default: any].
    #[arg(value_name = "BUILDER")]
    pub names: Vec<String>,
    /// How many suffice once the time is over; at once, where nobody is named [default: all that are named, or one].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub min_builders: Option<u32>,
    /// How long to wait, such as 90s or 5min.
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// What `muster coordinator --once` waits for.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Gathering {
    /// With --once: wait until so many builders are ready, instead of asking each one once.
    #[arg(long, value_name = "COUNT", requires = "once", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub min_builders: Option<u32>,
    /// How long to wait for them [default: 300s].
    #[arg(long, value_name = "TIME", requires = "min_builders", value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,
}
