//! How long the policy thinks. Run it with `cargo test --release --test policy_speed -- --ignored --nocapture`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::domain::{
    AttemptId, AttemptOutcome, BuildResult, BuildStatus, BuilderName, BuilderSpec, Capabilities, Client,
    RequestId, Slots, Stage, StorePath, System, Time, Trust,
};
use muster::policy::{Ask, Effect, Event, Input, Settings, State};

const BUILDERS: u64 = 200;
const SLOTS: u32 = 4;
const QUEUED: u64 = 2_000;
const BUILDS: u64 = 20_000;

fn path(number: u64) -> StorePath {
    StorePath::from_base_name(&format!("{number:032}-thing.drv")).expect("a path")
}

fn spec(number: u64) -> BuilderSpec {
    BuilderSpec::named(BuilderName::parse(&format!("b{number}")).expect("a name"))
}

fn caps() -> Capabilities {
    Capabilities {
        systems: BTreeSet::from([System::parse("x86_64-linux").expect("a system")]),
        features: BTreeSet::new(),
        mandatory: BTreeSet::new(),
        slots: Slots::new(SLOTS).expect("slots"),
        speed_factor: 1.0,
        cores: None,
        memory: None,
        trust: Trust::Trusted,
        nix_version: None,
        measured: None,
    }
}

/// Seven clients, closures of 300 paths that overlap.
fn ask(number: u64) -> Ask {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    let input = |index: u64| Input { path: path(number % 40 + index).hash(), bytes: 1_000_000 };
    Ask {
        pname: "thing".to_owned(),
        label: None,
        drv: path(number),
        digest,
        system: System::parse("x86_64-linux").expect("a system"),
        features: BTreeSet::new(),
        closure: (0..300).map(input).collect::<Arc<[_]>>(),
        unsigned: None,
        client: Client { uid: 0, pid: u32::try_from(number % 7).expect("small") },
        check: false,
    }
}

struct Bench {
    state: State,
    now: Time,
    running: Vec<AttemptId>,
    times: Vec<Duration>,
}

impl Bench {
    fn step(&mut self, event: Event) {
        let before = Instant::now();
        let effects = self.state.step(event, self.now);
        self.times.push(before.elapsed());
        for effect in effects {
            match effect {
                Effect::Start { attempt, .. } => self.running.push(attempt),
                Effect::Probe(builder) => self.step(Event::Probed(builder, Ok(caps()))),
                Effect::Ping(builder) => self.step(Event::Pinged(builder, Ok(()))),
                _ => {}
            }
        }
    }

    fn finish_one(&mut self, number: u64) {
        let index = usize::try_from(number * 7_919).expect("small") % self.running.len();
        let attempt = self.running.swap_remove(index);
        self.step(Event::Reached(attempt, Stage::Building));
        self.step(Event::Reached(attempt, Stage::Fetching));
        let lost = AttemptOutcome::Lost { stage: Stage::Fetching, reason: "connection closed".to_owned() };
        let done = AttemptOutcome::Done(BuildResult::verdict(BuildStatus::Built, ""));
        self.step(Event::Ended(attempt, if number.is_multiple_of(50) { lost } else { done }));
    }
}

/// DESIGN 11: 200 builders and 2,000 queued builds, 99 of 100 steps below 1 ms.
#[test]
#[ignore = "measures; of meaning in a release build on a quiet machine only"]
fn a_step_with_200_builders_and_2000_queued_builds_takes_less_than_a_millisecond() {
    let state = State::new(Settings::default());
    let mut bench = Bench { state, now: Time::ZERO, running: Vec::new(), times: Vec::new() };
    (0..BUILDERS).for_each(|number| bench.step(Event::Found(spec(number))));
    for number in 0..BUILDS {
        bench.now = bench.now + Duration::from_millis(10);
        bench.step(Event::Woke);
        bench.step(Event::Requested(RequestId(number), ask(number)));
        if number >= BUILDERS * u64::from(SLOTS) + QUEUED {
            bench.finish_one(number);
        }
    }
    bench.times.sort();
    let at = |thousandths: usize| bench.times[(bench.times.len() - 1) * thousandths / 1_000];
    println!("{} steps: median {:?}, p99 {:?}, longest {:?}", bench.times.len(), at(500), at(990), at(1_000));
    assert!(at(990) < Duration::from_millis(1));
}
