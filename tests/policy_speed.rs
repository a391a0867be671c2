//! How long the policy thinks. Run it with `cargo test --release --test policy_speed -- --ignored --nocapture`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::domain::{
    AttemptId, AttemptOutcome, BuildResult, BuildStatus, BuilderName, BuilderSpec, Capabilities, Client,
    Measurement, Observation, RequestId, Slots, Stage, StorePath, System, Time, Trust,
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

fn system() -> System {
    System::parse("x86_64-linux").expect("a system")
}

fn seen() -> Observation {
    Observation {
        pname: "thing".to_owned(),
        system: system(),
        builder: spec(0).name,
        speed: 1.0,
        closure_bytes: 300_000_000,
        cores: None,
        took: Duration::from_secs(20),
        substituted: false,
        at: 0,
    }
}

struct Bench {
    state: State,
    now: Time,
    running: Vec<AttemptId>,
    times: Vec<Duration>,
    /// One of so many attempts is lost.
    lost: u64,
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
                Effect::Ping(builder) => self.step(Event::Pinged(builder, Ok(Duration::ZERO))),
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
        self.step(Event::Ended(attempt, if number.is_multiple_of(self.lost) { lost } else { done }));
    }
}

/// Builders of two speeds, so that some are worth waiting for, and links that are known; builds whose like was seen.
fn bench(builders: u64, settings: Settings, lost: u64) -> Bench {
    let state = State::new(settings);
    let mut bench = Bench { state, now: Time::ZERO, running: Vec::new(), times: Vec::new(), lost };
    for number in 0..builders {
        let name = spec(number).name;
        bench.step(Event::Found(spec(number)));
        let score = if number.is_multiple_of(3) { 0.4 } else { 1.0 };
        bench.step(Event::Measured(name.clone(), Measurement::Cpu { system: system(), score }));
        let took = Duration::from_millis(500);
        bench.step(Event::Measured(name, Measurement::Link { sent: true, bytes: 100_000_000, took }));
    }
    bench.step(Event::Recalled(vec![seen()]));
    bench
}

impl Bench {
    /// One build more, and one less once the slots and the queue are full.
    fn pass(&mut self, number: u64, builders: u64) {
        self.now = self.now + Duration::from_millis(10);
        self.step(Event::Woke);
        self.step(Event::Requested(RequestId(number), ask(number)));
        if number >= builders * u64::from(SLOTS) + QUEUED {
            self.finish_one(number);
        }
    }
}

/// 200 builders and 2,000 queued builds: 99 of 100 steps below 1 ms.
#[test]
#[ignore = "measures; of meaning in a release build on a quiet machine only"]
fn a_step_with_200_builders_and_2000_queued_builds_takes_less_than_a_millisecond() {
    let mut bench = bench(BUILDERS, Settings::default(), 50);
    (0..BUILDS).for_each(|number| bench.pass(number, BUILDERS));
    bench.times.sort();
    let at = |thousandths: usize| bench.times[(bench.times.len() - 1) * thousandths / 1_000];
    println!("{} steps: median {:?}, p99 {:?}, longest {:?}", bench.times.len(), at(500), at(990), at(1_000));
    assert!(at(990) < Duration::from_millis(1));
}

/// 1,000 builders and 60,000 builds take time in proportion, and 200 MB.
#[test]
#[ignore = "measures; of meaning in a release build on a quiet machine only"]
fn a_thousand_builders_and_sixty_thousand_builds_stay_linear_and_within_200_megabytes() {
    const MANY: u64 = 1_000;
    let before = resident();
    let seldom = Duration::from_secs(60);
    let settings = Settings { ping_every: seldom, silent_after: 3 * seldom, ..Settings::default() };
    let mut bench = bench(MANY, settings, 5_000);
    let mut thirds = Vec::new();
    for third in 0..3 {
        bench.times.clear();
        (third * 20_000..(third + 1) * 20_000).for_each(|number| bench.pass(number, MANY));
        thirds.push(bench.times.iter().sum::<Duration>());
    }
    let grown = (resident() - before) / 1_000_000;
    println!("20,000 builds each: {thirds:?}; {grown} MB");
    assert!(thirds[2] < thirds[1].mul_f64(1.3), "{thirds:?}");
    assert!(grown <= 200, "{grown} MB");
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kibibytes * 1_024
}
