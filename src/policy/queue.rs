//! The order in which builds that wait will start.
//!
//! Fair among users, then among the invocations of each ([`Turns`](super::turns)); of one invocation's builds, the one with
//! the highest rank first: the time to the end of the known graph through it, plus what it has waited (upward rank of HEFT:
//! Topcuoglu, Hariri and Wu, 2002; with age). Since all age alike, `rank - asked at` never changes: a build is overtaken only
//! by those of its own invocation that are asked for at most so much later as their rank is higher.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::bits::Bits;
use super::turns::Turns;
use super::waiting::Waiting;
use crate::domain::{BuildId, Client, Feature, Label, StorePath, System, Time};

/// What a build asks of a builder. Builds of one shape are interchangeable for placement, closures apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub system: System,
    pub features: BTreeSet<Feature>,
    /// The builder must have one of them; none = any builder.
    pub labels: BTreeSet<Label>,
    /// Keeps it from builders that do not trust us; none too where these get nothing anyway.
    pub unsigned: Option<StorePath>,
}

/// A build's place among those of its invocation; the smallest starts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    client: Client,
    priority: Reverse<i64>,
    build: BuildId,
}

impl Key {
    /// For a build with that time to the end of the graph, first asked for at that time.
    pub(super) fn new(client: Client, build: BuildId, rank: Duration, asked_at: Time) -> Self {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let priority = Reverse(millis(rank).saturating_sub(millis(asked_at.since_start())));
        Self { client, priority, build }
    }
}

/// A build's place among all.
pub(super) type Place = (u64, u64, Key);

/// The builds of one shape that wait.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By invocation.
    pub order: BTreeMap<Client, BTreeMap<Key, BuildId>>,
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
    users: Turns<u32>,
    /// By user: the processes that stand for invocations.
    invocations: BTreeMap<u32, Turns<u32>>,
}

impl Queue {
    pub(super) fn insert(&mut self, shape: &Arc<Shape>, key: Key) {
        let Client { uid, pid } = key.client;
        self.put(shape, key);
        self.users.wait(uid);
        self.invocations.entry(uid).or_default().wait(pid);
    }

    pub(super) fn remove(&mut self, shape: &Arc<Shape>, key: Key) {
        if !self.take(shape, key) {
            return;
        }
        let Client { uid, pid } = key.client;
        self.users.leave(uid);
        self.invocations.entry(uid).or_default().leave(pid);
        if self.groups.is_empty() {
            self.users.rest();
            self.invocations.clear();
        }
    }

    /// It is more or less urgent than it was; whose turn it is stays as it is.
    pub(super) fn reorder(&mut self, shape: &Arc<Shape>, before: Key, now: Key) {
        if self.take(shape, before) {
            self.put(shape, now);
        }
    }

    /// A build left the queue because it starts.
    pub(super) fn started(&mut self, key: Key, patience: u64) {
        let Client { uid, pid } = key.client;
        self.users.start(uid, patience);
        let of_user = self.invocations.entry(uid).or_default();
        of_user.start(pid, patience);
        if of_user.len() == 0 {
            self.invocations.remove(&uid);
        }
        if self.groups.is_empty() {
            self.users.rest();
            self.invocations.clear();
        }
    }

    /// Whose turn it is, then which of that user's invocations', then which of its builds.
    pub(super) fn place(&self, key: Key) -> Place {
        let Client { uid, pid } = key.client;
        (self.users.of(uid), self.invocations.get(&uid).map_or(0, |turns| turns.of(pid)), key)
    }

    /// All that wait, in the order in which they start if no more come.
    pub(super) fn in_order(&self, patience: u64) -> Vec<BuildId> {
        let builds = self.groups.values().flat_map(|group| group.order.values().flatten());
        let mut all: Vec<Key> = builds.map(|(key, _)| *key).collect();
        all.sort();
        let mut of_client: BTreeMap<Client, u64> = BTreeMap::new();
        let mut all: Vec<Place> = all
            .into_iter()
            .map(|key| {
                let before = of_client.entry(key.client).or_default();
                let (user, invocation, key) = self.place(key);
                let invocation = invocation + patience * *before;
                *before += 1;
                (user, invocation, key)
            })
            .collect();
        all.sort_by_key(|(_, invocation, key)| (key.client.uid, *invocation, *key));
        let mut of_user: BTreeMap<u32, u64> = BTreeMap::new();
        for (user, _, key) in &mut all {
            let before = of_user.entry(key.client.uid).or_default();
            *user += patience * *before;
            *before += 1;
        }
        all.sort();
        all.into_iter().map(|(.., key)| key.build).collect()
    }

    fn put(&mut self, shape: &Arc<Shape>, key: Key) {
        let group = self.groups.entry(Arc::clone(shape)).or_default();
        group.order.entry(key.client).or_default().insert(key, key.build);
    }

    fn take(&mut self, shape: &Arc<Shape>, key: Key) -> bool {
        let Some(group) = self.groups.get_mut(shape) else { return false };
        let Some(of_client) = group.order.get_mut(&key.client) else { return false };
        let taken = of_client.remove(&key).is_some();
        if of_client.is_empty() {
            group.order.remove(&key.client);
        }
        if group.order.is_empty() {
            self.groups.remove(shape);
        }
        taken
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let clients: usize = self.invocations.values().map(Turns::len).sum();
        self.groups.len() + self.users.len() + clients
    }
}

impl Group {
    /// How many builds start before the last one of an invocation with so many, while all have equal shares.
    pub(super) fn before_the_last_of(&self, count: usize) -> usize {
        self.order.values().map(|builds| builds.len().min(count)).sum::<usize>() - 1
    }

    pub(super) fn builds(&self) -> impl Iterator<Item = BuildId> {
        self.order.values().flat_map(BTreeMap::values).copied()
    }
}
