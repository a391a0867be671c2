//! The machines lines: what stock Nix may ask the endpoint for.
//!
//! One line for each distinct set of systems and features; each builder counts in one. A line never vanishes because
//! its builders are down: stock would turn its builds away for the rest of an invocation, while here they can wait.
//! Where Nix had better build by itself, the line goes: one that stays and accepts nothing would have Nix wait without a
//! word wherever it may not build here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::config::{Config, DEFAULT_ENDPOINT, LocalMachine};
use crate::domain::{Capabilities, Feature, Label, System, Trust};
use crate::nix::machines::{BadEndpoint, Line, LineName, LineRef, SpeedFactor, endpoint_uri};
use crate::policy::snapshot::BuilderRow;

/// What a line offers, and whether to clients whom its builders do not trust: stock goes by other rules there.
type Offer = (BTreeSet<System>, BTreeSet<Feature>, bool);

/// The lines for builders with these capabilities, best first.
///
/// Stock prefers the line with the highest speed factor: one that offers fewer features comes first, or stock would
/// fill the line of the only `kvm` builder with plain builds.
pub fn lines<'a>(
    config: &Config,
    default_system: &System,
    builders: impl Iterator<Item = &'a Capabilities>,
    left_to_nix: impl Fn(&BTreeSet<System>, &BTreeSet<Feature>) -> bool,
) -> Result<Vec<Line>, BadEndpoint> {
    let offers = offers(config, default_system, builders);
    let accepted = accepted(config, &offers);
    let counts: BTreeSet<usize> = offers.keys().map(|(_, features, _)| features.len()).collect();
    let mut lines = Vec::new();
    for ((systems, features, untrusted), max_jobs) in offers.into_keys().zip(accepted) {
        let richer = counts.iter().filter(|&&count| count > features.len()).count();
        if left_to_nix(&systems, &features) {
            continue;
        }
        // Whoever trusts us takes more, and is asked first.
        let factor = if untrusted { 1.0 } else { factor(richer) };
        let name = name(&systems, &features, untrusted);
        lines.push(line(config, name, (systems, features), max_jobs, factor)?);
    }
    lines.sort_by(|a, b| b.speed_factor.get().total_cmp(&a.speed_factor.get()));
    Ok(lines)
}

/// The lines for the builders with a label, for a client who wants these and no others.
pub fn lines_for_label(
    config: &Config,
    socket: &Path,
    label: &Label,
    builders: &[BuilderRow],
) -> Result<Vec<Line>, BadEndpoint> {
    let socket = (socket != Path::new(DEFAULT_ENDPOINT)).then(|| socket.to_string_lossy().into_owned());
    let reference = LineRef::Use { label: label.clone(), socket };
    let program = config.endpoint.program.to_string_lossy();
    let mut offers: BTreeMap<_, u32> = BTreeMap::new();
    for row in builders.iter().filter(|row| row.labels.contains(label) && !row.systems.is_empty()) {
        *offers.entry((row.systems.clone(), row.features.clone())).or_default() += row.slots;
    }
    let lines = offers.into_iter().map(|((systems, features), slots)| {
        let mut line = Line::new(endpoint_uri(&program, &reference)?);
        (line.systems, line.supported) = (systems, features);
        line.max_jobs = slots.saturating_add(config.endpoint.look_ahead.beyond(slots));
        line.max_jobs = line.max_jobs.clamp(1, config.endpoint.max_accepted);
        Ok(line)
    });
    lines.collect()
}

/// The slots behind each offer. Where nobody offers anything, this machine's own system is asked for.
fn offers<'a>(
    config: &Config,
    default_system: &System,
    builders: impl Iterator<Item = &'a Capabilities>,
) -> BTreeMap<Offer, u32> {
    let mut offers: BTreeMap<Offer, u32> = BTreeMap::new();
    for found in builders {
        let untrusted = found.trust == Trust::Untrusted;
        *offers.entry((found.systems.clone(), found.features.clone(), untrusted)).or_default() +=
            found.slots.get();
    }
    for expected in &config.expect {
        offers.entry((expected.systems.clone(), expected.features.clone(), false)).or_insert(1);
    }
    if offers.is_empty() {
        offers.insert((BTreeSet::from([default_system.clone()]), BTreeSet::new(), false), 1);
    }
    offers
}

/// Each accepted build costs stock a process and file descriptors, so all lines together stay within a bound.
fn accepted(config: &Config, offers: &BTreeMap<Offer, u32>) -> Vec<u32> {
    let wanted = |slots: u32| match config.endpoint.local {
        LocalMachine::Overflow => slots,
        LocalMachine::Never | LocalMachine::Auto => {
            slots.saturating_add(config.endpoint.look_ahead.beyond(slots))
        }
    };
    let total: u64 = offers.values().map(|&slots| u64::from(wanted(slots))).sum();
    let allowed = u64::from(config.endpoint.max_accepted);
    let share = |slots: u32| match u64::from(wanted(slots)) {
        own if total <= allowed => own,
        own => (own * allowed / total).max(1),
    };
    offers.values().map(|&slots| u32::try_from(share(slots)).unwrap_or(u32::MAX)).collect()
}

/// 1 for the richest lines, 10 and 100 for plainer ones.
fn factor(richer: usize) -> f32 {
    [1.0, 10.0, 100.0][richer.min(2)]
}

pub(super) fn line(
    config: &Config,
    name: LineName,
    (systems, supported): (BTreeSet<System>, BTreeSet<Feature>),
    max_jobs: u32,
    factor: f32,
) -> Result<Line, BadEndpoint> {
    let program = config.endpoint.program.to_string_lossy();
    let reference = LineRef::Line { name, socket: socket(config) };
    let mut line = Line::new(endpoint_uri(&program, &reference)?);
    line.systems = systems;
    line.supported = supported;
    line.max_jobs = max_jobs;
    line.speed_factor = SpeedFactor::new(factor).unwrap_or_default();
    Ok(line)
}

/// None where `connect` finds the socket without being told.
fn socket(config: &Config) -> Option<String> {
    let socket = &config.endpoint.socket;
    (socket != Path::new(DEFAULT_ENDPOINT)).then(|| socket.to_string_lossy().into_owned())
}

/// One system, as stock shows it to the user, and a few digits that tell this offer from others. Short: stock makes
/// file names of it.
pub(super) fn name(systems: &BTreeSet<System>, features: &BTreeSet<Feature>, untrusted: bool) -> LineName {
    const DIGITS: usize = 6;
    let words = systems.iter().map(System::as_str).chain(features.iter().map(Feature::as_str));
    let digest = Sha256::digest(words.collect::<Vec<_>>().join(" "));
    let digits = &data_encoding::HEXLOWER.encode(&digest)[..DIGITS];
    let own = systems.get(&super::probe::this_system()).or(systems.first());
    let system: String = own.map_or("any", System::as_str).chars().take(40).collect();
    let name = LineName::parse(&format!("{system}-{digits}"))
        .unwrap_or_else(|_| LineName::parse(digits).expect("digits are a name"));
    if untrusted { name.untrusted().expect("a short name has room") } else { name }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::fixtures::config;
    use super::*;

    fn builder(system: &str, features: &[&str], slots: u32) -> Capabilities {
        Capabilities {
            systems: [System::parse(system).expect("a system")].into(),
            features: features.iter().map(|word| Feature::parse(word).expect("a feature")).collect(),
            mandatory: BTreeSet::new(),
            slots: NonZeroU32::new(slots).expect("not zero"),
            speed_factor: 1.0,
            cores: None,
            memory: None,
            trust: Trust::Trusted,
            nix_version: None,
            measured: None,
        }
    }

    #[test]
    fn what_is_left_to_nix_has_no_line() {
        let system = |word| System::parse(word).expect("a system");
        let builders = [builder("x86_64-linux", &[], 1), builder("aarch64-linux", &[], 1)];
        let arm =
            |systems: &BTreeSet<System>, _: &BTreeSet<Feature>| systems.contains(&system("aarch64-linux"));
        let lines = lines(&config(""), &system("x86_64-linux"), builders.iter(), arm).expect("lines");
        assert_eq!(lines.len(), 1);
        assert!(lines[0].systems.contains(&system("x86_64-linux")));
    }

    fn check(text: &str, builders: &[Capabilities], expected: &[(&str, &str, u32, f32)]) {
        let system = System::parse("x86_64-linux").expect("a system");
        let lines = lines(&config(text), &system, builders.iter(), |_, _| false).expect("lines");
        let words = |set: Vec<&str>| set.join(",");
        let seen: Vec<_> = lines
            .iter()
            .map(|line| {
                let systems = words(line.systems.iter().map(System::as_str).collect());
                let features = words(line.supported.iter().map(Feature::as_str).collect());
                (systems, features, line.max_jobs, line.speed_factor.get())
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|&(s, f, jobs, factor)| (s.to_owned(), f.to_owned(), jobs, factor)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn builders_that_do_not_trust_us_have_a_line_of_their_own_that_says_so_and_is_asked_last() {
        let trusting = builder("x86_64-linux", &[], 2);
        let untrusting = Capabilities { trust: Trust::Untrusted, ..builder("x86_64-linux", &[], 1) };
        let rich = builder("x86_64-linux", &["kvm"], 1);
        let all = [untrusting, trusting, rich];
        check(
            "",
            &all,
            &[("x86_64-linux", "", 6, 10.0), ("x86_64-linux", "", 3, 1.0), ("x86_64-linux", "kvm", 3, 1.0)],
        );
        let system = System::parse("x86_64-linux").expect("a system");
        let lines = lines(&config(""), &system, all.iter(), |_, _| false).expect("lines");
        let said: Vec<_> = lines.iter().map(|line| line.uri.to_string().contains("-untrusted")).collect();
        assert_eq!(said, [false, true, false]);
    }

    #[test]
    fn builders_that_offer_the_same_share_a_line_with_slots_and_look_ahead() {
        let builders = [builder("x86_64-linux", &[], 4), builder("x86_64-linux", &[], 2)];
        check("", &builders, &[("x86_64-linux", "", 18, 1.0)]);
        check("[endpoint]\nlocal = \"overflow\"\n", &builders, &[("x86_64-linux", "", 6, 1.0)]);
    }

    #[test]
    fn plain_builds_go_to_the_line_with_the_fewest_features_first() {
        let builders = [
            builder("x86_64-linux", &["big-parallel", "kvm"], 1),
            builder("x86_64-linux", &["big-parallel"], 1),
            builder("x86_64-linux", &[], 1),
        ];
        let expected = [
            ("x86_64-linux", "", 3, 100.0),
            ("x86_64-linux", "big-parallel", 3, 10.0),
            ("x86_64-linux", "big-parallel,kvm", 3, 1.0),
        ];
        check("", &builders, &expected);
    }

    #[test]
    fn without_any_builder_there_is_still_a_line() {
        check("", &[], &[("x86_64-linux", "", 3, 1.0)]);
        let expect = "[[expect]]\nsystems = [\"aarch64-linux\"]\nfeatures = [\"kvm\"]\n";
        check(expect, &[], &[("aarch64-linux", "kvm", 3, 1.0)]);
    }

    #[test]
    fn all_lines_together_stay_within_what_stock_can_hold() {
        let builders: Vec<_> = (0..4).map(|n| builder(&format!("s{n}-linux"), &[], 100)).collect();
        let expected: Vec<(String, u32)> = (0..4).map(|n| (format!("s{n}-linux"), 45)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(system, jobs)| (system.as_str(), "", *jobs, 1.0)).collect();
        check("", &builders, &expected);
    }
}
