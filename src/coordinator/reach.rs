//! How the coordinator reaches one builder: its channels, and what is under way to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gauge::{Carried, Gauge};
use super::upload::InFlight;
use crate::config::{Builder, BuilderUri};
use crate::domain::{BuilderName, BuilderSpec, HostKey, StoreDir, System};
use crate::edge::channel::Transport;
use crate::edge::pool::{CheckoutError, Lease, Pool};

/// Smaller transfers tell of round trips rather than of the link.
const TELLING: u64 = 1_000_000;
/// What one more measurement of a link counts.
const WEIGHT: f64 = 0.3;

/// One builder, as the driver's tasks reach it.
pub struct Reach {
    /// What the user said of it.
    pub spec: BuilderSpec,
    /// How it is reached.
    pub uri: BuilderUri,
    /// What is on its way there.
    pub in_flight: Arc<InFlight>,
    /// What our link carries there.
    pub sending: Arc<Gauge>,
    /// The other direction.
    pub fetching: Arc<Gauge>,
    /// Cancelled when this is the way to no builder any more: what its tasks find out then is nobody's news.
    pub retired: CancellationToken,
    /// Whether some task holds it by its agent.
    pub held: Arc<AtomicBool>,
    transport: Transport,
    store_dir: StoreDir,
    patience: Duration,
    tracker: TaskTracker,
    pools: Arc<Mutex<Pools>>,
    /// In microseconds; 0 as long as it is not known.
    round_trip: Arc<AtomicU64>,
    cores_by: Arc<Mutex<CoresBy>>,
    /// Bytes per second that were measured on the way there; 0 as long as it is not known.
    link: Arc<AtomicU64>,
    learned: Arc<Mutex<Learned>>,
}

/// What the last probe found out beside the builder's capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// The host key that stock Nix can pin.
    pub host_key: Option<HostKey>,
    /// Where `nix-daemon` is, where stock Nix would not find it.
    pub program: Option<String>,
    /// Only `nix-store --serve` answers there: a machine for stock Nix.
    pub serves_only: bool,
    /// The probe's script runs there.
    pub has_shell: bool,
    /// What it builds for without an emulator.
    pub system: Option<System>,
    /// This run of its kernel: builders that have it in common share a machine.
    pub boot_id: Option<String>,
    /// The command that joins its agent, where it has one.
    pub agent: Option<String>,
}

/// How a build there is told how many cores it may use. It is tried out: an option may be taken and have no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CoresBy {
    /// Nobody has tried yet, or nothing works: the builder's own configuration decides.
    #[default]
    Nothing,
    /// By the options of a channel.
    Options,
    /// By the daemon's command line: channels of their own.
    Flag,
}

/// The channels to one builder.
#[derive(Clone)]
pub struct Pools {
    /// For builds, and all that is small.
    pub control: Arc<Pool>,
    /// For uploads.
    pub bulk: Arc<Pool>,
    /// For builds that see so many cores, where that takes a daemon of its own.
    with_cores: Arc<Mutex<BTreeMap<u32, Arc<Pool>>>>,
}

impl Pools {
    fn new(transport: &Transport, store_dir: &StoreDir, patience: Duration, tracker: &TaskTracker) -> Self {
        let pool = |transport| Pool::new(transport, store_dir.clone(), patience, tracker.clone());
        Self { control: pool(transport.clone()), bulk: pool(transport.bulk()), with_cores: Arc::default() }
    }

    fn cut(&self, reason: &str) {
        self.control.cut(reason);
        self.bulk.cut(reason);
        let others = self.with_cores.lock().unwrap_or_else(PoisonError::into_inner);
        others.values().for_each(|pool| pool.cut(reason));
    }
}

impl Reach {
    /// Nothing is opened yet; opening a channel may take as long as `patience`.
    pub fn new(
        builder: &Builder,
        transport: Transport,
        store_dir: StoreDir,
        patience: Duration,
        tracker: TaskTracker,
    ) -> Self {
        let pools = Pools::new(&transport, &store_dir, patience, &tracker);
        let Builder { spec, uri } = builder.clone();
        let (in_flight, retired) = (Arc::default(), CancellationToken::new());
        let (pools, learned, round_trip) = (Arc::new(Mutex::new(pools)), Arc::default(), Arc::default());
        let cores_by = Arc::default();
        Self {
            spec,
            uri,
            in_flight,
            retired,
            held: Arc::default(),
            transport,
            store_dir,
            patience,
            tracker,
            pools,
            round_trip,
            cores_by,
            learned,
            sending: Arc::default(),
            fetching: Arc::default(),
            link: Arc::default(),
        }
    }

    /// The same way to the same builder, of which something else is said now.
    pub fn with_spec(&self, spec: BuilderSpec) -> Self {
        Self {
            spec,
            uri: self.uri.clone(),
            in_flight: Arc::clone(&self.in_flight),
            retired: self.retired.clone(),
            held: Arc::clone(&self.held),
            transport: self.transport.clone(),
            store_dir: self.store_dir.clone(),
            patience: self.patience,
            tracker: self.tracker.clone(),
            pools: Arc::clone(&self.pools),
            round_trip: Arc::clone(&self.round_trip),
            cores_by: Arc::clone(&self.cores_by),
            learned: Arc::clone(&self.learned),
            sending: Arc::clone(&self.sending),
            fetching: Arc::clone(&self.fetching),
            link: Arc::clone(&self.link),
        }
    }

    /// The builder's name.
    pub fn name(&self) -> &BuilderName {
        &self.spec.name
    }

    /// How it is reached.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// What its last probe found out.
    pub fn learned(&self) -> Learned {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of it.
    pub fn learn(&self, now: Learned) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Its channels.
    pub fn pools(&self) -> Pools {
        self.lock().clone()
    }

    /// A question was answered after so long.
    pub fn answered_after(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.round_trip.store(micros, Ordering::Relaxed);
    }

    /// A channel for a build that shall see so many cores, as far as that can be.
    pub async fn checkout(&self, pools: &Pools, cores: Option<u32>) -> Result<Lease, CheckoutError> {
        let by = *self.cores_by.lock().unwrap_or_else(PoisonError::into_inner);
        match (by, cores) {
            (CoresBy::Flag, Some(cores)) => self.pool_of(pools, cores).checkout().await,
            (CoresBy::Options, cores) => {
                let mut lease = pools.control.checkout().await?;
                lease.set_cores(cores.unwrap_or_default()).await?;
                Ok(lease)
            }
            _ => pools.control.checkout().await,
        }
    }

    /// Few numbers, so that channels are found again: powers of two.
    fn pool_of(&self, pools: &Pools, cores: u32) -> Arc<Pool> {
        let cores = 1 << cores.max(1).ilog2();
        let mut all = pools.with_cores.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let transport = self.transport.with_cores(cores).unwrap_or_else(|| self.transport.clone());
            Pool::new(transport, self.store_dir.clone(), self.patience, self.tracker.clone())
        };
        Arc::clone(all.entry(cores).or_insert_with(new))
    }

    /// A channel whose daemon was told so on its command line, to try that out; none where there is no command line.
    pub async fn checkout_by_flag(&self, cores: u32) -> Option<Result<Lease, CheckoutError>> {
        self.transport.with_cores(cores)?;
        Some(self.pool_of(&self.pools(), cores).checkout().await)
    }

    /// From now on builds are told so.
    pub fn tell_cores(&self, by: CoresBy) {
        *self.cores_by.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// The link to it has carried so much.
    pub fn carried(&self, (bytes, took): Carried) {
        let rate = bytes as f64 / took.as_secs_f64();
        if bytes < TELLING || !rate.is_finite() {
            return;
        }
        let before = self.link.load(Ordering::Relaxed) as f64;
        let now = if before > 0.0 { before + WEIGHT * (rate - before) } else { rate };
        self.link.store(now.max(1.0) as u64, Ordering::Relaxed);
    }

    /// How many transfers at once fill the link.
    pub fn abreast(&self) -> usize {
        let link = Some(self.link.load(Ordering::Relaxed)).filter(|link| *link > 0);
        abreast(Duration::from_micros(self.round_trip.load(Ordering::Relaxed)), link)
    }

    /// Ends everything that is under way there; a later probe begins with new channels.
    pub fn cut(&self, reason: &str) {
        let fresh = Pools::new(&self.transport, &self.store_dir, self.patience, &self.tracker);
        std::mem::replace(&mut *self.lock(), fresh).cut(reason);
        self.transport.cut();
    }

    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// ssh lets a channel be 2 MiB ahead of its peer, so on a long way one alone leaves the link idle. Two at least, or small
/// paths wait behind a large one; and no more than fit beside each other among the sessions of one connection. A link
/// that was measured gets one more than filled it then, since it may have been our own windows that were full.
fn abreast(round_trip: Duration, link: Option<u64>) -> usize {
    const WINDOW: f64 = (2 << 20) as f64;
    /// A gigabit per second, where nothing is known.
    const LINK: f64 = 125e6;
    const FEWEST: f64 = 2.0;
    const MOST: f64 = 4.0;
    let full = |link: f64| (link * round_trip.as_secs_f64() / WINDOW).ceil();
    link.map_or(full(LINK), |link| full(link as f64) + 1.0).clamp(FEWEST, MOST) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_the_way_the_more_transfers_side_by_side() {
        for (millis, expected) in [(0, 2), (1, 2), (32, 2), (50, 3), (300, 4)] {
            assert_eq!(abreast(Duration::from_millis(millis), None), expected, "{millis} ms");
        }
    }

    #[test]
    fn a_slow_link_gets_fewer_transfers_than_one_of_a_gigabit_and_one_whose_windows_were_full_gets_more() {
        for (megabytes, expected) in [(1, 2), (20, 2), (50, 3), (125, 4), (1_000, 4)] {
            let link = Some(megabytes * 1_000_000);
            assert_eq!(abreast(Duration::from_millis(50), link), expected, "{megabytes} MB/s");
        }
        assert_eq!(abreast(Duration::from_millis(1), Some(10_000_000)), 2);
    }
}
