//! The tasks that find builders, as the configuration names them.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{News, World, probe};
use crate::config::{Config, Source};
use crate::edge::discover::{self, MachinesSource, Rank, Report, machines};

/// What is looked for in Nix's own files: lines to adopt, where they are a source, and in any case those to keep.
pub fn machines_source(config: &Config) -> MachinesSource {
    MachinesSource {
        files: config.nix.clone(),
        ours: machines::Ours {
            machines_file: config.endpoint.machines_file.clone(),
            program: config.endpoint.program.clone(),
        },
        default_system: probe::this_system(),
        adopt: config.sources.contains(&Source::Machines),
    }
}

/// Starts them all; they end with `shutdown`. Returns those that will report builders.
pub(super) fn start(world: &Arc<World>, shutdown: &CancellationToken) -> BTreeSet<Rank> {
    let mut reporting = BTreeSet::new();
    let source = machines_source(&world.config());
    if source.adopt {
        reporting.insert(Rank::Machines);
    }
    spawn(world, shutdown, discover::watch_machines(source, tell(world)));
    for (number, source) in world.config().sources.iter().enumerate() {
        match source {
            Source::Machines => {}
            Source::Exec { command, interval } => {
                reporting.insert(Rank::Exec(number));
                let watch = discover::watch_command(number, command.clone(), *interval, tell(world));
                spawn(world, shutdown, watch);
            }
            Source::Tailscale(tailnet) => {
                reporting.insert(Rank::Tailscale(number));
                spawn(world, shutdown, discover::watch_tailnet(number, tailnet.clone(), tell(world)));
            }
        }
    }
    reporting
}

fn tell(world: &Arc<World>) -> impl Fn(Report) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + use<> {
    let world = Arc::clone(world);
    move |report| {
        let world = Arc::clone(&world);
        Box::pin(async move { world.tell(News::Reported(report)).await })
    }
}

fn spawn(
    world: &Arc<World>,
    shutdown: &CancellationToken,
    source: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = shutdown.clone();
    world.tracker.spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = source => {}
        }
    });
}
