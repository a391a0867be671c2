use super::*;

/// Takes a second at the rate that is assumed of a link.
const LARGE: u64 = 100_000_000;

type Ways = Vec<(u64, String)>;

/// What travels ahead is asked for as `(build, builder)`, and what no longer does.
fn prefetches(world: &mut World) -> (Ways, Ways) {
    let (mut begun, mut over) = (Vec::new(), Vec::new());
    for effect in world.take() {
        match effect {
            Effect::Prefetch { build, builder } => begun.push((build.0, builder.to_string())),
            Effect::EndPrefetch { build, builder } => over.push((build.0, builder.to_string())),
            _ => {}
        }
    }
    (begun, over)
}

fn with_input(number: u64, bytes: u64) -> Ask {
    Ask { closure: closure(&[(number, bytes)]), ..ask(number) }
}

fn on(build: u64, builder: &str) -> Ways {
    vec![(build, builder.to_owned())]
}

/// Builders of one slot each, all in use.
fn busy(builders: usize) -> (World, Vec<AttemptId>) {
    let mut world = World::of(builders);
    (0..builders as u64).for_each(|number| {
        world.ask(100 + number);
    });
    let attempts = world.started().into_iter().map(|(attempt, _)| attempt).collect();
    (world, attempts)
}

#[test]
fn inputs_of_a_build_that_waits_travel_to_the_builder_whose_slots_are_in_use() {
    let (mut world, attempts) = busy(1);
    world.request(with_input(1, LARGE));
    assert_eq!(prefetches(&mut world), (on(2, "b1"), vec![]));
    world.tell(Event::Present(name("b1"), vec![hash(1)]));
    world.end(attempts[0], done());
    let starts = world.take();
    assert!(
        starts.iter().any(|effect| matches!(effect, Effect::Start { attempt, .. } if attempt.build.0 == 2))
    );
    assert!(!starts.iter().any(|effect| matches!(effect, Effect::EndPrefetch { .. })), "it starts there");
}

#[test]
fn nothing_travels_ahead_to_where_a_slot_is_free_or_where_the_way_is_short() {
    let (mut world, _) = busy(1);
    world.request(with_input(1, LARGE / 100));
    world.tell(Event::Present(name("b1"), vec![hash(2)]));
    world.request(with_input(2, LARGE));
    assert_eq!(prefetches(&mut world), (vec![], vec![]));
    world.add("b2", caps(4));
    world.take();
    world.request(with_input(3, LARGE));
    assert_eq!(prefetches(&mut world), (vec![], vec![]));
}

#[test]
fn one_build_at_a_time_travels_ahead_to_a_builder_the_first_to_the_one_that_is_free_first() {
    let (mut world, attempts) = busy(2);
    world.tell(Event::Reached(attempts[1], Stage::Building));
    world.now = Time::after_start(Duration::from_secs(5));
    world.tell(Event::Reached(attempts[0], Stage::Building));
    world.take();
    for number in 1..=4 {
        world.request(with_input(number, LARGE));
    }
    let (begun, _) = prefetches(&mut world);
    assert_eq!(begun, [on(3, "b2"), on(4, "b1")].concat());
    world.end(attempts[1], done());
    assert_eq!(prefetches(&mut world), (on(5, "b2"), vec![]));
}

#[test]
fn what_starts_elsewhere_or_is_wanted_by_nobody_travels_no_longer() {
    let (mut world, _) = busy(1);
    let request = world.request(with_input(1, LARGE));
    assert_eq!(prefetches(&mut world).0, on(2, "b1"));
    world.tell(Event::Withdrawn(request));
    assert_eq!(prefetches(&mut world).1, on(2, "b1"));
    world.request(with_input(2, LARGE));
    assert_eq!(prefetches(&mut world).0, on(3, "b1"));
    world.add("b2", caps(1));
    assert_eq!(prefetches(&mut world), (vec![], on(3, "b1")), "it started on b2");
}

#[test]
fn nothing_travels_to_a_builder_that_takes_no_builds() {
    let ends: [fn(&mut World); 3] = [
        |world| world.tell(Event::Drained(name("b1"), "eva".to_owned())),
        |world| world.tell(Event::Vanished(name("b1"))),
        |world| {
            world.nature("b1", Nature::Silent);
            world.pass(30.0);
        },
    ];
    for end in ends {
        let (mut world, _) = busy(1);
        world.request(with_input(1, LARGE));
        assert_eq!(prefetches(&mut world).0, on(2, "b1"));
        end(&mut world);
        assert_eq!(prefetches(&mut world).1, on(2, "b1"));
        world.request(with_input(2, LARGE));
        assert_eq!(prefetches(&mut world).0, []);
    }
}

#[test]
fn inputs_do_not_travel_to_a_slow_builder_where_the_build_had_better_wait_for_a_fast_one() {
    let mut world = World::new();
    world.add("fast", caps(1));
    world.add("slow", Capabilities { speed_factor: 0.4, ..caps(1) });
    world.take();
    world.ask(1);
    world.ask(2);
    assert_eq!(world.started().len(), 2);
    world.request(with_input(3, LARGE));
    world.request(with_input(4, LARGE));
    assert_eq!(prefetches(&mut world).0, on(3, "fast"));
}
