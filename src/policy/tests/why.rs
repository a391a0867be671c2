use super::*;
use crate::policy::why::{BuildStory, Explanation, Phase};

fn story(world: &World, name: &str) -> BuildStory {
    match world.state.why(name, world.now) {
        Explanation::Build(story) => *story,
        other => panic!("{other:?}"),
    }
}

fn called(number: u64, text: &str) -> Ask {
    let drv = StorePath::from_base_name(&format!("{number:032}-{text}.drv")).expect("a path");
    Ask { drv, ..ask(number) }
}

#[test]
fn a_build_is_named_by_its_path_or_any_prefix_of_its_hash_or_name() {
    let mut world = World::new();
    world.request(called(10, "hello-2"));
    world.request(called(20, "hello-2-doc"));
    let hash = |digit: char| format!("{}{digit}", "0".repeat(30));
    for name in ["hello-2", "hello-2.drv", &hash('1'), &format!("/nix/store/{}0-hello-2.drv", hash('1'))] {
        assert!(story(&world, name).drv.ends_with("10-hello-2.drv"), "{name}");
    }
    assert!(story(&world, "hello-2-").drv.ends_with("20-hello-2-doc.drv"));
    let Explanation::Ambiguous { candidates, count } = world.state.why("hell", world.now) else { panic!() };
    assert_eq!((candidates.len(), count), (2, 2));
    assert_eq!(world.state.why("nothing", world.now), Explanation::Unknown);
    assert_eq!(world.state.why("", world.now), Explanation::Unknown);
}

#[test]
fn a_build_that_waits_is_explained_by_the_reasons_of_its_placement() {
    let mut world = World::of(2);
    (1..=3).for_each(|number| {
        world.request(called(number, &format!("p{number}")));
    });
    world.tell(Event::Drained(name("b2"), "eva".to_owned()));
    let story = story(&world, "p3");
    let reasons: Vec<_> = story.builders.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, ["all 1 slots are in use", "it is drained by eva: nothing new starts there"]);
    assert_eq!(story.phase, Phase::Waiting);
    assert!(story.waiting.is_some_and(|why| why.contains("free slot")));
}

#[test]
fn a_build_that_runs_is_explained_by_the_reasons_of_when_it_began() {
    let mut world = World::of(2);
    world.request(called(1, "p1"));
    world.nature("b2", Nature::Silent);
    world.pass(30.0);
    let story = story(&world, "p1");
    assert_eq!(story.phase, Phase::Running);
    let reasons: Vec<_> = story.builders.iter().map(|row| row.reason.as_str()).collect();
    assert!(
        reasons[0].starts_with("the earliest estimated finish")
            && reasons[1].starts_with("estimated to finish at about the same time")
    );
    assert_eq!(story.attempts[0].why, reasons[0]);
}

#[test]
fn a_build_that_is_over_is_remembered_with_all_its_attempts() {
    let mut world = World::of(2);
    world.request(called(1, "p1"));
    let (first, _) = world.one_start();
    world.pass(3.0);
    world.end(first, lost());
    world.pass(1.0);
    let (second, _) = world.one_start();
    world.pass(2.0);
    world.end(second, done());
    world.pass(60.0);
    let story = story(&world, "p1");
    let told: Vec<_> = story
        .attempts
        .iter()
        .map(|a| (a.number, a.builder.as_str(), a.took_ms / 1000, a.ended.clone().unwrap_or_default()))
        .collect();
    let loss = "b1 was lost while building (connection closed)".to_owned();
    assert_eq!(told[0], (1, "b1", 3, loss));
    assert_eq!((told[1].1, told[1].3.as_str()), ("b2", "built"));
    assert_eq!((story.phase, story.outcome.as_deref()), (Phase::Finished, Some("built on b2")));
    assert_eq!(story.ended_ms_ago.map(|ms| ms / 1000), Some(60));
}

#[test]
fn the_memory_of_builds_is_bounded_and_the_oldest_give_way() {
    let mut world = World::with(Settings { remembered: 3, ..Settings::default() });
    world.add("b1", caps(1));
    world.take();
    for number in 1..=5 {
        world.request(called(number, &format!("p{number}")));
        let (attempt, _) = world.one_start();
        world.end(attempt, done());
        world.take();
    }
    let known = (1..=5).filter(|n| world.state.why(&format!("p{n}"), world.now) != Explanation::Unknown);
    assert_eq!(known.collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn a_builder_tells_its_health_since_when_what_runs_and_what_speaks_against_it() {
    let mut world = World::of(1);
    world.request(called(1, "p1"));
    world.request(called(2, "p2"));
    world.pass(5.0);
    let Explanation::Builder(story) = world.state.why("b1", world.now) else { panic!() };
    assert_eq!((story.builder.health, story.since_ms), (HealthWord::Healthy, 5_000));
    assert_eq!(story.running.len(), 1);
    assert_eq!((story.waiting[0].reason.as_str(), story.queued), ("all 1 slots are in use", 1));
    world.nature("b1", Nature::Silent);
    world.pass(20.0);
    let Explanation::Builder(story) = world.state.why("b1", world.now) else { panic!() };
    assert_eq!(story.builder.health, HealthWord::Suspect);
    assert!(story.since_ms < 15_000, "{}", story.since_ms);
}
