//! What is on its way to one builder: each path once at a time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::domain::StoreHash;

/// Paths under way, by whichever build sends them.
#[derive(Default)]
pub struct InFlight {
    paths: Mutex<HashSet<StoreHash>>,
    landings: AtomicU64,
    landed: Notify,
}

/// What has landed so far: the same as long as nothing more has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landings(u64);

/// Paths that its holder alone may send; given back when dropped.
pub struct Claim {
    table: Arc<InFlight>,
    hashes: Vec<StoreHash>,
}

impl InFlight {
    /// A claim on nothing yet.
    pub fn claim(self: &Arc<Self>) -> Claim {
        Claim { table: Arc::clone(self), hashes: Vec::new() }
    }

    /// Whether somebody sends it.
    pub fn has(&self, hash: StoreHash) -> bool {
        self.lock().contains(&hash)
    }

    /// What has landed so far, or was given up.
    pub fn landings(&self) -> Landings {
        Landings(self.landings.load(Ordering::Relaxed))
    }

    /// Resolves when any path is given back from now on.
    pub fn landed(&self) -> Notified<'_> {
        self.landed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<StoreHash>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Takes one more path, unless another one has it.
    pub fn take(&mut self, hash: StoreHash) -> bool {
        let free = self.table.lock().insert(hash);
        if free {
            self.hashes.push(hash);
        }
        free
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An empty one is no news; who only looked would wake itself.
        if self.hashes.is_empty() {
            return;
        }
        let mut paths = self.table.lock();
        for hash in &self.hashes {
            paths.remove(hash);
        }
        // Under the lock: who finds a path free finds it counted.
        self.table.landings.fetch_add(1, Ordering::Relaxed);
        drop(paths);
        self.table.landed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::StorePath;

    fn hash(letter: char) -> StoreHash {
        let base = format!("{}-{letter}", letter.to_string().repeat(32));
        StorePath::from_base_name(&base).expect("a path").hash()
    }

    #[test]
    fn a_path_has_one_upload_at_a_time_and_one_that_ended_gives_it_back() {
        let table = Arc::new(InFlight::default());
        let (mut first, mut second) = (table.claim(), table.claim());
        assert!(first.take(hash('a')) && first.take(hash('b')));
        assert!(!second.take(hash('b')) && second.take(hash('c')));
        assert!(table.has(hash('b')) && !table.has(hash('d')));
        let before = table.landings();
        drop(table.claim());
        assert_eq!(table.landings(), before, "a claim on nothing is no news");
        drop(first);
        assert_ne!(table.landings(), before);
        assert!(!table.has(hash('a')) && table.has(hash('c')));
        assert!(second.take(hash('b')));
    }

    #[tokio::test]
    async fn who_waits_hears_of_what_lands_after_it_began_to_wait() {
        let table = Arc::new(InFlight::default());
        let mut claim = table.claim();
        assert!(claim.take(hash('a')));
        let landed = table.landed();
        drop(claim);
        landed.await;
    }
}
