//! Whose turn it is among those who share: start-time fair queuing (Goyal, Vin and Cheng, 1996) with one twist, so that
//! nobody starves.
//!
//! Each has a tag for its next start, its turn: the virtual time when it begins to wait, and `patience` more after each of its
//! starts. The smallest goes first. The virtual time is that of the last start; it rises by one with each start, and (the
//! twist) with each who begins to wait at it. So whoever has had `k` starts while it waits has a turn at most
//! `patience * (k + 1)` ahead of the virtual time, and others who come later are served at most so often before it.

use std::collections::BTreeMap;

/// Those who wait, or started so lately that their next one has to.
#[derive(Debug)]
pub(super) struct Turns<K> {
    of: BTreeMap<K, Turn>,
    virtual_time: u64,
}

#[derive(Debug, Default)]
struct Turn {
    waiting: usize,
    at: u64,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), virtual_time: 0 }
    }
}

impl<K: Ord + Copy> Turns<K> {
    /// One more thing of it waits.
    pub(super) fn wait(&mut self, who: K) {
        let now = self.virtual_time;
        let turn = self.of.entry(who).or_default();
        turn.waiting += 1;
        if turn.waiting == 1 {
            turn.at = turn.at.max(now);
            self.virtual_time += u64::from(turn.at == now);
        }
    }

    /// One thing of it waits no more.
    pub(super) fn leave(&mut self, who: K) {
        if let Some(turn) = self.of.get_mut(&who) {
            turn.waiting = turn.waiting.saturating_sub(1);
        }
    }

    /// One thing of it starts, and has left.
    pub(super) fn start(&mut self, who: K, patience: u64) {
        let turn = self.of.entry(who).or_default();
        let at = turn.at;
        turn.at += patience;
        self.virtual_time = self.virtual_time.max(at) + 1;
        let now = self.virtual_time;
        self.of.retain(|_, turn| turn.waiting > 0 || turn.at > now);
    }

    /// Nobody waits: what was is forgotten.
    pub(super) fn rest(&mut self) {
        self.of.clear();
    }

    /// When its turn is.
    pub(super) fn of(&self, who: K) -> u64 {
        self.of.get(&who).map_or(0, |turn| turn.at)
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }
}
