//! The store that clients build for, asked through its own daemon.
//!
//! Only questions and NARs go this way; never a build, and never an output: the daemon would wait for the locks that
//! the client holds until we answer it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use crate::domain::{PathInfo, StorePath};
use crate::edge::clock;
use crate::edge::meter::Stalled;
use crate::edge::pool::{CheckoutError, Lease, Pool};
use crate::nix::client::Error;
use crate::nix::handshake::Version;

/// Records kept in memory; a store path's record never changes while it is valid.
const MAX_CACHED: usize = 200_000;

/// Between tries at a daemon that is away.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Channels that are open at once for mere questions, whoever asks: each is a process of the daemon.
const QUESTIONS_AT_ONCE: usize = 32;

/// Why the local store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Its daemon cannot be reached.
    #[error("the local store's daemon: {0}")]
    Daemon(#[from] CheckoutError),
    /// It failed.
    #[error("the local store: {0}")]
    Store(#[from] Error),
    /// It says nothing more.
    #[error("the local store's daemon: {0}")]
    Stalled(#[from] Stalled),
    /// It lacks a path that a build needs.
    #[error(
        "the local store lacks '{0}', which the build needs; is `local_store` in muster's configuration the client's?"
    )]
    Missing(StorePath),
}

impl LocalError {
    /// Whether another try may help: the daemon could not be reached, or went away.
    pub fn may_pass(&self) -> bool {
        match self {
            LocalError::Daemon(error) => !error.is_final(),
            LocalError::Store(error) => error.is_loss(),
            LocalError::Stalled(_) => true,
            LocalError::Missing(_) => false,
        }
    }
}

/// The local store.
///
/// Its daemon may be away for a while, as when it is upgraded. Where nobody else waits for it, [`LocalStore::daemon`]
/// and [`LocalStore::fresh`] do.
pub struct LocalStore {
    pool: Arc<Pool>,
    questions: Semaphore,
    patience: Mutex<Duration>,
    cache: Mutex<HashMap<StorePath, Arc<PathInfo>>>,
}

impl LocalStore {
    /// The store behind that pool, whose daemon is away for `patience` at most.
    pub fn new(pool: Arc<Pool>, patience: Duration) -> Self {
        let questions = Semaphore::new(QUESTIONS_AT_ONCE);
        Self { pool, questions, patience: Mutex::new(patience), cache: Mutex::default() }
    }

    /// From now on its daemon is away for `patience` at most.
    pub fn set_patience(&self, patience: Duration) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    /// How long its daemon may be away.
    pub fn patience(&self) -> Duration {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its daemon is there now; many who ask wait for each other.
    pub async fn is_there(&self) -> Result<(), CheckoutError> {
        let _turn = self.turn().await;
        self.try_daemon().await.map(drop)
    }

    /// Leave to ask a question; never to be held while anything but the daemon is waited for.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.questions.acquire().await.ok()
    }

    /// A channel to its daemon, if it is there now.
    pub async fn try_daemon(&self) -> Result<Lease, CheckoutError> {
        self.pool.checkout().await
    }

    /// A channel of its own for a client that speaks `version`.
    pub async fn private_daemon(&self, version: Version) -> Result<Lease, CheckoutError> {
        self.pool.open_private(version).await
    }

    /// A channel to its daemon, as soon as it is there.
    pub async fn daemon(&self) -> Result<Lease, CheckoutError> {
        let began = clock::now();
        let patience = self.patience();
        loop {
            match self.try_daemon().await {
                Ok(daemon) => return Ok(daemon),
                Err(error) if error.is_final() || began.elapsed() >= patience => return Err(error),
                Err(_) => sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Ends everything that is under way there.
    pub fn close(&self, reason: &str) {
        self.pool.cut(reason);
    }

    /// Which of these paths are valid, without substituting any.
    ///
    /// A path seen before is believed to be there still: stock's hook asks this with its upload lock held, and keeps
    /// the paths alive itself.
    pub async fn valid_for_hook(&self, paths: &[StorePath]) -> Result<BTreeSet<StorePath>, LocalError> {
        let unseen: Vec<StorePath> = {
            let cache = self.lock();
            paths.iter().filter(|path| !cache.contains_key(path)).cloned().collect()
        };
        let mut valid: BTreeSet<StorePath> = paths.iter().cloned().collect();
        for (path, info) in unseen.iter().zip(self.look_up(&unseen).await?) {
            if info.is_none() {
                valid.remove(path);
            }
        }
        Ok(valid)
    }

    /// The records of `paths` as they are now, references first: a path may have been collected, and built again with
    /// other content. Where it refers to others than before, these come too.
    pub async fn fresh(&self, paths: &[Arc<PathInfo>]) -> Result<Vec<Arc<PathInfo>>, LocalError> {
        let mut known = paths.to_vec();
        loop {
            let now = self.records_now(&known).await?;
            let same = |(now, then): (&Arc<PathInfo>, &Arc<PathInfo>)| now.references == then.references;
            if now.iter().zip(&known).all(same) {
                return Ok(now);
            }
            known = self.closure(&now.iter().map(|info| info.path.clone()).collect()).await?;
        }
    }

    async fn records_now(&self, paths: &[Arc<PathInfo>]) -> Result<Vec<Arc<PathInfo>>, LocalError> {
        let paths: Vec<StorePath> = paths.iter().map(|info| info.path.clone()).collect();
        let began = clock::now();
        let infos = loop {
            // Lost in the middle, it is asked again: it is there, or will be.
            match self.look_up(&paths).await {
                Err(error) if error.may_pass() && began.elapsed() < self.patience() => sleep(ASK_AGAIN).await,
                done => break done?,
            }
        };
        let infos = infos.into_iter().zip(&paths);
        infos.map(|(info, path)| info.ok_or_else(|| LocalError::Missing(path.clone()))).collect()
    }

    /// The closure of `roots`: every path with its record, references before referrers.
    pub async fn closure(&self, roots: &BTreeSet<StorePath>) -> Result<Vec<Arc<PathInfo>>, LocalError> {
        let mut known: HashMap<StorePath, Arc<PathInfo>> = HashMap::new();
        let mut wanted: Vec<StorePath> = roots.iter().cloned().collect();
        while !wanted.is_empty() {
            let mut next = BTreeSet::new();
            for (path, info) in wanted.iter().zip(self.infos(&wanted).await?) {
                let info = info.ok_or_else(|| LocalError::Missing(path.clone()))?;
                next.extend(
                    info.references.iter().filter(|reference| !known.contains_key(reference)).cloned(),
                );
                known.insert(path.clone(), info);
            }
            wanted = next.into_iter().filter(|path| !known.contains_key(path)).collect();
        }
        Ok(references_first(roots, &known))
    }

    /// The records of `paths` if there are any and all are valid, asked anew.
    pub async fn all_valid(&self, paths: &[StorePath]) -> Result<Option<Vec<Arc<PathInfo>>>, LocalError> {
        let infos: Option<Vec<_>> = self.look_up(paths).await?.into_iter().collect();
        Ok(infos.filter(|infos| !infos.is_empty()))
    }

    /// The records of valid paths, none where a path is not valid.
    async fn infos(&self, paths: &[StorePath]) -> Result<Vec<Option<Arc<PathInfo>>>, LocalError> {
        let mut infos: Vec<Option<Arc<PathInfo>>> = {
            let cache = self.lock();
            paths.iter().map(|path| cache.get(path).cloned()).collect()
        };
        let absent: Vec<usize> = (0..paths.len()).filter(|&at| infos[at].is_none()).collect();
        let asked: Vec<StorePath> = absent.iter().map(|&at| paths[at].clone()).collect();
        for (at, info) in absent.into_iter().zip(self.look_up(&asked).await?) {
            infos[at] = info;
        }
        Ok(infos)
    }

    async fn look_up(&self, paths: &[StorePath]) -> Result<Vec<Option<Arc<PathInfo>>>, LocalError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.turn().await;
        self.look_up_on(self.try_daemon().await?, paths).await
    }

    async fn look_up_on(
        &self,
        mut daemon: Lease,
        paths: &[StorePath],
    ) -> Result<Vec<Option<Arc<PathInfo>>>, LocalError> {
        let found = daemon.query_path_infos(paths).await?;
        let found: Vec<_> = found.into_iter().map(|info| info.map(Arc::new)).collect();
        let mut cache = self.lock();
        for (path, _) in paths.iter().zip(&found).filter(|(_, info)| info.is_none()) {
            cache.remove(path);
        }
        if cache.len() + found.len() > MAX_CACHED {
            cache.clear();
        }
        for info in found.iter().flatten() {
            cache.insert(info.path.clone(), Arc::clone(info));
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StorePath, Arc<PathInfo>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Depth first with a stack of our own: closures can be deeper than ours.
fn references_first(
    roots: &BTreeSet<StorePath>,
    known: &HashMap<StorePath, Arc<PathInfo>>,
) -> Vec<Arc<PathInfo>> {
    let mut sorted = Vec::with_capacity(known.len());
    let mut entered = BTreeSet::new();
    let mut stack: Vec<(&StorePath, bool)> = roots.iter().map(|path| (path, false)).collect();
    while let Some((path, done)) = stack.pop() {
        let Some(info) = known.get(path) else { continue };
        if done {
            sorted.push(Arc::clone(info));
        } else if entered.insert(path) {
            stack.push((path, true));
            stack.extend(
                info.references.iter().filter(|&reference| reference != path).map(|path| (path, false)),
            );
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::UnixListener;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::domain::{Sha256, StoreDir};
    use crate::edge::channel::Transport;

    fn path(letter: char) -> StorePath {
        let base = format!("{}-{letter}", "0".repeat(32));
        StorePath::from_base_name(&base).expect("a store path")
    }

    fn info(letter: char, references: &str) -> (StorePath, Arc<PathInfo>) {
        let info = PathInfo {
            path: path(letter),
            deriver: None,
            nar_hash: Sha256([0; 32]),
            references: references.chars().map(path).collect(),
            registration_time: 0,
            nar_size: 1,
            ultimate: false,
            signatures: Vec::new(),
            ca: None,
        };
        (path(letter), Arc::new(info))
    }

    /// A daemon that answers nobody; the most connections that were open at once.
    fn silent_daemon(socket: &std::path::Path) -> Arc<AtomicUsize> {
        let listener = UnixListener::bind(socket).expect("a socket");
        let (open, most): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let peak = Arc::clone(&most);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        most
    }

    #[tokio::test]
    async fn many_who_ask_at_once_share_a_few_daemons() {
        let dir = tempfile::tempdir().expect("a directory");
        let most = silent_daemon(&dir.path().join("socket"));
        let (transport, store_dir) = (Transport::Socket(dir.path().join("socket")), StoreDir::default());
        let patience = Duration::from_millis(100);
        let pool = Pool::new(transport, store_dir, patience, TaskTracker::new());
        let local = Arc::new(LocalStore::new(pool, Duration::ZERO));
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..4 * QUESTIONS_AT_ONCE {
            let local = Arc::clone(&local);
            asking.spawn(async move {
                match number % 3 {
                    0 => local.is_there().await.is_err(),
                    1 => local.valid_for_hook(&[path('a')]).await.is_err(),
                    _ => local.fresh(&[info('a', "").1]).await.is_err(),
                }
            });
        }
        assert!(asking.join_all().await.into_iter().all(|failed| failed), "nobody was answered");
        let most = most.load(Ordering::SeqCst);
        // The end of one is seen a moment after another has begun.
        assert!((1..2 * QUESTIONS_AT_ONCE).contains(&most), "{most} connections at once");
    }

    #[test]
    fn references_come_before_their_referrers_and_each_path_once() {
        let known: HashMap<_, _> =
            [info('a', "bca"), info('b', "d"), info('c', "d"), info('d', "d")].into_iter().collect();
        let sorted = references_first(&[path('a'), path('c')].into(), &known);
        let names: String = sorted.iter().map(|info| info.path.name().to_owned()).collect();
        assert_eq!(names.len(), 4);
        for (before, after) in [("d", "b"), ("d", "c"), ("b", "a"), ("c", "a")] {
            assert!(names.find(before) < names.find(after), "{names}");
        }
    }
}
