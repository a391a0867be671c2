//! Trial builds: what stock Nix is asked to build, and what it means where they ran.
//!
//! Nothing can make stock Nix choose a builder behind the endpoint. So as many builds are asked for at once as all
//! builders have slots, and each builder's own store then says which of them it built.

use super::check::Check;
use crate::domain::{Feature, System};

/// Builds asked for on behalf of one builder, at most.
const MOST_EACH: u32 = 8;

/// What one builder's trial asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// A system of its.
    pub system: System,
    /// The features that it insists on.
    pub features: Vec<Feature>,
    /// How many builds.
    pub count: u32,
}

impl Wanted {
    /// As many as it has slots.
    pub fn new(system: System, features: Vec<Feature>, slots: u32) -> Self {
        Self { system, features, count: slots.clamp(1, MOST_EACH) }
    }
}

/// A list of derivations that nobody has ever built: `salt` is new each time, of letters and digits. Systems and
/// features hold neither a quote nor a backslash nor a `$` that Nix would take for something else.
pub fn expression(salt: &str, wanted: &[Wanted]) -> String {
    // Long enough, a second or so, that all are asked for before the first one ends; with nothing but a shell.
    const SCRIPT: &str = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done; echo $name > $out";
    let one = |number: usize, wanted: &Wanted| {
        let features: Vec<String> = wanted.features.iter().map(|feature| quoted(feature.as_str())).collect();
        format!(
            "(derivation {{ name = \"muster-doctor-{salt}-{number}\"; system = {}; builder = \"/bin/sh\"; args = [ \"-c\" \
             \"{SCRIPT}\" ]; requiredSystemFeatures = [ {} ]; }})",
            quoted(wanted.system.as_str()),
            features.join(" ")
        )
    };
    let all = wanted.iter().flat_map(|wanted| (0..wanted.count).map(move |_| wanted));
    let all: Vec<String> = all.enumerate().map(|(number, wanted)| one(number, wanted)).collect();
    format!("[ {} ]", all.join(" "))
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace("${", "\\${"))
}

/// What it means that a builder has so many of the outputs; or that Nix or the builder failed.
pub fn check(ran: Result<(usize, f64), &str>, here: Result<usize, &str>) -> Check {
    const NAME: &str = "build";
    match (ran, here) {
        (Err(why), _) => {
            Check::fail(NAME, why, "mend what failed above, then see `muster status` while it builds")
        }
        (_, Err(why)) => {
            Check::fail(NAME, format!("its store does not answer: {why}"), "see the checks above")
        }
        (Ok((all, seconds)), Ok(0)) => Check::fail(
            NAME,
            format!("none of {all} trial builds ran here, though all of them were built in {seconds:.1} s"),
            "see why it got none: muster status",
        ),
        (Ok((all, seconds)), Ok(own)) => {
            Check::ok(NAME, format!("{own} of {all} trial builds ran here; all took {seconds:.1} s"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn each_build_has_a_name_of_its_own_and_asks_for_its_builders_system() {
        let system = System::parse("x86_64-linux").expect("a system");
        let kvm = Feature::parse("kvm").expect("a feature");
        let text =
            expression("s", &[Wanted::new(system.clone(), vec![kvm], 1), Wanted::new(system, vec![], 99)]);
        assert_eq!(text.matches("(derivation {").count(), 9);
        assert!(text.contains("muster-doctor-s-0") && text.contains("muster-doctor-s-8"), "{text}");
        assert_eq!(text.matches("requiredSystemFeatures = [ \"kvm\" ]").count(), 1);
    }

    #[test]
    fn a_builder_that_built_nothing_fails() {
        assert_eq!(check(Ok((4, 1.0)), Ok(2)).verdict, Verdict::Ok);
        assert_eq!(check(Ok((4, 1.0)), Ok(0)).verdict, Verdict::Fail);
        assert_eq!(check(Err("no"), Ok(0)).verdict, Verdict::Fail);
        assert_eq!(check(Ok((4, 1.0)), Err("no")).verdict, Verdict::Fail);
    }
}
