use super::*;
use crate::policy::report::{BuilderReport, How, Report};

fn report(world: &World) -> Report {
    world.state.report(world.now)
}

fn row(world: &World, builder: &str) -> BuilderReport {
    report(world).builders.into_iter().find(|row| row.name == name(builder)).expect("a row")
}

#[test]
fn what_each_builder_did_is_told_with_when_and_how() {
    let mut world = World::of(2);
    world.pass(10.0);
    world.ask(1);
    let (first, on) = world.one_start();
    assert_eq!(on, "b1");
    world.pass(5.0);
    world.end(first, lost());
    let (second, on) = world.one_start();
    assert_eq!(on, "b2");
    world.pass(5.0);
    world.tell(Event::Moved { builder: name("b2"), sent: 7, received: 0 });
    world.tell(Event::Moved { builder: name("b2"), sent: 1, received: 9 });
    world.end(second, done());
    world.ask(2);
    let (third, _) = world.one_start();
    world.end(third, failed(BuildStatus::PermanentFailure, "no such file"));

    let report = report(&world);
    let told: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| (attempt.builder.to_string(), attempt.began_ms, attempt.ended_ms, attempt.how))
        .collect();
    let third_on = told[2].0.clone();
    assert_eq!(
        told[..2],
        [
            ("b1".to_owned(), 10_000, Some(15_000), How::Lost),
            ("b2".to_owned(), 15_000, Some(20_000), How::Built)
        ]
    );
    assert_eq!(told[2], (third_on.clone(), 20_000, Some(20_000), How::Failed));
    assert!(report.attempts[0].said.as_deref().is_some_and(|said| said.contains("b1 was lost")));
    assert_eq!(report.attempts[1].said, None);
    let b2 = row(&world, "b2");
    assert_eq!((b2.built, b2.lost, b2.sent_bytes, b2.received_bytes, b2.busy_percent), (1, 0, 8, 9, 25));
    assert_eq!((row(&world, "b1").lost, row(&world, third_on.as_str()).failed), (1, 1));
}

#[test]
fn a_builder_that_is_gone_stays_in_the_report() {
    let mut world = World::of(1);
    world.pass(4.0);
    world.tell(Event::Vanished(name("b1")));
    world.pass(60.0);
    let gone = row(&world, "b1");
    assert_eq!((gone.health, gone.ready_ms, gone.gone_ms), (HealthWord::Gone, Some(0), Some(4_000)));
    world.add("b1", caps(2));
    let back = row(&world, "b1");
    assert_eq!(
        (back.health, back.ready_ms, back.gone_ms, back.slots),
        (HealthWord::Healthy, Some(0), None, 2)
    );
}

#[test]
fn a_builder_that_never_answers_was_never_ready() {
    let mut world = World::new();
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Found(spec("b1")));
    world.pass(30.0);
    let never = row(&world, "b1");
    assert_eq!((never.health, never.ready_ms, never.busy_percent), (HealthWord::Down, None, 0));
    assert_eq!(never.reason.as_deref(), Some("connection refused"));
}

#[test]
fn what_runs_and_what_waits_is_told_too() {
    let mut world = World::of(1);
    world.ask(1);
    world.ask(2);
    world.pass(8.0);
    let report = report(&world);
    assert_eq!((report.attempts.len(), report.waiting), (1, 1));
    assert_eq!((report.attempts[0].how, report.attempts[0].ended_ms), (How::Running, None));
    assert_eq!(row(&world, "b1").busy_percent, 100);
}

#[test]
fn what_is_built_elsewhere_because_its_builder_fell_silent_is_that_builders_loss() {
    let mut world = World::of(2);
    world.ask(1);
    let (first, on) = world.one_start();
    world.nature(&on, Nature::Silent);
    world.pass(30.0);
    let (second, _) = world.one_start();
    world.end(second, done());
    world.end(first, AttemptOutcome::Cancelled);
    let report = report(&world);
    assert_eq!((report.attempts[0].how, report.attempts[1].how), (How::Lost, How::Built));
    assert!(report.attempts[0].said.as_deref().is_some_and(|said| said.contains("fell silent")));
}
