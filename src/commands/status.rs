//! `muster status`

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::{Failure, block_on, print};
use crate::cli::{Settings, StatusArgs};
use crate::config::{Config, Environment};
use crate::policy::Snapshot;
use crate::{edge, render};

/// A coordinator that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &StatusArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let socket = Config::load(&settings, environment)?.control.socket;
    let snapshot = block_on(ask(&socket))?;
    if args.json {
        let text = render::status::json(&snapshot).map_err(|error| Failure::Failed(error.into()))?;
        print(&format!("{text}\n"))
    } else {
        print(&render::status::table(&snapshot, environment.width))
    }
}

async fn ask(socket: &Path) -> Result<Snapshot, Failure> {
    let asked = edge::control::status(socket, PATIENCE).await;
    asked.with_context(|| format!("cannot reach the coordinator at {}", socket.display())).map_err(|error| {
        Failure::NoCoordinator(anyhow::anyhow!("{error:#}; is `muster coordinator` running?"))
    })
}
