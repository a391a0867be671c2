use std::sync::Arc;

use super::*;
use crate::domain::{Demand, Grant, Load, Measured};

fn grant(slots: Option<u32>, closed: Option<&str>) -> Event {
    Event::Claimed(name("b1"), Grant { slots, bears: None, closed: closed.map(str::to_owned) })
}

#[test]
fn no_more_starts_on_a_builder_than_its_agent_grants_us() {
    let mut world = World::new();
    world.add("b1", caps(4));
    world.tell(grant(Some(1), None));
    world.take();
    for number in 1..=3 {
        world.ask(number);
    }
    assert_eq!(world.started().len(), 1);
    world.tell(grant(Some(3), None));
    assert_eq!(world.started().len(), 2, "as soon as it grants more");
}

#[test]
fn what_an_agent_grants_beyond_the_configured_slots_changes_nothing() {
    let mut world = World::new();
    world.add("b1", caps(1));
    world.tell(grant(Some(9), None));
    world.take();
    for number in 1..=3 {
        world.ask(number);
    }
    assert_eq!(world.started().len(), 1);
}

/// A builder that was found to have two slots and four users to build as, and what its agent says that it bears.
fn bears(world: &mut World, spec: BuilderSpec, bears: Option<u32>) {
    let measured = Measured { slots: Slots::new(2), build_users: Some(4), ..Measured::default() };
    let slots = spec.slots.or(measured.slots).expect("some");
    world
        .nature("b1", Nature::Answers(Capabilities { slots, measured: Some(Arc::new(measured)), ..caps(2) }));
    world.tell(Event::Found(spec));
    world.take();
    world.tell(Event::Claimed(name("b1"), Grant { slots: bears.or(Some(2)), bears, closed: None }));
}

#[test]
fn what_an_agent_has_learned_counts_for_builds_and_for_lines_and_is_not_claimed_as_if_it_had_been_found() {
    let check = |learned, expected: u32| {
        let mut world = World::new();
        bears(&mut world, spec("b1"), learned);
        world.take();
        for number in 1..=9 {
            world.ask(number);
        }
        let offered = world.state.fleet().next().map(|(_, caps, _)| caps.slots.get());
        assert_eq!((world.started().len() as u32, offered), (expected, Some(expected)), "{learned:?}");
        assert_eq!(world.state.demand(&name("b1")).capacity, 2, "{learned:?}");
    };
    check(None, 2);
    check(Some(3), 3);
    check(Some(1), 1);
    check(Some(9), 4);
}

#[test]
fn a_probe_does_not_take_back_what_an_agent_has_learned_and_its_end_does() {
    let mut world = World::new();
    bears(&mut world, spec("b1"), Some(3));
    assert!(world.take().contains(&Effect::FleetChanged), "the lines follow");
    world.tell(Event::Found(spec("b1")));
    assert_eq!(world.row("b1").slots, 3);
    world.tell(Event::Claimed(name("b1"), Grant::default()));
    assert_eq!(world.row("b1").slots, 2);
}

#[test]
fn the_users_word_on_slots_wins_over_what_an_agent_has_learned() {
    let mut world = World::new();
    let spec = BuilderSpec { slots: Slots::new(1), ..spec("b1") };
    bears(&mut world, spec, Some(3));
    assert_eq!(world.row("b1").slots, 1);
}

#[test]
fn a_builder_that_its_own_agent_closes_gets_nothing_new_and_those_who_wait_hear_who_did_it() {
    let mut world = World::of(1);
    world.tell(grant(Some(0), Some("ann")));
    world.take();
    world.ask(1);
    assert_eq!(world.lines(), ["waits for a builder of x86_64-linux: b1 is drained by ann"]);
    world.tell(grant(None, None));
    assert_eq!(world.one_start().1, "b1", "without an agent it is as it was");
}

#[test]
fn an_agent_hears_what_runs_and_what_could() {
    let mut world = World::new();
    world.add("b1", caps(2));
    for number in 1..=5 {
        world.ask(number);
    }
    let expected = Demand { running: 2, wanted: 5, capacity: 2 };
    assert_eq!(world.state.demand(&name("b1")), expected);
    assert_eq!(world.state.demand(&name("b2")), Demand::default());
}

#[test]
fn an_agents_word_is_a_sign_of_life() {
    let mut world = World::of(1);
    world.nature("b1", Nature::Silent);
    for _ in 0..20 {
        world.pass(3.0);
        world.tell(Event::Loaded(name("b1"), Load::default()));
    }
    assert_eq!(world.row("b1").health, HealthWord::Healthy);
}
