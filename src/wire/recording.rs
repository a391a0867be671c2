//! A recorded run as JSON lines: the graph that was built, on which builders, and how that went.
//!
//! The first line is a hello, `{"recording":"muster","version":1}`; each line after it is a builder or a build:
//!
//! ```json
//! {"builder":{"name":"b1","systems":{"x86_64-linux":1.0},"features":["kvm"],"slots":4,"cores":8,"link":1e8,"rtt_ms":0.4}}
//! {"build":{"drv":"9csjdxv6ir8ccnjl6ijs36izswjgchn0-gcc-14.drv","pname":"gcc","system":"x86_64-linux","seconds":812.5,
//!   "input_bytes":1000,"output_bytes":2000,"attempts":[{"builder":"b1","began":0.2,"ended":813.0,"how":"built"}]}}
//! ```
//!
//! What is read is bounded, and holds together: names are unique, what a build needs is a build of the recording, and
//! nothing needs itself. `muster record` writes it, `muster simulate` replays it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::{BuilderName, Feature, StorePath, System};

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// Builders and builds, at most each.
const MOST: usize = 200_000;
/// Bytes in a line.
const LONGEST_LINE: usize = 1 << 20;
/// No time and no size is larger: 30 days in seconds, one pebibyte.
const LONGEST: f64 = 30.0 * 24.0 * 3_600.0;
const LARGEST: u64 = 1 << 50;

/// A run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// Who built.
    pub builders: Vec<RecordedBuilder>,
    /// What was built; each build comes after those that it needs.
    pub builds: Vec<RecordedBuild>,
}

/// A builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedBuilder {
    /// Its name.
    pub name: BuilderName,
    /// What it builds for, and how fast it is for that; 1.0 is the reference machine.
    pub systems: BTreeMap<System, f64>,
    /// What it offers.
    #[serde(default)]
    pub features: BTreeSet<Feature>,
    /// Builds at once.
    pub slots: u32,
    /// Processors.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Bytes per second that its link carries.
    #[serde(default = "usual_link")]
    pub link: f64,
    /// Milliseconds from a question to its answer.
    #[serde(default)]
    pub rtt_ms: f64,
}

/// One hundred megabytes per second.
fn usual_link() -> f64 {
    1e8
}

/// A build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedBuild {
    /// The base name of its derivation.
    #[serde(with = "base_name")]
    pub drv: StorePath,
    /// The package's name.
    pub pname: String,
    /// What it is built for.
    pub system: System,
    /// What it requires.
    #[serde(default)]
    pub features: BTreeSet<Feature>,
    /// The builds of this recording whose outputs it needs.
    #[serde(default, with = "base_names")]
    pub needs: Vec<StorePath>,
    /// How long its building stage takes on the reference machine.
    pub seconds: f64,
    /// The size of those of its inputs that no build of this recording makes.
    #[serde(default)]
    pub input_bytes: u64,
    /// The size of its outputs.
    #[serde(default)]
    pub output_bytes: u64,
    /// How it went.
    #[serde(default)]
    pub attempts: Vec<RecordedAttempt>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedAttempt {
    /// Where.
    pub builder: BuilderName,
    /// Seconds from the start of the recording to its own.
    pub began: f64,
    /// The same, to its end.
    pub ended: f64,
    /// How it ended, in a few words.
    pub how: String,
}

/// Why a text is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadRecording {
    /// The line, from 1; after the last one where the end itself is wrong.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    recording: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Builder(RecordedBuilder),
    Build(RecordedBuild),
}

impl Recording {
    /// Reads a whole recording.
    pub fn parse(text: &str) -> Result<Self, BadRecording> {
        let mut recording = Self::default();
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let (_, first) = lines.next().unwrap_or((1, ""));
        check_hello(first).map_err(|why| BadRecording { line: 1, why })?;
        let mut last = 1;
        for (line, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
            last = line;
            recording.take(text).map_err(|why| BadRecording { line, why })?;
        }
        recording.sort().map_err(|why| BadRecording { line: last + 1, why })?;
        Ok(recording)
    }

    /// The whole text.
    pub fn to_text(&self) -> String {
        let hello = Hello { recording: "muster".to_owned(), version: VERSION };
        let builders = self.builders.iter().cloned().map(Line::Builder);
        let builds = self.builds.iter().cloned().map(Line::Build);
        // Only a map with keys that are no texts could fail, and there is none.
        let mut text = serde_json::to_string(&hello).unwrap_or_default() + "\n";
        for line in builders.chain(builds) {
            text += &serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
        }
        text
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        if text.len() > LONGEST_LINE {
            return Err(format!("it is longer than {LONGEST_LINE} bytes"));
        }
        match serde_json::from_str(text).map_err(|error| error.to_string())? {
            Line::Builder(builder) => {
                builder.check()?;
                self.builders.push(builder);
            }
            Line::Build(build) => {
                build.check()?;
                self.builds.push(build);
            }
        }
        let most = self.builders.len().max(self.builds.len());
        if most > MOST { Err(format!("there are more than {MOST}")) } else { Ok(()) }
    }

    /// Puts each build after those that it needs (Kahn's algorithm).
    fn sort(&mut self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.builders.iter().find(|builder| !names.insert(&builder.name)) {
            return Err(format!("the builder {} is there twice", twice.name));
        }
        let mut indices = BTreeMap::new();
        for (index, build) in self.builds.iter().enumerate() {
            if indices.insert(build.drv.clone(), index).is_some() {
                return Err(format!("{} is there twice", build.drv));
            }
        }
        let mut needed_by = vec![Vec::new(); self.builds.len()];
        let mut left = vec![0; self.builds.len()];
        for (index, build) in self.builds.iter().enumerate() {
            for need in &build.needs {
                let need_index = indices.get(need);
                let need_index =
                    need_index.ok_or_else(|| format!("{} needs {need}, which is not there", build.drv))?;
                needed_by[*need_index].push(index);
                left[index] += 1;
            }
        }
        let mut order: Vec<usize> = (0..self.builds.len()).filter(|index| left[*index] == 0).collect();
        let mut at = 0;
        while at < order.len() {
            for user in &needed_by[order[at]] {
                left[*user] -= 1;
                if left[*user] == 0 {
                    order.push(*user);
                }
            }
            at += 1;
        }
        if let Some(stuck) = (0..self.builds.len()).find(|index| left[*index] > 0) {
            return Err(format!("{} needs itself in the end", self.builds[stuck].drv));
        }
        let mut builds: Vec<_> = std::mem::take(&mut self.builds).into_iter().map(Some).collect();
        self.builds = order.into_iter().filter_map(|index| builds[index].take()).collect();
        Ok(())
    }
}

impl RecordedBuilder {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let speeds = || self.systems.values().all(|speed| (1e-3..=1e3).contains(speed));
        if self.systems.is_empty() || !speeds() {
            Err(format!(
                "`systems` of {name}: each has a speed between 0.001 and 1000, and there is one at least"
            ))
        } else if !(1..=1_024).contains(&self.slots) {
            Err(format!("`slots` of {name} is {}; 1 to 1024 are allowed", self.slots))
        } else if !(1e3..=2e10).contains(&self.link) {
            Err(format!("`link` of {name} is {}; 1e3 to 2e10 bytes per second are allowed", self.link))
        } else if !(0.0..=60_000.0).contains(&self.rtt_ms) {
            Err(format!("`rtt_ms` of {name} is {}; 0 to 60000 are allowed", self.rtt_ms))
        } else {
            Ok(())
        }
    }
}

impl RecordedBuild {
    fn check(&self) -> Result<(), String> {
        let drv = &self.drv;
        let time = |time: f64| (0.0..=LONGEST).contains(&time);
        if !time(self.seconds) {
            Err(format!("`seconds` of {drv} is {}; 0 to {LONGEST} are allowed", self.seconds))
        } else if self.input_bytes.max(self.output_bytes) > LARGEST {
            Err(format!("`input_bytes` and `output_bytes` of {drv} are {LARGEST} at most"))
        } else if !self.attempts.iter().all(|attempt| time(attempt.began) && time(attempt.ended)) {
            Err(format!("`attempts` of {drv} begin and end within {LONGEST} seconds"))
        } else {
            Ok(())
        }
    }
}

fn check_hello(line: &str) -> Result<(), String> {
    let hello: Hello = serde_json::from_str(line).map_err(|_| {
        "a recording begins with {\"recording\":\"muster\",\"version\":1}; this does not".to_owned()
    })?;
    match (hello.recording.as_str(), hello.version) {
        ("muster", 1..=VERSION) => Ok(()),
        ("muster", newer) => Err(format!("this is version {newer} of the format, and 1 is the newest known")),
        (other, _) => Err(format!("this is a recording of {other:?}, not of muster")),
    }
}

/// Store paths as their base names.
mod base_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::StorePath;

    pub fn serialize<S: Serializer>(path: &StorePath, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(path.base_name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StorePath, D::Error> {
        let text = String::deserialize(from)?;
        StorePath::from_base_name(&text).map_err(D::Error::custom)
    }
}

mod base_names {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::StorePath;

    pub fn serialize<S: Serializer>(paths: &[StorePath], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(StorePath::base_name))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<StorePath>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| StorePath::from_base_name(text).map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drv(number: u32) -> StorePath {
        StorePath::from_base_name(&format!("{number:032}-thing.drv")).expect("a path")
    }

    fn system() -> System {
        System::parse("x86_64-linux").expect("a system")
    }

    fn build(number: u32, needs: &[u32]) -> RecordedBuild {
        RecordedBuild {
            drv: drv(number),
            pname: "thing".to_owned(),
            system: system(),
            features: BTreeSet::new(),
            needs: needs.iter().map(|number| drv(*number)).collect(),
            seconds: 2.5,
            input_bytes: 10,
            output_bytes: 20,
            attempts: vec![RecordedAttempt {
                builder: BuilderName::parse("b1").expect("a name"),
                began: 0.5,
                ended: 3.25,
                how: "built".to_owned(),
            }],
        }
    }

    fn builder() -> RecordedBuilder {
        RecordedBuilder {
            name: BuilderName::parse("b1").expect("a name"),
            systems: BTreeMap::from([(system(), 1.5)]),
            features: BTreeSet::from([Feature::parse("kvm").expect("a feature")]),
            slots: 4,
            cores: Some(8),
            link: 1e8,
            rtt_ms: 0.4,
        }
    }

    fn text(builders: &[RecordedBuilder], builds: &[RecordedBuild]) -> String {
        Recording { builders: builders.to_vec(), builds: builds.to_vec() }.to_text()
    }

    #[test]
    fn a_recording_survives_its_text_and_each_build_comes_after_what_it_needs() {
        let read = Recording::parse(&text(&[builder()], &[build(3, &[2, 1]), build(2, &[1]), build(1, &[])]));
        let read = read.expect("a recording");
        assert_eq!(read.builders, [builder()]);
        assert_eq!(read.builds, [build(1, &[]), build(2, &[1]), build(3, &[2, 1])]);
        assert_eq!(Recording::parse(&read.to_text()), Ok(read));
    }

    #[test]
    fn the_runs_that_were_recorded_in_the_lab_can_be_read() {
        let recorded = [
            (include_str!("../../tests/data/recordings/wide.jsonl"), 31),
            (include_str!("../../tests/data/recordings/deep.jsonl"), 31),
            (include_str!("../../tests/data/recordings/layered.jsonl"), 39),
        ];
        for (text, builds) in recorded {
            let recording = Recording::parse(text).expect("a recording");
            assert_eq!((recording.builders.len(), recording.builds.len()), (3, builds));
        }
    }

    #[test]
    fn what_does_not_hold_together_is_refused_by_line_and_name() {
        let check = |text: &str, line: usize, words: &str| {
            let bad = Recording::parse(text).expect_err("it is refused");
            assert!(bad.line == line && bad.why.contains(words), "{bad}");
        };
        check("", 1, "begins with");
        check("{\"recording\":\"muster\",\"version\":2}\n", 1, "version 2");
        check("{\"recording\":\"x\",\"version\":1}\n", 1, "not of muster");
        check(&(text(&[], &[]) + "{\"later\":1}"), 2, "later");
        check(&text(&[], &[build(1, &[2])]), 3, "which is not there");
        check(&text(&[], &[build(1, &[2]), build(2, &[1])]), 4, "needs itself");
        check(&text(&[], &[build(1, &[]), build(1, &[])]), 4, "there twice");
        check(&text(&[builder(), builder()], &[]), 4, "b1 is there twice");
        check(&text(&[RecordedBuilder { slots: 0, ..builder() }], &[]), 2, "`slots` of b1");
        check(&text(&[RecordedBuilder { link: 1e12, ..builder() }], &[]), 2, "`link` of b1");
        check(&text(&[], &[RecordedBuild { seconds: -1.0, ..build(1, &[]) }]), 2, "`seconds`");
        let bad_path = text(&[], &[build(1, &[])]).replace("-thing.drv", "");
        check(&bad_path, 2, "");
    }
}
