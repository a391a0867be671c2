//! `muster report` and `muster matrix`, as typed.

use clap::Args;

use super::Places;

/// `muster report`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster report
  muster report --json | jq '.builders[] | {name, busy_percent}'
  muster report --github >> \"$GITHUB_STEP_SUMMARY\"

Where no coordinator runs, it is the last one's report, which it keeps in its state directory.")]
pub struct ReportArgs {
    /// Print Markdown with a timeline, as GitHub shows it as the summary of a job.
    #[arg(long, conflicts_with = "json")]
    pub github: bool,
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// `muster matrix`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster matrix '{\"ubuntu-24.04\": 4}' >> \"$GITHUB_OUTPUT\"
  BUILDER_COUNTS='{\"ubuntu-24.04\": 1, \"macos-26\": 1}' muster matrix --suffix test

It prints builder_matrix, builders_list and run_suffix, as the jobs of a workflow take them.")]
pub struct MatrixArgs {
    /// How many builders of each runner label, as a JSON object.
    #[arg(value_name = "COUNTS", env = "BUILDER_COUNTS", hide_env_values = true)]
    pub counts: String,
    /// What tells this run's names from any other's [default: the run's id and attempt, which GitHub says].
    #[arg(long, value_name = "SUFFIX")]
    pub suffix: Option<String>,
    /// What tells several clusters of one run from each other.
    #[arg(long, value_name = "NAME", env = "MUSTER_CLUSTER", hide_env_values = true)]
    pub cluster: Option<String>,
}
