//! What happens while nobody is there who could build it.
//!
//! A builder that went away may come back in a moment, and one that is expected is on its way: neither counts as
//! missing before its time is over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::Answer;
use super::fleet::Builder;
use super::place::unfit;
use super::queue::Shape;
use super::state::State;
use super::waiting;
use crate::domain::{BuildId, Feature, System, Time, WhenEmpty};

impl State {
    /// Whether Nix had better build such things itself, as the configuration wants it while no builder is there.
    pub fn leaves_to_nix(&self, systems: &BTreeSet<System>, features: &BTreeSet<Feature>, now: Time) -> bool {
        let expected = self
            .settings
            .expect
            .iter()
            .any(|expect| !expect.systems.is_disjoint(systems) && expect.features.is_superset(features));
        let fits = |builder: &Builder| {
            let offers = builder.caps.as_ref().map(|caps| (&caps.systems, &caps.features));
            offers.is_some_and(|(all, more)| !all.is_disjoint(systems) && more.is_superset(features))
        };
        self.settings.when_empty == WhenEmpty::Local && self.is_missing(fits, expected, now)
    }

    /// Whether no builder for such builds has been there for a while.
    pub(super) fn is_empty_for(&self, shape: &Shape, now: Time) -> bool {
        let expected = self.settings.expect.iter().any(|expect| {
            let system = shape.system.is_builtin() || expect.systems.contains(&shape.system);
            system && expect.features.is_superset(&shape.features)
        });
        let fits = |builder: &Builder| unfit(shape, builder, &self.settings).is_none();
        self.is_missing(fits, expected, now)
    }

    fn is_missing(&self, fits: impl Fn(&Builder) -> bool, expected: bool, now: Time) -> bool {
        let open = expected && now.since(Time::ZERO) < self.settings.expect_timeout;
        let mut fitting = self.fleet.iter().map(|(_, builder)| builder).filter(|builder| fits(builder));
        let gone_since = fitting.try_fold(self.fleet.last_left, |since, builder| {
            builder.absent_since.map(|absent| absent.max(since))
        });
        !open && gone_since.is_some_and(|since| now.since(since) >= self.settings.empty_after)
    }

    /// Answers those who will not wait for a builder, with what speaks against each.
    pub(super) fn give_up_where_empty(&mut self, now: Time) {
        if self.settings.when_empty != WhenEmpty::Fail {
            return;
        }
        let empty = self.queue.groups.iter().filter(|(shape, _)| self.is_empty_for(shape, now));
        let waiting: Vec<_> = empty.flat_map(|(_, group)| group.builds()).collect();
        for id in waiting.into_iter().filter(|id| !self.runs(*id)).collect::<Vec<_>>() {
            let text = self.why_nobody_builds(id, now);
            self.answer(id, &Answer::Impossible(text), now);
        }
    }

    fn why_nobody_builds(&self, id: BuildId, now: Time) -> String {
        let Some(build) = self.builds.get(id) else { return String::new() };
        let reasons = self.place(id, now).map(|placement| placement.reasons).unwrap_or_default();
        let list: Vec<_> = reasons.iter().map(|(name, reason)| format!("  {name}: {reason}")).collect();
        let list = if list.is_empty() { "  no builder is known".to_owned() } else { list.join("\n") };
        let wanted = waiting::offer(&build.shape);
        format!("nobody builds {}: it needs {wanted}\n{list}", build.ask.drv.name())
    }

    /// When a builder's absence, or the wait for one that is expected, becomes final.
    pub(super) fn next_emptiness(&self, now: Time) -> Option<Time> {
        self.emptinesses().filter(|at| *at > now).min()
    }

    /// Something of that kind came about since the last step: the lines may have to change.
    pub(super) fn notice_emptiness(&mut self, now: Time) {
        let before = std::mem::replace(&mut self.looked_at, now);
        if self.emptinesses().any(|at| at > before && at <= now) {
            self.fleet_changed = true;
        }
    }

    fn emptinesses(&self) -> impl Iterator<Item = Time> {
        let matters = self.settings.when_empty != WhenEmpty::Wait;
        let after = |duration: Duration| move |since: Time| since + duration;
        let absent = self.fleet.iter().filter_map(|(_, builder)| builder.absent_since);
        let empty = absent.chain([self.fleet.last_left]).map(after(self.settings.empty_after));
        let expect = (!self.settings.expect.is_empty()).then_some(Time::ZERO + self.settings.expect_timeout);
        empty.chain(expect).filter(move |_| matters)
    }
}
