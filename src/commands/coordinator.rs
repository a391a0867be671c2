//! `muster coordinator`

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Failure, block_on, print};
use crate::cli::CoordinatorArgs;
use crate::config::{Attach, Config, ConfigError, Environment, Source};
use crate::coordinator::{self, Listeners};
use crate::edge::activation;
use crate::edge::discover::machines::{self, Look};
use crate::edge::files::{
    FilesError, Lock, judge_runtime, listen, lock_beside, lock_runtime, make_dir, raise_open_files,
};
use crate::edge::signals::{Ending, Hangups, Signals};
use crate::policy::goal::Goal;
use crate::policy::snapshot::HealthWord;
use crate::render;

/// How long builders are waited for where nobody said it.
const WAIT: Duration = Duration::from_secs(300);
/// Everybody may read the state.
const CONTROL_MODE: u32 = 0o666;

pub(super) fn run(args: &CoordinatorArgs, environment: &Environment) -> Result<(), Failure> {
    let (config, look) = load(args, environment)?;
    let only_machines = config.sources.iter().all(|source| *source == Source::Machines);
    if config.builders.is_empty() && config.expect.is_empty() && only_machines && look.adopted.is_empty() {
        return Err(no_builder(&config, &look));
    }
    if args.once && config.attach != Attach::Direct {
        return Err(Failure::Usage(anyhow::anyhow!(
            "--once goes with --attach direct: through muster, it must stay"
        )));
    }
    raise_open_files();
    let runtime = &config.runtime_dir;
    let failed = |error: FilesError| Failure::Usage(error.into());
    make_dir(runtime, 0o755).and_then(|()| make_dir(&config.limits.spool_dir, 0o700)).map_err(failed)?;
    judge_runtime(runtime).map_err(failed)?;
    let _lock = lock_runtime(runtime).map_err(failed)?;
    let _lines = lock_beside(&config.endpoint.machines_file, "endpoint.machines_file").map_err(failed)?;
    if args.once { block_on(once(args, config)) } else { block_on(serve(args, environment, config)) }
}

/// The configuration, and what Nix's own files add to it.
fn load(args: &CoordinatorArgs, environment: &Environment) -> Result<(Config, Look), ConfigError> {
    let mut config = Config::load(&args.settings, environment)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let look = machines::look(&coordinator::machines_source(&config));
    config.endpoint.settle(look.builds_locally);
    config.builders_use_substitutes.get_or_insert(look.builders_use_substitutes);
    config.timeouts.settle(look.limits);
    Ok((config, look))
}

fn no_builder(config: &Config, look: &Look) -> Failure {
    let files = format!("{} and {}", config.nix.conf().display(), config.nix.machines().display());
    let lines = match look.foreign.len() {
        0 => format!("there are no machines lines in {files}"),
        count => format!("muster can serve none of the {count} machines lines in {files}"),
    };
    let file = config.file.as_deref().map_or("the configuration".into(), |file| file.display().to_string());
    Failure::NoBuilder(anyhow::anyhow!(
        "no builder is known: none is named, and {lines}. Three ways on: name one on the command line (--builder \
         USER@HOST), write a [[builder]] or [[source]] table into {file}, or say with [[expect]] what is still on \
         its way; `muster check-config` shows what is read"
    ))
}

/// What it waits for, and for how long.
fn gathering(args: &CoordinatorArgs) -> Option<(Goal, Duration)> {
    let least = args.gathering.min_builders? as usize;
    let wait = args.gathering.wait.unwrap_or(WAIT);
    Some((Goal { least: Some(least), ..Goal::default() }, wait))
}

/// Writes the lines of direct attach and shows what was found.
async fn once(args: &CoordinatorArgs, config: Config) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    let interrupted = shutdown.clone();
    let done = guarded(&shutdown, coordinator::once(config, gathering(args), shutdown.clone())).await?;
    let found = done.map_err(|error| Failure::Failed(error.into()))?;
    let rows = &found.snapshot.builders;
    print(&render::status::builders(&found.snapshot, None))?;
    if interrupted.is_cancelled() {
        return Err(Failure::Interrupted);
    }
    if let Some((standing, took)) = found.missed {
        return Err(super::wait::missed(&standing, took));
    }
    if !rows.iter().any(|row| row.health == HealthWord::Healthy) {
        return Err(Failure::NoBuilder(anyhow::anyhow!("no builder could be used; no line was changed")));
    }
    let advice = found.advice.map(|advice| format!("\n{advice}\n")).unwrap_or_default();
    print(&format!("\n{}{advice}", found.lines))
}

async fn serve(args: &CoordinatorArgs, environment: &Environment, config: Config) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    let hangups = Hangups::catch().map_err(|error| Failure::Failed(error.into()))?;
    let (reread, reloads) = mpsc::channel(1);
    let work = serve_until(config, reloads, shutdown.clone());
    let work = async {
        tokio::select! {
            done = work => done,
            never = reload(args, environment, hangups, reread) => match never {},
        }
    };
    guarded(&shutdown, work).await?
}

async fn serve_until(
    config: Config,
    reloads: mpsc::Receiver<Config>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let (listeners, _locks) = listeners(&config).await?;
    tracing::info!(endpoint = %config.endpoint.socket.display(), "ready");
    coordinator::run(config, listeners, reloads, shutdown)
        .await
        .map_err(|error| Failure::Failed(error.into()))
}

/// Reads the configuration again at each SIGHUP.
async fn reload(
    args: &CoordinatorArgs,
    environment: &Environment,
    mut hangups: Hangups,
    to: mpsc::Sender<Config>,
) -> Infallible {
    loop {
        hangups.next().await;
        match read_again(args, environment) {
            // Where nobody takes it, the coordinator is about to end.
            Ok(config) => drop(to.send(config).await),
            Err(error) => tracing::error!("SIGHUP: {error:#}; the configuration of before stays in force"),
        }
    }
}

fn read_again(args: &CoordinatorArgs, environment: &Environment) -> anyhow::Result<Config> {
    let (config, _) = load(args, environment)?;
    make_dir(&config.limits.spool_dir, 0o700)?;
    Ok(config)
}

/// With the signals of a service manager and of a terminal.
pub(super) async fn guarded<T>(
    shutdown: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let signals = Signals::catch().map_err(|error| Failure::Failed(error.into()))?;
    signals.guard(shutdown, work).await.map_err(|ending| match ending {
        Ending::Terminated => Failure::Terminated,
        Ending::Interrupted => Failure::Interrupted,
    })
}

/// The sockets that systemd holds for us, else our own with their locks.
async fn listeners(config: &Config) -> Result<(Listeners, Vec<Lock>), Failure> {
    let known = ["endpoint", "control"];
    let mut inherited = activation::inherited(&known).map_err(|error| Failure::Usage(error.into()))?;
    let mode = config.endpoint.socket_mode();
    let (endpoint, control) = (&config.endpoint.socket, &config.control.socket);
    let (endpoint, one) = socket(inherited.remove(known[0]), endpoint, "endpoint.socket", mode).await?;
    let (control, other) =
        socket(inherited.remove(known[1]), control, "control.socket", CONTROL_MODE).await?;
    Ok((Listeners { endpoint, control }, one.into_iter().chain(other).collect()))
}

async fn socket(
    inherited: Option<std::os::unix::net::UnixListener>,
    path: &Path,
    key: &'static str,
    mode: u32,
) -> Result<(UnixListener, Option<Lock>), Failure> {
    if let Some(listener) = inherited {
        let listener = UnixListener::from_std(listener).map_err(|error| Failure::Failed(error.into()))?;
        return Ok((listener, None));
    }
    let failed = |error: FilesError| Failure::Usage(error.into());
    let lock = lock_beside(path, key).map_err(failed)?;
    Ok((listen(path, key, mode).await.map_err(failed)?, Some(lock)))
}
