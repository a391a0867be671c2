use super::*;
use crate::wire::recording::Recording;

const SHAPES: [Shape; 3] = [Shape::Wide, Shape::Deep, Shape::Nixpkgs];

fn plan(shape: Shape, builds: usize, builders: usize, equal: bool, seed: u64) -> Plan {
    let recording = Recording { builders: fleet(builders, equal, seed), builds: graph(shape, builds, seed) };
    Plan::new(recording).expect("a plan")
}

fn ways(seed: u64) -> Ways {
    Ways { seed, recall: true, ..Ways::default() }
}

#[test]
fn no_schedule_beats_the_lower_bound_and_every_build_is_answered() {
    for (shape, seed) in SHAPES.into_iter().zip(1..) {
        for equal in [true, false] {
            let plan = plan(shape, 60, 4, equal, seed);
            let bound = lower_bound(&plan) - 1e-3;
            let outcome = run(&plan, &ways(seed)).expect("it ends");
            assert_eq!((outcome.attempts, outcome.lost), (60, 0));
            let all = [outcome.makespan, best_of_random(&plan, 20, seed), stock(&plan)];
            assert!(all.iter().all(|makespan| *makespan >= bound), "{shape:?}: {all:?} < {bound}");
        }
    }
}

#[test]
fn on_equal_builders_it_is_at_most_a_tenth_above_stock() {
    for (shape, seed) in SHAPES.into_iter().zip(1..) {
        let plan = plan(shape, 60, 4, true, seed);
        let makespan = run(&plan, &ways(seed)).expect("it ends").makespan;
        assert!(makespan <= stock(&plan) * 1.1, "{shape:?}: {makespan} against {}", stock(&plan));
    }
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
