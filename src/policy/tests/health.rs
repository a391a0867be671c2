use super::*;
use crate::policy::snapshot::HealthWord;

#[test]
fn a_builder_that_is_found_is_probed_at_once_and_then_takes_builds() {
    let mut world = World::new();
    world.ask(1);
    world.nature("b1", Nature::Silent);
    world.tell(Event::Found(spec("b1")));
    assert!(world.take().contains(&Effect::Probe(name("b1"))));
    assert_eq!(world.health("b1"), HealthWord::Probing);
    world.tell(Event::Probed(name("b1"), Ok(caps(1))));
    assert_eq!(world.one_start().1, "b1");
    assert_eq!(world.health("b1"), HealthWord::Healthy);
}

#[test]
fn a_builder_that_is_down_is_tried_again_after_waits_that_double_up_to_a_minute() {
    let mut world = World::new();
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Found(spec("b1")));
    let mut probes = Vec::new();
    for _ in 0..3_000 {
        if world.take().contains(&Effect::Probe(name("b1"))) {
            probes.push(world.now.since_start().as_secs_f64());
        }
        world.pass(0.1);
    }
    let waits: Vec<_> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (index, wait) in waits.iter().enumerate() {
        let longest = f64::from(1 << index.min(6)).min(60.0);
        assert!((longest * 0.75 - 0.2..=longest + 0.2).contains(wait), "{index}: {wait} of {longest}");
    }
    assert!(waits.len() >= 8, "{waits:?}");
}

#[test]
fn news_of_a_builder_that_is_down_probes_it_at_once() {
    let mut world = World::new();
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Found(spec("b1")));
    world.pass(200.0);
    assert_eq!(world.health("b1"), HealthWord::Down);
    world.nature("b1", Nature::Answers(caps(1)));
    world.tell(Event::Found(spec("b1")));
    assert_eq!(world.health("b1"), HealthWord::Healthy);
}

#[test]
fn a_probe_that_never_ends_counts_as_failed() {
    let mut world = World::new();
    world.nature("b1", Nature::Silent);
    world.tell(Event::Found(spec("b1")));
    world.pass(60.2);
    assert_eq!(world.health("b1"), HealthWord::Down);
    assert!(world.row("b1").reason.expect("a reason").contains("did not end within 60 s"));
}

#[test]
fn news_during_a_probe_probe_once_more() {
    let mut world = World::new();
    world.nature("b1", Nature::Silent);
    world.tell(Event::Found(spec("b1")));
    world.tell(Event::Found(spec("b1")));
    let probes = |effects: Vec<Effect>| effects.iter().filter(|e| matches!(e, Effect::Probe(_))).count();
    assert_eq!(probes(world.take()), 1);
    world.tell(Event::Probed(name("b1"), Ok(caps(1))));
    assert_eq!(probes(world.take()), 1);
}

#[test]
fn a_healthy_builder_is_pinged_every_three_seconds_but_never_while_an_answer_is_owed() {
    let mut world = World::of(1);
    world.pass(30.0);
    let pings = |effects: Vec<Effect>| effects.iter().filter(|e| matches!(e, Effect::Ping(_))).count();
    assert_eq!(pings(world.take()), 10);
    world.nature("b1", Nature::Silent);
    world.pass(30.0);
    assert_eq!(pings(world.take()), 1);
}

#[test]
fn a_builder_that_is_silent_for_ten_seconds_gets_nothing_new_until_it_answers() {
    let mut world = World::of(1);
    world.nature("b1", Nature::Silent);
    world.pass(13.0);
    assert_eq!(world.health("b1"), HealthWord::Suspect);
    world.ask(1);
    assert_eq!(world.started(), []);
    world.tell(Event::Pinged(name("b1"), Ok(Duration::ZERO)));
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn an_attempt_on_a_silent_builder_gets_a_second_one_elsewhere_and_the_first_result_wins() {
    let mut world = World::of(1);
    let request = world.ask(1);
    let (first, _) = world.one_start();
    world.add("b2", caps(1));
    world.nature("b1", Nature::Silent);
    world.pass(13.0);
    let effects = world.take();
    let starts =
        effects.iter().filter(|e| matches!(e, Effect::Start { builder, .. } if *builder == name("b2")));
    assert_eq!(starts.count(), 1);
    let says = Effect::Say(request, "b1 does not answer; building on b2 as well".to_owned());
    assert!(effects.contains(&says), "{effects:?}");
    let second = AttemptId { number: 2, ..first };
    world.end(second, done());
    let effects = world.take();
    assert!(effects.contains(&Effect::Cancel(first)), "{effects:?}");
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Answer(..))).count(), 1);
    world.end(first, AttemptOutcome::Cancelled);
    assert!(world.take().contains(&Effect::Forget(first.build)));
    assert_eq!(world.health("b1"), HealthWord::Suspect, "our own cancelling is no sign of life");
}

#[test]
fn a_builder_that_answers_again_needs_no_second_attempt() {
    let mut world = World::of(1);
    world.ask(1);
    world.nature("b1", Nature::Silent);
    world.pass(13.0);
    world.tell(Event::Pinged(name("b1"), Ok(Duration::ZERO)));
    world.take();
    world.add("b2", caps(1));
    assert_eq!(world.started(), []);
}

#[test]
fn a_hiccup_cuts_nothing_and_a_minute_of_silence_cuts_the_builder() {
    let mut world = World::of(1);
    world.nature("b1", Nature::Silent);
    world.pass(58.0);
    let cut = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Cut(..)));
    assert!(!cut(&world.take()));
    world.pass(5.0);
    assert!(cut(&world.take()));
    assert!(matches!(world.health("b1"), HealthWord::Down | HealthWord::Probing));
}

#[test]
fn a_lost_channel_makes_the_builder_prove_itself_before_it_gets_anything_new() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.nature("b1", Nature::Silent);
    world.end(attempt, lost());
    let effects = world.take();
    assert!(effects.contains(&Effect::Probe(name("b1"))), "{effects:?}");
    world.pass(30.0);
    assert_eq!(world.started(), []);
    world.tell(Event::Probed(name("b1"), Ok(caps(1))));
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn a_builder_that_lost_a_channel_and_fails_its_probe_is_cut() {
    let mut world = World::new();
    world.add("b1", caps(2));
    world.ask(1);
    world.ask(2);
    let (attempt, _) = world.started().remove(0);
    world.nature("b1", Nature::Refuses);
    world.end(attempt, lost());
    assert!(world.take().contains(&Effect::Cut(name("b1"), "connection refused".to_owned())));
}

#[test]
fn an_idle_builder_whose_ping_fails_is_probed_at_once() {
    let mut world = World::of(1);
    world.nature("b1", Nature::Silent);
    world.tell(Event::Pinged(name("b1"), Err("reset".to_owned())));
    assert!(world.take().contains(&Effect::Probe(name("b1"))));
}

#[test]
fn a_failed_probe_of_a_builder_that_answers_pings_hurts_nothing() {
    let mut world = World::of(1);
    world.ask(1);
    world.nature("b1", Nature::Refuses);
    world.tell(Event::Found(spec("b1")));
    assert_eq!(world.health("b1"), HealthWord::Healthy);
    assert!(!world.take().iter().any(|e| matches!(e, Effect::Cut(..))));
}

#[test]
fn when_all_builders_fall_silent_together_no_loss_is_counted() {
    let mut world = World::of(2);
    world.ask(1);
    world.ask(2);
    let started = world.started();
    world.nature("b1", Nature::Silent);
    world.nature("b2", Nature::Silent);
    world.pass(65.0);
    assert_eq!(world.take().iter().filter(|e| matches!(e, Effect::Cut(..))).count(), 2);
    for (attempt, _) in started {
        world.end(attempt, lost());
    }
    let snapshot = world.state.snapshot(world.now);
    assert!(snapshot.builders.iter().all(|row| row.lost == 0), "{snapshot:?}");
    assert!(snapshot.builds.iter().all(|row| row.lost == 0), "{snapshot:?}");
}

#[test]
fn when_one_of_two_builders_falls_silent_its_loss_is_counted() {
    let mut world = World::of(2);
    world.ask(1);
    world.ask(2);
    let (attempt, _) = world.started().remove(0);
    world.nature("b1", Nature::Silent);
    world.pass(65.0);
    world.end(attempt, lost());
    assert_eq!(world.state.snapshot(world.now).builds.iter().map(|row| row.lost).max(), Some(1));
}

#[test]
fn our_own_link_is_blamed_for_a_minute_at_most() {
    let mut world = World::of(2);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.nature("b1", Nature::Silent);
    world.nature("b2", Nature::Silent);
    world.pass(120.0);
    world.end(attempt, lost());
    assert_eq!(world.state.snapshot(world.now).builds[0].lost, 1);
}

/// The losses that are counted where b1, one of `builders`, is lost `after` seconds of silence that began with `news`.
fn losses_after(builders: usize, news: Event, after: f64) -> (u64, u32) {
    let mut world = World::of(builders);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(news);
    world.nature("b1", Nature::Silent);
    world.pass(after);
    world.end(attempt, lost());
    (world.row("b1").lost, world.state.snapshot(world.now).builds[0].lost)
}

#[test]
fn while_our_own_link_is_down_no_loss_is_counted_although_one_builder_alone_falls_silent() {
    let down = || Event::LinkDown(vec![name("b1")]);
    for builders in [1, 2] {
        assert_eq!(losses_after(builders, down(), 63.0), (0, 0), "of {builders}");
        assert_eq!(losses_after(builders, Event::Woke, 63.0), (1, 1), "of {builders}, with the link up");
    }
}

#[test]
fn our_own_link_that_is_down_is_blamed_for_a_minute_at_most_and_only_for_builders_behind_it() {
    assert_eq!(losses_after(1, Event::LinkDown(vec![name("b1")]), 75.0), (1, 1));
    assert_eq!(losses_after(2, Event::LinkDown(vec![name("b2")]), 63.0), (1, 1));
}

#[test]
fn a_connection_that_breaks_when_our_link_is_back_is_still_its_fault_until_the_builder_is_heard() {
    for heard in [false, true] {
        let mut world = World::of(1);
        world.ask(1);
        let (attempt, _) = world.one_start();
        world.tell(Event::LinkDown(vec![name("b1")]));
        world.nature("b1", Nature::Silent);
        world.pass(5.0);
        world.tell(Event::LinkUp);
        if heard {
            world.tell(Event::Pinged(name("b1"), Ok(Duration::ZERO)));
        }
        world.end(attempt, lost());
        assert_eq!(world.row("b1").lost, u64::from(heard));
    }
}

#[test]
fn a_builder_that_is_down_is_probed_at_once_when_our_link_is_back() {
    let mut world = World::of(1);
    world.tell(Event::LinkDown(vec![name("b1")]));
    world.nature("b1", Nature::Refuses);
    world.pass(200.0);
    assert_eq!(world.health("b1"), HealthWord::Down);
    world.nature("b1", Nature::Answers(caps(1)));
    world.tell(Event::LinkUp);
    assert_eq!(world.health("b1"), HealthWord::Healthy);
}

/// Loses attempts on the only builder, whose probes succeed; returns the seconds between the starts.
fn waits_between_losses(losses: usize) -> Vec<f64> {
    let mut settings = Settings::default();
    settings.limits.losses = 1_000;
    let mut world = World::with(settings);
    world.add("b1", caps(1));
    let mut waits = Vec::new();
    for number in 0..losses {
        let before = world.now;
        world.ask(number as u64);
        let mut started = world.started();
        while started.is_empty() {
            world.pass(0.1);
            started = world.started();
            assert!(world.now.since(before) < Duration::from_secs(600), "it never starts");
        }
        waits.push(world.now.since(before).as_secs_f64());
        world.end(started[0].0, lost());
        world.tell(Event::Withdrawn(RequestId(world.requests)));
    }
    waits
}

#[test]
fn a_builder_whose_attempts_keep_getting_lost_is_down_longer_and_longer_although_it_answers() {
    let waits = waits_between_losses(9);
    assert!(waits[..3].iter().all(|wait| *wait < 0.2), "{waits:?}");
    for (index, wait) in waits[3..].iter().enumerate() {
        let longest = f64::from(1 << index);
        assert!((longest * 0.75 - 0.2..=longest + 0.3).contains(wait), "{index}: {waits:?}");
    }
}

#[test]
fn several_attempts_lost_at_once_are_one_incident() {
    let mut world = World::new();
    world.add("b1", caps(8));
    (0..8).for_each(|number| {
        world.ask(number);
    });
    let started = world.started();
    world.nature("b1", Nature::Silent);
    for (attempt, _) in started {
        world.end(attempt, lost());
    }
    assert_eq!(world.health("b1"), HealthWord::Probing);
}

#[test]
fn an_attempt_that_succeeds_clears_a_builders_name() {
    let mut world = World::of(1);
    for round in 0..6 {
        world.ask(round);
        let (attempt, _) = world.one_start();
        world.end(attempt, if round % 2 == 0 { lost() } else { done() });
        if round % 2 == 0 {
            world.tell(Event::Withdrawn(RequestId(world.requests)));
        }
        world.take();
        assert_eq!(world.health("b1"), HealthWord::Healthy, "round {round}");
    }
}

#[test]
fn a_builder_that_no_source_knows_finishes_what_it_has_and_goes() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Vanished(name("b1")));
    assert!(!world.effects.iter().any(|e| matches!(e, Effect::Cut(..))), "what runs there may finish");
    world.ask(2);
    assert_eq!(world.started(), []);
    world.end(attempt, done());
    assert_eq!(world.started(), []);
    assert!(world.state.snapshot(world.now).builders.is_empty());
}

#[test]
fn an_idle_builder_that_no_source_knows_goes_at_once() {
    let mut world = World::of(1);
    world.tell(Event::Vanished(name("b1")));
    assert!(world.take().iter().any(|e| matches!(e, Effect::Cut(..))));
    assert!(world.state.snapshot(world.now).builders.is_empty());
}

#[test]
fn a_builder_that_comes_back_while_it_leaves_stays() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Vanished(name("b1")));
    assert_eq!(world.state.fleet().map(|(.., up)| up).collect::<Vec<_>>(), [false]);
    world.tell(Event::Found(spec("b1")));
    world.end(attempt, done());
    assert_eq!(world.state.fleet().map(|(.., up)| up).collect::<Vec<_>>(), [true]);
}

#[test]
fn the_lines_are_written_anew_when_capabilities_or_presence_change_and_not_otherwise() {
    let mut world = World::of(1);
    let changed = |world: &mut World| world.take().contains(&Effect::FleetChanged);
    world.tell(Event::Found(spec("b1")));
    assert!(!changed(&mut world));
    world.add("b1", caps(4));
    assert!(changed(&mut world));
    world.nature("b1", Nature::Silent);
    world.pass(65.0);
    assert!(changed(&mut world));
    world.nature("b1", Nature::Refuses);
    world.pass(200.0);
    assert!(!changed(&mut world));
}

#[test]
fn time_in_which_we_did_not_run_is_not_the_builders_silence() {
    let mut world = World::of(2);
    world.now = world.now + Duration::from_secs(3_600);
    world.tell(Event::Woke);
    assert!(!world.take().iter().any(|e| matches!(e, Effect::Cut(..))));
    assert_eq!(world.health("b1"), HealthWord::Healthy);
}

#[test]
fn the_next_wake_is_asked_for_once_and_again_after_each_wake() {
    let mut world = World::of(1);
    world.tell(Event::Requested(RequestId(9), ask(1)));
    let wakes = |effects: Vec<Effect>| effects.into_iter().filter(|e| matches!(e, Effect::WakeAt(_))).count();
    assert_eq!(wakes(world.take()), 0);
    world.tell(Event::Woke);
    assert_eq!(wakes(world.take()), 1);
}

#[test]
fn other_settings_hold_from_the_next_deadline_on() {
    let mut world = World::of(1);
    let pings = |world: &mut World| {
        world.take();
        world.pass(30.0);
        world.take().iter().filter(|effect| matches!(effect, Effect::Ping(_))).count()
    };
    let before = pings(&mut world);
    let ping_every = Duration::from_secs(1);
    world.tell(Event::Configured(Settings { ping_every, ..Settings::default() }));
    let after = pings(&mut world);
    assert!(after >= 2 * before, "{before} pings, then {after}");
}

#[test]
fn whoever_is_due_soon_is_asked_along_and_others_when_they_are_due() {
    let mut world = World::new();
    for (builder, later) in [("b1", 0.3), ("b2", 1.2), ("b3", 1.49)] {
        world.add(builder, caps(1));
        world.pass(later);
    }
    world.take();
    let effects = world.state.step(Event::Woke, world.now + Duration::from_millis(10));
    let asked: Vec<_> = effects
        .iter()
        .filter_map(|effect| if let Effect::Ping(name) = effect { Some(name.as_str()) } else { None })
        .collect();
    assert_eq!(asked, ["b1", "b2"]);
}

#[test]
fn how_long_an_answer_takes_says_how_far_a_builder_is() {
    let mut world = World::of(1);
    let took = Duration::from_millis(40);
    world.tell(Event::Pinged(name("b1"), Ok(took)));
    let builder = world.state.fleet.get(&name("b1")).expect("it is there");
    assert_eq!(builder.machine.round_trip, Some(took));
}
