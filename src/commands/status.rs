//! `muster status`

mod watch;

use std::path::Path;
use std::time::Duration;

use super::{Failure, block_on, print};
use crate::cli::{Settings, StatusArgs};
use crate::config::{Config, Control, Environment};
use crate::policy::Snapshot;
use crate::wire::control::ControlError;
use crate::{edge, render};

/// A coordinator that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &StatusArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let control = Config::load(&settings, environment)?.control;
    if args.watch {
        return block_on(watch::watch(args, environment, &control));
    }
    let snapshot = block_on(ask(&control))?;
    if args.json {
        let text = render::status::json(&snapshot).map_err(|error| Failure::Failed(error.into()))?;
        print(&format!("{text}\n"))
    } else {
        print(&render::status::table(&snapshot, environment.width))
    }
}

async fn ask(control: &Control) -> Result<Snapshot, Failure> {
    ask_any(control).await.map(|(snapshot, _)| snapshot)
}

/// The state, and whether it is that of the user's own coordinator.
pub(super) async fn ask_any(control: &Control) -> Result<(Snapshot, bool), Failure> {
    reach(control).await.map_err(|error| unreachable(&control.socket, &error))
}

pub(super) fn unreachable(socket: &Path, error: &ControlError) -> Failure {
    let message = format!("cannot reach the coordinator at {}: {error}", socket.display());
    Failure::NoCoordinator(anyhow::anyhow!("{message}; is `muster coordinator` running?"))
}

/// Asks the user's own coordinator, or else the system's.
async fn reach(control: &Control) -> Result<(Snapshot, bool), ControlError> {
    let reached = edge::control::status(&control.socket, PATIENCE).await;
    if let (Err(ControlError::Io(_)), Some(fallback)) = (&reached, &control.fallback)
        && let Ok(snapshot) = edge::control::status(fallback, PATIENCE).await
    {
        return Ok((snapshot, false));
    }
    reached.map(|snapshot| (snapshot, true))
}
