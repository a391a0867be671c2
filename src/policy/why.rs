//! `muster why`: what the state knows of one build or builder, in the words of [`place`](super::place) and no others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::builds::{Attempt, Build};
use super::memory::{Ended, Finished};
use super::place::Reason;
use super::snapshot::{BuilderRow, builder_row, millis};
use super::state::State;
use super::waiting;
use crate::domain::{BuildId, BuilderName, Feature, Label, Stage, StorePath, System, Time};

/// No answer lists more of what may be many.
const LISTED: usize = 50;

/// What a name stands for, and what is known of it. `muster why --json` prints it as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Explanation {
    /// A build.
    Build(Box<BuildStory>),
    /// A builder.
    Builder(Box<BuilderStory>),
    /// Several builds, by the base names of their derivations.
    Ambiguous {
        /// Some of them.
        candidates: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// Nothing.
    Unknown,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "plain words")]
pub enum Phase {
    Waiting,
    Running,
    Finished,
}

/// One build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildStory {
    /// The layout of this document; 1.
    pub schema: u32,
    /// The derivation's base name.
    pub drv: String,
    /// How far it is.
    pub phase: Phase,
    /// Where it can be built.
    pub system: System,
    /// What it requires.
    pub features: BTreeSet<Feature>,
    /// The labels that it is sent to.
    pub labels: BTreeSet<Label>,
    /// Milliseconds since it was first asked for.
    pub age_ms: u64,
    /// Who asked first, by user id. An older coordinator does not say it.
    #[serde(default)]
    pub asked_by: Option<u32>,
    /// Why it waits, where it does.
    pub waiting: Option<String>,
    /// How it ended, where it has.
    pub outcome: Option<String>,
    /// Milliseconds since then.
    pub ended_ms_ago: Option<u64>,
    /// Its attempts, by number.
    pub attempts: Vec<AttemptStory>,
    /// What speaks for or against each builder now; where it runs, when its newest attempt began.
    pub builders: Vec<ReasonRow>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptStory {
    /// Its number within the build.
    pub number: u32,
    /// Where it runs or ran.
    pub builder: BuilderName,
    /// Why there.
    pub why: String,
    /// Where it stands, or stood when it ended.
    pub stage: Stage,
    /// Milliseconds since it began.
    pub began_ms_ago: u64,
    /// Milliseconds that it has taken.
    pub took_ms: u64,
    /// How it ended, where it has.
    pub ended: Option<String>,
}

/// What speaks for or against a builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonRow {
    /// The builder.
    pub builder: BuilderName,
    /// The reason.
    pub reason: String,
}

/// One builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuilderStory {
    /// The layout of this document; 1.
    pub schema: u32,
    /// How it is.
    pub builder: BuilderRow,
    /// Milliseconds since its health changed.
    pub since_ms: u64,
    /// What runs there.
    pub running: Vec<RunningRow>,
    /// What waits, in order, and what speaks for or against this builder.
    pub waiting: Vec<WaitingRow>,
    /// How many wait; `waiting` holds the first of them.
    pub queued: usize,
}

/// An attempt that runs on a builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningRow {
    /// The derivation's base name.
    pub drv: String,
    /// Where it stands.
    pub stage: Stage,
    /// Milliseconds since it began.
    pub age_ms: u64,
}

/// A build that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// The derivation's base name.
    pub drv: String,
    /// What speaks for or against this builder.
    pub reason: String,
}

/// What a name stands for.
enum Found<'a> {
    Build(BuildId, &'a Build),
    Finished(&'a Finished),
    Several(Vec<String>),
    Nothing,
}

impl State {
    /// What is known of whatever has that name: a builder's, or a derivation's path or any prefix of its hash or name.
    pub fn why(&self, name: &str, now: Time) -> Explanation {
        if let Some(story) = BuilderName::parse(name).ok().and_then(|name| self.why_builder(&name, now)) {
            return Explanation::Builder(Box::new(story));
        }
        match self.find(name) {
            Found::Build(id, build) => Explanation::Build(Box::new(self.story(id, build, now))),
            Found::Finished(build) => Explanation::Build(Box::new(story_of_finished(build, now))),
            Found::Several(mut candidates) => {
                let count = candidates.len();
                candidates.truncate(LISTED);
                Explanation::Ambiguous { candidates, count }
            }
            Found::Nothing => Explanation::Unknown,
        }
    }

    /// The build that has that name and is not over, with its derivation's base name; else what the name stands for.
    pub fn unfinished(&self, name: &str, now: Time) -> Result<(BuildId, String), Explanation> {
        match self.find(name) {
            Found::Build(id, build) => Ok((id, build.ask.drv.base_name().to_owned())),
            _ => Err(self.why(name, now)),
        }
    }

    fn find(&self, name: &str) -> Found<'_> {
        let name = name.rsplit('/').next().unwrap_or(name);
        let mut live: BTreeMap<&str, (BuildId, &Build)> = BTreeMap::new();
        for (id, build) in
            self.builds.iter().filter(|(_, build)| !build.settled && fits(&build.ask.drv, name))
        {
            live.entry(build.ask.drv.base_name()).or_insert((id, build));
        }
        let mut over: BTreeMap<&str, &Finished> = BTreeMap::new();
        for build in self.memory.iter().filter(|build| fits(&build.drv, name)) {
            over.entry(build.drv.base_name()).or_insert(build);
        }
        let mut all: BTreeSet<&str> = live.keys().chain(over.keys()).copied().collect();
        if all.len() > 1 {
            let exact: BTreeSet<&str> = all.iter().copied().filter(|drv| is_exactly(drv, name)).collect();
            all = if exact.len() == 1 { exact } else { all };
        }
        let mut names = all.iter();
        match (names.next(), names.next()) {
            (Some(drv), None) => match (live.get(drv), over.get(drv)) {
                (Some((id, build)), _) => Found::Build(*id, build),
                (None, Some(build)) => Found::Finished(build),
                (None, None) => Found::Nothing,
            },
            (None, _) => Found::Nothing,
            _ => Found::Several(all.into_iter().map(str::to_owned).collect()),
        }
    }

    fn story(&self, id: BuildId, build: &Build, now: Time) -> BuildStory {
        let newest = build.live().last();
        let reasons = match newest {
            Some((_, attempt)) => attempt.reasons.clone(),
            None => self.place(id, now).map(|placement| placement.reasons).unwrap_or_default(),
        };
        let over = build.ended.iter().map(|ended| ended_row(ended, now));
        let mut attempts: Vec<_> = over.chain(build.live().map(|(n, a)| live_row(n, a, now))).collect();
        attempts.sort_by_key(|attempt| attempt.number);
        BuildStory {
            schema: 1,
            drv: build.ask.drv.base_name().to_owned(),
            phase: if newest.is_some() { Phase::Running } else { Phase::Waiting },
            system: build.shape.system.clone(),
            features: build.shape.features.clone(),
            labels: build.shape.labels.clone(),
            age_ms: millis(now.since(build.asked_at)),
            asked_by: Some(build.ask.client.uid),
            waiting: self.why_it_waits(id, now).map(|why| waiting::say(&why, build, &self.fleet, now)),
            outcome: None,
            ended_ms_ago: None,
            attempts,
            builders: reasons.into_iter().map(reason_row).collect(),
        }
    }

    fn why_builder(&self, name: &BuilderName, now: Time) -> Option<BuilderStory> {
        let builder = self.fleet.get(name)?;
        let running = builder.attempts.iter().filter_map(|id| {
            let build = self.builds.get(id.build)?;
            let attempt = build.attempts.get(&id.number)?;
            let age_ms = millis(now.since(attempt.since));
            Some(RunningRow { drv: build.ask.drv.base_name().to_owned(), stage: attempt.stage, age_ms })
        });
        let queue = self.queue.in_order(self.settings.patience);
        let waiting = queue.iter().take(LISTED).filter_map(|id| {
            let drv = self.builds.get(*id)?.ask.drv.base_name().to_owned();
            let reasons = self.place(*id, now)?.reasons;
            let (_, reason) = reasons.into_iter().find(|(other, _)| other == name)?;
            Some(WaitingRow { drv, reason: reason.to_string() })
        });
        Some(BuilderStory {
            schema: 1,
            builder: builder_row(name, builder, now),
            since_ms: millis(now.since(builder.health_since)),
            running: running.collect(),
            waiting: waiting.collect(),
            queued: queue.len(),
        })
    }
}

/// Whether the name is a prefix of the derivation's hash or name.
fn fits(drv: &StorePath, name: &str) -> bool {
    !name.is_empty() && (drv.base_name().starts_with(name) || drv.name().starts_with(name))
}

fn is_exactly(base_name: &str, name: &str) -> bool {
    let own = base_name.split_once('-').map_or(base_name, |(_, own)| own);
    [base_name, own, own.strip_suffix(".drv").unwrap_or(own)].contains(&name)
}

fn story_of_finished(build: &Finished, now: Time) -> BuildStory {
    BuildStory {
        schema: 1,
        drv: build.drv.base_name().to_owned(),
        phase: Phase::Finished,
        system: build.shape.system.clone(),
        features: build.shape.features.clone(),
        labels: build.shape.labels.clone(),
        age_ms: millis(now.since(build.asked_at)),
        asked_by: Some(build.asked_by),
        waiting: None,
        outcome: Some(build.end.how.clone()),
        ended_ms_ago: Some(millis(now.since(build.end.at))),
        attempts: build.attempts.iter().map(|ended| ended_row(ended, now)).collect(),
        builders: Vec::new(),
    }
}

fn live_row(number: u32, attempt: &Attempt, now: Time) -> AttemptStory {
    let age = millis(now.since(attempt.since));
    AttemptStory {
        number,
        builder: attempt.builder.clone(),
        why: attempt.why(),
        stage: attempt.stage,
        began_ms_ago: age,
        took_ms: age,
        ended: None,
    }
}

fn ended_row(attempt: &Ended, now: Time) -> AttemptStory {
    AttemptStory {
        number: attempt.number,
        builder: attempt.builder.clone(),
        why: attempt.why.clone(),
        stage: attempt.stage,
        began_ms_ago: millis(now.since(attempt.began)),
        took_ms: millis(attempt.ended.since(attempt.began)),
        ended: Some(attempt.how.clone()),
    }
}

fn reason_row((builder, reason): (BuilderName, Reason)) -> ReasonRow {
    ReasonRow { builder, reason: reason.to_string() }
}
