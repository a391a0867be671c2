//! `muster coordinator`

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Failure, block_on};
use crate::cli::CoordinatorArgs;
use crate::config::{Config, Environment};
use crate::coordinator::{self, Listeners};
use crate::edge::files::{FilesError, listen, lock_runtime, make_dir};
use crate::edge::{activation, signals};

/// The endpoint is for root and our own user; who else may use it is checked by who connects.
const ENDPOINT_MODE: u32 = 0o600;
const ENDPOINT_MODE_OTHERS: u32 = 0o666;
/// Everybody may read the state.
const CONTROL_MODE: u32 = 0o666;

pub(super) fn run(args: &CoordinatorArgs, environment: &Environment) -> Result<(), Failure> {
    let config = Config::load(&args.settings, environment)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.builders.is_empty() && config.expect.is_empty() {
        return Err(Failure::NoBuilder(anyhow::anyhow!(
            "no builder is known. Three ways on: name one on the command line (--builder USER@HOST), write a \
             [[builder]] table into {}, or say with [[expect]] what is still on its way; `muster check-config` shows \
             what is read",
            config.file.as_deref().map_or("the configuration".into(), |file| file.display().to_string())
        )));
    }
    let runtime = &config.runtime_dir;
    let failed = |error: FilesError| Failure::Usage(error.into());
    make_dir(runtime, 0o755).and_then(|()| make_dir(&config.limits.spool_dir, 0o700)).map_err(failed)?;
    let _lock = lock_runtime(runtime).map_err(failed)?;
    block_on(serve(config, environment.uid))
}

async fn serve(config: Config, uid: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Failed(error.into());
    let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
    signals::cancel_on_signal(&shutdown, &tracker).map_err(failed)?;
    let listeners = listeners(&config)?;
    if uid != 0 {
        tracing::info!("to build with it: nix build --builders @{}", config.endpoint.machines_file.display());
    }
    tracing::info!(endpoint = %config.endpoint.socket.display(), "ready");
    coordinator::run(config, listeners, shutdown).await.map_err(|error| Failure::Failed(error.into()))
}

/// The sockets that systemd holds for us, else our own.
fn listeners(config: &Config) -> Result<Listeners, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(error.into());
    let mut inherited = activation::inherited().map_err(failed)?;
    let mut socket = |name: &str, path, mode| match inherited.remove(name) {
        Some(listener) => UnixListener::from_std(listener).map_err(failed),
        None => listen(path, mode).map_err(|error| Failure::Usage(error.into())),
    };
    let mode = if config.endpoint.allow.is_empty() { ENDPOINT_MODE } else { ENDPOINT_MODE_OTHERS };
    Ok(Listeners {
        endpoint: socket("endpoint", &config.endpoint.socket, mode)?,
        control: socket("control", &config.control.socket, CONTROL_MODE)?,
    })
}
