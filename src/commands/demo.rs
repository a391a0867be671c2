//! `muster demo`: a small cluster on this machine alone, one builder of which loses its power in the middle.
//!
//! | module | what |
//! |---|---|
//! | `stage` | the private directory with its stores, and what is started in it |
//! | `graph` | what is built, and what must come out |
//! | `play` | run, watch, kill |
//! | `watch` | the coordinator's states, as a story |
//! | `verify` | every store is asked what it built |
//! | `report` | the facts at the end, and whether they are as promised |

mod graph;
mod play;
mod report;
mod screen;
mod stage;
mod verify;
mod watch;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::report::Facts;
use self::screen::Screen;
use self::stage::{BUILDERS, Stage, Tools};
use super::{Failure, block_on};
use crate::cli::DemoArgs;
use crate::config::Environment;
use crate::edge::tree;

/// How long the last processes may take to die.
const STRIKE_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(args: &DemoArgs, environment: &Environment) -> Result<(), Failure> {
    let keep = args.keep.as_deref().map(|path| environment.cwd.join(path));
    let tools = Tools::find(&environment.exe).map_err(Failure::Failed)?;
    block_on(async {
        // Before anything is made that would have to be removed.
        let interrupted = interrupted().map_err(|error| Failure::Failed(error.into()))?;
        let wrong = |error| if keep.is_some() { Failure::Usage(error) } else { Failure::Failed(error) };
        let stage = Stage::set(tools, keep.as_deref()).map_err(wrong)?;
        let mut screen = Screen::new(environment.width);
        let outcome = tokio::select! {
            outcome = demonstrate(&stage, keep.as_deref(), &mut screen) => outcome.map_err(Failure::Failed),
            () = interrupted => Err(Failure::Interrupted),
        };
        let struck = strike(stage).await.map_err(Failure::Failed);
        outcome.and(struck)
    })
}

/// Resolves at the first signal that asks us to end.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

async fn demonstrate(stage: &Stage, keep: Option<&Path>, screen: &mut Screen) -> anyhow::Result<()> {
    let nodes = graph::graph();
    screen.show(&opening(stage, nodes.len()))?;
    play::trial(stage).await?;
    let mut coordinator = play::open(stage).await?;
    let played = play::perform(stage, &mut coordinator, nodes.len(), screen).await?;
    play::close(coordinator).await?;

    let testimonies = verify::ask_all(stage, &nodes).await?;
    let (watch, cut, took) = (&played.watch, played.cut.as_ref(), played.took);
    let facts = Facts { nodes: &nodes, watch, testimonies: &testimonies, cut, took };
    let (text, faults) = report::report(&facts);
    screen.show(&format!("\n{text}"))?;
    if let Some(keep) = keep {
        screen.show(&format!("Stores, configuration and logs stay in {}.\n", keep.display()))?;
    }
    if faults.is_empty() {
        return Ok(());
    }
    anyhow::bail!("the demo did not keep its promises:\n  {}", faults.join("\n  "))
}

fn opening(stage: &Stage, builds: usize) -> String {
    let builders = BUILDERS.map(|(name, slots)| format!("{name} ({slots})"));
    format!(
        "{builds} derivations, built by stock `nix build` on three embedded builders with so many slots: {}.\n\
         Everything lies in {}.\n\n",
        builders.join(", "),
        stage.path().display()
    )
}

/// Leaves no process and no directory behind.
async fn strike(stage: Stage) -> anyhow::Result<()> {
    tree::kill(&stage.processes(), STRIKE_LIMIT).await?;
    stage.strike()
}
