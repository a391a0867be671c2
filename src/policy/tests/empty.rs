use super::*;
use crate::domain::{Expect, WhenEmpty};

fn settings(when_empty: WhenEmpty) -> Settings {
    Settings { when_empty, ..Settings::default() }
}

fn expecting(when_empty: WhenEmpty) -> Settings {
    let expect = vec![Expect { systems: BTreeSet::from([system(X86)]), features: BTreeSet::new() }];
    Settings { expect, expect_timeout: Duration::from_secs(100), ..settings(when_empty) }
}

fn left_to_nix(world: &World) -> bool {
    world.state.leaves_to_nix(&BTreeSet::from([system(X86)]), &BTreeSet::new(), world.now)
}

/// Whether the lines had to be written since the last look.
fn rewritten(world: &mut World) -> bool {
    world.take().contains(&Effect::FleetChanged)
}

#[test]
fn without_a_builder_for_a_while_nix_is_left_to_itself_until_the_first_one_comes() {
    let mut world = World::with(settings(WhenEmpty::Local));
    world.tell(Event::Woke);
    world.pass(29.0);
    assert!(!left_to_nix(&world) && !rewritten(&mut world));
    world.pass(2.0);
    assert!(left_to_nix(&world) && rewritten(&mut world));
    world.add("b1", caps(1));
    assert!(!left_to_nix(&world) && rewritten(&mut world));
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Pinged(name("b1"), Err("gone".to_owned())));
    world.take();
    world.pass(29.0);
    assert!(!left_to_nix(&world), "it may come back in a moment");
    world.pass(2.0);
    assert!(left_to_nix(&world) && rewritten(&mut world));
}

#[test]
fn a_builder_of_another_kind_keeps_no_line_up() {
    let mut world = World::with(settings(WhenEmpty::Local));
    world.add("arm", Capabilities { systems: BTreeSet::from([system(ARM)]), ..caps(1) });
    world.pass(31.0);
    assert!(left_to_nix(&world));
    assert!(!world.state.leaves_to_nix(&BTreeSet::from([system(ARM)]), &BTreeSet::new(), world.now));
}

#[test]
fn who_will_have_no_local_builds_is_never_left_to_nix() {
    for when_empty in [WhenEmpty::Wait, WhenEmpty::Fail] {
        let mut world = World::with(settings(when_empty));
        world.tell(Event::Woke);
        world.pass(1000.0);
        assert!(!left_to_nix(&world));
    }
}

#[test]
fn a_builder_that_is_expected_is_waited_for_until_its_time_is_over() {
    let mut world = World::with(expecting(WhenEmpty::Local));
    world.tell(Event::Woke);
    world.pass(99.0);
    assert!(!left_to_nix(&world));
    world.pass(2.0);
    assert!(left_to_nix(&world) && rewritten(&mut world));
}

#[test]
fn where_nobody_will_wait_a_build_fails_with_what_speaks_against_each_builder() {
    let mut world = World::with(settings(WhenEmpty::Fail));
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Found(spec("b1")));
    world.tell(Event::Found(spec("b2")));
    world.ask(1);
    world.pass(29.0);
    assert_eq!(world.answers(), []);
    world.pass(2.0);
    let answers = world.answers();
    let text = "nobody builds thing.drv: it needs a builder of x86_64-linux\n  b1: it is down: connection refused\n  b2: ";
    assert!(words(&answers[0].1).1.starts_with(text), "{answers:?}");
    world.ask(2);
    assert_eq!(world.answers().len(), 1, "at once: nobody has been there for long");
    world.add("b1", caps(1));
    world.take();
    world.ask(3);
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn what_runs_does_not_fail_because_its_builder_fell_silent() {
    let mut world = World::with(settings(WhenEmpty::Fail));
    world.add("b1", caps(1));
    world.ask(1);
    world.take();
    world.nature("b1", Nature::Silent);
    world.pass(50.0);
    assert_eq!(world.answers(), []);
}

#[test]
fn a_build_that_was_accepted_waits_on_and_is_told_what_to_do() {
    let mut world = World::with(settings(WhenEmpty::Local));
    world.ask(1);
    world.take();
    world.pass(31.0);
    let lines = world.lines();
    assert!(
        lines.len() == 1 && lines[0].ends_with("interrupt this and start it again to have it so"),
        "{lines:?}"
    );
    world.add("b1", caps(1));
    assert_eq!(world.one_start().1, "b1");
}
