//! What a builder can do, and whether it is still there.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::timeout;

use super::reach::Reach;
use super::{News, World};
use crate::domain::{BuilderSpec, Capabilities, Feature, Slots, System};
use crate::edge::pool::Daemon;
use crate::policy::Event;

/// What Nix itself assumes of a machine that says nothing else (`system-features`), without `kvm`.
const DEFAULT_FEATURES: [&str; 3] = ["benchmark", "big-parallel", "nixos-test"];

/// Shakes hands with the builder's daemon and reports what it can do.
pub(super) async fn probe(reach: Arc<Reach>, world: Arc<World>) {
    let asked =
        async { reach.pools().control.checkout().await.map(|daemon| capabilities(&reach.spec, &daemon)) };
    let found = match timeout(world.config.timeouts.probe, asked).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(no_answer(world.config.timeouts.probe)),
    };
    world.tell(News::Event(Event::Probed(reach.name().clone(), found))).await;
}

/// Asks for a sign of life that costs the builder nothing.
pub(super) async fn ping(reach: Arc<Reach>, world: Arc<World>) {
    let limit = world.config.timeouts.silent_after;
    let asked = async {
        let mut daemon = reach.pools().control.checkout().await.map_err(|error| error.to_string())?;
        daemon.query_valid_paths(&[], false).await.map_err(|error| error.to_string())
    };
    let answered = match timeout(limit, asked).await {
        Ok(answered) => answered.map(|_| ()),
        Err(_) => Err(no_answer(limit)),
    };
    world.tell(News::Event(Event::Pinged(reach.name().clone(), answered))).await;
}

fn no_answer(limit: std::time::Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

/// The user's values win; what is left is taken from the daemon, or is Nix's own default.
fn capabilities(spec: &BuilderSpec, daemon: &Daemon) -> Capabilities {
    let features = spec.features.clone().unwrap_or_else(default_features);
    Capabilities {
        systems: spec.systems.clone().unwrap_or_else(|| BTreeSet::from([this_system()])),
        features: features.union(&spec.mandatory).cloned().collect(),
        mandatory: spec.mandatory.clone(),
        slots: spec.slots.unwrap_or_else(default_slots),
        speed_factor: spec.speed_factor.unwrap_or(1.0),
        trust: daemon.trust(),
        nix_version: daemon.daemon_version().map(str::to_owned),
    }
}

fn default_features() -> BTreeSet<Feature> {
    DEFAULT_FEATURES.iter().filter_map(|word| Feature::parse(word).ok()).collect()
}

/// An embedded builder has this machine's system.
pub(super) fn this_system() -> System {
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    System::parse(&format!("{}-{os}", std::env::consts::ARCH)).expect("a constant of the compiler")
}

/// One build for every four cores, at least one.
fn default_slots() -> Slots {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores / 4).ok().and_then(Slots::new).unwrap_or(Slots::MIN)
}
