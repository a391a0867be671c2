use super::*;
use crate::domain::{GraphNode, Load, Observation};

fn of(pname: &str, number: u64) -> Ask {
    Ask { pname: pname.to_owned(), ..ask(number) }
}

fn seen(pname: &str, seconds: u64) -> Observation {
    Observation {
        pname: pname.to_owned(),
        system: system(X86),
        builder: name("b1"),
        speed: 1.0,
        closure_bytes: 1,
        cores: None,
        took: Duration::from_secs(seconds),
        substituted: false,
        at: 0,
    }
}

fn node(pname: &str, number: u64, needs: &[u64]) -> GraphNode {
    let needs = needs.iter().map(|need| hash(*need)).collect();
    GraphNode { drv: hash(number), pname: pname.to_owned(), system: system(X86), needs }
}

/// The derivations in the order in which one slot takes them.
fn order(world: &mut World) -> Vec<u64> {
    let mut order = Vec::new();
    loop {
        let start = world.take().into_iter().find_map(|effect| match effect {
            Effect::Start { attempt, requests, .. } => Some((attempt, requests[0].0)),
            _ => None,
        });
        let Some((attempt, request)) = start else { return order };
        order.push(request);
        world.end(attempt, done());
    }
}

#[test]
fn what_has_the_longest_way_to_the_end_behind_it_starts_first() {
    let mut world = World::new();
    world.tell(Event::Recalled(vec![seen("leaf", 5), seen("tower", 500)]));
    (1..=3).for_each(|number| {
        world.request(of("leaf", number));
    });
    // The third one is what a long build waits for, which is found out while it waits.
    world.tell(Event::Graph(vec![node("leaf", 3, &[]), node("tower", 9, &[3])]));
    world.add("b1", caps(1));
    assert_eq!(order(&mut world), [3, 1, 2]);
}

#[test]
fn a_graph_that_was_told_before_counts_from_the_first_moment() {
    let mut world = World::of(1);
    world.tell(Event::Recalled(vec![seen("leaf", 5), seen("tower", 500)]));
    world.tell(Event::Graph(vec![node("leaf", 3, &[]), node("tower", 9, &[3])]));
    world.request(of("leaf", 1));
    world.request(of("leaf", 2));
    world.request(of("leaf", 3));
    assert_eq!(order(&mut world), [1, 3, 2]);
}

#[test]
fn what_takes_long_starts_before_what_takes_little() {
    let mut world = World::new();
    world.tell(Event::Recalled(vec![seen("little", 5), seen("long", 500)]));
    world.request(of("little", 1));
    world.request(of("long", 2));
    world.add("b1", caps(1));
    assert_eq!(order(&mut world), [2, 1]);
}

#[test]
fn age_outweighs_rank_in_the_end() {
    let mut world = World::new();
    world.tell(Event::Recalled(vec![seen("little", 5), seen("long", 500)]));
    world.request(of("little", 1));
    world.pass(496.0);
    world.request(of("long", 2));
    world.add("b1", caps(1));
    assert_eq!(order(&mut world), [1, 2], "asked for 496 s earlier, and 495 s less to do");
}

fn straggling(seconds: f64) -> (World, AttemptId) {
    let mut world = World::of(2);
    world.tell(Event::Recalled(vec![seen("thing", 10)]));
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Reached(attempt, Stage::Building));
    world.pass(seconds);
    (world, attempt)
}

#[test]
fn what_takes_far_too_long_is_tried_elsewhere_as_well_where_somebody_idles() {
    let (mut world, _) = straggling(59.0);
    assert_eq!(world.started(), []);
    let (mut world, first) = straggling(70.0);
    let effects = world.take();
    let said = |effect: &Effect| matches!(effect, Effect::Say(_, line) if line.contains("takes much longer than before on b1"));
    assert!(effects.iter().any(said), "{effects:?}");
    let second = effects.iter().find_map(|effect| match effect {
        Effect::Start { attempt, builder, .. } => Some((*attempt, builder.to_string())),
        _ => None,
    });
    let (second, builder) = second.expect("a second attempt");
    assert_eq!(builder, "b2");
    world.end(second, done());
    let effects = world.take();
    assert!(effects.contains(&Effect::Cancel(first)), "the first valid result wins: {effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Answer(..))));
}

#[test]
fn of_what_nobody_knows_and_while_others_wait_there_is_no_second_attempt() {
    let mut world = World::of(2);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Reached(attempt, Stage::Building));
    world.pass(10_000.0);
    assert_eq!(world.started(), [], "nobody knows how long it should take");
    let mut world = World::of(1);
    world.tell(Event::Recalled(vec![seen("thing", 10)]));
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Reached(attempt, Stage::Building));
    world.ask(2);
    world.pass(100.0);
    world.add("b2", caps(1));
    let started = world.started();
    assert!(started.len() == 1 && started[0].0.build != attempt.build, "{started:?}");
}

#[test]
fn pressure_on_memory_keeps_new_builds_away_before_a_machine_swaps() {
    let mut world = World::new();
    world.add("b1", Capabilities { memory: Some(32 << 30), ..caps(4) });
    let load = |memory: f64, available: u64| Load {
        memory: Some(memory),
        memory_available: Some(available),
        ..Load::default()
    };
    world.tell(Event::Loaded(name("b1"), load(35.0, 20 << 30)));
    world.take();
    world.ask(1);
    assert_eq!(world.started().len(), 1, "one that does nothing can always begin");
    world.ask(2);
    assert_eq!(world.started(), []);
    let why = world.state.place(crate::domain::BuildId(2), world.now).expect("a placement");
    assert_eq!(why.reasons[0].1.to_string(), "35 % of the time something waits for memory there");
    world.tell(Event::Loaded(name("b1"), load(0.0, 1 << 30)));
    assert_eq!(world.started(), [], "1 GiB is too little for another one");
    world.tell(Event::Loaded(name("b1"), load(0.0, 9 << 30)));
    assert_eq!(world.started().len(), 1);
}
