//! The schedule against what is known of the best one. Run it with
//! `cargo test --release --test simulate_speed -- --ignored --nocapture`.

use std::time::Instant;

use muster::simulate::{
    Absence, Plan, Shape, Ways, best_of_random, fleet, graph, losses, lower_bound, run, stock,
};
use muster::wire::recording::{RecordedBuild, Recording};

const SEEDS: u64 = 100;
const BUILDS: usize = 200;
const LISTS: usize = 1_000;
/// Builders of a graph out of a seed, one of which is lost.
const BUILDERS: usize = 20;
/// Those of a recording, which has 40 builds at most.
const FEW: usize = 4;
/// How long a lost builder is away.
const AWAY: f64 = 60.0;

#[derive(Clone, Copy)]
enum Graph {
    Seeded(Shape),
    Recorded(&'static str),
}

const GRAPHS: [(&str, Graph); 6] = [
    ("wide", Graph::Seeded(Shape::Wide)),
    ("deep", Graph::Seeded(Shape::Deep)),
    ("nixpkgs", Graph::Seeded(Shape::Nixpkgs)),
    ("wide.jsonl", Graph::Recorded(include_str!("data/recordings/wide.jsonl"))),
    ("deep.jsonl", Graph::Recorded(include_str!("data/recordings/deep.jsonl"))),
    ("layered.jsonl", Graph::Recorded(include_str!("data/recordings/layered.jsonl"))),
];

impl Graph {
    /// A seed makes a graph, or has the builds of a recording take up to a fifth more or less; and a fleet.
    fn plan(self, builders: usize, equal: bool, seed: u64) -> Plan {
        let builds = match self {
            Graph::Seeded(shape) => graph(shape, BUILDS, seed),
            Graph::Recorded(text) => {
                let mut rng = fastrand::Rng::with_seed(seed);
                let builds = Recording::parse(text).expect("a recording").builds;
                let noisy = |build: RecordedBuild| RecordedBuild {
                    seconds: build.seconds * (0.8 + 0.4 * rng.f64()),
                    ..build
                };
                builds.into_iter().map(noisy).collect()
            }
        };
        Plan::new(Recording { builders: fleet(builders, equal, seed), builds }).expect("a plan")
    }

    fn builders(self) -> usize {
        match self {
            Graph::Seeded(_) => BUILDERS,
            Graph::Recorded(_) => FEW,
        }
    }
}

/// Over the seeds.
#[derive(Debug, Default)]
struct Ratios {
    to_best: Vec<f64>,
    to_bound: Vec<f64>,
    to_stock: Vec<f64>,
    /// What a loss costs beyond one rerun, as part of the undisturbed makespan.
    loss: Vec<f64>,
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len() as f64
}

fn worst(all: &[f64]) -> f64 {
    all.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn measure(graph: Graph, equal: bool) -> Ratios {
    let mut ratios = Ratios::default();
    for seed in 0..SEEDS {
        let plan = graph.plan(graph.builders(), equal, seed);
        let ways = Ways { seed, recall: Some(0.0), ..Ways::default() };
        let quiet = run(&plan, &ways).expect("it ends").makespan;
        let bound = lower_bound(&plan);
        // No schedule is shorter than the bound, so that the better known of both is the larger one.
        let best = best_of_random(&plan, LISTS, seed, &[]).max(bound);
        ratios.to_best.push(quiet / best);
        ratios.to_bound.push(quiet / bound);
        ratios.to_stock.push(quiet / stock(&plan, &[]));
        ratios.loss.push(loss(&graph.plan(BUILDERS, equal, seed), &ways));
    }
    ratios
}

/// One builder of twenty is away for a minute from a random moment on.
fn loss(plan: &Plan, ways: &Ways) -> f64 {
    let quiet = run(plan, ways).expect("it ends").makespan;
    let absences: Vec<Absence> = losses(plan, BUILDERS / 20, AWAY, quiet, ways.seed);
    let disturbed = run(plan, &Ways { absences, ..ways.clone() }).expect("it ends");
    (disturbed.makespan - disturbed.longest_lost - quiet) / quiet
}

#[test]
#[ignore = "it takes minutes"]
fn the_schedule_is_close_to_the_best_one_that_is_known() {
    let began = Instant::now();
    let mut missed = Vec::new();
    println!(
        "| graph | builders | to the best known: mean, worst | to the bound | to stock: mean, worst | a loss beyond one rerun: mean, worst |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, graph) in GRAPHS {
        for equal in [true, false] {
            let Ratios { to_best, to_bound, to_stock, loss } = measure(graph, equal);
            let builders = if equal { "equal" } else { "unequal" };
            println!(
                "| {name} | {} {builders} | {:.3}, {:.3} | {:.3} | {:.3}, {:.3} | {:+.1} %, {:+.1} % |",
                graph.builders(),
                mean(&to_best),
                worst(&to_best),
                mean(&to_bound),
                mean(&to_stock),
                worst(&to_stock),
                mean(&loss) * 100.0,
                worst(&loss) * 100.0,
            );
            let most = if equal { 1.10 } else { 1.20 };
            for (what, value, most) in [
                ("to the best known", mean(&to_best), most),
                ("to stock", mean(&to_stock), 1.0),
                ("a loss", mean(&loss), 0.10),
            ] {
                if value > most {
                    missed.push(format!("{name}, {builders}, {what}: {value:.3} > {most}"));
                }
            }
        }
    }
    println!("{SEEDS} seeds, {LISTS} lists: it took {:.0} s", began.elapsed().as_secs_f64());
    assert!(missed.is_empty(), "{missed:#?}");
}
