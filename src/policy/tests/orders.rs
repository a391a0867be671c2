use super::*;
use crate::domain::BuildId;

fn impossible(answers: &[(RequestId, Answer)]) -> Vec<&str> {
    answers
        .iter()
        .map(|(_, answer)| words(answer))
        .filter(|(status, _)| status.is_none())
        .map(|(_, w)| w)
        .collect()
}

#[test]
fn nothing_new_starts_on_a_drained_builder_and_what_runs_there_finishes() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Drained(name("b1"), "eva".to_owned()));
    world.ask(2);
    let effects = world.take();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. } | Effect::Cancel(_) | Effect::Cut(..))));
    world.end(attempt, done());
    let effects = world.take();
    assert!(effects.iter().any(|e| matches!(e, Effect::Answer(_, Answer::Result { .. }))));
    assert!(
        !effects.iter().any(|e| matches!(e, Effect::Start { .. })),
        "its slot is free, but it is drained"
    );
    world.tell(Event::Undrained(name("b1")));
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn a_drain_survives_a_probe_a_loss_and_a_departure() {
    let mut world = World::of(1);
    world.tell(Event::Drained(name("b1"), "eva".to_owned()));
    world.tell(Event::Found(spec("b1")));
    world.nature("b1", Nature::Silent);
    world.pass(100.0);
    world.add("b1", caps(1));
    assert_eq!(world.row("b1").drained.as_deref(), Some("eva"));
    world.tell(Event::Vanished(name("b1")));
    world.add("b1", caps(1));
    world.take();
    world.ask(1);
    assert_eq!(world.started(), []);
    assert_eq!(world.row("b1").drained.as_deref(), Some("eva"));
}

#[test]
fn those_who_wait_for_a_drained_builder_hear_who_drains_it() {
    let mut world = World::of(1);
    world.tell(Event::Drained(name("b1"), "eva".to_owned()));
    world.take();
    world.ask(1);
    assert_eq!(world.lines(), ["waits for a builder of x86_64-linux: b1 is drained by eva"]);
}

#[test]
fn a_cancelled_build_ends_on_the_builder_and_all_who_want_it_hear_who_did_it() {
    let mut world = World::of(1);
    let (one, two) = (world.ask(1), world.ask(1));
    let waiting = world.ask(2);
    let start = world.take().into_iter().find_map(|e| match e {
        Effect::Start { attempt, .. } => Some(attempt),
        _ => None,
    });
    let attempt = start.expect("it runs");
    world.tell(Event::Cancelled(attempt.build, "eva".to_owned()));
    world.tell(Event::Cancelled(BuildId(2), "eva".to_owned()));
    world.tell(Event::Cancelled(BuildId(99), "eva".to_owned()));
    assert!(world.effects.contains(&Effect::Cancel(attempt)));
    let answers = world.answers();
    let asked: Vec<_> = answers.iter().map(|(request, _)| *request).collect();
    assert_eq!(asked, [one, two, waiting]);
    assert_eq!(impossible(&answers), ["thing.drv was cancelled by eva (muster cancel)"; 3]);
}

#[test]
fn at_the_end_what_runs_is_finished_and_what_waits_hears_why_it_was_not_built() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    let waiting = world.ask(2);
    world.take();
    world.tell(Event::Stopping("eva".to_owned()));
    let late = world.ask(3);
    let effects = world.take();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Drained | Effect::Start { .. } | Effect::Cancel(_))));
    let answered = |request| {
        effects.iter().any(|e| matches!(e, Effect::Answer(r, Answer::Impossible(why)) if *r == request && why.contains("eva")))
    };
    assert!(answered(waiting) && answered(late), "{effects:?}");
    world.end(attempt, done());
    let effects = world.take();
    assert!(effects.contains(&Effect::Drained));
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Answer(_, Answer::Result { .. }))).count(), 1);
}

#[test]
fn the_end_is_told_once() {
    let mut world = World::of(1);
    world.tell(Event::Stopping("eva".to_owned()));
    assert!(world.take().contains(&Effect::Drained));
    world.tell(Event::Stopping("eva".to_owned()));
    world.pass(20.0);
    assert!(!world.take().contains(&Effect::Drained));
}

#[test]
fn a_build_lost_at_the_end_is_not_repeated_and_its_loss_is_said() {
    let mut world = World::of(2);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Stopping("eva".to_owned()));
    world.end(attempt, lost());
    let effects = world.effects.clone();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. })), "{effects:?}");
    assert!(effects.contains(&Effect::Drained));
    let answers = world.answers();
    assert!(impossible(&answers)[0].contains("b1 was lost while building"), "{answers:?}");
}

#[test]
fn an_end_at_once_cancels_what_runs_and_waits_for_its_end() {
    let mut world = World::of(1);
    let request = world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Stopping("eva".to_owned()));
    world.tell(Event::Stopped("eva".to_owned()));
    let effects = world.take();
    assert!(effects.contains(&Effect::Cancel(attempt)) && !effects.contains(&Effect::Drained));
    assert!(effects.iter().any(|e| matches!(e, Effect::Answer(r, Answer::Impossible(_)) if *r == request)));
    world.end(attempt, AttemptOutcome::Cancelled);
    assert!(world.take().contains(&Effect::Drained));
}
