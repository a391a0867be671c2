//! The order in which builds that wait will start.
//!
//! Fair among clients, then by age: start-time fair queuing (Goyal, Vin and Cheng, 1996) with one twist, so that
//! nothing starves. Each build gets a tag when it is asked for: the virtual time, or `patience` beyond the tag of its
//! client's build before it if that is more. The smallest tag starts first, the oldest among equals. The virtual time
//! is that of the last start; it rises by one with each start, and (the twist) with each build that gets it as its tag.
//! So a build before which `k` of its own client's wait has a tag at most `patience * (k + 1)` ahead of the virtual
//! time, and is overtaken by at most that many other builds asked for later whose clients have none waiting, and by
//! `patience * (k + 2)^2` in all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bits::Bits;
use super::waiting::Waiting;
use crate::domain::{BuildId, Client, Feature, Label, System};

/// What a build asks of a builder. Builds of one shape are interchangeable for placement, closures apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub system: System,
    pub features: BTreeSet<Feature>,
    /// The builder must have one of them; none = any builder.
    pub labels: BTreeSet<Label>,
}

/// A build's place in the order; the smallest starts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    tag: u64,
    /// The seam for the time to the end of the graph; all are equal as yet.
    rank: Reverse<u64>,
    build: BuildId,
}

/// The builds of one shape that wait.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub order: BTreeMap<Key, BuildId>,
    /// The builders that could ever take them, and for which version of the fleet that holds.
    pub fits: Bits,
    pub fits_for: Option<u64>,
    /// Why they waited when it was last said.
    pub said: Option<Waiting>,
}

/// All builds that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub groups: BTreeMap<Arc<Shape>, Group>,
    next_tag: BTreeMap<Client, u64>,
    virtual_time: u64,
}

impl Queue {
    /// A new build's place in the order, which it keeps whatever happens to it.
    pub(super) fn key(&mut self, client: Client, build: BuildId, patience: u64) -> Key {
        let next = self.next_tag.entry(client).or_default();
        let tag = self.virtual_time.max(*next);
        *next = tag + patience;
        if tag == self.virtual_time {
            self.virtual_time += 1;
        }
        Key { tag, rank: Reverse(0), build }
    }

    pub(super) fn insert(&mut self, shape: &Arc<Shape>, key: Key) {
        self.groups.entry(Arc::clone(shape)).or_default().order.insert(key, key.build);
    }

    pub(super) fn remove(&mut self, shape: &Arc<Shape>, key: Key) {
        let Some(group) = self.groups.get_mut(shape) else { return };
        group.order.remove(&key);
        if group.order.is_empty() {
            self.groups.remove(shape);
        }
        if self.groups.is_empty() {
            self.next_tag.clear();
        }
    }

    /// A build left the queue because it starts.
    pub(super) fn started(&mut self, key: Key) {
        self.virtual_time = self.virtual_time.max(key.tag) + 1;
        let now = self.virtual_time;
        self.next_tag.retain(|_, next| *next > now);
    }

    /// All that wait, in order.
    pub(super) fn in_order(&self) -> Vec<BuildId> {
        let mut all: Vec<_> = self.groups.values().flat_map(|group| &group.order).collect();
        all.sort();
        all.into_iter().map(|(_, build)| *build).collect()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.groups.len() + self.next_tag.len()
    }
}
