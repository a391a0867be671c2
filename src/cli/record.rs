//! `muster record`, as typed.

use std::path::PathBuf;

use clap::Args;

use super::Places;

/// `muster record`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster record > run.jsonl
  muster record --output run.jsonl

It asks the coordinator what was built since its start, and the local store which builds needed which. Derivations that
the store has no more are left out.")]
pub struct RecordArgs {
    /// Where to write it [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The store that was built for: auto, daemon, unix:///path/of/a/socket or local?root=/srv/x.
    #[arg(long, value_name = "STORE")]
    pub local_store: Option<String>,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}
