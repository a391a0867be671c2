//! How the coordinator reaches one builder: its channels, and what is under way to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::upload::InFlight;
use crate::domain::{BuilderName, BuilderSpec, StoreDir};
use crate::edge::channel::Transport;
use crate::edge::pool::Pool;

/// One builder, as the driver's tasks reach it.
pub struct Reach {
    /// What the user said of it.
    pub spec: BuilderSpec,
    /// What is on its way there.
    pub in_flight: InFlight,
    transport: Transport,
    store_dir: StoreDir,
    patience: Duration,
    tracker: TaskTracker,
    pool: Mutex<Arc<Pool>>,
}

impl Reach {
    /// Nothing is opened yet; opening a channel may take as long as `patience`.
    pub fn new(
        spec: BuilderSpec,
        transport: Transport,
        store_dir: StoreDir,
        patience: Duration,
        tracker: TaskTracker,
    ) -> Self {
        let pool = Pool::new(transport.clone(), store_dir.clone(), patience, tracker.clone());
        let in_flight = InFlight::default();
        Self { spec, in_flight, transport, store_dir, patience, tracker, pool: Mutex::new(pool) }
    }

    /// The builder's name.
    pub fn name(&self) -> &BuilderName {
        &self.spec.name
    }

    /// Its channels.
    pub fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.lock())
    }

    /// Ends everything that is under way there; a later probe begins with new channels.
    pub fn cut(&self, reason: &str) {
        let fresh =
            Pool::new(self.transport.clone(), self.store_dir.clone(), self.patience, self.tracker.clone());
        std::mem::replace(&mut *self.lock(), fresh).cut(reason);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Pool>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
