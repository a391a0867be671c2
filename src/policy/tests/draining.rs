use super::*;

#[test]
fn while_draining_what_runs_is_finished_and_nothing_new_starts() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Draining);
    world.ask(2);
    let effects = world.take();
    assert!(!effects.contains(&Effect::Drained));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. })));
    world.end(attempt, done());
    let effects = world.take();
    assert!(effects.contains(&Effect::Drained));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. })));
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Answer(..))).count(), 1);
}

#[test]
fn the_end_of_draining_is_told_once() {
    let mut world = World::of(1);
    world.tell(Event::Draining);
    assert!(world.take().contains(&Effect::Drained));
    world.tell(Event::Draining);
    world.pass(20.0);
    assert!(!world.take().contains(&Effect::Drained));
}

#[test]
fn a_build_lost_while_draining_waits_unanswered() {
    let mut world = World::of(2);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Draining);
    world.end(attempt, lost());
    let effects = world.take();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. } | Effect::Answer(..))), "{effects:?}");
    assert!(effects.contains(&Effect::Drained));
}
