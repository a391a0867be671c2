//! A question that only a daemon itself can answer: what it is.
//!
//! No operation tells a daemon's system and features, and a client's view of its configuration may be another one. But
//! a daemon that is asked to build for a system and with a feature that do not exist refuses, and says what it has
//! instead: since Nix 2.4 `but I am a 'SYSTEM' with features {A, B}`, in 2.34 `Current system: 'SYSTEM'` and
//! `Available features: {A, B}`.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{BasicDerivation, DerivationOutput, Feature, StorePath, System};

const DRV: &str = "00000000000000000000000000000000-muster-asks-who-you-are.drv";
const OUTPUT: &str = "00000000000000000000000000000000-muster-asks-who-you-are";

/// A derivation that nobody can build. Its output is of fixed content, so that it may be asked without trust, and is
/// never substituted, so that the answer comes at once.
pub fn question() -> Option<(StorePath, BasicDerivation)> {
    let output = DerivationOutput {
        path: Some(StorePath::from_base_name(OUTPUT).ok()?),
        hash_algo: "sha256".to_owned(),
        hash: "0".repeat(64),
    };
    let platform = System::parse("muster-asks-who-you-are").ok()?;
    let texts = [
        ("allowSubstitutes", ""),
        ("preferLocalBuild", "1"),
        ("requiredSystemFeatures", platform.as_str()),
        ("system", platform.as_str()),
    ];
    let env: BTreeMap<_, _> = texts.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
    let derivation = BasicDerivation {
        outputs: BTreeMap::from([("out".to_owned(), output)]),
        inputs: BTreeSet::new(),
        platform,
        builder: b"/bin/sh".to_vec(),
        args: Vec::new(),
        env,
    };
    Some((StorePath::from_base_name(DRV).ok()?, derivation))
}

/// What the refusal says of the daemon.
pub fn answer(refusal: &str) -> Option<(System, BTreeSet<Feature>)> {
    let plain = without_escapes(refusal);
    let (_, rest) = plain.split_once("I am a ").or_else(|| plain.split_once("Current system: "))?;
    let (_, rest) = rest.split_once('\'')?;
    let (system, rest) = rest.split_once('\'')?;
    let listed = rest.strip_prefix(" with features {");
    let listed = listed.or_else(|| rest.split_once("Available features: {").map(|(_, listed)| listed))?;
    let (features, _) = listed.split_once('}')?;
    let words = features.split([',', ' ']).filter(|word| !word.is_empty());
    let features =
        words.map(|word| Feature::parse(word.trim_matches('\''))).collect::<Result<_, _>>().ok()?;
    Some((System::parse(system).ok()?, features))
}

/// Nix colours what it quotes.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.strip_prefix('m').unwrap_or(rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(refusal: &str, system: &str, features: &[&str]) {
        let features = features.iter().map(|word| Feature::parse(word).expect("a feature")).collect();
        assert_eq!(answer(refusal), Some((System::parse(system).expect("a system"), features)), "{refusal}");
    }

    #[test]
    fn every_version_says_it_in_its_own_way() {
        check(
            "a 'muster' with features {} is required to build '/nix/store/x.drv', but I am a 'x86_64-linux' with \
             features {benchmark, big-parallel, kvm}",
            "x86_64-linux",
            &["benchmark", "big-parallel", "kvm"],
        );
        check(
            "Cannot build '\x1b[35;1m/nix/store/x.drv\x1b[0m'.\nReason: \x1b[31;1mplatform mismatch\x1b[0m\n\
             Required system: '\x1b[35;1mx\x1b[0m'\nCurrent system: '\x1b[35;1maarch64-linux\x1b[0m'\n\
             Reason: missing system features\nRequired features: {x}\n\
             Available features: {\x1b[35;1mnixos-test\x1b[0m}",
            "aarch64-linux",
            &["nixos-test"],
        );
        check("but I am a 'aarch64-darwin' with features {}", "aarch64-darwin", &[]);
    }

    #[test]
    fn another_refusal_says_nothing() {
        for text in ["", "no space left", "I am a teapot", "but I am a 'x' with features {", "I am a 'x'"] {
            assert_eq!(answer(text), None, "{text}");
        }
    }

    #[test]
    fn the_question_can_be_asked() {
        assert!(question().is_some());
    }

    proptest! {
        #[test]
        fn no_refusal_breaks_it(text in "(.{0,20}I am a '|\x1b\\[){0,2}.{0,20}' with features \\{.{0,30}\\}?") {
            let _ = answer(&text);
        }
    }
}
