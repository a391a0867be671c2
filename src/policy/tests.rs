//! The clauses of the policy, one test each, in a world whose time and builders are ours.

mod claims;
mod empty;
mod failures;
mod graph;
mod health;
mod learning;
mod order;
mod orders;
mod placement;
mod prefetch;
mod report;
mod requests;
mod routes;
mod simulator;
mod speed;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{Answer, Ask, Effect, Event, Input};
use super::settings::Settings;
use super::snapshot::{BuilderRow, HealthWord};
use super::state::State;
use crate::domain::{
    AttemptId, AttemptOutcome, BuildResult, BuildStatus, BuilderName, BuilderSpec, Capabilities, Client,
    Feature, RequestId, Slots, Stage, StoreHash, StorePath, System, Time, Trust,
};

const X86: &str = "x86_64-linux";
const ARM: &str = "aarch64-linux";

fn name(text: &str) -> BuilderName {
    BuilderName::parse(text).expect("a name")
}

fn system(text: &str) -> System {
    System::parse(text).expect("a system")
}

fn features(list: &[&str]) -> BTreeSet<Feature> {
    list.iter().map(|text| Feature::parse(text).expect("a feature")).collect()
}

fn spec(text: &str) -> BuilderSpec {
    BuilderSpec::named(name(text))
}

fn caps(slots: u32) -> Capabilities {
    Capabilities {
        systems: BTreeSet::from([system(X86)]),
        features: BTreeSet::new(),
        mandatory: BTreeSet::new(),
        slots: Slots::new(slots).expect("slots"),
        speed_factor: 1.0,
        cores: None,
        memory: None,
        trust: Trust::Trusted,
        nix_version: None,
        measured: None,
    }
}

fn path(number: u64) -> StorePath {
    StorePath::from_base_name(&format!("{number:032}-thing.drv")).expect("a path")
}

fn hash(number: u64) -> StoreHash {
    path(number).hash()
}

fn ask(number: u64) -> Ask {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    Ask {
        drv: path(number),
        digest,
        system: system(X86),
        pname: "thing".to_owned(),
        label: None,
        features: BTreeSet::new(),
        closure: Vec::new().into(),
        unsigned: None,
        client: Client::default(),
        check: false,
    }
}

fn result(status: BuildStatus, error: &str) -> BuildResult {
    BuildResult::verdict(status, error)
}

fn done() -> AttemptOutcome {
    AttemptOutcome::Done(result(BuildStatus::Built, ""))
}

fn lost() -> AttemptOutcome {
    AttemptOutcome::Lost { stage: Stage::Building, reason: "connection closed".to_owned() }
}

fn failed(status: BuildStatus, error: &str) -> AttemptOutcome {
    AttemptOutcome::Failed(result(status, error))
}

/// How a builder of the world behaves.
#[derive(Debug, Clone, PartialEq)]
enum Nature {
    Answers(Capabilities),
    Refuses,
    Silent,
}

struct World {
    state: State,
    now: Time,
    wake: Option<Time>,
    natures: BTreeMap<BuilderName, Nature>,
    /// What was ordered since it was last looked at.
    effects: Vec<Effect>,
    requests: u64,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            state: State::new(settings),
            now: Time::ZERO,
            wake: None,
            natures: BTreeMap::new(),
            effects: Vec::new(),
            requests: 0,
        }
    }

    /// Builders named b1, b2, ... with one slot each.
    fn of(builders: usize) -> Self {
        let mut world = Self::new();
        for number in 1..=builders {
            world.add(&format!("b{number}"), caps(1));
        }
        world.effects.clear();
        world
    }

    fn add(&mut self, builder: &str, caps: Capabilities) {
        self.natures.insert(name(builder), Nature::Answers(caps));
        self.tell(Event::Found(spec(builder)));
    }

    fn nature(&mut self, builder: &str, nature: Nature) {
        self.natures.insert(name(builder), nature);
    }

    /// One event, and the answers of builders that answer at once.
    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.state.step(event, self.now) {
                match &effect {
                    Effect::WakeAt(at) => self.wake = Some(*at),
                    Effect::Probe(builder) => events.extend(self.probe_answer(builder)),
                    Effect::Ping(builder)
                        if matches!(self.natures.get(builder), Some(Nature::Answers(_))) =>
                    {
                        events.push(Event::Pinged(builder.clone(), Ok(Duration::ZERO)));
                    }
                    _ => {}
                }
                self.effects.push(effect);
            }
        }
    }

    fn probe_answer(&self, builder: &BuilderName) -> Option<Event> {
        match self.natures.get(builder)? {
            Nature::Answers(caps) => Some(Event::Probed(builder.clone(), Ok(caps.clone()))),
            Nature::Refuses => Some(Event::Probed(builder.clone(), Err("connection refused".to_owned()))),
            Nature::Silent => None,
        }
    }

    fn pass(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        let mut wakes = 0;
        while let Some(at) = self.wake.filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.wake = None;
            self.tell(Event::Woke);
            wakes += 1;
            assert!(wakes < 100_000, "it never sleeps");
        }
        self.now = until;
    }

    fn ask(&mut self, number: u64) -> RequestId {
        self.request(ask(number))
    }

    fn request(&mut self, ask: Ask) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.tell(Event::Requested(id, ask));
        id
    }

    fn end(&mut self, attempt: AttemptId, outcome: AttemptOutcome) {
        self.tell(Event::Ended(attempt, outcome));
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The attempts started since the last look, and where.
    fn started(&mut self) -> Vec<(AttemptId, String)> {
        let started = |effect: Effect| match effect {
            Effect::Start { attempt, builder, .. } => Some((attempt, builder.to_string())),
            _ => None,
        };
        self.take().into_iter().filter_map(started).collect()
    }

    /// The only attempt started since the last look.
    fn one_start(&mut self) -> (AttemptId, String) {
        let started = self.started();
        assert_eq!(started.len(), 1, "{started:?}");
        started.into_iter().next().expect("one")
    }

    fn lines(&mut self) -> Vec<String> {
        let line = |effect: Effect| match effect {
            Effect::Say(_, line) | Effect::Wait(_, line) => Some(line),
            _ => None,
        };
        self.take().into_iter().filter_map(line).collect()
    }

    fn answers(&mut self) -> Vec<(RequestId, Answer)> {
        let answer = |effect: Effect| match effect {
            Effect::Answer(request, answer) => Some((request, answer)),
            _ => None,
        };
        self.take().into_iter().filter_map(answer).collect()
    }

    fn row(&self, builder: &str) -> BuilderRow {
        let rows = self.state.snapshot(self.now).builders;
        rows.into_iter().find(|row| row.name == name(builder)).expect("a row")
    }

    fn health(&self, builder: &str) -> HealthWord {
        self.row(builder).health
    }
}

/// The status and words of a builder's answer.
fn words(answer: &Answer) -> (Option<BuildStatus>, &str) {
    match answer {
        Answer::Result { result, .. } => (Some(result.status), &result.error),
        Answer::Impossible(text) => (None, text),
    }
}

fn closure(inputs: &[(u64, u64)]) -> std::sync::Arc<[Input]> {
    inputs.iter().map(|(number, bytes)| Input { path: hash(*number), bytes: *bytes }).collect()
}
