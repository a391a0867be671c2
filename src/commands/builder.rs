//! `muster builder`, the agent, and `muster builder serve`, the forced command.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::coordinator::guarded;
use super::{Failure, block_on, print};
use crate::builder::{self, Settings};
use crate::cli::builder::{AgentPlace, BuilderArgs, BuilderCommand, OnIdle, RunArgs, StatusArgs};
use crate::config::{AllowedUser, Environment, agent_socket, system_agent_socket};
use crate::edge::agent::{self, JoinError};
use crate::edge::load::Meter;
use crate::edge::{files, release, serve, users};
use crate::policy::claims::{Ending, Terms};
use crate::render::agent as show;
use crate::wire::agent::{AgentError, Ask, Status, Tell};
use crate::wire::lines::LineError;
use crate::wire::served::Served;

/// Whoever may log in may knock; who may claim is looked at then.
const SOCKET_MODE: u32 = 0o666;
/// sshd says the same of a command that cannot be run.
const REFUSED: u8 = 126;

pub(super) fn run(args: &BuilderArgs, environment: &Environment) -> Result<(), Failure> {
    let ask = |place: &AgentPlace, ask: &Ask| order(&agents(place, environment), ask);
    match &args.command {
        None if args.status => status(&StatusArgs { json: false, place: args.place.clone() }, environment),
        None => serve_claims(&args.run, &socket(&args.place, environment)),
        Some(BuilderCommand::Serve(place)) => serve_login(&agents(place, environment), environment),
        Some(BuilderCommand::Session(place)) => session(&agents(place, environment), serve::login().from),
        Some(BuilderCommand::Pump) => pump(),
        Some(BuilderCommand::Status(args)) => status(args, environment),
        Some(BuilderCommand::Drain(place)) => ask(place, &Ask::Drain),
        Some(BuilderCommand::Undrain(place)) => ask(place, &Ask::Undrain),
        Some(BuilderCommand::Release(place)) => ask(place, &Ask::Release),
    }
}

/// Where an agent of ours listens.
fn socket(place: &AgentPlace, environment: &Environment) -> PathBuf {
    agent_socket(place.socket.as_deref(), environment)
}

/// Where the agent is that is asked: the user's own, or else the system's.
fn agents(place: &AgentPlace, environment: &Environment) -> PathBuf {
    let own = socket(place, environment);
    if place.socket.is_some() || files::is_there(&own) { own } else { system_agent_socket() }
}

/// The agent itself.
fn serve_claims(args: &RunArgs, socket: &Path) -> Result<(), Failure> {
    let settings = settings(args);
    let failed = |error: files::FilesError| Failure::Usage(error.into());
    if let Some(dir) = socket.parent() {
        files::make_dir(dir, 0o755).map_err(failed)?;
    }
    let _lock = files::lock_beside(socket, "--socket").map_err(failed)?;
    let ending = block_on(async {
        let listener = files::listen(socket, "--socket", SOCKET_MODE).await.map_err(failed)?;
        tracing::info!(socket = %socket.display(), "ready");
        let shutdown = CancellationToken::new();
        guarded(&shutdown, builder::run(listener, settings, shutdown.clone())).await
    })?;
    files::remove(socket);
    match ending {
        None => Ok(()),
        Some(ending) => ended(args, &ending),
    }
}

fn settings(args: &RunArgs) -> Settings {
    let named: BTreeSet<AllowedUser> = args.users.iter().cloned().map(AllowedUser::Name).collect();
    Settings {
        terms: Terms {
            slots: args.slots,
            size: Meter::default().size(),
            lease: args.lease_timeout,
            idle: args.idle_timeout,
            lifetime: args.max_lifetime,
            ephemeral: args.ephemeral,
        },
        users: users::allowed(&named, "--allow-user"),
        tags: args.tags.iter().cloned().collect(),
    }
}

/// An ephemeral builder goes, and what is said of it depends on whether it was of use.
fn ended(args: &RunArgs, ending: &Ending) -> Result<(), Failure> {
    tracing::info!("released: {}", show::ending(ending));
    if let Some(command) = args.release_command.as_ref().filter(|_| args.ephemeral) {
        block_on(async { release::run(command).await.map_err(|error| Failure::Failed(error.into())) })?;
    }
    match (ending, args.on_idle) {
        (Ending::Idle, OnIdle::Fail) => Err(Failure::NoBuilder(anyhow::anyhow!(
            "nobody claimed this builder within {}: is a coordinator running that knows it, and may it log in here?",
            humantime::format_duration(args.idle_timeout.unwrap_or_default())
        ))),
        _ => Ok(()),
    }
}

/// What the key at the other end may have.
fn serve_login(socket: &Path, environment: &Environment) -> Result<(), Failure> {
    let login = serve::login();
    let served = match Served::parse(login.command.as_deref()) {
        Ok(served) => served,
        Err(refused) => return Err(Failure::Exit(REFUSED, refused.into())),
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let failed = |error: serve::ServeError| Failure::Exit(REFUSED, error.into());
    match served {
        Served::Probe => match serve::probe(&environment.exe, socket).map_err(failed)? {
            0 => Ok(()),
            code => Err(Failure::Exit(code, anyhow::anyhow!("the probe ended with {code}"))),
        },
        Served::Pump => pump(),
        Served::Session => session(socket, login.from),
        Served::Store => Err(failed(serve::become_program("nix-store", &words(&["--serve", "--write"])))),
        Served::Daemon { cores } => {
            let mut said = words(&["--stdio", "--option", "builders", ""]);
            said.extend(cores.into_iter().flat_map(|cores| ["--cores".to_owned(), cores.to_string()]));
            Err(failed(serve::become_program("nix-daemon", &said)))
        }
    }
}

fn session(socket: &Path, from: Option<std::net::IpAddr>) -> Result<(), Failure> {
    block_on(async { agent::join(socket, from).await.map_err(|error| not_joined(error, "agent", socket)) })
}

fn pump() -> Result<(), Failure> {
    let socket = serve::daemon_socket();
    block_on(async { agent::pump(&socket).await.map_err(|error| not_joined(error, "nix-daemon", &socket)) })
}

fn not_joined(error: JoinError, whom: &str, socket: &Path) -> Failure {
    let is_absent = matches!(error, JoinError::Socket(_));
    let error = anyhow::Error::new(error);
    Failure::Failed(match is_absent {
        true => error.context(format!("no {whom} answers at {}", socket.display())),
        false => error,
    })
}

fn status(args: &StatusArgs, environment: &Environment) -> Result<(), Failure> {
    let told = asked(&agents(&args.place, environment), &Ask::Status)?;
    let Tell::Status { status } = told else { return Err(nonsense()) };
    if args.json {
        let text = serde_json::to_string_pretty(&status).map_err(|error| Failure::Failed(error.into()))?;
        return print(&format!("{text}\n"));
    }
    print(&shown(&status, environment.width))
}

fn shown(status: &Status, width: Option<u16>) -> String {
    let head = show::Head {
        slots: status.slots,
        stated: status.stated_slots.unwrap_or(status.slots),
        ephemeral: status.ephemeral,
        closed: status.closed.as_deref(),
        pressure: [status.load.cpu, status.load.memory],
        memory: status.load.memory_available,
        age: Duration::from_millis(status.age_ms),
    };
    let rows: Vec<_> = status
        .claims
        .iter()
        .map(|row| show::Row {
            coordinator: &row.coordinator,
            slots: [row.granted, row.running, row.wanted],
            lasts: Duration::from_millis(row.lasts_ms),
        })
        .collect();
    show::status(&head, &rows, width)
}

fn order(socket: &Path, ask: &Ask) -> Result<(), Failure> {
    match asked(socket, ask)? {
        Tell::Done { said } => print(&format!("{said}\n")),
        Tell::Refused { why } => Err(Failure::Failed(anyhow::anyhow!(why))),
        _ => Err(nonsense()),
    }
}

fn asked(socket: &Path, ask: &Ask) -> Result<Tell, Failure> {
    block_on(async {
        agent::ask(socket, ask).await.map_err(|error| match error {
            AgentError::Line(LineError::Io(_)) => Failure::Failed(
                anyhow::Error::new(error)
                    .context(format!("no agent answers at {}; `muster builder` runs one", socket.display())),
            ),
            error => Failure::Failed(error.into()),
        })
    })
}

fn nonsense() -> Failure {
    Failure::Failed(anyhow::anyhow!("the agent answered something else than was asked"))
}
