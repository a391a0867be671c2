//! The builds that are wanted, their requests and attempts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::event::Ask;
use super::memory::{End, Ended};
use super::place::Reasons;
use super::queue::{Key, Shape};
use super::waiting::Waiting;
use crate::domain::{AttemptId, BuildId, BuilderName, Label, RequestId, Stage, Time};

/// One build.
#[derive(Debug)]
pub(super) struct Build {
    pub ask: Ask,
    /// What the closure of its inputs weighs.
    pub closure_bytes: u64,
    pub shape: Arc<Shape>,
    pub key: Key,
    pub asked_at: Time,
    pub requests: Vec<RequestId>,
    pub attempts: BTreeMap<u32, Attempt>,
    /// The number of the newest attempt.
    pub newest: u32,
    /// Whether it stands in the queue.
    pub queued: bool,
    /// When it was last asked whether its inputs shall travel ahead, in rounds of [`Ahead`](super::prefetch::Ahead).
    pub looked_at: Option<u64>,
    /// Answered, or wanted by nobody: it goes when its last attempt has ended.
    pub settled: bool,
    pub history: History,
    /// Attempts that have ended.
    pub ended: VecDeque<Ended>,
    /// How it ended, where it has.
    pub end: Option<End>,
    /// Why it waits, as last said to its requests.
    pub said: Option<Waiting>,
    /// What befell it, still to be said.
    pub note: Option<String>,
}

/// An attempt that has not ended.
#[derive(Debug)]
pub(super) struct Attempt {
    pub builder: BuilderName,
    pub stage: Stage,
    pub since: Time,
    /// When the builder began to build.
    pub building: Option<Time>,
    /// How long it built, once it has.
    pub built: Option<Duration>,
    pub cores: Option<u32>,
    pub cancelled: bool,
    /// What spoke for or against each builder when it began.
    pub reasons: Reasons,
}

impl Attempt {
    /// Why it was placed where it runs.
    pub(super) fn why(&self) -> String {
        let own = self.reasons.iter().find(|(name, _)| *name == self.builder);
        own.map(|(_, reason)| reason.to_string()).unwrap_or_default()
    }

    /// It got there.
    pub(super) fn reach(&mut self, stage: Stage, now: Time) {
        self.stage = stage;
        match stage {
            Stage::Building => self.building = Some(now),
            Stage::Fetching => self.built = self.building.map(|since| now.since(since)),
            Stage::Preparing | Stage::Uploading => {}
        }
    }

    pub(super) fn holds_slot(&self) -> bool {
        self.stage != Stage::Fetching
    }
}

/// What befell a build so far.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Attempts that were lost, and counted.
    pub losses: Vec<Loss>,
    pub refusals: u32,
    /// Failures that may have been the builder's.
    pub unclear: u32,
    pub uploads: u32,
    pub local_errors: u32,
    /// Where it went wrong, how often, and how long it is not tried there again.
    troubles: BTreeMap<BuilderName, Trouble>,
    /// Not tried anywhere before that.
    pub not_before: Option<Time>,
}

/// A lost attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub builder: BuilderName,
    pub what: String,
}

#[derive(Debug, Default)]
struct Trouble {
    times: u32,
    until: Time,
}

impl History {
    /// It went wrong there; returns for the how manieth time.
    pub(super) fn trouble(&mut self, builder: &BuilderName) -> u32 {
        let trouble = self.troubles.entry(builder.clone()).or_default();
        trouble.times += 1;
        trouble.times
    }

    pub(super) fn hold(&mut self, builder: &BuilderName, until: Time) {
        self.troubles.entry(builder.clone()).or_default().until = until;
    }

    /// Different builders on which it was lost.
    pub(super) fn builders_lost(&self) -> usize {
        let names: std::collections::BTreeSet<_> = self.losses.iter().map(|loss| &loss.builder).collect();
        names.len()
    }
}

impl Build {
    /// Attempts that run and are wanted.
    pub(super) fn live(&self) -> impl Iterator<Item = (u32, &Attempt)> {
        self.attempts.iter().filter(|(_, attempt)| !attempt.cancelled).map(|(number, a)| (*number, a))
    }

    pub(super) fn runs_on(&self, builder: &BuilderName) -> bool {
        self.attempts.values().any(|attempt| attempt.builder == *builder)
    }

    pub(super) fn failures_on(&self, builder: &BuilderName) -> u32 {
        self.history.troubles.get(builder).map_or(0, |trouble| trouble.times)
    }

    pub(super) fn held_until(&self, builder: &BuilderName) -> Option<Time> {
        let there = self.history.troubles.get(builder).map(|trouble| trouble.until);
        there.max(self.history.not_before)
    }

    /// Whether builders differ for it by more than their shape and slots.
    pub(super) fn is_particular(&self) -> bool {
        !self.attempts.is_empty() || !self.history.troubles.is_empty() || self.history.not_before.is_some()
    }

    /// When the next of its holds ends.
    pub(super) fn next_hold_end(&self, now: Time) -> Option<Time> {
        let there = self.history.troubles.values().map(|trouble| trouble.until);
        there.chain(self.history.not_before).filter(|until| *until > now).min()
    }
}

/// What two asks must have in common to share a build: the derivation, whether it is a check, and where it may go.
type Sameness = ([u8; 32], bool, BTreeSet<Label>);

fn sameness(ask: &Ask, shape: &Shape) -> Sameness {
    (ask.digest, ask.check, shape.labels.clone())
}

/// All builds, and who asked for them.
#[derive(Debug, Default)]
pub(super) struct Builds {
    builds: BTreeMap<BuildId, Build>,
    by_request: BTreeMap<RequestId, BuildId>,
    /// Builds that can be joined.
    by_digest: BTreeMap<Sameness, BuildId>,
    newest: u64,
}

impl Builds {
    pub(super) fn get(&self, id: BuildId) -> Option<&Build> {
        self.builds.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: BuildId) -> Option<&mut Build> {
        self.builds.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (BuildId, &Build)> {
        self.builds.iter().map(|(id, build)| (*id, build))
    }

    pub(super) fn attempt_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.builds.get_mut(&id.build)?.attempts.get_mut(&id.number)
    }

    pub(super) fn knows(&self, request: RequestId) -> bool {
        self.by_request.contains_key(&request)
    }

    /// The build that such an ask would share.
    pub(super) fn shared(&self, ask: &Ask, shape: &Shape) -> Option<BuildId> {
        self.by_digest.get(&sameness(ask, shape)).copied()
    }

    pub(super) fn next_id(&mut self) -> BuildId {
        self.newest += 1;
        BuildId(self.newest)
    }

    pub(super) fn add(&mut self, id: BuildId, build: Build) {
        self.by_digest.insert(sameness(&build.ask, &build.shape), id);
        self.builds.insert(id, build);
    }

    pub(super) fn join(&mut self, request: RequestId, id: BuildId) {
        self.by_request.insert(request, id);
        if let Some(build) = self.builds.get_mut(&id) {
            build.requests.push(request);
        }
    }

    /// Takes a request away from its build.
    pub(super) fn leave(&mut self, request: RequestId) -> Option<BuildId> {
        let id = self.by_request.remove(&request)?;
        if let Some(build) = self.builds.get_mut(&id) {
            build.requests.retain(|other| *other != request);
        }
        Some(id)
    }

    /// Nobody can join it any more; returns the requests that it still had.
    pub(super) fn settle(&mut self, id: BuildId) -> Vec<RequestId> {
        let Some(build) = self.builds.get_mut(&id) else { return Vec::new() };
        build.settled = true;
        self.by_digest.remove(&sameness(&build.ask, &build.shape));
        let requests = std::mem::take(&mut build.requests);
        for request in &requests {
            self.by_request.remove(request);
        }
        requests
    }

    pub(super) fn remove(&mut self, id: BuildId) -> Option<Build> {
        self.builds.remove(&id)
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.builds.len() + self.by_request.len() + self.by_digest.len()
    }
}
