//! `muster history`: what builds taught, as the policy understands it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{bytes, human, plain_table, tame, text_of};
use crate::domain::{BuilderName, Observation, System};
use crate::policy::estimate::Estimates;

/// What is known of builds of one name for one system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Package {
    /// The package's name.
    pub pname: String,
    /// What it was built for.
    pub system: System,
    /// Seconds that the next one is expected to take on the reference machine; none where all were substituted.
    pub estimate_s: Option<f64>,
    /// Builds that count.
    pub builds: usize,
    /// Builds that the builder had already, or downloaded: they taught nothing.
    pub substituted: usize,
    /// The median size of the closure of the inputs.
    pub closure_bytes: u64,
    /// Where it was built.
    pub builders: Vec<Place>,
}

/// The builds on one builder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    /// Which builder.
    pub builder: BuilderName,
    /// How many builds.
    pub builds: usize,
    /// The median of the seconds that they took there.
    pub median_s: f64,
    /// When the last one ended, in seconds since 1970.
    pub last_at: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    packages: &'a [Package],
}

/// Sorted by name and system; only those of that name where one is given.
pub fn packages(seen: &[Observation], pname: Option<&str>) -> Vec<Package> {
    let mut estimates = Estimates::default();
    let mut groups: BTreeMap<(&str, &System), Vec<&Observation>> = BTreeMap::new();
    for one in seen {
        estimates.learn(one);
        if pname.is_none_or(|pname| pname == one.pname) {
            groups.entry((&one.pname, &one.system)).or_default().push(one);
        }
    }
    groups.into_values().filter_map(|group| package(&group, &estimates)).collect()
}

fn package(group: &[&Observation], estimates: &Estimates) -> Option<Package> {
    let first = group.first()?;
    let (pname, system) = (first.pname.clone(), first.system.clone());
    let built: Vec<&Observation> = group.iter().copied().filter(|one| !one.substituted).collect();
    let mut places: BTreeMap<&BuilderName, Vec<&Observation>> = BTreeMap::new();
    for one in &built {
        places.entry(&one.builder).or_default().push(one);
    }
    let estimate = estimates.work(&pname, &system, 0, Duration::ZERO).seconds;
    Some(Package {
        estimate_s: (!built.is_empty()).then(|| rounded(estimate)),
        builds: built.len(),
        substituted: group.len() - built.len(),
        closure_bytes: median(group.iter().map(|one| one.closure_bytes)).unwrap_or_default(),
        builders: places.into_iter().map(|(builder, builds)| place(builder, &builds)).collect(),
        pname,
        system,
    })
}

fn place(builder: &BuilderName, builds: &[&Observation]) -> Place {
    let took = median(builds.iter().map(|one| one.took)).unwrap_or_default();
    Place {
        builder: builder.clone(),
        builds: builds.len(),
        median_s: rounded(took.as_secs_f64()),
        last_at: builds.iter().map(|one| one.at).max().unwrap_or_default(),
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// As programs read it.
pub fn json(packages: &[Package]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Document { schema: 1, packages })
}

/// As people read it.
pub fn table(packages: &[Package], width: Option<u16>) -> String {
    if packages.is_empty() {
        return "nothing was learned of it yet\n".to_owned();
    }
    let mut table =
        plain_table(&["PACKAGE", "SYSTEM", "ESTIMATE", "BUILDS", "INPUTS", "WHERE (BUILDS, MEDIAN)"], width);
    for package in packages {
        let seconds = |seconds: f64| human(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let place =
            |place: &Place| format!("{} ({}, {})", place.builder, place.builds, seconds(place.median_s));
        table.add_row([
            tame(&package.pname),
            package.system.to_string(),
            package.estimate_s.map_or_else(|| "-".to_owned(), seconds),
            package.builds.to_string(),
            bytes(package.closure_bytes),
            package.builders.iter().map(place).collect::<Vec<_>>().join(", "),
        ]);
    }
    text_of(table) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pname: &str, builder: &str, seconds: f64) -> Observation {
        Observation {
            pname: pname.to_owned(),
            system: System::parse("x86_64-linux").expect("a system"),
            builder: BuilderName::parse(builder).expect("a name"),
            speed: 1.0,
            closure_bytes: 3 << 20,
            cores: None,
            took: Duration::from_secs_f64(seconds),
            substituted: false,
            at: 100,
        }
    }

    #[test]
    fn what_was_learned_is_shown_by_package_and_builder_and_substituted_ones_are_only_counted() {
        let all = [
            seen("zlib", "b2", 4.0),
            seen("hello", "b1", 2.0),
            seen("hello", "b2", 2.0),
            Observation { substituted: true, took: Duration::from_millis(1), ..seen("hello", "b2", 0.0) },
        ];
        let text = table(&packages(&all, None), None);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1][..4], ["hello", "x86_64-linux", "2", "s"], "{text}");
        assert!(text.contains("b1 (1, 2 s), b2 (1, 2 s)"), "{text}");
        let [hello] = &packages(&all, Some("hello"))[..] else { panic!("one package") };
        assert_eq!((hello.builds, hello.substituted, hello.estimate_s), (2, 1, Some(2.0)));
        let json: serde_json::Value =
            serde_json::from_str(&json(&packages(&all, Some("zlib"))).expect("JSON")).expect("JSON");
        assert_eq!((&json["schema"], &json["packages"][0]["estimate_s"]), (&1.into(), &4.0.into()));
    }

    #[test]
    fn a_name_that_nobody_built_is_said_and_a_hostile_one_cannot_control_a_terminal() {
        assert_eq!(table(&packages(&[], Some("x")), None), "nothing was learned of it yet\n");
        assert!(!table(&packages(&[seen("\x1b[31m", "b", 1.0)], None), None).contains('\x1b'));
    }
}
