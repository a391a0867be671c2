//! What a builder can do, and whether it is still there.

mod merge;
mod over_ssh;

pub(super) use over_ssh::look_for_agent;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::reach::Reach;
use super::{News, World, claim};
use crate::config::{Attach, Config};
use crate::domain::{Capabilities, Slots, System};
use crate::edge::channel::Transport;
use crate::edge::clock;
use crate::policy::Event;

/// Asks a builder what it can do, and reports it.
pub(super) async fn probe(reach: Arc<Reach>, world: Arc<World>) {
    let config = world.config();
    let limit = config.timeouts.probe;
    let before = reach.learned();
    let found =
        timeout(limit, capabilities(&reach, Purpose::of(&config), limit)).await.unwrap_or_else(|_| {
            // The next probe must not wait for the same dead connection.
            reach.transport().doubt();
            Err(no_answer(limit))
        });
    let is_well = found.is_ok();
    world.tell(News::Event(Event::Probed(reach.name().clone(), found))).await;
    if reach.learned() != before {
        world.tell(News::Learned).await;
    }
    if is_well {
        claim::ensure(&reach, &world);
    }
    if is_well
        && config.attach == Attach::Endpoint
        && let Transport::Ssh(..) = reach.transport()
    {
        // The first inputs shall not wait for a second login. Where this fails, they will say why.
        let _ = reach.pools().bulk.checkout().await;
    }
}

/// Asks for a sign of life that costs the builder nothing.
pub(super) async fn ping(reach: Arc<Reach>, world: Arc<World>) {
    let limit = world.config().timeouts.silent_after;
    let asked = async {
        reach.pools().bulk.close_old();
        let mut daemon = reach.pools().control.checkout().await.map_err(|error| error.to_string())?;
        let began = clock::now();
        let answered = daemon.query_valid_paths(&[], false).await.map_err(|error| error.to_string());
        let took = began.elapsed();
        reach.answered_after(took);
        answered.map(|_| took)
    };
    let answered = match timeout(limit, asked).await {
        Ok(answered) => answered,
        Err(_) => Err(no_answer(limit)),
    };
    world.tell(News::Event(Event::Pinged(reach.name().clone(), answered))).await;
}

pub(super) fn no_answer(limit: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

/// What is asked of a builder.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    attach: Attach,
    use_untrusted: bool,
}

impl Purpose {
    pub fn of(config: &Config) -> Self {
        Self { attach: config.attach, use_untrusted: config.use_untrusted }
    }

    /// Stock Nix may know signatures that a builder accepts; what goes through us is unsigned, unless we are told.
    fn needs_trust(self) -> bool {
        self.attach == Attach::Endpoint && !self.use_untrusted
    }
}

/// What it can do, or why it can't be used. The caller bounds the time, of which there is about `limit`.
pub(super) async fn capabilities(
    reach: &Reach,
    purpose: Purpose,
    limit: Duration,
) -> Result<Capabilities, String> {
    match reach.transport() {
        Transport::Ssh(host, _) => over_ssh::capabilities(reach, host, purpose, limit).await,
        Transport::Process(_) | Transport::Socket(_) | Transport::SshCores(..) => here(reach).await,
    }
}

/// An embedded builder is this machine over again: nothing is to be measured.
async fn here(reach: &Reach) -> Result<Capabilities, String> {
    let daemon = reach.pools().control.checkout().await.map_err(|error| error.to_string())?;
    let spec = &reach.spec;
    let features = spec.features.clone().unwrap_or_else(merge::default_features);
    Ok(Capabilities {
        systems: spec.systems.clone().unwrap_or_else(|| BTreeSet::from([this_system()])),
        features: features.union(&spec.mandatory).cloned().collect(),
        mandatory: spec.mandatory.clone(),
        slots: spec.slots.unwrap_or_else(default_slots),
        speed_factor: spec.speed_factor.unwrap_or(1.0),
        cores: spec.cores,
        memory: spec.memory,
        trust: daemon.trust(),
        nix_version: daemon.daemon_version().map(str::to_owned),
        measured: None,
    })
}

/// An embedded builder has this machine's system.
pub(super) fn this_system() -> System {
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    System::parse(&format!("{}-{os}", std::env::consts::ARCH)).expect("a constant of the compiler")
}

fn default_slots() -> Slots {
    let cores = std::thread::available_parallelism().ok().and_then(|cores| u32::try_from(cores.get()).ok());
    merge::slots(cores, None, None).unwrap_or(Slots::MIN)
}
