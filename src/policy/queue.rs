//! The order in which builds that wait will start.
//!
//! Fair among users, then among the invocations of each, then by age: start-time fair queuing (Goyal, Vin and Cheng,
//! 1996) twice, with one twist, so that nothing starves.
//!
//! Among one user's invocations, each build gets a tag when it is asked for: the virtual time, or `patience` beyond the
//! tag of its client's build before it if that is more. The smallest tag starts first, the oldest among equals. The
//! virtual time is that of the last start; it rises by one with each start, and (the twist) with each build that gets it
//! as its tag. So a build before which `k` of its own client's wait has a tag at most `patience * (k + 1)` ahead of the
//! virtual time, and is overtaken by at most that many other builds asked for later whose clients have none waiting, and
//! by `patience * (k + 2)^2` in all.
//!
//! Among users it is the same with a clock of its own, except that only the next start of each has a tag, its turn:
//! which build that will be is not known before. So the bounds hold there with `k` as what starts before it of its own
//! user's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bits::Bits;
use super::waiting::Waiting;
use crate::domain::{BuildId, Client, Feature, Label, StorePath, System};

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

/// A build's place among those of its user; the smallest starts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    user: u32,
    tag: u64,
    /// The seam for the time to the end of the graph; all are equal as yet.
    rank: Reverse<u64>,
    build: BuildId,
}

/// The builds of one shape that wait.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By user.
    pub order: BTreeMap<u32, BTreeMap<Key, BuildId>>,
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
    users: BTreeMap<u32, User>,
    virtual_time: u64,
    /// No less than the virtual time of any user who is forgotten: builds of theirs may come back with their old keys.
    past: u64,
}

/// One of those whose builds wait, or started so lately that the next ones have to.
#[derive(Debug, Default)]
struct User {
    waiting: usize,
    /// The tag of the next start.
    turn: u64,
    /// By the process that stands for the invocation.
    next_tag: BTreeMap<u32, u64>,
    virtual_time: u64,
}

impl Queue {
    /// A new build's place in the order, which it keeps whatever happens to it.
    pub(super) fn key(&mut self, client: Client, build: BuildId, patience: u64) -> Key {
        let Client { uid, pid } = client;
        let user = self.user(uid);
        let next = user.next_tag.entry(pid).or_default();
        let tag = user.virtual_time.max(*next);
        *next = tag + patience;
        if tag == user.virtual_time {
            user.virtual_time += 1;
        }
        Key { user: uid, tag, rank: Reverse(0), build }
    }

    pub(super) fn insert(&mut self, shape: &Arc<Shape>, key: Key) {
        self.groups
            .entry(Arc::clone(shape))
            .or_default()
            .order
            .entry(key.user)
            .or_default()
            .insert(key, key.build);
        let now = self.virtual_time;
        let user = self.user(key.user);
        user.waiting += 1;
        if user.waiting == 1 {
            user.turn = user.turn.max(now);
            self.virtual_time += u64::from(user.turn == now);
        }
    }

    pub(super) fn remove(&mut self, shape: &Arc<Shape>, key: Key) {
        let Some(group) = self.groups.get_mut(shape) else { return };
        let Some(of_user) = group.order.get_mut(&key.user) else { return };
        let removed = of_user.remove(&key).is_some();
        if of_user.is_empty() {
            group.order.remove(&key.user);
        }
        if group.order.is_empty() {
            self.groups.remove(shape);
        }
        self.user(key.user).waiting -= usize::from(removed);
        if self.groups.is_empty() {
            self.forget(|_| true);
        }
    }

    /// A build left the queue because it starts.
    pub(super) fn started(&mut self, key: Key, patience: u64) {
        let user = self.user(key.user);
        let turn = user.turn;
        user.turn += patience;
        user.virtual_time = user.virtual_time.max(key.tag) + 1;
        let now = user.virtual_time;
        user.next_tag.retain(|_, next| *next > now);
        self.virtual_time = self.virtual_time.max(turn) + 1;
        let (now, nobody_waits) = (self.virtual_time, self.groups.is_empty());
        self.forget(|user| nobody_waits || user.waiting == 0 && user.turn <= now);
    }

    fn user(&mut self, uid: u32) -> &mut User {
        let new = || User { virtual_time: self.past, ..User::default() };
        self.users.entry(uid).or_insert_with(new)
    }

    fn forget(&mut self, which: impl Fn(&User) -> bool) {
        let gone = self.users.values().filter(|user| which(user)).map(|user| user.virtual_time);
        self.past = gone.fold(self.past, u64::max);
        self.users.retain(|_, user| !which(user));
    }

    /// Whose turn it is, then which of that user's.
    pub(super) fn place(&self, key: Key) -> (u64, Key) {
        (self.users.get(&key.user).map_or(0, |user| user.turn), key)
    }

    /// All that wait, in the order in which they start if no more come.
    pub(super) fn in_order(&self, patience: u64) -> Vec<BuildId> {
        let mut all: Vec<_> = self
            .groups
            .values()
            .flat_map(|group| group.order.values().flatten())
            .map(|(key, _)| key)
            .collect();
        all.sort();
        let mut of_user = BTreeMap::new();
        let turns = all.into_iter().map(|key| {
            let before: &mut u64 = of_user.entry(key.user).or_default();
            let turn = self.place(*key).0 + patience * *before;
            *before += 1;
            (turn, key)
        });
        let mut turns: Vec<_> = turns.collect();
        turns.sort();
        turns.into_iter().map(|(_, key)| key.build).collect()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let clients: usize = self.users.values().map(|user| user.next_tag.len()).sum();
        self.groups.len() + self.users.len() + clients
    }
}

impl Group {
    pub(super) fn builds(&self) -> impl Iterator<Item = BuildId> {
        self.order.values().flat_map(BTreeMap::values).copied()
    }
}
