//! Channels to one daemon, kept and used again.
//!
//! A channel goes back only between operations: one whose operation was interrupted or failed on the wire is closed,
//! since nobody can know what it would say next. Temporary roots pile up on a channel, so it is not kept for ever.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{BufReader, BufWriter};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::channel::{Behind, OpenError, Reader, Transport, Writer};
use super::clock;
use super::meter::Meter;
use crate::domain::StoreDir;
use crate::nix::client::{self, Client};
use crate::nix::handshake::{HandshakeError, Version};
use crate::nix::ops::SetOptions;

/// A daemon at the other end of a channel.
pub type Daemon = Client<Reader, Writer>;

/// A daemon's temporary roots live as long as its channel; this bounds how long they keep garbage alive.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// The same where its roots keep a build's paths alive that is over, and nobody has built on it since.
const ROOTS_KEPT_FOR: Duration = Duration::from_secs(60);
/// Idle channels beyond this are closed.
const MAX_IDLE: usize = 8;
/// For the last words of a program that is no daemon.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Why no daemon could be had.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// No channel.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A channel, but no daemon that speaks our protocol.
    #[error("{error}{}", after(said))]
    Handshake {
        /// What went wrong.
        error: HandshakeError,
        /// What the program said on its stderr.
        said: String,
    },
    /// It refused our options.
    #[error(transparent)]
    Options(#[from] client::Error),
    /// It took too long.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The pool was cut, and why.
    #[error("{0}")]
    Cut(String),
}

impl CheckoutError {
    /// Whether another try is in vain.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Cut(_))
    }
}

fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" (it said: {})", end_of(said)) }
}

/// The end of what was said, which tells most; a program may flood us.
fn end_of(said: &str) -> String {
    const MOST: usize = 300;
    match said.chars().count().checked_sub(MOST) {
        None | Some(0) => said.to_owned(),
        Some(before) => format!("...{}", said.chars().skip(before).collect::<String>()),
    }
}

/// The channels to one daemon.
pub struct Pool {
    transport: Transport,
    store_dir: StoreDir,
    tracker: TaskTracker,
    patience: Duration,
    cut: CancellationToken,
    cut_because: OnceLock<String>,
    idle: Mutex<Vec<Entry>>,
}

struct Entry {
    // Before `behind`: its pipes must be closed when a child is waited for.
    daemon: Daemon,
    behind: Option<Behind>,
    meter: Meter,
    age: Age,
    /// What its builds see as `NIX_BUILD_CORES`; 0 where the builder's own configuration decides.
    cores: u32,
}

/// How old a channel is.
#[derive(Clone, Copy)]
struct Age {
    opened: Instant,
    /// When what it has rooted was last in use.
    rooted: Option<Instant>,
}

impl Age {
    fn is_over(&self, now: Instant) -> bool {
        let rooted_for = self.rooted.map(|rooted| now.saturating_duration_since(rooted));
        now.saturating_duration_since(self.opened) >= KEPT_FOR
            || rooted_for.is_some_and(|time| time >= ROOTS_KEPT_FOR)
    }
}

impl Pool {
    /// An empty pool. Opening a channel, handshake included, may take as long as `patience`.
    pub fn new(
        transport: Transport,
        store_dir: StoreDir,
        patience: Duration,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        let (cut, cut_because, idle) = Default::default();
        Arc::new(Self { transport, store_dir, tracker, patience, cut, cut_because, idle })
    }

    /// A channel that nobody else uses: an idle one that is still open, else a new one.
    pub async fn checkout(self: &Arc<Self>) -> Result<Lease, CheckoutError> {
        if self.cut.is_cancelled() {
            return Err(CheckoutError::Cut(self.cut_reason()));
        }
        self.close_old();
        while let Some(mut entry) = self.pop() {
            if entry.daemon.is_open().await {
                return Ok(self.lease(entry));
            }
        }
        let opening = timeout(self.patience, self.open(Version::OURS));
        tokio::select! {
            opened = opening => match opened {
                Ok(entry) => Ok(self.lease(entry?)),
                Err(_) => {
                    self.doubt();
                    Err(CheckoutError::Timeout(self.patience))
                }
            },
            reason = self.was_cut() => Err(CheckoutError::Cut(reason)),
        }
    }

    /// A channel that speaks `version` at most, and never comes back here.
    pub async fn open_private(self: &Arc<Self>, version: Version) -> Result<Lease, CheckoutError> {
        let opening = timeout(self.patience, self.open(version)).await;
        let mut lease = self.lease(opening.map_err(|_| CheckoutError::Timeout(self.patience))??);
        lease.keep_private();
        Ok(lease)
    }

    /// A channel of it gave no answer: what comes next begins on a connection of its own.
    pub fn doubt(&self) {
        self.transport.doubt();
        self.lock().clear();
    }

    /// Resolves with the reason when the pool is cut: whoever waits on one of its channels must stop.
    pub async fn was_cut(&self) -> String {
        self.cut.cancelled().await;
        self.cut_reason()
    }

    /// Closes all idle channels for good; those in use are closed when they come back.
    pub fn cut(&self, reason: &str) {
        self.cut_because.get_or_init(|| reason.to_owned());
        self.cut.cancel();
        self.lock().clear();
    }

    fn cut_reason(&self) -> String {
        self.cut_because.get().cloned().unwrap_or_default()
    }

    async fn open(&self, version: Version) -> Result<Entry, CheckoutError> {
        let channel = self.transport.open(&self.tracker).await?;
        let (behind, meter) = (channel.behind, Meter::default());
        let reader: Reader = Box::new(meter.on(channel.reader));
        let writer: Writer = Box::new(meter.on(channel.writer));
        let mut daemon = match Client::handshake_at(version, reader, writer, self.store_dir.clone()).await {
            Ok(daemon) => daemon,
            Err(error) => {
                let said = match &behind {
                    Some(behind) => behind.settled(LAST_WORDS).await,
                    None => String::new(),
                };
                return Err(CheckoutError::Handshake { error, said });
            }
        };
        daemon.set_options(&options()).await?;
        Ok(Entry { daemon, behind, meter, age: Age { opened: clock::now(), rooted: None }, cores: 0 })
    }

    fn lease(self: &Arc<Self>, entry: Entry) -> Lease {
        Lease { entry: Some(entry), private: false, roots: false, pool: Arc::clone(self) }
    }

    /// Closes idle channels that are too old; whoever asks for signs of life does so for all.
    pub fn close_old(&self) {
        let now = clock::now();
        self.lock().retain(|entry| !entry.age.is_over(now));
    }

    fn pop(&self) -> Option<Entry> {
        self.lock().pop()
    }

    fn give_back(&self, entry: Entry) {
        let mut idle = self.lock();
        if entry.daemon.is_clean() && !self.cut.is_cancelled() && idle.len() < MAX_IDLE {
            idle.push(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A builder never builds elsewhere: two that list each other would wait for each other.
fn options() -> SetOptions {
    SetOptions {
        build_cores: 0,
        use_substitutes: true,
        overrides: vec![("builders".to_owned(), String::new())],
        ..SetOptions::default()
    }
}

/// A channel in use. Goes back to its pool when dropped between operations, else is closed.
pub struct Lease {
    entry: Option<Entry>,
    private: bool,
    roots: bool,
    pool: Arc<Pool>,
}

impl Lease {
    /// The last words of the program behind the channel; empty where it said nothing.
    pub fn last_words(&self) -> String {
        self.entry().behind.as_ref().map(Behind::last_words).unwrap_or_default()
    }

    /// Counts what moves on the channel.
    pub fn meter(&self) -> Meter {
        self.entry().meter.clone()
    }

    /// The two streams, and the child behind them, which lives as long as it is kept.
    pub fn into_parts(mut self) -> (BufReader<Reader>, BufWriter<Writer>, Option<Behind>) {
        let Entry { daemon, behind, .. } = self.entry.take().expect("taken only here and by drop");
        let (reader, writer) = daemon.into_parts();
        (reader, writer, behind)
    }

    /// Whether the channel is closed after this use.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// From here on what is asked for is built, although a substituter may have it; the channel is not used again.
    pub async fn forbid_substitutes(&mut self) -> Result<(), client::Error> {
        self.keep_private();
        self.set_options(&SetOptions { use_substitutes: false, ..options() }).await
    }

    /// From here on builds on this channel see so many cores; 0 leaves that to the builder's own configuration.
    pub async fn set_cores(&mut self, cores: u32) -> Result<(), client::Error> {
        if self.entry().cores != cores {
            self.set_options(&SetOptions { build_cores: u64::from(cores), ..options() }).await?;
            self.entry.as_mut().expect("taken only by drop").cores = cores;
        }
        Ok(())
    }

    /// The channel is closed after this use, since what happens on it concerns nobody else.
    pub fn keep_private(&mut self) {
        self.private = true;
    }

    /// What happens on the channel roots paths for as long as it is open: idle, it is closed soon.
    pub fn holds_roots(&mut self) {
        self.roots = true;
    }

    fn entry(&self) -> &Entry {
        self.entry.as_ref().expect("taken only by drop")
    }
}

impl Deref for Lease {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.entry().daemon
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.entry.as_mut().expect("taken only by drop").daemon
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut entry) = self.entry.take().filter(|_| !self.private) {
            if self.roots {
                entry.age.rooted = Some(clock::now());
            }
            self.pool.give_back(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_roots_paths_is_kept_for_a_minute_after_its_last_build_and_any_other_for_longer() {
        let opened = clock::now();
        let at = |seconds| opened + Duration::from_secs(seconds);
        for (rooted, now, expected) in [
            (None, 599, false),
            (None, 600, true),
            (Some(0), 59, false),
            (Some(0), 60, true),
            (Some(500), 559, false),
            (Some(590), 600, true),
        ] {
            let age = Age { opened, rooted: rooted.map(at) };
            assert_eq!(age.is_over(at(now)), expected, "rooted at {rooted:?}, now {now}");
        }
    }
}
