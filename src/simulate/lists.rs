//! What to compare with: a bound that nobody can beat, and list schedules, the best of which is hard to beat.

use fastrand::Rng;

use super::cluster::Absence;
use super::greedy::{Greedy, Rule};
use super::plan::Plan;

/// Seconds below which no schedule ends: the longest chain with each build on the fastest builder, or all work spread over
/// all slots (Graham, 1969).
pub fn lower_bound(plan: &Plan) -> f64 {
    let mut ends = vec![0.0_f64; plan.builds.len()];
    for build in 0..ends.len() {
        let begins = plan.needs[build].iter().map(|need| ends[*need]).fold(0.0, f64::max);
        let fastest =
            plan.fits[build].iter().map(|builder| plan.work(build, *builder) + plan.fetch(build, *builder));
        ends[build] = begins + fastest.fold(f64::INFINITY, f64::min);
    }
    let work: f64 = plan.builds.iter().map(|build| build.seconds).sum();
    let fastest = |speeds: &mut dyn Iterator<Item = &f64>| speeds.copied().fold(0.0, f64::max);
    let capacity: f64 = plan
        .builders
        .iter()
        .map(|builder| f64::from(builder.slots) * fastest(&mut builder.systems.values()))
        .sum();
    ends.into_iter().fold(work / capacity, f64::max)
}

/// The shortest of so many list schedules in random orders, in seconds. They know all durations, and of no loss beforehand.
pub fn best_of_random(plan: &Plan, lists: usize, seed: u64, absences: &[Absence]) -> f64 {
    let mut rng = Rng::with_seed(seed);
    let mut rank: Vec<usize> = (0..plan.builds.len()).collect();
    let mut best = f64::INFINITY;
    for _ in 0..lists {
        rng.shuffle(&mut rank);
        best = Greedy::new(plan, Rule::List, &rank, absences).run(best).unwrap_or(best);
    }
    best
}
