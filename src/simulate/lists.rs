//! What to compare with: a bound that nobody can beat, and list schedules, the best of which is hard to beat.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use fastrand::Rng;

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

/// The shortest of so many list schedules in random orders, in seconds.
pub fn best_of_random(plan: &Plan, lists: usize, seed: u64) -> f64 {
    let mut rng = Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..plan.builds.len()).collect();
    let mut best = f64::INFINITY;
    for _ in 0..lists {
        rng.shuffle(&mut order);
        best = best.min(list(plan, &order));
    }
    best
}

/// What has begun, by the time at which something follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    SlotFree(usize),
    Done(usize),
}

/// The makespan where of those that are ready the smallest in `rank` begins first, where it is done first.
fn list(plan: &Plan, rank: &[usize]) -> f64 {
    let mut free: Vec<u32> = plan.builders.iter().map(|builder| builder.slots).collect();
    let mut has = vec![vec![false; plan.builds.len()]; plan.builders.len()];
    let mut left: Vec<usize> = plan.needs.iter().map(Vec::len).collect();
    let mut ready: BTreeSet<(usize, usize)> =
        (0..left.len()).filter(|build| left[*build] == 0).map(|build| (rank[build], build)).collect();
    let mut agenda = std::collections::BinaryHeap::new();
    let mut now = 0_u64;
    loop {
        for (order, build) in ready.clone() {
            let time = |builder: usize| {
                let sent = missing(plan, build, &has[builder]);
                plan.upload(builder, sent) + plan.work(build, builder)
            };
            let open = plan.fits[build].iter().copied().filter(|builder| free[*builder] > 0);
            let Some(builder) = open.min_by(|a, b| time(*a).total_cmp(&time(*b))) else {
                if free.iter().all(|slots| *slots == 0) {
                    break;
                }
                continue;
            };
            let built = now + micros(time(builder));
            ready.remove(&(order, build));
            free[builder] -= 1;
            plan.needs[build].iter().for_each(|need| has[builder][*need] = true);
            has[builder][build] = true;
            agenda.push(Reverse((built, Next::SlotFree(builder))));
            agenda.push(Reverse((built + micros(plan.fetch(build, builder)), Next::Done(build))));
        }
        let Some(Reverse((at, next))) = agenda.pop() else { return seconds(now) };
        now = at;
        match next {
            Next::SlotFree(builder) => free[builder] += 1,
            Next::Done(build) => {
                for user in &plan.users[build] {
                    left[*user] -= 1;
                    if left[*user] == 0 {
                        ready.insert((rank[*user], *user));
                    }
                }
            }
        }
    }
}

/// What a build needs that is not where these builds are.
pub(super) fn missing(plan: &Plan, build: usize, has: &[bool]) -> u64 {
    let needed = plan.needs[build].iter().filter(|need| !has[**need]);
    plan.builds[build].input_bytes + needed.map(|need| plan.builds[*need].output_bytes).sum::<u64>()
}

/// Whole microseconds, so that times can be put in order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of recordings are bounded"
)]
pub(super) fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "times of recordings are bounded")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
