//! `muster history`, as typed.

use clap::Args;

use super::Places;

/// `muster history`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster history
  muster history hello
  muster history --json | jq '.packages[] | {pname, estimate_s}'

It reads history.sqlite in the state directory; no coordinator need run.")]
pub struct HistoryArgs {
    /// Only packages of this name.
    #[arg(value_name = "PNAME")]
    pub pname: Option<String>,
    /// Print JSON (its \"schema\" is 1).
    #[arg(long)]
    pub json: bool,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}
