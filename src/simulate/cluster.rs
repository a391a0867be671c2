//! A run of the policy in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::plan::Plan;
use super::world::World;
use crate::domain::{
    AttemptId, AttemptOutcome, BuildId, BuildResult, BuildStatus, BuilderName, BuilderSpec, Capabilities,
    Client, GraphNode, Measurement, Observation, RequestId, Slots, Stage, StoreHash, StorePath, Time, Trust,
};
use crate::policy::{Answer, Ask, Effect, Event, Input, Settings, State};

/// How long a builder takes to answer a ping or a probe.
const ANSWERS_AFTER: f64 = 0.01;
/// No run takes longer, or something is wrong: one year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A builder that is away: its connections break, and it refuses new ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Absence {
    /// Its index in the plan.
    pub builder: usize,
    /// Seconds after the start.
    pub from: f64,
    /// Seconds.
    pub lasts: f64,
}

/// What may be different from run to run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ways {
    /// Of the policy's own random numbers.
    pub seed: u64,
    /// Earlier runs taught how long each build takes, up to a factor of e to this power; 0 = exactly.
    pub recall: Option<f64>,
    /// Builds that Nix asks for at once; none = all that are ready.
    pub window: Option<usize>,
    /// Who is away, and when.
    pub absences: Vec<Absence>,
}

/// How it went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Seconds from the first request to the last answer.
    pub makespan: f64,
    /// Attempts that began.
    pub attempts: usize,
    /// Of these, those that a builder's absence ended.
    pub lost: usize,
    /// Of these, those that inputs or outputs travelled for.
    pub lost_on_the_way: usize,
    /// Seconds that the longest of these would have taken.
    pub longest_lost: f64,
}

/// Why a run has no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// A build was given up.
    #[error("{0} was given up: {1}")]
    GivenUp(String, String),
    /// Builds were never answered.
    #[error("{0} builds were never answered")]
    Unanswered(usize),
}

/// What will happen.
enum Next {
    Tell(Box<Event>),
    Reach { attempt: AttemptId, stage: Stage },
    Done(AttemptId),
    Arrive { build: BuildId, builder: usize },
    Leave(usize),
    Return(usize),
}

struct Running {
    build: usize,
    builder: usize,
    stage: Stage,
    takes: f64,
}

struct Cluster<'a> {
    plan: &'a Plan,
    ways: &'a Ways,
    state: State,
    now: Time,
    wake: Option<Time>,
    agenda: BTreeMap<(Time, u64), Next>,
    sequence: u64,
    names: BTreeMap<BuilderName, usize>,
    /// By builder, how many absences it is in.
    away: Vec<u32>,
    world: World<'a>,
    closures: Vec<Arc<[Input]>>,
    running: BTreeMap<AttemptId, Running>,
    prefetches: BTreeMap<(BuildId, usize), usize>,
    left: Vec<usize>,
    /// Ready, by the names of their derivations, and not asked for.
    ready: BTreeSet<(&'a str, usize)>,
    open: usize,
    answered: usize,
    outcome: Outcome,
    stuck: Option<Stuck>,
}

/// Has the policy build the whole plan.
pub fn run(plan: &Plan, ways: &Ways) -> Result<Outcome, Stuck> {
    let mut cluster = Cluster::new(plan, ways);
    cluster.begin();
    while cluster.answered < plan.builds.len() {
        if let Some(stuck) = cluster.stuck.take() {
            return Err(stuck);
        }
        if !cluster.advance() {
            return Err(Stuck::Unanswered(plan.builds.len() - cluster.answered));
        }
    }
    Ok(Outcome { makespan: cluster.now.since_start().as_secs_f64(), ..cluster.outcome })
}

impl<'a> Cluster<'a> {
    fn new(plan: &'a Plan, ways: &'a Ways) -> Self {
        let (builders, left) = (plan.builders.len(), plan.needs.iter().map(Vec::len).collect::<Vec<_>>());
        Self {
            plan,
            ways,
            state: State::new(Settings { seed: ways.seed, ..Settings::default() }),
            now: Time::ZERO,
            wake: None,
            agenda: BTreeMap::new(),
            sequence: 0,
            names: plan.builders.iter().enumerate().map(|(index, b)| (b.name.clone(), index)).collect(),
            away: vec![0; builders],
            world: World::new(plan),
            closures: (0..plan.builds.len()).map(|build| closure(plan, build)).collect(),
            running: BTreeMap::new(),
            prefetches: BTreeMap::new(),
            ready: (0..left.len())
                .filter(|build| left[*build] == 0)
                .map(|build| named(plan, build))
                .collect(),
            left,
            open: 0,
            answered: 0,
            outcome: Outcome::default(),
            stuck: None,
        }
    }

    /// The fleet is known and measured, and so is the graph, before the first build is asked for.
    fn begin(&mut self) {
        if let Some(spread) = self.ways.recall {
            self.tell(Event::Recalled(self.observations(spread)));
        }
        for builder in 0..self.plan.builders.len() {
            let name = self.plan.builders[builder].name.clone();
            self.tell(Event::Found(BuilderSpec::named(name.clone())));
            self.tell(Event::Probed(name.clone(), Ok(self.capabilities(builder))));
            for measurement in self.measurements(builder) {
                self.tell(Event::Measured(name.clone(), measurement));
            }
        }
        self.tell(Event::Graph(self.graph()));
        for absence in &self.ways.absences {
            self.after(absence.from, Next::Leave(absence.builder));
            self.after(absence.from + absence.lasts, Next::Return(absence.builder));
        }
        self.ask_for_more();
    }

    fn after(&mut self, seconds: f64, next: Next) {
        self.sequence += 1;
        self.agenda.insert((self.now + Duration::from_secs_f64(seconds), self.sequence), next);
    }

    /// The next thing happens; false where nothing ever will.
    fn advance(&mut self) -> bool {
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wake.map(|at| at.max(self.now));
        let Some(at) = next.into_iter().chain(wake).min() else { return false };
        self.now = at;
        if wake == Some(at) && next.is_none_or(|next| at < next) {
            self.wake = None;
            self.tell(Event::Woke);
        } else if let Some((_, next)) = self.agenda.pop_first() {
            self.happen(next);
        }
        self.ask_for_more();
        at.since_start() < LONGEST
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Tell(event) => self.tell(*event),
            Next::Reach { attempt, stage } => self.reach(attempt, stage),
            Next::Done(attempt) => {
                if self.running.remove(&attempt).is_some() {
                    let built = BuildResult::verdict(BuildStatus::Built, "");
                    self.tell(Event::Ended(attempt, AttemptOutcome::Done(built)));
                }
            }
            Next::Arrive { build, builder } => {
                if let Some(what) = self.prefetches.remove(&(build, builder)) {
                    self.arrive(what, builder);
                }
            }
            Next::Leave(builder) => {
                self.away[builder] += 1;
                self.lose(builder);
            }
            Next::Return(builder) => self.away[builder] -= 1,
        }
    }

    fn reach(&mut self, attempt: AttemptId, stage: Stage) {
        let now = self.seconds();
        let Some(running) = self.running.get_mut(&attempt) else { return };
        let Running { build, builder, .. } = *running;
        running.stage = stage;
        match stage {
            Stage::Building => {
                let lasts = self.world.lasts(build, builder);
                self.world.begin(builder);
                self.after(lasts, Next::Reach { attempt, stage: Stage::Fetching });
                self.arrive(build, builder);
            }
            Stage::Fetching => {
                self.world.end(builder);
                let here = self.world.fetch(build, builder, now);
                self.after(here - now, Next::Done(attempt));
                let out = output(self.plan, build);
                self.tell(Event::Present(self.plan.builders[builder].name.clone(), vec![out]));
            }
            Stage::Preparing | Stage::Uploading => {}
        }
        self.tell(Event::Reached(attempt, stage));
    }

    fn seconds(&self) -> f64 {
        self.now.since_start().as_secs_f64()
    }

    /// A build's inputs are there.
    fn arrive(&mut self, build: usize, builder: usize) {
        let paths: Vec<_> = self.closures[build].iter().map(|input| input.path).collect();
        self.tell(Event::Present(self.plan.builders[builder].name.clone(), paths));
    }

    /// Every channel to it breaks.
    fn lose(&mut self, builder: usize) {
        self.prefetches.retain(|(_, to), _| *to != builder);
        self.world.lose(builder, self.seconds());
        let on = self.running.iter().filter(|(_, running)| running.builder == builder);
        for attempt in on.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(running) = self.running.remove(&attempt) else { continue };
            let stage = running.stage;
            self.outcome.lost += 1;
            self.outcome.lost_on_the_way += usize::from(stage != Stage::Building);
            self.outcome.longest_lost = self.outcome.longest_lost.max(running.takes);
            let reason = "connection reset".to_owned();
            self.tell(Event::Ended(attempt, AttemptOutcome::Lost { stage, reason }));
        }
    }

    /// Nix asks for what is ready, as far as it looks ahead.
    fn ask_for_more(&mut self) {
        while self.ways.window.is_none_or(|window| self.open < window) {
            let Some((_, build)) = self.ready.pop_first() else { return };
            self.open += 1;
            self.tell(Event::Requested(RequestId(build as u64), self.ask(build)));
        }
    }

    fn tell(&mut self, event: Event) {
        for effect in self.state.step(event, self.now) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::WakeAt(at) => self.wake = Some(at),
            Effect::Probe(name) => self.answer_probe(name),
            Effect::Ping(name) => {
                // Round trips are told, not measured: nothing is no measurement.
                let answer = self.reachable(&name).map(|()| Duration::ZERO);
                self.after(ANSWERS_AFTER, Next::Tell(Box::new(Event::Pinged(name, answer))));
            }
            Effect::Cut(name, _) => {
                if let Some(builder) = self.names.get(&name).copied() {
                    self.lose(builder);
                }
            }
            Effect::Start { attempt, builder, requests, .. } => self.start(attempt, &builder, &requests),
            Effect::Cancel(attempt) => {
                if let Some(running) = self.running.remove(&attempt)
                    && running.stage == Stage::Building
                {
                    self.world.end(running.builder);
                }
                self.after(
                    ANSWERS_AFTER,
                    Next::Tell(Box::new(Event::Ended(attempt, AttemptOutcome::Cancelled))),
                );
            }
            Effect::Answer(request, answer) => self.answer(request, answer),
            Effect::Prefetch { build, builder } => self.prefetch(build, &builder),
            Effect::EndPrefetch { build, builder } => {
                if let Some(builder) = self.names.get(&builder).copied() {
                    self.end_prefetch(build, builder);
                }
            }
            Effect::Join(..)
            | Effect::Say(..)
            | Effect::Wait(..)
            | Effect::Forget(_)
            | Effect::Measure(_)
            | Effect::Learned(_)
            | Effect::FleetChanged
            | Effect::Drained => {}
        }
    }

    fn reachable(&self, name: &BuilderName) -> Result<(), String> {
        let there = self.names.get(name).is_some_and(|builder| self.away[*builder] == 0);
        if there { Ok(()) } else { Err("connection refused".to_owned()) }
    }

    fn answer_probe(&mut self, name: BuilderName) {
        let Some(builder) = self.names.get(&name).copied() else { return };
        let answer = self.reachable(&name).map(|()| self.capabilities(builder));
        // The first probe is answered before the run begins.
        if self.answered + self.open > 0 {
            self.after(ANSWERS_AFTER, Next::Tell(Box::new(Event::Probed(name, answer))));
        }
    }

    fn start(&mut self, attempt: AttemptId, name: &BuilderName, requests: &[RequestId]) {
        let builder = self.names.get(name).copied();
        let build = requests.first().and_then(|request| usize::try_from(request.0).ok());
        let (Some(builder), Some(build)) = (builder, build) else { return };
        self.outcome.attempts += 1;
        if self.away[builder] > 0 {
            let reason = "connection refused".to_owned();
            let lost = AttemptOutcome::Lost { stage: Stage::Preparing, reason };
            self.after(ANSWERS_AFTER, Next::Tell(Box::new(Event::Ended(attempt, lost))));
            return;
        }
        let now = self.seconds();
        let sent = self.world.send(build, builder, now) - now;
        let takes = sent + self.plan.work(build, builder) + self.plan.fetch(build, builder);
        self.running.insert(attempt, Running { build, builder, stage: Stage::Preparing, takes });
        self.after(0.0, Next::Reach { attempt, stage: Stage::Uploading });
        self.after(sent, Next::Reach { attempt, stage: Stage::Building });
    }

    fn prefetch(&mut self, build: BuildId, name: &BuilderName) {
        let request = self.state.asked_by(build).first().and_then(|request| usize::try_from(request.0).ok());
        let (Some(&builder), Some(what)) = (self.names.get(name), request) else { return };
        if self.away[builder] == 0 {
            self.prefetches.insert((build, builder), what);
            let now = self.seconds();
            let takes = self.world.send(what, builder, now) - now;
            self.after(takes, Next::Arrive { build, builder });
        }
    }

    /// It stops where nothing else waits for the link.
    fn end_prefetch(&mut self, build: BuildId, builder: usize) {
        let sends = |running: &Running| {
            running.builder == builder && matches!(running.stage, Stage::Preparing | Stage::Uploading)
        };
        if self.prefetches.remove(&(build, builder)).is_some() && !self.running.values().any(sends) {
            self.world.stop_sending(builder, self.seconds());
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let Some(build) = usize::try_from(request.0).ok() else { return };
        (self.open, self.answered) = (self.open - 1, self.answered + 1);
        let why = match answer {
            Answer::Result { result, .. } if result.status == BuildStatus::Built => None,
            Answer::Result { result, .. } => Some(result.error.clone()),
            Answer::Impossible(why) => Some(why),
        };
        if let Some(why) = why {
            self.stuck = Some(Stuck::GivenUp(self.plan.builds[build].drv.to_string(), why));
        }
        for user in &self.plan.users[build] {
            self.left[*user] -= 1;
            if self.left[*user] == 0 {
                self.ready.insert(named(self.plan, *user));
            }
        }
    }

    fn ask(&self, build: usize) -> Ask {
        let recorded = &self.plan.builds[build];
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(build as u64).to_le_bytes());
        Ask {
            drv: recorded.drv.clone(),
            digest,
            system: recorded.system.clone(),
            pname: recorded.pname.clone(),
            label: None,
            features: recorded.features.clone(),
            closure: Arc::clone(&self.closures[build]),
            unsigned: None,
            client: Client::default(),
            check: false,
        }
    }

    fn capabilities(&self, builder: usize) -> Capabilities {
        let recorded = &self.plan.builders[builder];
        Capabilities {
            systems: recorded.systems.keys().cloned().collect(),
            features: recorded.features.clone(),
            mandatory: BTreeSet::new(),
            slots: Slots::new(recorded.slots).unwrap_or(Slots::MIN),
            speed_factor: 1.0,
            cores: recorded.cores,
            memory: None,
            trust: Trust::Trusted,
            nix_version: None,
            measured: None,
        }
    }

    fn measurements(&self, builder: usize) -> Vec<Measurement> {
        let recorded = &self.plan.builders[builder];
        let cpu =
            |(system, score): (&_, &f64)| Measurement::Cpu { system: Clone::clone(system), score: *score };
        let mut all: Vec<_> = recorded.systems.iter().map(cpu).collect();
        let bytes = 100_000_000;
        let took = Duration::from_secs_f64(1e8 / recorded.link);
        all.push(Measurement::Link { sent: true, bytes, took });
        all.push(Measurement::RoundTrip(Duration::from_secs_f64(recorded.rtt_ms / 1e3)));
        all
    }

    fn graph(&self) -> Vec<GraphNode> {
        let node = |build: &crate::wire::recording::RecordedBuild| GraphNode {
            drv: build.drv.hash(),
            pname: build.pname.clone(),
            system: build.system.clone(),
            needs: build.needs.iter().map(StorePath::hash).collect(),
        };
        self.plan.builds.iter().map(node).collect()
    }

    fn observations(&self, spread: f64) -> Vec<Observation> {
        let mut rng = Rng::with_seed(self.ways.seed ^ 0x0b5e);
        let observation = |build: usize| Observation {
            pname: self.plan.builds[build].pname.clone(),
            system: self.plan.builds[build].system.clone(),
            builder: self.plan.builders[0].name.clone(),
            speed: 1.0,
            closure_bytes: self.closures[build].iter().map(|input| input.bytes).sum(),
            cores: None,
            took: Duration::from_secs_f64(
                self.plan.builds[build].seconds * (spread * (2.0 * rng.f64() - 1.0)).exp(),
            ),
            substituted: false,
            at: 0,
        };
        (0..self.plan.builds.len()).map(observation).collect()
    }
}

/// Its sources, and the outputs that it needs.
fn closure(plan: &Plan, build: usize) -> Arc<[Input]> {
    let sources = plan.builds[build].input_bytes;
    let path = StorePath::from_base_name(&format!("s{build:031}-source")).ok();
    let sources = path.filter(|_| sources > 0).map(|path| Input { path: path.hash(), bytes: sources });
    let input = |need: &usize| Input { path: output(plan, *need), bytes: plan.builds[*need].output_bytes };
    let needed = plan.needs[build].iter().map(input);
    sources.into_iter().chain(needed).collect()
}

/// The derivation's hash stands for its outputs.
fn output(plan: &Plan, build: usize) -> StoreHash {
    plan.builds[build].drv.hash()
}

fn named(plan: &Plan, build: usize) -> (&str, usize) {
    (plan.builds[build].drv.name(), build)
}
