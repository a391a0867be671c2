//! Looks after this machine's own link, so that no builder is blamed for it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{News, World};
use crate::config::BuilderUri;
use crate::domain::BuilderName;
use crate::edge::carrier;
use crate::policy::Event;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Tells when it goes down and when it is up again, until `shutdown`.
pub(super) async fn watch(world: Arc<World>, shutdown: CancellationToken) {
    let mut was_up = true;
    loop {
        let is_up = carrier::any().unwrap_or(true);
        if is_up != was_up {
            was_up = is_up;
            world.tell(News::Event(news(&world, is_up))).await;
        }
        if shutdown.run_until_cancelled(sleep(LOOK_AGAIN)).await.is_none() {
            return;
        }
    }
}

fn news(world: &World, is_up: bool) -> Event {
    if is_up {
        tracing::info!("this machine's network is back");
        return Event::LinkUp;
    }
    tracing::warn!("no network interface of this machine has a carrier: no builder is blamed for it");
    Event::LinkDown(over_the_network(world))
}

/// Those that live on this machine need no link.
fn over_the_network(world: &World) -> Vec<BuilderName> {
    let reaches = world.reaches.lock().unwrap_or_else(PoisonError::into_inner);
    let remote = reaches.iter().filter(|reach| matches!(reach.uri, BuilderUri::Ssh(_)));
    remote.map(|reach| reach.name().clone()).collect()
}
