//! `muster simulate`

use std::fmt::Write as _;

use anyhow::Context;
use serde::Serialize;

use super::{Failure, print};
use crate::cli::{SimulateArgs, SimulatedGraph};
use crate::edge;
use crate::simulate::{self, Absence, Plan, Shape, Ways};
use crate::wire::recording::Recording;

/// What is printed.
#[derive(Debug, Serialize)]
struct Comparison {
    schema: u32,
    builds: usize,
    builders: usize,
    attempts: usize,
    lost: usize,
    /// All in seconds.
    makespan: f64,
    lower_bound: f64,
    best_of_random: f64,
    stock: f64,
    ratios: Ratios,
}

/// The makespan as a multiple of others.
#[derive(Debug, Serialize)]
struct Ratios {
    lower_bound: f64,
    best_of_random: f64,
    stock: f64,
}

pub(super) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let plan = Plan::new(recording(args)?).map_err(|error| Failure::Usage(error.into()))?;
    let compared = compare(args, &plan).map_err(|error| Failure::Failed(error.into()))?;
    if args.json {
        let text = serde_json::to_string(&compared).map_err(|error| Failure::Failed(error.into()))?;
        print(&(text + "\n"))
    } else {
        print(&table(&compared))
    }
}

fn recording(args: &SimulateArgs) -> Result<Recording, Failure> {
    let mut recording = match &args.recording {
        Some(path) => {
            let text = edge::files::read_recording(path);
            let text = text.with_context(|| path.display().to_string()).map_err(Failure::Failed)?;
            let parsed = Recording::parse(&text).with_context(|| path.display().to_string());
            parsed.map_err(Failure::Usage)?
        }
        None => Recording {
            builders: Vec::new(),
            builds: simulate::graph(shape(args), args.builds as usize, args.seed),
        },
    };
    if recording.builders.is_empty() || args.builders.is_some() {
        recording.builders = simulate::fleet(args.builders.unwrap_or(10) as usize, !args.unequal, args.seed);
    }
    recording.builders.iter_mut().rev().take(args.slow as usize).for_each(|builder| {
        builder.link = (builder.link / 100.0).max(1e3);
    });
    Ok(recording)
}

fn shape(args: &SimulateArgs) -> Shape {
    match args.graph {
        SimulatedGraph::Wide => Shape::Wide,
        SimulatedGraph::Deep => Shape::Deep,
        SimulatedGraph::Nixpkgs => Shape::Nixpkgs,
    }
}

fn compare(args: &SimulateArgs, plan: &Plan) -> Result<Comparison, simulate::Stuck> {
    let window = args.window.map(|window| window as usize);
    let quiet = Ways { seed: args.seed, recall: args.recall.then_some(0.0), window, absences: Vec::new() };
    let undisturbed = simulate::run(plan, &quiet)?;
    let absences = absences(args, plan, undisturbed.makespan);
    let lower_bound = simulate::lower_bound(plan);
    let best_of_random = simulate::best_of_random(plan, args.lists.max(1) as usize, args.seed, &absences);
    let stock = simulate::stock(plan, &absences);
    let outcome =
        if absences.is_empty() { undisturbed } else { simulate::run(plan, &Ways { absences, ..quiet })? };
    let ratio = |to: f64| if to > 0.0 { outcome.makespan / to } else { 1.0 };
    Ok(Comparison {
        schema: 1,
        builds: plan.builds.len(),
        builders: plan.builders.len(),
        attempts: outcome.attempts,
        lost: outcome.lost,
        makespan: outcome.makespan,
        lower_bound,
        best_of_random,
        stock,
        ratios: Ratios {
            lower_bound: ratio(lower_bound),
            best_of_random: ratio(best_of_random),
            stock: ratio(stock),
        },
    })
}

fn absences(args: &SimulateArgs, plan: &Plan, makespan: f64) -> Vec<Absence> {
    let mut all = simulate::losses(plan, args.lost as usize, 60.0, makespan, args.seed);
    let mut from = 30.0;
    while args.flap && from < makespan * 4.0 {
        all.push(Absence { builder: 0, from, lasts: 5.0 });
        from += 30.0;
    }
    all
}

fn table(compared: &Comparison) -> String {
    let Comparison { builds, builders, attempts, lost, makespan, ratios, .. } = compared;
    let mut text =
        format!("{builds} builds on {builders} builders, {attempts} attempts, {lost} of them lost\n\n");
    let rows = [
        ("this policy", *makespan, 1.0),
        ("the lower bound", compared.lower_bound, ratios.lower_bound),
        ("the best random list", compared.best_of_random, ratios.best_of_random),
        ("stock Nix", compared.stock, ratios.stock),
    ];
    let _ = writeln!(text, "{:<22}{:>12}{:>22}", "", "makespan", "this policy / that");
    for (what, seconds, ratio) in rows {
        let _ = writeln!(text, "{what:<22}{seconds:>10.1} s{ratio:>22.3}");
    }
    text
}
