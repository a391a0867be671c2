//! What is configured now. A reload puts something else in its place; tasks see it at their next look.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;
use crate::edge::spool::Spool;
use crate::edge::users;

/// The configuration in force.
pub(super) struct Configured {
    now: RwLock<Arc<InForce>>,
}

/// A configuration, and what follows from it.
pub(super) struct InForce {
    config: Config,
    /// The users who may use the endpoint.
    pub allowed: BTreeSet<u32>,
    /// Where outputs are kept.
    pub spool: Spool,
}

impl Configured {
    pub fn new(config: Config) -> Self {
        Self { now: RwLock::new(Arc::new(InForce::new(config))) }
    }

    pub fn now(&self) -> Arc<InForce> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `config` in force, as far as that can be done now. Gives the keys that wait for a restart.
    pub fn replace(&self, mut config: Config) -> Vec<&'static str> {
        let waiting = keep_what_stands(&self.now(), &mut config);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(InForce::new(config));
        waiting
    }
}

impl InForce {
    fn new(config: Config) -> Self {
        let allowed = users::allowed(&config.endpoint.allow, "endpoint.allow");
        let spool = Spool::new(&config.limits.spool_dir, config.limits.memory_output);
        Self { config, allowed, spool }
    }
}

impl Deref for InForce {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// Sockets are open, and clients hold lines that name them; stores are in use. Such values stay; gives the keys of
/// those that `new` has otherwise.
fn keep_what_stands(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut waiting = Vec::new();
    let mut keep = |key, differs: bool| {
        if differs {
            waiting.push(key);
        }
    };
    keep("local_store", swapped(&old.local_store, &mut new.local_store));
    keep("nix_daemon", swapped(&old.nix_daemon, &mut new.nix_daemon));
    keep("store_dir", swapped(&old.store_dir, &mut new.store_dir));
    keep("attach", swapped(&old.attach, &mut new.attach));
    keep("endpoint.socket", swapped(&old.endpoint.socket, &mut new.endpoint.socket));
    keep("endpoint.machines_file", swapped(&old.endpoint.machines_file, &mut new.endpoint.machines_file));
    keep("control.socket", swapped(&old.control.socket, &mut new.control.socket));
    waiting
}

/// Puts the old value in place of the new one; says whether that made a difference.
fn swapped<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
    std::mem::replace(new, old.clone()) != *old
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::config;
    use super::*;

    #[test]
    fn what_cannot_change_under_way_stays_and_is_named_and_the_rest_is_in_force() {
        let configured = Configured::new(config("store_dir = \"/a/store\"\n"));
        let new = "store_dir = \"/b/store\"\n[endpoint]\nsocket = \"/b.sock\"\n[limits]\nmax_nar = 7\n";
        assert_eq!(configured.replace(config(new)), ["store_dir", "endpoint.socket"]);
        let now = configured.now();
        assert_eq!((now.store_dir.as_str(), now.limits.max_nar), ("/a/store", 7));
        assert_eq!(now.endpoint.socket, config("").endpoint.socket);
        assert!(configured.replace(config("store_dir = \"/a/store\"\n")).is_empty());
    }
}
