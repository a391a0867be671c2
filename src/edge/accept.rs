//! Accepting connections until the end, of any one user only so many.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::users;

/// After a failed accept (no descriptor is left, say), to let others go on.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections a listener holds at once. Root's and our own are not counted: nobody can shut these out.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one user.
    pub each: usize,
    /// Of all users: one person may have many ids (user namespaces).
    pub all: usize,
}

/// Serves each connection in a task of its own, until `shutdown` ends them all.
pub async fn accept<Session>(
    listener: &UnixListener,
    bounds: Bounds,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
    serve: impl Fn(UnixStream, UCred) -> Session,
) where
    Session: Future<Output = ()> + Send + 'static,
{
    let crowd = Arc::new(Crowd { bounds, exempt: [0, users::own()], held: Mutex::default() });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream))) {
            Ok((peer, stream)) => {
                let Some(place) = crowd.enter(peer.uid()) else { continue };
                let (session, shutdown) = (Box::pin(serve(stream, peer)), shutdown.clone());
                tracker.spawn(async move {
                    shutdown.run_until_cancelled(session).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whose connections there are.
struct Crowd {
    bounds: Bounds,
    exempt: [u32; 2],
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_user: HashMap<u32, usize>,
    all: usize,
    /// Users turned away since they last had no connection: one warning is enough.
    warned: BTreeSet<u32>,
}

/// A counted connection, until it is dropped.
struct Place {
    crowd: Arc<Crowd>,
    user: u32,
}

impl Crowd {
    /// None where there are too many already.
    fn enter(self: &Arc<Self>, user: u32) -> Option<Option<Place>> {
        if self.exempt.contains(&user) {
            return Some(None);
        }
        let mut held = self.lock();
        let own = held.by_user.get(&user).copied().unwrap_or_default();
        if own >= self.bounds.each || held.all >= self.bounds.all {
            if held.warned.len() < self.bounds.all && held.warned.insert(user) {
                tracing::warn!(
                    uid = user,
                    own,
                    all = held.all,
                    "too many connections: further ones are closed"
                );
            }
            return None;
        }
        held.all += 1;
        held.by_user.insert(user, own + 1);
        Some(Some(Place { crowd: Arc::clone(self), user }))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.crowd.lock();
        held.all -= 1;
        let own = held.by_user.get(&self.user).copied().unwrap_or_default().saturating_sub(1);
        match own {
            0 => {
                held.by_user.remove(&self.user);
                held.warned.remove(&self.user);
            }
            _ => {
                held.by_user.insert(self.user, own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_kept_out_and_root_is_not() {
        let bounds = Bounds { each: 2, all: 3 };
        let crowd = Arc::new(Crowd { bounds, exempt: [0, 7], held: Mutex::default() });
        let enter = |user| crowd.enter(user);
        let first = [enter(1), enter(1)];
        assert!(first.iter().all(|place| place.is_some()) && enter(1).is_none(), "two of each");
        let other = enter(2);
        assert!(other.is_some() && enter(3).is_none(), "three of all");
        assert!((0..9).all(|_| enter(0).is_some() && enter(7).is_some()));
        drop(first);
        assert!(enter(3).is_some() && enter(1).is_some());
    }
}
