//! Random fleets, builds and mishaps in virtual time, watched by a referee that knows only events and effects.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::domain::{BuildId, Demand, Grant, GraphNode, Load, Measurement};

/// From then on every machine is idle and every slot granted, in seconds.
const CALM: u64 = 450;

/// What will happen, in the order of its time.
type Agenda = BTreeMap<(Time, u64), Event>;

/// A machine as it really is.
struct Machine {
    caps: Capabilities,
    known: bool,
    /// Refuses connections until then.
    dead_until: Time,
    /// Answers nothing until then; its attempts stand still.
    mute_until: Time,
    /// What its agent said last.
    grant: Grant,
    pressure: f64,
    /// Builds that may use kvm at once.
    most_kvm: Option<u32>,
}

/// An attempt as it really is.
struct Run {
    builder: BuilderName,
    kvm: bool,
    fetching: bool,
    cancelled: bool,
}

struct Simulation {
    rng: Rng,
    state: State,
    now: Time,
    wake: Option<Time>,
    agenda: Agenda,
    sequence: u64,
    machines: BTreeMap<BuilderName, Machine>,
    runs: BTreeMap<AttemptId, Run>,
    ever: BTreeSet<AttemptId>,
    forgotten: BTreeSet<BuildId>,
    /// Whose inputs travel where.
    ahead: BTreeMap<BuilderName, BuildId>,
    asks: BTreeMap<RequestId, Ask>,
    open: BTreeSet<RequestId>,
    answered: BTreeSet<RequestId>,
    last_answer: Time,
    mishaps: u32,
    log: Vec<String>,
}

impl Simulation {
    fn new(seed: u64, builders: u64, builds: u64, mishaps: u32) -> Self {
        let mut simulation = Self {
            rng: Rng::with_seed(seed),
            state: State::new(Settings { seed, ..Settings::default() }),
            now: Time::ZERO,
            wake: None,
            agenda: Agenda::new(),
            sequence: 0,
            machines: BTreeMap::new(),
            runs: BTreeMap::new(),
            ever: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            ahead: BTreeMap::new(),
            asks: BTreeMap::new(),
            open: BTreeSet::new(),
            answered: BTreeSet::new(),
            last_answer: Time::ZERO,
            mishaps,
            log: Vec::new(),
        };
        (0..builders).for_each(|number| simulation.plan_builder(number));
        (0..builds).for_each(|number| simulation.plan_request(number, builds));
        simulation.plan_nonsense();
        (0..builds / 4).for_each(|_| simulation.plan_graph(builds));
        (0..builders * 4).for_each(|_| simulation.plan_news(builders));
        for builder in simulation.machines.keys().cloned().collect::<Vec<_>>() {
            let calm = Time::after_start(Duration::from_secs(CALM));
            simulation.put_off(calm, Event::Claimed(builder.clone(), Grant::default()));
            simulation.put_off(calm, Event::Loaded(builder, Load::default()));
        }
        simulation
    }

    fn after(&mut self, most_seconds: f64, event: Event) {
        let at = self.now + Duration::from_secs_f64(self.rng.f64() * most_seconds);
        self.sequence += 1;
        self.agenda.insert((at, self.sequence), event);
    }

    /// The first machine can do everything and comes at once; the others are random, and may go and come.
    fn plan_builder(&mut self, number: u64) {
        let builder = format!("b{number}");
        let mut caps = caps(self.rng.u32(1..=4));
        if number == 0 || self.rng.bool() {
            caps.systems.insert(system(ARM));
            caps.features.extend(features(&["kvm"]));
        }
        caps.speed_factor = 0.5 + self.rng.f64();
        let mut spec = spec(&builder);
        let most_kvm = self.rng.bool().then(|| self.rng.u32(1..=2));
        spec.consumables.extend(
            most_kvm
                .into_iter()
                .flat_map(|most| features(&["kvm"]).into_iter().map(move |feature| (feature, most))),
        );
        let machine = Machine {
            caps,
            known: false,
            dead_until: Time::ZERO,
            mute_until: Time::ZERO,
            grant: Grant::default(),
            pressure: 0.0,
            most_kvm,
        };
        self.machines.insert(name(&builder), machine);
        self.after(if number == 0 { 1.0 } else { 60.0 }, Event::Found(spec.clone()));
        if number > 0 && self.rng.u8(..4) == 0 {
            self.after(200.0, Event::Vanished(name(&builder)));
            self.after(400.0, Event::Found(spec));
        }
    }

    /// What machines and their agents say, be it true or absurd.
    fn plan_news(&mut self, builders: u64) {
        let builder = name(&format!("b{}", self.rng.u64(..builders + 1)));
        let score = *self.rng.choice(&[0.05, 0.7, 1.0, 4.0, 0.0, f64::NAN, 1e12]).expect("some");
        let took =
            Duration::from_secs_f64(self.rng.f64() * *self.rng.choice(&[1e-9, 1.0, 1e6]).expect("some"));
        let bytes = *self.rng.choice(&[0, 5_000_000, 1_000_000_000, u64::MAX]).expect("some");
        let system = system(self.rng.choice(&[X86, ARM]).expect("some"));
        let event = match self.rng.u8(..6) {
            0 => Event::Measured(builder, Measurement::Cpu { system, score }),
            1 => Event::Measured(builder, Measurement::Link { sent: self.rng.bool(), bytes, took }),
            2 => Event::Measured(builder, Measurement::RoundTrip(took)),
            3 => {
                let memory = *self.rng.choice(&[0.0, 9.9, 10.0, 80.0, f64::NAN]).expect("some");
                Event::Loaded(builder, Load { memory: Some(memory), ..Load::default() })
            }
            _ => {
                let closed = (self.rng.u8(..4) == 0).then(|| "its owner".to_owned());
                let bears = self.rng.bool().then(|| self.rng.u32(..8));
                Event::Claimed(builder, Grant { slots: Some(self.rng.u32(..4)), bears, closed })
            }
        };
        self.after(400.0, event);
    }

    /// Pieces of a graph, cycles included.
    fn plan_graph(&mut self, builds: u64) {
        let node = |rng: &mut Rng| GraphNode {
            drv: hash(rng.u64(..=builds)),
            pname: "thing".to_owned(),
            system: system(X86),
            needs: (0..rng.u8(..4)).map(|_| hash(rng.u64(..=builds))).collect(),
        };
        let nodes = (0..self.rng.u8(..6)).map(|_| node(&mut self.rng)).collect();
        self.after(120.0, Event::Graph(nodes));
    }

    fn plan_request(&mut self, number: u64, builds: u64) {
        let mut ask = ask(self.rng.u64(0..=builds * 3 / 4));
        ask.client = Client { uid: self.rng.u32(0..2), pid: self.rng.u32(0..4) };
        ask.check = self.rng.u8(..20) == 0;
        if ask.digest[0].is_multiple_of(3) {
            ask.system = system(ARM);
        }
        if ask.digest[0].is_multiple_of(5) {
            ask.features = features(&["kvm"]);
        }
        ask.closure = closure(&[(self.rng.u64(..9), 300_000_000), (self.rng.u64(..9), 2_000_000_000)]);
        let request = RequestId(number);
        self.asks.insert(request, ask.clone());
        self.after(120.0, Event::Requested(request, ask));
        if self.rng.u8(..6) == 0 {
            self.after(300.0, Event::Withdrawn(request));
        }
    }

    /// Late, doubled and meaningless events.
    fn plan_nonsense(&mut self) {
        for _ in 0..20 {
            let builder = name(&format!("b{}", self.rng.u8(..25)));
            let attempt =
                AttemptId { build: BuildId(self.rng.u64(..9_999) + 5_000), number: self.rng.u32(..3) };
            let event = match self.rng.u8(..9) {
                0 => Event::Woke,
                7 => Event::LinkDown(vec![builder]),
                8 => Event::LinkUp,
                1 => Event::Pinged(builder, Ok(Duration::ZERO)),
                2 => Event::Present(builder, vec![hash(self.rng.u64(..9))]),
                3 => Event::Ended(attempt, lost()),
                4 => Event::Reached(attempt, Stage::Fetching),
                5 => Event::Withdrawn(RequestId(99_999)),
                _ => Event::Probed(builder, Err("too late".to_owned())),
            };
            self.after(400.0, event);
        }
    }

    fn run(&mut self, hours: u64) {
        let end = Time::after_start(Duration::from_secs(hours * 3_600));
        let mut idle = 0;
        while self.now < end && !(self.agenda.is_empty() && self.open.is_empty() && self.runs.is_empty()) {
            let next = self.agenda.first_key_value().map(|(key, _)| *key);
            let wake = self.wake.map(|at| (at.max(self.now), 0));
            match (next, wake) {
                (Some(next), wake) if wake.is_none_or(|wake| next < wake) => {
                    self.now = next.0;
                    let event = self.agenda.remove(&next).expect("it is there");
                    self.happen(event);
                }
                (_, Some((at, _))) => {
                    idle = if at == self.now { idle + 1 } else { 0 };
                    assert!(idle < 1_000, "it never sleeps");
                    self.now = at;
                    self.wake = None;
                    self.step(Event::Woke);
                }
                _ => return,
            }
        }
    }

    /// An event reaches the policy if the world still allows it.
    fn happen(&mut self, event: Event) {
        match &event {
            Event::Requested(request, _) => drop(self.open.insert(*request)),
            Event::Withdrawn(request) => drop(self.open.remove(request)),
            Event::Found(spec) => {
                let rows = self.state.snapshot(self.now).builders;
                let machine = self.machines.get_mut(&spec.name).expect("a machine");
                machine.known = true;
                if !rows.iter().any(|row| row.name == spec.name) {
                    // What was known of it was forgotten with it.
                    (machine.grant, machine.pressure) = (Grant::default(), 0.0);
                }
            }
            Event::Vanished(builder) => {
                self.machines.get_mut(builder).expect("a machine").known = false;
            }
            // Nobody hears agents of machines that no source knows.
            Event::Loaded(builder, _) | Event::Claimed(builder, _)
                if self.machines.get(builder).is_some_and(|machine| !machine.known) =>
            {
                return;
            }
            Event::Reached(attempt, stage) => {
                let mute = self.mute_until(*attempt);
                let Some(run) = self.runs.get_mut(attempt) else { return self.step(event) };
                if mute > self.now {
                    return self.put_off(mute, event);
                }
                run.fetching |= *stage == Stage::Fetching;
            }
            Event::Ended(attempt, outcome) => {
                let mute = self.mute_until(*attempt);
                if mute > self.now
                    && !matches!(outcome, AttemptOutcome::Lost { .. } | AttemptOutcome::Cancelled)
                {
                    return self.put_off(mute, event);
                }
                self.runs.remove(attempt);
            }
            Event::Loaded(builder, load) => match self.machines.get_mut(builder) {
                Some(machine) if machine.mute_until.max(machine.dead_until) > self.now => {
                    let until = machine.mute_until.max(machine.dead_until);
                    return self.put_off(until, event);
                }
                Some(machine) => machine.pressure = load.memory.unwrap_or(0.0),
                None => {}
            },
            Event::Claimed(builder, grant) => {
                if let Some(machine) = self.machines.get_mut(builder) {
                    machine.grant = grant.clone();
                }
            }
            _ => {}
        }
        self.step(event);
    }

    fn mute_until(&self, attempt: AttemptId) -> Time {
        self.runs.get(&attempt).map_or(Time::ZERO, |run| self.machines[&run.builder].mute_until)
    }

    fn put_off(&mut self, until: Time, event: Event) {
        self.sequence += 1;
        self.agenda.insert((until, self.sequence), event);
    }

    fn step(&mut self, event: Event) {
        let effects = self.state.step(event, self.now);
        for effect in effects {
            self.log.push(format!("{:?} {effect:?}", self.now));
            self.carry_out(effect);
        }
        self.check_slots();
        assert!(self.ahead.values().all(|build| !self.forgotten.contains(build)), "its inputs travel still");
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::WakeAt(at) => self.wake = Some(at),
            Effect::Probe(builder) => self.answer_probe(builder),
            Effect::Ping(builder) => self.answer_ping(builder),
            Effect::Cut(builder, _) => self.lose_all(&builder),
            Effect::Start { attempt, builder, requests, cores: _ } => self.begin(attempt, builder, &requests),
            Effect::Join(request, attempt) => {
                assert!(self.open.contains(&request) && self.runs.contains_key(&attempt));
            }
            Effect::Cancel(attempt) => {
                let run = self.runs.get_mut(&attempt).expect("a running attempt is cancelled");
                assert!(!std::mem::replace(&mut run.cancelled, true), "cancelled twice");
                self.after(1.0, Event::Ended(attempt, AttemptOutcome::Cancelled));
            }
            Effect::Answer(request, _) => {
                assert!(self.open.remove(&request), "{request:?} was not open");
                assert!(self.answered.insert(request), "{request:?} was answered twice");
                self.last_answer = self.now;
            }
            Effect::Say(request, line) | Effect::Wait(request, line) => {
                assert!(self.open.contains(&request), "{request:?} hears {line}");
            }
            Effect::Forget(build) => {
                assert!(self.forgotten.insert(build));
                assert!(self.runs.keys().all(|attempt| attempt.build != build));
            }
            Effect::FleetChanged | Effect::Measure(_) | Effect::Learned(_) => {}
            Effect::Prefetch { build, builder } => {
                assert!(self.machines[&builder].known, "inputs travel to {builder}, which is gone");
                assert_eq!(self.ahead.insert(builder, build), None, "one at a time");
            }
            Effect::EndPrefetch { build, builder } => {
                assert_eq!(self.ahead.remove(&builder), Some(build), "it has begun");
            }
            Effect::Drained => panic!("nobody drains"),
        }
    }

    fn answer_probe(&mut self, builder: BuilderName) {
        let machine = &self.machines[&builder];
        if machine.mute_until > self.now {
            return;
        }
        let dead = machine.dead_until > self.now;
        let answer = if dead { Err("connection refused".to_owned()) } else { Ok(machine.caps.clone()) };
        self.after(2.0, Event::Probed(builder, answer));
    }

    fn answer_ping(&mut self, builder: BuilderName) {
        let machine = &self.machines[&builder];
        if machine.mute_until > self.now {
            let late = machine.mute_until;
            self.put_off(late, Event::Pinged(builder, Ok(Duration::ZERO)));
        } else if machine.dead_until > self.now {
            self.after(1.0, Event::Pinged(builder, Err("connection reset".to_owned())));
        } else {
            self.after(0.2, Event::Pinged(builder, Ok(Duration::ZERO)));
        }
    }

    fn lose_all(&mut self, builder: &BuilderName) {
        let on: Vec<_> =
            self.runs.iter().filter(|(_, run)| run.builder == *builder).map(|(id, _)| *id).collect();
        on.into_iter().for_each(|attempt| self.after(0.5, Event::Ended(attempt, lost())));
    }

    fn begin(&mut self, attempt: AttemptId, builder: BuilderName, requests: &[RequestId]) {
        assert!(self.ever.insert(attempt), "{attempt} started twice");
        assert!(!requests.is_empty() && requests.iter().all(|request| self.open.contains(request)));
        let machine = &self.machines[&builder];
        let ask = &self.asks[&requests[0]];
        assert!(machine.known && machine.caps.systems.contains(&ask.system), "{builder} cannot build it");
        assert!(ask.features.is_subset(&machine.caps.features));
        let rows = self.state.snapshot(self.now).builders;
        let row = rows.iter().find(|row| row.name == builder).expect("a known builder");
        assert_eq!(row.health, HealthWord::Healthy);
        self.check_admission(machine, &builder, ask);
        if self.ahead.get(&builder) == Some(&attempt.build) {
            self.ahead.remove(&builder);
        }
        let kvm = !ask.features.is_empty();
        self.runs.insert(attempt, Run { builder: builder.clone(), kvm, fetching: false, cancelled: false });
        let outcome = self.outcome(&builder);
        for event in [
            Event::Reached(attempt, Stage::Uploading),
            Event::Reached(attempt, Stage::Building),
            Event::Reached(attempt, Stage::Fetching),
            Event::Ended(attempt, outcome),
        ] {
            self.after(30.0, event.clone());
            if self.rng.u8(..10) == 0 {
                self.after(60.0, event);
            }
        }
    }

    /// A success, or a mishap while there are mishaps left.
    fn outcome(&mut self, builder: &BuilderName) -> AttemptOutcome {
        if self.mishaps == 0 || self.rng.u8(..3) > 0 {
            return done();
        }
        self.mishaps -= 1;
        let until = self.now + Duration::from_secs_f64(self.rng.f64() * 150.0);
        let kind = self.rng.u8(..9);
        let machine = self.machines.get_mut(builder).expect("a machine");
        match kind {
            0 => machine.mute_until = until,
            1 => {
                machine.dead_until = until;
                self.lose_all(builder);
            }
            _ => {}
        }
        match kind {
            0 | 1 => done(),
            2 => failed(BuildStatus::PermanentFailure, "exit code 1"),
            3 => failed(BuildStatus::MiscFailure, "No space left on device"),
            4 => failed(BuildStatus::TransientFailure, "unclear"),
            5 => AttemptOutcome::Refused {
                stage: Stage::Preparing,
                message: "path 'x' is not valid".to_owned(),
            },
            6 => AttemptOutcome::BadOutput { path: path(1), reason: "its hash differs".to_owned() },
            7 => AttemptOutcome::LocalError { stage: Stage::Fetching, message: "locked".to_owned() },
            _ => lost(),
        }
    }

    /// What its agent and its memory allow, before one more begins.
    fn check_admission(&self, machine: &Machine, builder: &BuilderName, ask: &Ask) {
        let there = || self.runs.values().filter(|run| run.builder == *builder && !run.fetching);
        let granted = machine.grant.slots.unwrap_or(u32::MAX) as usize;
        assert!(there().count() < granted, "{builder} grants {granted}");
        assert_eq!(machine.grant.closed, None, "{builder} is closed");
        // A machine that does nothing can always begin something.
        let short = machine.pressure >= 10.0 && there().count() > 0;
        assert!(!short, "{builder} is short of memory");
        if let (Some(most), false) = (machine.most_kvm, ask.features.is_empty()) {
            let uses = there().filter(|run| run.kvm).count();
            assert!(uses < most as usize, "{builder} has kvm for {most}");
        }
    }

    fn check_slots(&self) {
        let mut busy = BTreeMap::<_, u32>::new();
        for run in self.runs.values().filter(|run| !run.fetching) {
            *busy.entry(&run.builder).or_default() += 1;
        }
        for (builder, busy) in busy {
            assert!(busy <= self.machines[builder].caps.slots.get(), "{builder} is over its slots");
        }
    }
}

/// Each request is answered once, in time, and nothing is left.
fn all_is_answered(seed: u64, builders: u64, builds: u64, mishaps: u32) -> Result<(), TestCaseError> {
    let mut simulation = Simulation::new(seed, builders, builds, mishaps);
    let before = simulation.state.size();
    simulation.run(6);
    prop_assert_eq!(&simulation.open, &BTreeSet::new(), "unanswered after six hours");
    // No slot is held for more than 30 s, no mishap keeps a builder away for longer than five minutes, and from the calm
    // on one builder could do it all alone.
    let bound = CALM + 60 + 30 * (builds + u64::from(mishaps)) + 300 * u64::from(mishaps);
    let last = simulation.last_answer.since_start().as_secs();
    prop_assert!(last <= bound, "the last answer came after {} s, not {}", last, bound);
    prop_assert!(simulation.runs.is_empty());
    prop_assert!(simulation.ahead.is_empty(), "inputs travel for nobody");
    for builder in simulation.machines.keys() {
        let Demand { running, wanted, .. } = simulation.state.demand(builder);
        prop_assert_eq!((running, wanted), (0, 0), "nothing is claimed for nobody");
    }
    prop_assert_eq!(simulation.state.size(), before);
    let ever = simulation.ever.iter().map(|a| a.build).chain(simulation.forgotten.clone());
    prop_assert_eq!(simulation.forgotten.len(), ever.collect::<BTreeSet<_>>().len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(75))]

    // Two tests, which two processors share.
    #[test]
    fn whatever_happens_to_few_builders_each_request_is_answered_once_and_nothing_is_left(
        seed: u64, builders in 1_u64..=10, builds in 1_u64..=200, mishaps in 0_u32..60,
    ) {
        all_is_answered(seed, builders, builds, mishaps)?;
    }

    #[test]
    fn whatever_happens_to_many_builders_each_request_is_answered_once_and_nothing_is_left(
        seed: u64, builders in 11_u64..=20, builds in 1_u64..=200, mishaps in 0_u32..60,
    ) {
        all_is_answered(seed, builders, builds, mishaps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_same_seed_has_the_same_effects(seed: u64, builders in 1_u64..6, builds in 1_u64..30) {
        let log = || {
            let mut simulation = Simulation::new(seed, builders, builds, 10);
            simulation.run(1);
            simulation.log
        };
        prop_assert_eq!(log(), log());
    }
}
