//! What builds teach is kept off the loop: nothing there waits for a disk, and nothing fails for want of it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{News, World};
use crate::domain::Observation;
use crate::edge::clock;
use crate::edge::history::{History, HistoryError};
use crate::policy::Event;

/// What may wait for the disk; what comes beyond is not kept.
const WAITING: usize = 1_024;
/// So many are written at once.
const AT_ONCE: usize = 256;
/// After so many the old ones are forgotten.
const FORGET_EVERY: usize = 1_000;

/// The way of what builds teach to the history.
pub(super) struct Learner(Sender<Observation>);

impl Learner {
    /// Recalls what earlier builds taught, and keeps what comes from now on, until the loop ends.
    pub fn start(world: &Arc<World>) -> Self {
        let (keep, kept) = channel(WAITING);
        world.tracker.spawn(remember(Arc::clone(world), kept));
        Self(keep)
    }

    /// Never waits.
    pub fn keep(&self, seen: Observation) {
        let at = u64::try_from(clock::unix_seconds()).unwrap_or_default();
        if self.0.try_send(Observation { at, ..seen }).is_err() {
            tracing::debug!("the history is not written as fast as builds end; one is not kept");
        }
    }
}

async fn remember(world: Arc<World>, mut kept: Receiver<Observation>) {
    let dir = world.config().state_dir.clone();
    let opened = world.tracker.spawn_blocking(move || open(dir)).await;
    let Ok(Some((mut history, recalled))) = opened else { return };
    world.tell(News::Event(Event::Recalled(recalled))).await;
    let (mut batch, mut since) = (Vec::new(), 0);
    while kept.recv_many(&mut batch, AT_ONCE).await > 0 {
        since += batch.len();
        let forget = since >= FORGET_EVERY;
        let seen = std::mem::take(&mut batch);
        let written = world.tracker.spawn_blocking(move || {
            let written =
                history.keep(&seen).and_then(|()| if forget { forget_old(&history) } else { Ok(()) });
            (history, written)
        });
        let Ok((same, written)) = written.await else { return };
        history = same;
        since = if forget { 0 } else { since };
        if let Err(error) = written {
            tracing::warn!("what builds teach is not kept: {error}");
        }
    }
}

fn open(dir: PathBuf) -> Option<(History, Vec<Observation>)> {
    let opened = History::open(&dir, clock::unix_seconds()).and_then(|(history, aside)| {
        if let Some(aside) = aside {
            let to = aside.to.display();
            tracing::warn!("{}; it is set aside as {to}, and estimates begin anew", aside.why);
        }
        forget_old(&history)?;
        let recalled = history.recall()?;
        Ok((history, recalled))
    });
    opened.inspect_err(|error| tracing::warn!("what builds teach is not kept: {error}")).ok()
}

fn forget_old(history: &History) -> Result<(), HistoryError> {
    history.forget(clock::unix_seconds())
}
