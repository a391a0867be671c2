//! How fast a builder is, and how its builds are told how many cores they may use: both are tried out, by builds that fail
//! on purpose ([`benchmark`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::reach::{CoresBy, Reach};
use super::{News, World};
use crate::domain::{Measurement, System, Trust};
use crate::edge::channel::Transport;
use crate::edge::pool::Lease;
use crate::edge::{clock, machine};
use crate::nix::base32;
use crate::nix::benchmark::{self, Reading};
use crate::nix::logs::{Field, LogMessage, result};
use crate::nix::ops::BuildMode;
use crate::policy::Event;

/// Whatever hangs.
const LONGEST: Duration = Duration::from_secs(60);
/// A number of cores that nobody configures.
const ODD: u32 = 7;
/// The same for command lines, which only have powers of two.
const ODD_POWER: u32 = 4096;

/// One benchmark at a time on each physical machine: two would measure each other.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, machine: Option<String>, builder: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(machine.unwrap_or_else(|| builder.to_owned())).or_default())
    }
}

/// Measures a builder and reports what came of it; nothing, where nothing did.
pub(super) async fn measure(reach: Arc<Reach>, world: Arc<World>) {
    let Transport::Ssh(..) = reach.transport() else { return };
    let turn = world.benchmarks.of(reach.learned().boot_id, reach.name().as_str());
    let _turn = turn.lock().await;
    let _ = timeout(LONGEST, try_out(&reach, &world)).await;
}

async fn try_out(reach: &Reach, world: &World) -> Option<()> {
    let mut channel = reach.pools().control.checkout().await.ok()?;
    channel.keep_private();
    // One that does not trust us would not build it.
    if channel.trust() == Trust::Untrusted {
        return None;
    }
    let system = reach.learned().system?;
    channel.set_cores(ODD).await.ok()?;
    let reading = run(&mut channel, &system, true).await?;
    let by = match reading.cores() {
        Some(ODD) => CoresBy::Options,
        _ => by_flag(reach, &system).await,
    };
    let (builder, score) = (reach.name(), reading.score());
    tracing::info!(%builder, score, cores_by = ?by, "measured");
    reach.tell_cores(by);
    let measured = Measurement::Cpu { system, score: score? };
    world.tell(News::Event(Event::Measured(reach.name().clone(), measured))).await;
    Some(())
}

async fn by_flag(reach: &Reach, system: &System) -> CoresBy {
    let seen = async {
        let mut channel = reach.checkout_by_flag(ODD_POWER).await?.ok()?;
        channel.keep_private();
        run(&mut channel, system, false).await?.cores()
    };
    if seen.await == Some(ODD_POWER) { CoresBy::Flag } else { CoresBy::Nothing }
}

/// What the build's log says; none where it could not be run.
async fn run(channel: &mut Lease, system: &System, measure: bool) -> Option<Reading> {
    let (drv, derivation) = benchmark::derivation(&nonce(), system, measure)?;
    let (began, enough) = (clock::now(), CancellationToken::new());
    let mut reading = Reading::default();
    let mut hear = |message| {
        if let LogMessage::Result { kind: result::LOG_LINE, fields, .. } = message
            && let Some(Field::Text(line)) = fields.first()
        {
            reading.hear(&line.to_string(), began.elapsed());
            if reading.is_enough() {
                enough.cancel();
            }
        }
    };
    let built = channel.build_derivation(&drv, &derivation, BuildMode::Normal, &mut hear);
    // The channel is closed afterwards, which ends what is left of the build.
    let _ = enough.run_until_cancelled(built).await;
    reading.cores().is_some().then_some(reading)
}

/// What tells one run from all others, as the beginning of a store path.
fn nonce() -> String {
    let digest: [u8; 32] = Sha256::digest(machine::unguessable()).into();
    base32::encode(&digest[..20])
}
