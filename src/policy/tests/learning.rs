use super::*;
use crate::domain::Observation;

fn learned(world: &mut World) -> Vec<Observation> {
    let learned = |effect: Effect| match effect {
        Effect::Learned(seen) => Some(seen),
        _ => None,
    };
    world.take().into_iter().filter_map(learned).collect()
}

/// One build on `b1` whose stages take 5, 20 and 3 s.
fn build_once(world: &mut World, number: u64, outcome: AttemptOutcome) -> Vec<Observation> {
    world.ask(number);
    let (attempt, _) = world.one_start();
    world.pass(5.0);
    world.tell(Event::Reached(attempt, Stage::Building));
    world.pass(20.0);
    world.tell(Event::Reached(attempt, Stage::Fetching));
    world.pass(3.0);
    world.end(attempt, outcome);
    learned(world)
}

#[test]
fn a_build_that_succeeded_teaches_how_long_its_building_stage_took() {
    let mut world = World::new();
    world.add("b1", Capabilities { speed_factor: 0.5, ..caps(1) });
    world.take();
    let seen = build_once(&mut world, 1, done());
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].took, seen[0].speed), (Duration::from_secs(20), 0.5));
    assert_eq!((seen[0].pname.as_str(), seen[0].builder.as_str()), ("thing", "b1"));
}

#[test]
fn what_failed_was_lost_or_was_substituted_teaches_nothing() {
    let substituted = AttemptOutcome::Done(result(BuildStatus::Substituted, ""));
    for outcome in [lost(), failed(BuildStatus::PermanentFailure, "exit code 1"), substituted] {
        let mut world = World::of(1);
        assert_eq!(build_once(&mut world, 1, outcome), []);
    }
}
