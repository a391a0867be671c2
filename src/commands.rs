//! One module per subcommand, and what their failures mean to the caller's shell.

mod action;
mod bench;
mod builder;
mod check_config;
mod completions;
mod connect;
mod coordinator;
mod demo;
mod doctor;
mod history;
mod join;
mod key;
mod orders;
mod probe;
mod record;
mod report;
mod setup;
mod simulate;
mod status;
mod use_label;
mod wait;

use std::io::{self, Write};
use std::time::Duration;

use crate::cli::{Cli, Command};
use crate::config::{ConfigError, Environment};

/// What threads that still touch files have left when all else has ended.
const STRAGGLERS: Duration = Duration::from_millis(200);

/// Why a command did not do what was asked. Each kind has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A build failed, or something that the command itself had to do.
    #[error("{0:#}")]
    Failed(anyhow::Error),
    /// What was typed or configured makes no sense.
    #[error("{0:#}")]
    Usage(anyhow::Error),
    /// No builder could be used.
    #[error("{0:#}")]
    NoBuilder(anyhow::Error),
    /// The coordinator cannot be reached.
    #[error("{0:#}")]
    NoCoordinator(anyhow::Error),
    /// The user interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// A command of somebody's own ends as that ended.
    #[error("{1:#}")]
    Exit(u8, anyhow::Error),
    /// SIGTERM came twice.
    #[error("terminated by a second signal, before it had ended by itself")]
    Terminated,
}

impl Failure {
    /// The exit code that says so.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoBuilder(_) => 3,
            Self::NoCoordinator(_) => 4,
            Self::Exit(code, _) => *code,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

/// Does what was asked.
pub fn run(cli: Cli, environment: &Environment) -> Result<(), Failure> {
    match cli.command {
        Command::Coordinator(args) => coordinator::run(&args, environment),
        Command::Builder(args) => builder::run(&args, environment),
        Command::Setup(args) => setup::run(&args, environment),
        Command::Status(args) => status::run(&args, environment),
        Command::Record(args) => record::run(&args, environment),
        Command::Report(args) => report::run(&args, environment),
        Command::Matrix(args) => report::matrix(&args),
        Command::Wait(args) => wait::run(&args, environment),
        Command::Why(args) => orders::why(&args, environment),
        Command::Drain(args) => orders::drain(args, environment),
        Command::Undrain(args) => orders::undrain(args, environment),
        Command::Cancel(args) => orders::cancel(args, environment),
        Command::Stop(args) => orders::stop(&args, environment),
        Command::Use(args) => use_label::run(&args, environment),
        Command::History(args) => history::run(&args, environment),
        Command::Probe(args) => probe::run(&args, environment),
        Command::Doctor(args) => doctor::run(&args, environment),
        Command::Join(args) => join::join(&args, environment),
        Command::Leave(args) => join::leave(&args),
        Command::Key(args) => key::run(&args, environment),
        Command::CheckConfig(args) => check_config::run(args, environment),
        Command::Demo(args) => demo::run(&args, environment),
        Command::Completions(args) => completions::run(&args),
        Command::Connect(args) => connect::run(&args, environment),
        Command::Action(args) => action::run(&args, environment),
        Command::Bench(args) => bench::run(&args),
        Command::Simulate(args) => simulate::run(&args),
    }
}

/// Runs a future on this thread, with sockets, processes, signals and timers.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.into()))?;
    let ended = runtime.block_on(future);
    // A thread that reads a file of a dead network mount never comes back.
    runtime.shutdown_timeout(STRAGGLERS);
    ended
}

/// Writes to stdout. A reader that has seen enough is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(anyhow::Error::new(error).context("cannot write to stdout")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_exit_code_that_the_help_names() {
        let error = || anyhow::anyhow!("x");
        let codes = [
            Failure::Failed(error()),
            Failure::Usage(error()),
            Failure::NoBuilder(error()),
            Failure::NoCoordinator(error()),
            Failure::Interrupted,
            Failure::Terminated,
        ];
        assert_eq!(codes.map(|failure| failure.code()), [1, 2, 3, 4, 130, 143]);
    }
}
