//! `muster report` and `muster matrix`

use std::path::Path;
use std::time::Duration;

use super::{Failure, block_on, print};
use crate::action::matrix::{self, Plan};
use crate::cli::{MatrixArgs, ReportArgs, Settings};
use crate::config::{Config, Control, Environment};
use crate::policy::Report;
use crate::wire::control::{ControlError, Reply, Request};
use crate::{edge, render};

/// A coordinator that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &ReportArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let config = Config::load(&settings, environment)?;
    let report = block_on(of_some_coordinator(&config.control, &config.state_dir))?;
    if args.github {
        return print(&render::report::markdown(&report));
    }
    if args.json {
        let text = render::report::json(&report).map_err(|error| Failure::Failed(error.into()))?;
        return print(&format!("{text}\n"));
    }
    print(&render::report::table(&report, environment.width))
}

/// Of the user's own coordinator, else of the system's; where none runs, of the one that ran last.
pub(super) async fn of_some_coordinator(control: &Control, state_dir: &Path) -> Result<Report, Failure> {
    let error = match ask(&control.socket).await {
        Ok(report) => return Ok(report),
        Err(error) => error,
    };
    if let (ControlError::Io(_), Some(fallback)) = (&error, &control.fallback)
        && let Ok(report) = ask(fallback).await
    {
        return Ok(report);
    }
    match edge::report::read(state_dir) {
        Ok(Some(report)) if matches!(error, ControlError::Io(_)) => Ok(report),
        Ok(_) => Err(super::orders::refusal(&control.socket, error)),
        Err(unreadable) => Err(Failure::Failed(anyhow::Error::new(unreadable))),
    }
}

async fn ask(socket: &Path) -> Result<Report, ControlError> {
    let asked = async {
        match edge::control::Line::open(socket).await?.ask(&Request::Report).await? {
            Reply::Report { report } => Ok(report),
            _ => Err(ControlError::Refused("something else than the report".to_owned())),
        }
    };
    let late = || ControlError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not answer"));
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
}

pub(super) fn matrix(args: &MatrixArgs) -> Result<(), Failure> {
    let usage = |error: anyhow::Error| Failure::Usage(error);
    let job = edge::environment::job();
    let suffix = match (&args.suffix, job.get("GITHUB_RUN_ID").zip(job.get("GITHUB_RUN_ATTEMPT"))) {
        (Some(suffix), _) => suffix.clone(),
        (None, Some((id, attempt))) => matrix::suffix(id, attempt, args.cluster.as_deref()),
        (None, None) => {
            return Err(usage(anyhow::anyhow!(
                "GITHUB_RUN_ID and GITHUB_RUN_ATTEMPT are not set: say --suffix outside of GitHub"
            )));
        }
    };
    let plan = Plan::new(&args.counts, &suffix).map_err(|error| usage(error.into()))?;
    let outputs = plan.outputs().map_err(|error| Failure::Failed(error.into()))?;
    print(&outputs.map(|(name, value)| format!("{name}={value}\n")).concat())
}
