//! Graphs and fleets out of a seed.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::cluster::Absence;
use super::plan::Plan;
use crate::domain::{BuilderName, StorePath, System};
use crate::wire::recording::{RecordedBuild, RecordedBuilder};

/// What a graph looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Everything at once, and one build that needs it all.
    Wide,
    /// A few long chains.
    Deep,
    /// Layers, most of whose builds are short and a few very long, as in nixpkgs.
    Nixpkgs,
}

/// Chains of a deep graph.
const CHAINS: usize = 6;
/// Layers of one like nixpkgs.
const LAYERS: usize = 12;
/// Builds take between these seconds.
const SECONDS: std::ops::Range<f64> = 1.0..1_200.0;

/// So many builds; nothing where a name could not be made.
pub fn graph(shape: Shape, builds: usize, seed: u64) -> Vec<RecordedBuild> {
    let mut rng = Rng::with_seed(seed);
    let mut made: Vec<RecordedBuild> = Vec::new();
    for index in 0..builds {
        let needs = needs(shape, index, builds, &mut rng);
        let seconds = seconds(shape, &mut rng);
        // The order of names says nothing of the order of builds.
        let name = rng.u32(..);
        let base = format!("{index:032}-p{name:08x}.drv");
        let (Ok(drv), Ok(system)) = (StorePath::from_base_name(&base), System::parse("x86_64-linux")) else {
            return Vec::new();
        };
        made.push(RecordedBuild {
            drv,
            pname: format!("p{index}"),
            system,
            features: BTreeSet::new(),
            needs: needs.iter().map(|need| made[*need].drv.clone()).collect(),
            seconds,
            input_bytes: rng.u64(1_000..10_000_000),
            output_bytes: rng.u64(10_000..30_000_000),
            attempts: Vec::new(),
        });
    }
    made
}

fn needs(shape: Shape, index: usize, builds: usize, rng: &mut Rng) -> BTreeSet<usize> {
    match shape {
        Shape::Wide if index + 1 == builds => (0..index).collect(),
        Shape::Wide => BTreeSet::new(),
        Shape::Deep => index.checked_sub(CHAINS).into_iter().collect(),
        Shape::Nixpkgs => {
            let width = builds.div_ceil(LAYERS).max(1);
            let layer = index / width;
            if layer == 0 {
                return BTreeSet::new();
            }
            let before = layer * width;
            let mut needs = BTreeSet::from([rng.usize(before - width..before)]);
            let more = rng.usize(..4);
            needs.extend((0..more).map(|_| rng.usize(..before)));
            needs
        }
    }
}

/// A log-normal time for nixpkgs (the sum of twelve uniform numbers is nearly normal), an even one elsewhere.
fn seconds(shape: Shape, rng: &mut Rng) -> f64 {
    match shape {
        Shape::Wide => 5.0 + rng.f64() * 55.0,
        Shape::Deep => 5.0 + rng.f64() * 25.0,
        Shape::Nixpkgs => {
            let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
            (12.0 * (1.3 * normal).exp()).clamp(SECONDS.start, SECONDS.end)
        }
    }
}

/// So many builders named b001, b002, ...; of equal speed and four slots, or of speeds from 0.5 to 2 and one to eight slots.
pub fn fleet(builders: usize, equal: bool, seed: u64) -> Vec<RecordedBuilder> {
    let mut rng = Rng::with_seed(!seed);
    let builder = |number: usize| {
        let name = BuilderName::parse(&format!("b{number:03}")).ok()?;
        let system = System::parse("x86_64-linux").ok()?;
        let (speed, slots) = if equal { (1.0, 4) } else { (0.5 + rng.f64() * 1.5, rng.u32(1..=8)) };
        Some(RecordedBuilder {
            name,
            systems: BTreeMap::from([(system, speed)]),
            features: BTreeSet::new(),
            slots,
            cores: None,
            link: 1e8,
            rtt_ms: 1.0,
        })
    };
    (1..=builders).filter_map(builder).collect()
}

/// So many different builders go away, each once, at a random time of the run.
pub fn losses(plan: &Plan, builders: usize, lasts: f64, makespan: f64, seed: u64) -> Vec<Absence> {
    let mut rng = Rng::with_seed(seed ^ 0x1055);
    let mut who: Vec<usize> = (0..plan.builders.len()).collect();
    rng.shuffle(&mut who);
    who.truncate(builders);
    who.into_iter().map(|builder| Absence { builder, from: rng.f64() * makespan, lasts }).collect()
}
