//! Our own link: what is lost because of it counts against nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fleet::Health;
use super::state::State;
use crate::domain::{BuilderName, Time};

/// The last time that our own link was down.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Time,
    over: bool,
    /// Who was behind the link, and has not been heard since.
    behind: BTreeSet<BuilderName>,
}

impl Outage {
    pub(super) fn begin(&mut self, behind: Vec<BuilderName>, now: Time) {
        *self = Self { since: now, over: false, behind: behind.into_iter().collect() };
    }

    /// Connections may break only when the link is back; one that is heard again has survived it.
    pub(super) fn heard(&mut self, name: &BuilderName) {
        if self.over {
            self.behind.remove(name);
        }
    }

    fn explains(&self, name: &BuilderName, limit: Duration, now: Time) -> bool {
        self.behind.contains(name) && now.since(self.since) <= limit
    }
}

impl State {
    /// What is down may have been so for our own sake: it is asked at once.
    pub(super) fn link_is_back(&mut self, now: Time) {
        self.outage.over = true;
        for name in self.outage.behind.clone() {
            if self.fleet.get(&name).is_some_and(|builder| builder.health == Health::Down) {
                self.probe(&name, now);
            }
        }
    }

    /// Whether the silence or loss of that builder may be our own link's fault: for `lost_after` from when such a
    /// silence is noticed.
    pub(super) fn link_is_suspect(&self, name: &BuilderName, now: Time) -> bool {
        let limit = self.settings.lost_after;
        let all_are_silent = self.link_suspect.is_some_and(|since| now.since(since) <= limit);
        all_are_silent || self.outage.explains(name, self.settings.silent_after + limit, now)
    }
}
