//! Outputs for a client that comes back for them.
//!
//! Nix 2.26 drops its connection after each NAR that it copies, and kills the `connect` behind it with all that it
//! holds; the next output is asked for by another `connect` of the same hook. So where a build has several outputs,
//! they are kept here too, as long as that hook lives. A coordinator that began after it was killed asks the builders.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout;

use super::World;
use super::feed::Output;
use super::fetch::Fetcher;
use super::reach::Reach;
use crate::domain::StorePath;
use crate::edge::spool::Nar;
use crate::edge::users;

/// Outputs by the process id of the hook that has heard of them.
#[derive(Default)]
pub struct Kept {
    by_hook: Mutex<HashMap<u32, Vec<Output>>>,
}

impl Kept {
    /// Forgets the outputs for hooks that are gone.
    pub fn sweep(&self) {
        self.by_hook.lock().unwrap_or_else(PoisonError::into_inner).retain(|&hook, _| users::is_alive(hook));
    }

    /// Keeps the outputs of a build for `hook`.
    pub fn keep(&self, hook: u32, outputs: &[Output]) {
        let mut by_hook = self.by_hook.lock().unwrap_or_else(PoisonError::into_inner);
        by_hook.remove(&hook);
        if outputs.len() > 1 {
            by_hook.insert(hook, outputs.to_vec());
        }
    }

    fn find(&self, hook: u32, path: &StorePath) -> Option<Nar> {
        let by_hook = self.by_hook.lock().unwrap_or_else(PoisonError::into_inner);
        let output = by_hook.get(&hook)?.iter().find(|output| output.info.path == *path)?;
        Some(output.nar.clone())
    }
}

/// The NAR of an output that `hook` was told of.
pub async fn output(world: &World, hook: u32, path: &StorePath) -> Option<Nar> {
    if let Some(nar) = world.kept.find(hook, path) {
        return Some(nar);
    }
    let reaches: Vec<Arc<Reach>> = world.reaches.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for reach in reaches {
        if let Some(nar) = from_builder(world, &reach, path).await {
            return Some(nar);
        }
    }
    None
}

/// Whatever goes wrong here, the next builder is asked.
async fn from_builder(world: &World, reach: &Reach, path: &StorePath) -> Option<Nar> {
    let opened = timeout(world.config().timeouts.connect, reach.pools().control.checkout()).await;
    let mut channel = opened.ok()?.ok()?;
    let outputs = Fetcher::new(world, reach).fetch(&mut channel, std::slice::from_ref(path)).await.ok()?;
    outputs.into_iter().next().map(|output| output.nar)
}
