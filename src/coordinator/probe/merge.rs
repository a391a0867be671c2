//! From what was found and what the user said to what a builder can do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{BuilderSpec, Capabilities, Feature, Measured, Slots, System, Trust};
use crate::wire::probe::{Kvm, Report};

/// What Nix itself assumes of a machine that says nothing else (`system-features`), without `kvm`.
const DEFAULT_FEATURES: [&str; 3] = ["benchmark", "big-parallel", "nixos-test"];
/// What a slot needs at least, where nobody knows better.
const CORES_PER_SLOT: u32 = 4;
const MEMORY_PER_SLOT: u64 = 4 << 30;

/// A daemon's system and features in its own words.
pub(super) type Itself = Option<(System, BTreeSet<Feature>)>;

/// What was measured: what the daemon says of itself counts more than what the script read in files.
pub(super) fn measured(report: &Report, itself: Itself, rtt: Duration, now: i64) -> Measured {
    let (system, features) = itself.map_or((None, None), |(system, features)| (Some(system), Some(features)));
    let system = system.or_else(|| report.system.clone());
    let mut features = features.or_else(|| report.features.clone()).unwrap_or_else(default_features);
    // A builder that could not run the script has proved nothing, and refuted nothing.
    if matches!(report.kvm, Some(Kvm::Denied | Kvm::None)) {
        features.retain(|feature| feature.as_str() != "kvm");
    }
    Measured {
        systems: report.extra_platforms.iter().cloned().chain(system).collect(),
        emulated: report.emulated(),
        features,
        slots: slots(report.cores, report.memory, report.build_users),
        cores: report.cores,
        memory: report.memory,
        build_users: report.build_users,
        store_free: report.store_free,
        rtt: Some(rtt),
        clock_ahead: report.clock.map(|clock| clock.saturating_sub(now)),
    }
}

/// The user's values win.
pub(super) fn capabilities(
    spec: &BuilderSpec,
    measured: Measured,
    trust: Trust,
    nix_version: Option<String>,
) -> Result<Capabilities, String> {
    let systems = spec.systems.clone().unwrap_or_else(|| measured.systems.clone());
    if systems.is_empty() {
        return Err(
            "nobody could find out what it builds for; say so with `systems` in its [[builder]]".into()
        );
    }
    let features = spec.features.as_ref().unwrap_or(&measured.features);
    Ok(Capabilities {
        systems,
        features: features.union(&spec.mandatory).cloned().collect(),
        mandatory: spec.mandatory.clone(),
        slots: spec.slots.or(measured.slots).unwrap_or(Slots::MIN),
        speed_factor: spec.speed_factor.unwrap_or(1.0),
        cores: spec.cores.or(measured.cores),
        memory: spec.memory.or(measured.memory),
        trust,
        nix_version,
        measured: Some(Arc::new(measured)),
    })
}

/// As many builds at once as each of them bears; none where nothing is known.
pub(super) fn slots(cores: Option<u32>, memory: Option<u64>, build_users: Option<u32>) -> Option<Slots> {
    let by_memory = memory.map(|bytes| u32::try_from(bytes / MEMORY_PER_SLOT).unwrap_or(u32::MAX));
    let bounds = [cores.map(|cores| cores / CORES_PER_SLOT), by_memory, build_users];
    let least = bounds.into_iter().flatten().min()?;
    Some(Slots::new(least).unwrap_or(Slots::MIN))
}

pub(super) fn default_features() -> BTreeSet<Feature> {
    DEFAULT_FEATURES.iter().filter_map(|word| Feature::parse(word).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BuilderName;

    fn spec() -> BuilderSpec {
        BuilderSpec::named(BuilderName::parse("b").expect("a name"))
    }

    fn system(word: &str) -> System {
        System::parse(word).expect("a system")
    }

    fn features(words: &[&str]) -> BTreeSet<Feature> {
        words.iter().map(|word| Feature::parse(word).expect("a feature")).collect()
    }

    fn found(report: &Report, itself: Itself) -> Measured {
        measured(report, itself, Duration::from_millis(5), 1000)
    }

    fn linux() -> Report {
        Report {
            system: Some(system("x86_64-linux")),
            extra_platforms: BTreeSet::from([system("aarch64-linux")]),
            features: Some(features(&["kvm", "big-parallel"])),
            kvm: Some(Kvm::Yes),
            clock: Some(990),
            ..Report::default()
        }
    }

    #[test]
    fn slots_are_what_the_scarcest_allows_and_at_least_one() {
        let check = |cores, gib: Option<u64>, users, expected: Option<u32>| {
            assert_eq!(slots(cores, gib.map(|gib| gib << 30), users).map(Slots::get), expected);
        };
        check(Some(64), Some(256), Some(32), Some(16));
        check(Some(64), Some(32), Some(32), Some(8));
        check(Some(64), Some(256), Some(3), Some(3));
        check(Some(2), Some(1), Some(32), Some(1));
        check(Some(64), None, None, Some(16));
        check(None, None, None, None);
    }

    #[test]
    fn what_the_daemon_says_of_itself_counts_more_than_files() {
        let measured = found(&linux(), Some((system("i686-linux"), features(&["special"]))));
        assert_eq!(measured.features, features(&["special"]));
        assert_eq!(measured.systems, BTreeSet::from([system("aarch64-linux"), system("i686-linux")]));
        assert_eq!(measured.clock_ahead, Some(-10));
    }

    #[test]
    fn kvm_that_does_not_open_is_refuted_and_never_invented() {
        let with = |kvm| found(&Report { kvm, ..linux() }, None).features;
        assert_eq!(with(Some(Kvm::Yes)), features(&["kvm", "big-parallel"]));
        assert_eq!(with(Some(Kvm::Denied)), features(&["big-parallel"]));
        assert_eq!(with(Some(Kvm::None)), features(&["big-parallel"]));
        assert_eq!(with(None), features(&["kvm", "big-parallel"]));
        let silent = Report { features: None, ..linux() };
        assert_eq!(found(&silent, None).features, default_features());
    }

    #[test]
    fn what_the_user_said_wins_and_both_are_kept() {
        let said = BuilderSpec {
            systems: Some(BTreeSet::from([system("x86_64-linux")])),
            features: Some(features(&["gccarch-znver3"])),
            mandatory: features(&["special"]),
            slots: Slots::new(7),
            ..spec()
        };
        let caps = capabilities(&said, found(&linux(), None), Trust::Trusted, None).expect("good");
        assert_eq!(caps.features, features(&["gccarch-znver3", "special"]));
        assert_eq!((caps.slots.get(), caps.systems.len()), (7, 1));
        assert_eq!(caps.measured.expect("kept").systems.len(), 2);
    }

    #[test]
    fn a_builder_of_which_nothing_is_known_needs_the_user() {
        let error = capabilities(&spec(), found(&Report::default(), None), Trust::Trusted, None);
        assert!(error.expect_err("no system").contains("`systems`"));
    }
}
