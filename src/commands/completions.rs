//! `muster completions`

use clap::CommandFactory;

use super::{Failure, print};
use crate::cli::{Cli, CompletionsArgs};

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "muster", &mut script);
    print(&String::from_utf8_lossy(&script))
}
