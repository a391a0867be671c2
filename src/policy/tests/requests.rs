use super::*;

#[test]
fn one_derivation_asked_for_twice_is_built_once_and_both_are_answered() {
    let mut world = World::of(2);
    let first = world.ask(1);
    let (attempt, _) = world.one_start();
    let second = world.ask(1);
    let effects = world.take();
    assert!(effects.contains(&Effect::Join(second, attempt)), "{effects:?}");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. })));
    world.end(attempt, done());
    let asked: Vec<_> = world.answers().into_iter().map(|(request, _)| request).collect();
    assert_eq!(asked, [first, second]);
}

#[test]
fn requests_that_share_a_build_before_it_starts_are_all_named_at_its_start() {
    let mut world = World::new();
    let (first, second) = (world.ask(1), world.ask(1));
    world.add("b1", caps(1));
    let all = |e: &Effect| matches!(e, Effect::Start { requests, .. } if *requests == [first, second]);
    assert!(world.take().iter().any(all));
}

#[test]
fn a_check_never_shares_with_a_normal_build() {
    let mut world = World::of(2);
    world.ask(1);
    world.request(Ask { check: true, ..ask(1) });
    assert_eq!(world.started().len(), 2);
}

#[test]
fn a_shared_build_ends_when_nobody_asks_for_it_any_more_and_in_that_very_step() {
    let mut world = World::of(1);
    let (first, second) = (world.ask(1), world.ask(1));
    let (attempt, _) = world.one_start();
    world.tell(Event::Withdrawn(first));
    assert!(!world.take().contains(&Effect::Cancel(attempt)));
    world.tell(Event::Withdrawn(second));
    assert!(world.take().contains(&Effect::Cancel(attempt)));
    world.end(attempt, done());
    let effects = world.take();
    assert!(effects.contains(&Effect::Forget(attempt.build)), "{effects:?}");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Answer(..))));
}

#[test]
fn a_queued_build_that_nobody_wants_is_forgotten_at_once() {
    let mut world = World::new();
    let before = world.state.size();
    let request = world.ask(1);
    world.tell(Event::Withdrawn(request));
    assert!(world.take().iter().any(|e| matches!(e, Effect::Forget(_))));
    assert_eq!(world.state.size(), before);
}

#[test]
fn a_wish_that_comes_while_the_last_attempt_is_being_cancelled_is_built_anew() {
    let mut world = World::of(2);
    let request = world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Withdrawn(request));
    let again = world.ask(1);
    let (second, _) = world.one_start();
    assert_ne!(second.build, attempt.build);
    world.end(attempt, AttemptOutcome::Cancelled);
    world.end(second, done());
    assert_eq!(world.answers().len(), 1);
    assert_eq!(again, RequestId(2));
}

#[test]
fn a_cancelled_attempt_counts_against_nobody() {
    let mut world = World::of(1);
    for number in 0..5 {
        let request = world.ask(number);
        let (attempt, _) = world.one_start();
        world.tell(Event::Withdrawn(request));
        world.end(attempt, lost());
        world.take();
    }
    assert_eq!((world.row("b1").health, world.row("b1").lost), (HealthWord::Healthy, 0));
}

#[test]
fn why_a_build_waits_is_said_once_and_again_only_when_it_changes() {
    let mut world = World::of(1);
    world.request(Ask { system: system(ARM), features: features(&["kvm"]), ..ask(1) });
    assert_eq!(world.lines(), ["waits for a builder of aarch64-linux with kvm: none is known"]);
    world.pass(100.0);
    world.add("b1", caps(2));
    assert_eq!(world.lines(), [""; 0]);
    world.nature("b2", Nature::Refuses);
    world.tell(Event::Found(spec("b2")));
    let lines = world.lines();
    assert_eq!(
        lines.last().map(String::as_str),
        Some(
            "waits for a builder of aarch64-linux with kvm: b2 is down: connection refused; tried again in 1 s"
        )
    );
    world.pass(300.0);
    assert_eq!(world.lines(), [""; 0]);
}

#[test]
fn a_build_for_which_all_slots_are_taken_says_so() {
    let mut world = World::of(1);
    world.ask(1);
    world.ask(2);
    assert_eq!(world.lines(), ["waits for a free slot on a builder of x86_64-linux"]);
    let row = world.state.snapshot(world.now).builds.remove(1);
    assert_eq!(row.waiting.as_deref(), Some("waits for a free slot on a builder of x86_64-linux"));
}

#[test]
fn who_joins_a_build_that_waits_hears_why_and_the_others_not_again() {
    let mut world = World::new();
    world.ask(1);
    world.take();
    let second = world.ask(1);
    let effects = world.take();
    let says: Vec<_> = effects.iter().filter(|e| matches!(e, Effect::Say(..) | Effect::Wait(..))).collect();
    assert!(
        matches!(says[..], [Effect::Say(request, _) | Effect::Wait(request, _)] if *request == second),
        "{says:?}"
    );
}

#[test]
fn mere_absence_is_never_an_answer() {
    let mut world = World::new();
    world.ask(1);
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Found(spec("b1")));
    world.pass(86_400.0);
    assert_eq!(world.answers(), []);
}

#[test]
fn everything_is_forgotten_after_the_answer() {
    let mut world = World::of(2);
    let before = world.state.size();
    for number in 0..50 {
        world.ask(number);
    }
    for _ in 0..50 {
        let (attempt, _) = world
            .started()
            .first()
            .cloned()
            .or_else(|| {
                let rows = world.state.builds.iter().find(|(_, build)| !build.attempts.is_empty());
                rows.map(|(build, row)| {
                    (AttemptId { build, number: *row.attempts.keys().next().expect("one") }, String::new())
                })
            })
            .expect("an attempt");
        world.end(attempt, done());
    }
    assert_eq!(world.state.size(), before);
    let totals = world.state.snapshot(world.now).totals;
    assert_eq!((totals.succeeded, totals.failed, totals.built_by.values().sum::<u64>()), (50, 0, 50));
}

#[test]
fn events_about_what_is_over_or_was_never_there_are_ignored() {
    let mut world = World::of(1);
    let request = world.ask(1);
    let (attempt, _) = world.one_start();
    world.end(attempt, done());
    world.take();
    let ghost = AttemptId { build: crate::domain::BuildId(99), number: 7 };
    for event in [
        Event::Ended(attempt, lost()),
        Event::Reached(attempt, Stage::Building),
        Event::Ended(ghost, done()),
        Event::Withdrawn(request),
        Event::Withdrawn(RequestId(77)),
        Event::Probed(name("b9"), Ok(caps(1))),
        Event::Probed(name("b1"), Err("late".to_owned())),
        Event::Pinged(name("b9"), Ok(Duration::ZERO)),
        Event::Present(name("b9"), vec![hash(1)]),
        Event::Vanished(name("b9")),
    ] {
        world.tell(event);
    }
    let effects = world.take();
    assert!(effects.iter().all(|e| matches!(e, Effect::WakeAt(_))), "{effects:?}");
    assert_eq!(world.health("b1"), HealthWord::Healthy);
}
