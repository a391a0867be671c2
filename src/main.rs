//! The `muster` program: parse, logging, dispatch, and the one place where it exits.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

use muster::cli::Cli;
use muster::commands::{self, Failure};
use muster::edge;

fn main() -> ExitCode {
    let cli = match Cli::parse_words(edge::environment::words()) {
        Ok(cli) => cli,
        Err(usage) => {
            // Where even this cannot be printed, the exit code says it.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("muster: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let log = |error| Failure::Usage(anyhow::Error::new(error).context("--log (MUSTER_LOG)"));
    edge::logging::start(&cli).map_err(log)?;
    let environment = edge::environment::read().map_err(|error| Failure::Failed(error.into()))?;
    commands::run(cli, &environment)
}
