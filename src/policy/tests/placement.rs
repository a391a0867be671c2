use super::*;
use crate::domain::BuildId;
use crate::policy::why::Explanation;

fn offering(systems: &[&str], offered: &[&str], mandatory: &[&str]) -> Capabilities {
    Capabilities {
        systems: systems.iter().map(|text| system(text)).collect(),
        features: features(offered),
        mandatory: features(mandatory),
        ..caps(1)
    }
}

/// Whether a build of that shape starts on a builder with those capabilities.
fn fits(wanted: &str, required: &[&str], caps: Capabilities) -> bool {
    let mut world = World::new();
    world.add("b1", caps);
    world.request(Ask { system: system(wanted), features: features(required), ..ask(1) });
    !world.started().is_empty()
}

#[test]
fn a_builder_takes_what_it_offers_and_nothing_else() {
    assert!(fits(X86, &[], offering(&[X86], &[], &[])));
    assert!(!fits(ARM, &[], offering(&[X86], &[], &[])));
    assert!(fits(ARM, &[], offering(&[X86, ARM], &[], &[])));
    assert!(fits("builtin", &[], offering(&[X86], &[], &[])));
    assert!(fits(X86, &["kvm"], offering(&[X86], &["kvm", "benchmark"], &[])));
    assert!(!fits(X86, &["kvm", "big-parallel"], offering(&[X86], &["kvm"], &[])));
}

#[test]
fn a_mandatory_feature_keeps_away_what_does_not_ask_for_it() {
    assert!(!fits(X86, &[], offering(&[X86], &["kvm"], &["kvm"])));
    assert!(fits(X86, &["kvm"], offering(&[X86], &["kvm"], &["kvm"])));
}

#[test]
fn a_builder_that_does_not_trust_us_gets_nothing() {
    assert!(!fits(X86, &[], Capabilities { trust: Trust::Untrusted, ..caps(1) }));
    assert!(fits(X86, &[], Capabilities { trust: Trust::Unknown, ..caps(1) }));
}

#[test]
fn where_that_is_wanted_a_builder_that_does_not_trust_us_gets_what_is_signed() {
    let mut world = World::with(Settings { use_untrusted: true, ..Settings::default() });
    world.add("b1", Capabilities { trust: Trust::Untrusted, ..caps(4) });
    world.request(Ask { unsigned: Some(path(7)), ..ask(1) });
    let said = world.lines().join("\n");
    assert!(said.contains("lacks a signature") && said.contains(&path(7).to_string()), "{said}");
    assert_eq!(world.row("b1").busy, 0);
    world.request(ask(2));
    assert_eq!(world.started().len(), 1);
    world.add("b2", caps(1));
    assert_eq!(world.started().len(), 1);
}

#[test]
fn slots_are_never_exceeded_and_a_slot_is_free_again_when_outputs_travel() {
    let mut world = World::new();
    world.add("b1", caps(2));
    (0..4).for_each(|number| {
        world.ask(number);
    });
    let started = world.started();
    assert_eq!(started.len(), 2);
    world.tell(Event::Reached(started[0].0, Stage::Fetching));
    assert_eq!(world.started().len(), 1);
    world.end(started[0].0, done());
    assert_eq!(world.started().len(), 0);
    assert_eq!(world.row("b1").busy, 2);
}

#[test]
fn a_stage_that_comes_late_takes_no_slot_back() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.tell(Event::Reached(attempt, Stage::Fetching));
    world.tell(Event::Reached(attempt, Stage::Building));
    assert_eq!(world.row("b1").busy, 0);
    world.end(attempt, done());
    assert_eq!(world.row("b1").busy, 0);
}

#[test]
fn a_build_goes_where_its_inputs_are() {
    let mut world = World::of(3);
    world.tell(Event::Present(name("b2"), vec![hash(7)]));
    world.request(Ask { closure: closure(&[(7, 5_000_000_000)]), ..ask(1) });
    assert_eq!(world.one_start().1, "b2");
}

#[test]
fn what_an_attempt_brought_to_a_builder_is_remembered() {
    let mut world = World::of(2);
    let inputs = closure(&[(7, 5_000_000_000)]);
    world.ask(9);
    let (blocker, _) = world.one_start();
    world.request(Ask { closure: inputs.clone(), ..ask(1) });
    let (attempt, on) = world.one_start();
    assert_eq!(on, "b2");
    world.end(attempt, done());
    world.end(blocker, done());
    world.take();
    world.request(Ask { closure: inputs, ..ask(2) });
    assert_eq!(world.one_start().1, "b2");
}

#[test]
fn a_faster_builder_wins_over_a_slow_one_and_an_idle_one_over_a_crowded_one() {
    let mut world = World::new();
    world.add("b1", Capabilities { speed_factor: 1.0, ..caps(4) });
    world.add("b2", Capabilities { speed_factor: 1.6, ..caps(2) });
    let mut order = Vec::new();
    for number in 0..3 {
        world.take();
        world.ask(number);
        order.push(world.one_start().1);
    }
    assert_eq!(order, ["b2", "b2", "b1"]);
}

#[test]
fn equal_builders_are_taken_by_name() {
    let mut world = World::new();
    ["b3", "b1", "b2"].into_iter().for_each(|builder| world.add(builder, caps(1)));
    world.ask(1);
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn a_build_never_returns_to_a_builder_that_lost_it_while_another_one_could_take_it() {
    let mut world = World::of(2);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.ask(2);
    let (other, _) = world.one_start();
    world.end(attempt, lost());
    world.pass(60.0);
    assert_eq!(world.started(), [], "b1 is free, but b2 could take it");
    world.end(other, done());
    assert_eq!(world.one_start().1, "b2");
}

#[test]
fn a_build_returns_to_the_builder_that_lost_it_when_there_is_no_other() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.end(attempt, lost());
    assert_eq!(world.started(), [], "not at once");
    world.pass(2.0);
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn a_refused_build_is_not_sent_again_at_once_where_it_was_refused() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.end(attempt, failed(BuildStatus::MiscFailure, "writing: No space left on device"));
    assert_eq!(world.started(), []);
    world.pass(1.5);
    assert_eq!(world.one_start().1, "b1");
}

#[test]
fn the_reasons_tell_of_each_builder_why_it_was_chosen_or_not() {
    let mut world = World::new();
    world.add("arm", offering(&[ARM], &[], &[]));
    world.add("busy", caps(1));
    world.add("kvm", offering(&[X86], &["kvm"], &["kvm"]));
    world.nature("lame", Nature::Refuses);
    world.tell(Event::Found(spec("lame")));
    world.ask(1);
    world.ask(2);
    let placement = world.state.place(BuildId(2), world.now).expect("a placement");
    let reasons: Vec<_> = placement.reasons.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert_eq!(placement.choice, None);
    assert_eq!(
        reasons,
        [
            "arm: it does not build for x86_64-linux",
            "busy: all 1 slots are in use",
            "kvm: it takes only builds that ask for kvm",
            "lame: it is down: connection refused",
        ]
    );
}

#[test]
fn what_starts_is_what_the_reasons_call_chosen() {
    let mut world = World::of(2);
    let mut twin = World::of(2);
    twin.ask(1);
    let Explanation::Build(story) = twin.state.why("thing", twin.now) else { panic!() };
    let chosen: Vec<_> = story.builders.iter().filter(|row| row.reason.contains("earliest")).collect();
    world.ask(1);
    assert_eq!(world.one_start().1, chosen[0].builder.as_str());
    assert_eq!(chosen.len(), 1);
}

#[test]
fn of_equal_builders_the_one_with_more_idle_slots_is_taken() {
    let mut world = World::new();
    world.add("b1", caps(2));
    world.add("b2", caps(2));
    world.take();
    let mut order = Vec::new();
    for number in 0..4 {
        world.ask(number);
        order.push(world.one_start().1);
    }
    assert_eq!(order, ["b1", "b2", "b1", "b2"]);
}

#[test]
fn a_counted_feature_is_used_by_so_many_builds_at_once_and_others_run_beside_them() {
    let kvm = features(&["kvm"]);
    let consumables = kvm.iter().map(|feature| (feature.clone(), 2)).collect();
    let mut world = World::new();
    world.natures.insert(name("b1"), Nature::Answers(Capabilities { features: kvm.clone(), ..caps(8) }));
    world.tell(Event::Found(BuilderSpec { consumables, ..spec("b1") }));
    world.take();
    for number in 1..=4 {
        world.request(Ask { features: kvm.clone(), ..ask(number) });
    }
    world.ask(5);
    let started = world.started();
    let builds: Vec<u64> = started.iter().map(|(attempt, _)| attempt.build.0).collect();
    assert_eq!(builds, [1, 2, 5]);
    let why = world.state.place(BuildId(3), world.now).expect("a placement");
    assert_eq!(why.reasons[0].1.to_string(), "as many builds use kvm there as may");
    world.tell(Event::Reached(started[0].0, Stage::Fetching));
    assert_eq!(world.started().len(), 1, "fetching holds nothing");
    world.end(started[0].0, done());
    assert_eq!(world.started(), [], "what is given back is given back once");
    world.end(started[1].0, done());
    assert_eq!(world.started().len(), 1);
}
