//! `muster probe`.

use std::time::Duration;

use serde::Serialize;

use super::{bytes, human, tame};
use crate::domain::{BuilderName, Capabilities, Feature, System, Trust};
use crate::policy::snapshot::MeasuredRow;

/// What came of the probe of one builder. `muster probe --json` prints a list of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeRow {
    /// Its name.
    pub name: BuilderName,
    /// Why it can't be used.
    pub error: Option<String>,
    /// What holds, where it can be used.
    pub found: Option<Found>,
    /// Milliseconds.
    pub took_ms: u64,
}

/// What holds of a builder: what the user said, else what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the words of the configuration")]
pub struct Found {
    pub systems: Vec<System>,
    pub features: Vec<Feature>,
    pub mandatory: Vec<Feature>,
    pub slots: u32,
    pub speed_factor: f64,
    pub trust: Trust,
    pub nix_version: Option<String>,
    pub measured: Option<MeasuredRow>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    builders: &'a [ProbeRow],
}

impl ProbeRow {
    /// From what a probe found.
    pub fn new(name: BuilderName, found: Result<Capabilities, String>, took: Duration) -> Self {
        let (found, error) = match found {
            Ok(caps) => (Some(Found::new(&caps)), None),
            Err(error) => (None, Some(error)),
        };
        Self { name, error, found, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl Found {
    fn new(caps: &Capabilities) -> Self {
        Self {
            systems: caps.systems.iter().cloned().collect(),
            features: caps.features.iter().cloned().collect(),
            mandatory: caps.mandatory.iter().cloned().collect(),
            slots: caps.slots.get(),
            speed_factor: caps.speed_factor,
            trust: caps.trust,
            nix_version: caps.nix_version.clone(),
            measured: caps.measured.as_deref().map(MeasuredRow::from),
        }
    }
}

/// As programs read it.
pub fn json(rows: &[ProbeRow]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Document { schema: 1, builders: rows })
}

/// As people read it: a paragraph for each builder.
pub fn text(rows: &[ProbeRow]) -> String {
    rows.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

fn paragraph(row: &ProbeRow) -> String {
    let took = human(Duration::from_millis(row.took_ms));
    let Some(found) = &row.found else {
        return format!(
            "{}: cannot be used ({took})\n  {}\n",
            row.name,
            tame(row.error.as_deref().unwrap_or("-"))
        );
    };
    let lines = [
        ("systems", systems(found)),
        ("features", features(found)),
        ("slots", given(found.slots.to_string(), measured(found, |m| m.slots.map(|n| n.to_string())))),
        ("machine", machine(found)),
        ("link", link(found)),
        ("nix", nix(found)),
    ];
    let lines = lines.into_iter().filter(|(_, text)| !text.is_empty());
    let lines: String = lines.map(|(key, text)| format!("  {key:<10}{text}\n")).collect();
    format!("{}: can be used ({took})\n{lines}", row.name)
}

fn measured(found: &Found, value: impl Fn(&MeasuredRow) -> Option<String>) -> Option<String> {
    found.measured.as_ref().and_then(value)
}

/// What holds, and what was measured where that is something else.
fn given(holds: String, measured: Option<String>) -> String {
    match measured.filter(|measured| *measured != holds) {
        Some(measured) => format!("{holds} (measured: {measured})"),
        None => holds,
    }
}

fn systems(found: &Found) -> String {
    let emulated = |system: &System| found.measured.as_ref().is_some_and(|m| m.emulated.contains(system));
    let name = |system: &System| format!("{system}{}", if emulated(system) { " (emulated)" } else { "" });
    let holds = list(found.systems.iter().map(name));
    given(holds, measured(found, |m| Some(list(m.systems.iter().map(name)))))
}

fn features(found: &Found) -> String {
    let mark = |feature: &Feature| if found.mandatory.contains(feature) { " (mandatory)" } else { "" };
    let holds = list(found.features.iter().map(|feature| format!("{feature}{}", mark(feature))));
    let of = |m: &MeasuredRow| list(m.features.iter().map(|feature| format!("{feature}{}", mark(feature))));
    given(holds, measured(found, |m| Some(of(m))))
}

fn machine(found: &Found) -> String {
    let Some(m) = &found.measured else { return String::new() };
    let parts = [
        m.cores.map(|cores| format!("{cores} cores")),
        m.memory.map(|memory| format!("{} memory", bytes(memory))),
        m.build_users.map(|users| format!("{users} build users")),
        m.store_free.map(|free| format!("{} free for the store", bytes(free))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn link(found: &Found) -> String {
    let Some(m) = &found.measured else { return String::new() };
    let clock = m.clock_ahead_s.filter(|ahead| ahead.abs() > 2).map(|ahead| match ahead {
        1.. => format!("its clock is {ahead} s ahead"),
        _ => format!("its clock is {} s behind", ahead.saturating_neg()),
    });
    let rate = m.link_mb_s.map(|rate| format!("{rate} MB/s"));
    let parts = [m.rtt_ms.map(|ms| format!("{ms} ms there and back")), rate, clock];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn nix(found: &Found) -> String {
    let version = found.nix_version.as_deref().map_or_else(|| "of unknown version".to_owned(), tame);
    let trust = match found.trust {
        Trust::Trusted => ", trusts us",
        Trust::Untrusted => ", does not trust us",
        Trust::Unknown => "",
    };
    format!("{version}{trust}")
}

fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ProbeRow {
        let system = |word| System::parse(word).expect("a system");
        let feature = |word| Feature::parse(word).expect("a feature");
        let measured = MeasuredRow {
            systems: [system("x86_64-linux"), system("aarch64-linux")].into(),
            emulated: [system("aarch64-linux")].into(),
            features: [feature("big-parallel")].into(),
            slots: Some(4),
            cores: Some(16),
            memory: Some(32 << 30),
            rtt_ms: Some(0.42),
            clock_ahead_s: Some(-30),
            ..MeasuredRow::default()
        };
        let found = Found {
            systems: vec![system("aarch64-linux"), system("x86_64-linux")],
            features: vec![feature("big-parallel"), feature("kvm")],
            mandatory: vec![feature("kvm")],
            slots: 2,
            speed_factor: 1.0,
            trust: Trust::Trusted,
            nix_version: Some("2.18.1".to_owned()),
            measured: Some(measured),
        };
        let name = BuilderName::parse("big").expect("a name");
        ProbeRow { name, error: None, found: Some(found), took_ms: 812 }
    }

    #[test]
    fn what_the_user_said_stands_beside_what_was_measured() {
        insta::assert_snapshot!(text(&[row()]));
    }

    #[test]
    fn a_builder_that_cannot_be_used_says_why_on_one_line() {
        let down = ProbeRow { error: Some("ssh:\n\u{1b}[31mno".into()), found: None, ..row() };
        assert_eq!(text(&[down]), "big: cannot be used (812 ms)\n  ssh:  [31mno\n");
    }

    #[test]
    fn programs_get_a_schema() {
        let text = json(&[row()]).expect("JSON");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["schema"], 1);
        assert_eq!(value["builders"][0]["found"]["measured"]["cores"], 16);
    }
}
