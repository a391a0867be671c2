use super::*;
use crate::domain::{BuildId, Measurement, Observation};
use crate::policy::Reason;

fn fast_and_slow(fast: f64, slow: f64) -> World {
    let mut world = World::new();
    world.add("fast", Capabilities { speed_factor: fast, ..caps(1) });
    world.add("slow", Capabilities { speed_factor: slow, ..caps(1) });
    world.take();
    world
}

fn seen(seconds: u64) -> Observation {
    Observation {
        pname: "thing".to_owned(),
        system: system(X86),
        builder: name("fast"),
        speed: 1.0,
        closure_bytes: 1,
        cores: None,
        took: Duration::from_secs(seconds),
        substituted: false,
        at: 0,
    }
}

fn cpu(score: f64) -> Measurement {
    Measurement::Cpu { system: system(X86), score }
}

#[test]
fn a_build_waits_for_a_fast_builder_rather_than_start_on_a_very_slow_idle_one() {
    let mut world = fast_and_slow(1.0, 0.05);
    world.ask(1);
    let (first, builder) = world.one_start();
    assert_eq!(builder, "fast");
    world.ask(2);
    assert_eq!(world.started(), []);
    let placement = world.state.place(BuildId(2), world.now).expect("a placement");
    assert!(matches!(placement.reasons[0], (_, Reason::Awaited(_))), "{:?}", placement.reasons);
    assert!(matches!(placement.reasons[1], (_, Reason::Slower(_))), "{:?}", placement.reasons);
    world.end(first, done());
    assert_eq!(world.one_start().1, "fast");
}

#[test]
fn a_slow_builder_is_used_where_waiting_gains_little() {
    let mut world = fast_and_slow(1.0, 0.6);
    world.ask(1);
    world.ask(2);
    let started: Vec<_> = world.started().into_iter().map(|(_, builder)| builder).collect();
    assert_eq!(started, ["fast", "slow"]);
}

#[test]
fn of_many_that_wait_the_last_one_goes_to_the_slow_builder() {
    let mut world = fast_and_slow(1.0, 0.05);
    world.tell(Event::Recalled(vec![seen(10)]));
    (0..3).for_each(|number| {
        world.ask(number);
    });
    assert_eq!(world.started().len(), 1, "two that wait are done sooner on the fast one");
    let mut starts = Vec::new();
    for number in 3..100 {
        world.ask(number);
        starts.extend(world.started());
        if !starts.is_empty() {
            break;
        }
    }
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0].1, "slow");
    assert!(starts[0].0.build > BuildId(9), "not before about twenty would have to wait for each other");
}

/// Invocations with so many builds each on a fast builder and one at a fifth, both of which end one after the other: who
/// started, and where.
fn starts_of(counts: &[u64]) -> Vec<(u32, String)> {
    let mut world = fast_and_slow(1.0, 0.2);
    world.tell(Event::Recalled(vec![seen(10)]));
    let mut of = BTreeMap::new();
    for (pid, count) in (1..).zip(counts.iter().copied()) {
        for number in 0..count {
            let client = Client { uid: 0, pid };
            let request = world.request(Ask { client, ..ask(u64::from(pid) * 1_000 + number) });
            of.insert(request, pid);
        }
    }
    let mut starts = Vec::new();
    let mut running = BTreeMap::new();
    for turn in 0..100 {
        let started = |effect: Effect| match effect {
            Effect::Start { attempt, builder, requests, .. } => Some((attempt, builder, requests[0])),
            _ => None,
        };
        for (attempt, builder, request) in world.take().into_iter().filter_map(started) {
            starts.push((of[&request], builder.to_string()));
            running.insert(builder.to_string(), attempt);
        }
        let ends = if turn % 2 == 1 { "slow" } else { "fast" };
        if let Some(attempt) = running.remove(ends) {
            world.pass(2.0);
            world.end(attempt, done());
        }
    }
    starts
}

#[test]
fn slow_builders_are_nobodys_lot() {
    let starts = starts_of(&[100; 5]);
    let count = |pid, builder| starts.iter().filter(|start| **start == (pid, String::from(builder))).count();
    for builder in ["slow", "fast"] {
        let shares: Vec<_> = (1..=5).map(|pid| count(pid, builder)).collect();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert!(least > Some(&6) && most < Some(&14), "on {builder}: {shares:?}");
    }
}

#[test]
fn an_invocation_with_many_builds_uses_the_slow_builder_while_one_with_few_waits_for_the_fast_one() {
    let starts = starts_of(&[2, 100]);
    assert!(starts.contains(&(2, "slow".to_owned())), "{starts:?}");
    assert!(!starts.contains(&(1, "slow".to_owned())), "{starts:?}");
}

#[test]
fn nothing_unknown_is_sent_to_a_slow_builder_however_long_the_queue() {
    let mut world = fast_and_slow(1.0, 0.05);
    (0..200).for_each(|number| {
        world.ask(number);
    });
    assert_eq!(world.started().len(), 1);
}

#[test]
fn what_was_measured_of_a_builder_decides_and_what_the_user_said_wins_over_it() {
    let mut world = World::new();
    world.add("a", caps(1));
    world.add("b", caps(1));
    world.tell(Event::Measured(name("a"), cpu(0.5)));
    world.tell(Event::Measured(name("b"), cpu(1.0)));
    world.take();
    world.ask(1);
    assert_eq!(world.one_start().1, "b");
    let said = BuilderSpec { speed_factor: Some(4.0), ..spec("a") };
    world.tell(Event::Found(said));
    world.take();
    let (attempt, _) = (AttemptId { build: BuildId(1), number: 1 }, ());
    world.end(attempt, done());
    world.take();
    world.ask(2);
    assert_eq!(world.one_start().1, "a");
}

#[test]
fn a_native_builder_is_preferred_to_one_that_emulates() {
    let emulating = crate::domain::Measured { emulated: BTreeSet::from([system(ARM)]), ..Default::default() };
    let both = BTreeSet::from([system(X86), system(ARM)]);
    let mut world = World::new();
    world.add("a", Capabilities { systems: both.clone(), measured: Some(emulating.into()), ..caps(2) });
    world.add("b", Capabilities { systems: both, ..caps(2) });
    world.take();
    world.request(Ask { system: system(ARM), ..ask(1) });
    assert_eq!(world.one_start().1, "b");
}

#[test]
fn a_measured_link_decides_where_inputs_travel() {
    let mut world = World::of(2);
    let link = |rate: u64| Measurement::Link { sent: true, bytes: rate * 10, took: Duration::from_secs(10) };
    world.tell(Event::Measured(name("b1"), link(1_000_000)));
    world.tell(Event::Measured(name("b2"), link(100_000_000)));
    world.take();
    let closure = vec![Input { path: hash(900), bytes: 500_000_000 }].into();
    world.request(Ask { closure, ..ask(1) });
    assert_eq!(world.one_start().1, "b2");
}

#[test]
fn what_was_learned_of_a_package_says_whether_waiting_is_worth_it() {
    let mut world = fast_and_slow(1.0, 0.3);
    world.tell(Event::Recalled(vec![seen(600)]));
    world.ask(1);
    let (first, _) = world.one_start();
    world.tell(Event::Reached(first, Stage::Building));
    world.nature("fast", Nature::Answers(caps(1)));
    world.pass(590.0);
    world.take();
    world.ask(2);
    assert_eq!(
        world.started().first().map(|(_, builder)| builder.as_str()),
        None,
        "600 s there, 2,000 s here"
    );
}

#[test]
fn builders_that_idle_are_measured_once_and_those_whose_speed_was_said_are_not() {
    let mut world = World::new();
    world.add("b1", caps(1));
    world.natures.insert(name("b2"), Nature::Answers(caps(1)));
    world.tell(Event::Found(BuilderSpec { speed_factor: Some(2.0), ..spec("b2") }));
    world.pass(30.0);
    assert_eq!(measured(&mut world), ["b1"]);
    world.pass(700.0);
    assert_eq!(measured(&mut world), ["b1"], "nothing came of it: again, but not often");
    world.tell(Event::Measured(name("b1"), cpu(1.0)));
    world.pass(2_000.0);
    assert_eq!(measured(&mut world), [""; 0]);
}

/// Whose benchmark is asked for.
fn measured(world: &mut World) -> Vec<String> {
    let of = |effect: Effect| match effect {
        Effect::Measure(builder) => Some(builder.to_string()),
        _ => None,
    };
    world.take().into_iter().filter_map(of).collect()
}

#[test]
fn a_builder_that_seems_slow_is_measured_again_later_and_later_and_its_best_count_holds() {
    let mut world = World::new();
    world.add("b1", caps(1));
    world.add("b2", caps(1));
    world.pass(1.0);
    assert_eq!(measured(&mut world), ["b1", "b2"]);
    world.tell(Event::Measured(name("b1"), cpu(1.0)));
    world.tell(Event::Measured(name("b2"), cpu(0.3)));
    let (mut asked, mut seconds) = (Vec::new(), 0);
    while seconds < 30_000 {
        world.pass(1.0);
        seconds += 1;
        for name_of in measured(&mut world) {
            assert_eq!(name_of, "b2");
            asked.push(seconds);
            world.tell(Event::Measured(name("b2"), cpu(0.2)));
        }
    }
    let near = |at: i32, expected: i32| (at - expected).abs() <= expected / 5 + 2;
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked.iter().zip([2, 22, 222, 2_222]).all(|(at, expected)| near(*at, expected)), "{asked:?}");
    let speed = |world: &World| {
        let rows = world.state.snapshot(world.now).builders;
        rows.iter().find(|row| row.name == name("b2")).expect("there").speed_factor
    };
    assert!((speed(&world) - 0.3).abs() < 1e-9, "a worse count does not make it slower");
    world.tell(Event::Measured(name("b2"), cpu(0.9)));
    assert!((speed(&world) - 0.9).abs() < 1e-9);
}

/// How many cores each build was given, in the order of their starts.
fn cores(world: &mut World) -> Vec<Option<u32>> {
    let of = |effect: Effect| match effect {
        Effect::Start { cores, .. } => Some(cores),
        _ => None,
    };
    world.take().into_iter().filter_map(of).collect()
}

fn big(number: u64) -> Ask {
    Ask { features: features(&["big-parallel"]), ..ask(number) }
}

fn of_sixteen() -> World {
    let mut world = World::new();
    world.add("b1", Capabilities { cores: Some(16), features: features(&["big-parallel"]), ..caps(4) });
    world.take();
    world
}

#[test]
fn a_lone_build_has_all_cores_and_beside_others_each_has_a_share() {
    let mut world = of_sixteen();
    world.request(big(1));
    assert_eq!(cores(&mut world), [Some(16)]);
    for number in 2..=4 {
        world.ask(number);
    }
    assert_eq!(cores(&mut world), [Some(8), Some(5), Some(4)]);
}

#[test]
fn a_big_build_may_take_all_that_idles_and_never_less_than_its_share() {
    let mut world = World::new();
    (1..=3).for_each(|number| {
        world.ask(number);
    });
    world.request(big(4));
    let builder = Capabilities { cores: Some(16), features: features(&["big-parallel"]), ..caps(4) };
    world.add("b1", builder);
    assert_eq!(cores(&mut world), [Some(4), Some(4), Some(4), Some(4)]);
}

#[test]
fn nobody_is_told_a_number_of_cores_where_nobody_knows_it() {
    let mut world = World::of(1);
    world.ask(1);
    assert_eq!(cores(&mut world), [None]);
}

#[test]
fn what_differs_by_chance_is_level_and_the_emptier_one_is_taken() {
    let mut world = fast_and_slow(0.97, 1.0);
    let late = |millis| Measurement::RoundTrip(Duration::from_millis(millis));
    for (builder, measurement) in [("fast", late(20)), ("slow", late(1))] {
        world.tell(Event::Measured(name(builder), measurement));
    }
    world.ask(1);
    assert_eq!(world.one_start().1, "fast", "by name: three in a hundred are no difference");
    world.add("wide", Capabilities { speed_factor: 0.98, ..caps(100) });
    world.add("wider", caps(100));
    world.take();
    let starts: Vec<_> = (2..5)
        .flat_map(|number| {
            world.ask(number);
            world.started()
        })
        .map(|(_, builder)| builder)
        .collect();
    assert_eq!(starts, ["slow", "wide", "wider"]);
}

#[test]
fn what_differs_by_more_than_chance_is_not_level() {
    let mut world = fast_and_slow(1.0, 1.1);
    world.ask(1);
    assert_eq!(world.one_start().1, "slow", "it was measured to be a tenth faster");
}
