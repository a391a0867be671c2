use super::*;
use crate::wire::recording::Recording;

const SHAPES: [Shape; 3] = [Shape::Wide, Shape::Deep, Shape::Nixpkgs];

fn plan(shape: Shape, builds: usize, builders: usize, equal: bool, seed: u64) -> Plan {
    let recording = Recording { builders: fleet(builders, equal, seed), builds: graph(shape, builds, seed) };
    Plan::new(recording).expect("a plan")
}

fn ways(seed: u64) -> Ways {
    Ways { seed, recall: Some(0.0), ..Ways::default() }
}

#[test]
fn no_schedule_beats_the_lower_bound_and_every_build_is_answered() {
    for (shape, seed) in SHAPES.into_iter().zip(1..) {
        for equal in [true, false] {
            let plan = plan(shape, 60, 4, equal, seed);
            let bound = lower_bound(&plan) - 1e-3;
            let outcome = run(&plan, &ways(seed)).expect("it ends");
            assert_eq!((outcome.attempts, outcome.lost), (60, 0));
            let all = [outcome.makespan, best_of_random(&plan, 20, seed, &[]), stock(&plan, &[])];
            assert!(all.iter().all(|makespan| *makespan >= bound), "{shape:?}: {all:?} < {bound}");
        }
    }
}

/// The mean over some seeds of the makespan as a multiple of the shorter of some lists, and of stock's.
fn ratios(shape: Shape, equal: bool, recall: Option<f64>) -> (f64, f64) {
    const SEEDS: u64 = 5;
    let (mut to_best, mut to_stock) = (0.0, 0.0);
    for seed in 0..SEEDS {
        let plan = plan(shape, 80, 5, equal, seed);
        let makespan = run(&plan, &Ways { recall, ..ways(seed) }).expect("it ends").makespan;
        to_best += makespan / best_of_random(&plan, 20, seed, &[]).max(lower_bound(&plan));
        to_stock += makespan / stock(&plan, &[]);
    }
    (to_best / SEEDS as f64, to_stock / SEEDS as f64)
}

#[test]
fn with_little_experience_or_none_it_is_near_the_best_known_and_not_above_stock() {
    for (shape, recall) in SHAPES.into_iter().flat_map(|shape| [(shape, None), (shape, Some(0.4))]) {
        for (equal, most) in [(true, 1.1), (false, 1.2)] {
            let (to_best, to_stock) = ratios(shape, equal, recall);
            let what = format!("{shape:?}, {recall:?}, equal {equal}: {to_best:.3} {to_stock:.3}");
            assert!(to_best <= most && to_stock <= 1.0, "{what}");
        }
    }
}

#[test]
fn the_longest_way_first_gains_much_where_durations_differ() {
    let (to_best, to_stock) = ratios(Shape::Wide, true, Some(0.1));
    assert!(to_best < 0.97 && to_stock < 0.9, "{to_best:.3} {to_stock:.3}");
}

/// Whoever goes away interrupts all that happens there, whatever that is.
#[test]
fn what_travels_is_lost_as_well_as_what_is_built() {
    let mut recording = Recording { builders: fleet(4, true, 7), builds: graph(Shape::Wide, 60, 7) };
    recording.builders.iter_mut().for_each(|builder| builder.link = 3e6);
    let plan = Plan::new(recording).expect("a plan");
    let (mut on_the_way, mut built) = (0, 0);
    for seed in 0..8 {
        let makespan = run(&plan, &ways(seed)).expect("it ends").makespan;
        let absences = losses(&plan, 1, 60.0, makespan, seed);
        let outcome = run(&plan, &Ways { absences, ..ways(seed) }).expect("it ends");
        on_the_way += outcome.lost_on_the_way;
        built += outcome.lost - outcome.lost_on_the_way;
    }
    assert!(on_the_way > 0 && built > 0, "{on_the_way} on the way, {built} while they were built");
}

#[test]
fn whoever_is_compared_with_suffers_the_same_losses() {
    let plan = plan(Shape::Wide, 60, 4, true, 7);
    let all_but_one: Vec<_> = (1..4).map(|builder| Absence { builder, from: 20.0, lasts: 600.0 }).collect();
    let slower = [
        stock(&plan, &all_but_one) / stock(&plan, &[]),
        best_of_random(&plan, 20, 7, &all_but_one) / best_of_random(&plan, 20, 7, &[]),
    ];
    assert!(slower.iter().all(|ratio| *ratio > 1.5), "{slower:?}");
}

#[test]
fn stock_asks_again_for_what_it_lost_when_nothing_else_is_left() {
    let mut recording = Recording { builders: fleet(1, true, 7), builds: graph(Shape::Deep, 2, 7) };
    recording.builds.iter_mut().for_each(|build| build.seconds = 10.0);
    let plan = Plan::new(recording).expect("a plan");
    let away = [Absence { builder: 0, from: 5.0, lasts: 1.0 }];
    let makespan = stock(&plan, &away);
    // Both are lost, tried again at once and postponed, and begin anew with the poll at 10 s.
    assert!((20.0..21.0).contains(&makespan), "{makespan}");
}

#[test]
fn builds_that_outnumber_the_cores_take_longer_for_everybody() {
    let makespans = |cores| {
        let mut recording = Recording { builders: fleet(2, true, 7), builds: graph(Shape::Wide, 40, 7) };
        recording.builders.iter_mut().for_each(|builder| builder.cores = Some(cores));
        let plan = Plan::new(recording).expect("a plan");
        let mine = run(&plan, &ways(7)).expect("it ends").makespan;
        [mine, stock(&plan, &[]), best_of_random(&plan, 10, 7, &[])]
    };
    for (few, many) in makespans(2).into_iter().zip(makespans(4)) {
        assert!((1.4..2.1).contains(&(few / many)), "{few} with two cores, {many} with four");
    }
}

/// Five builds of 20 s on a single slot. Where their inputs take 10 s, all but the first travel while another build runs;
/// where they take 30 s, the link is never idle, and whoever begins waits for the rest only.
#[test]
fn inputs_that_travel_ahead_cost_no_time_and_what_has_travelled_is_not_sent_again() {
    for (input_bytes, lasts, stocks) in [(10_000_000, 110.0, 150.0), (30_000_000, 170.0, 250.0)] {
        let mut recording = Recording { builders: fleet(1, true, 7), builds: graph(Shape::Deep, 5, 7) };
        recording.builders.iter_mut().for_each(|builder| (builder.link, builder.slots) = (1e6, 1));
        for build in &mut recording.builds {
            (build.seconds, build.input_bytes, build.output_bytes) = (20.0, input_bytes, 1);
        }
        let plan = Plan::new(recording).expect("a plan");
        let makespan = run(&plan, &ways(7)).expect("it ends").makespan;
        assert!((lasts..lasts + 1.0).contains(&makespan), "{makespan}, not {lasts}");
        assert!(stock(&plan, &[]) >= stocks);
    }
}

/// A link that carries one transfer at a time is in use for as long as all bytes take.
#[test]
fn builds_that_begin_together_share_the_way_to_a_builder() {
    let mut recording = Recording { builders: fleet(1, true, 7), builds: graph(Shape::Deep, 4, 7) };
    recording.builders.iter_mut().for_each(|builder| builder.link = 1e6);
    let builds = recording.builds.iter_mut();
    builds.for_each(|build| (build.seconds, build.input_bytes, build.output_bytes) = (1.0, 10_000_000, 1));
    let plan = Plan::new(recording).expect("a plan");
    let makespans = [
        run(&plan, &ways(7)).expect("it ends").makespan,
        stock(&plan, &[]),
        best_of_random(&plan, 1, 7, &[]),
    ];
    assert!(makespans.iter().all(|makespan| (41.0..42.0).contains(makespan)), "{makespans:?}");
}

#[test]
fn what_a_builder_that_goes_away_had_is_built_again() {
    let plan = plan(Shape::Wide, 60, 4, true, 7);
    let undisturbed = run(&plan, &ways(7)).expect("it ends");
    let absences = losses(&plan, 1, 60.0, undisturbed.makespan / 2.0, 7);
    let outcome = run(&plan, &Ways { absences, ..ways(7) }).expect("it ends");
    assert!(outcome.lost > 0 && outcome.attempts >= 60 + outcome.lost, "{outcome:?}");
}

#[test]
fn the_same_seed_has_the_same_outcome() {
    let outcome = || run(&plan(Shape::Nixpkgs, 60, 4, false, 3), &ways(3));
    assert_eq!(outcome(), outcome());
}

#[test]
fn what_cannot_run_anywhere_is_refused() {
    let recording = Recording { builders: Vec::new(), builds: graph(Shape::Wide, 1, 0) };
    assert_eq!(Plan::new(recording).expect_err("nobody builds"), BadPlan::Empty);
}
