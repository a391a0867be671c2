//! The machines lines that Nix has: `builders` of `nix.conf`, and the files that it names.
//!
//! Lines of our own are never taken for builders. Those that muster can serve (ssh, to another host) are adopted where
//! that is wanted; all others are foreign, and are kept word for word wherever ours replace the file that held them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::{MachinesSource, Rank, Report, authority, host, with_query};
use crate::config::{Builder, BuilderUri, NixFiles};
use crate::domain::{BuilderName, BuilderSpec, Slots};
use crate::edge::files;
use crate::nix::conf::{Conf, Value};
use crate::nix::machines::{self, Entry, Problem, Severity};
use crate::nix::section;

/// Files are looked at again after this: cheap, and soon enough for a person.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What tells our own lines from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// The file that our lines are written to.
    pub machines_file: PathBuf,
    /// The program that they name.
    pub program: PathBuf,
}

/// What Nix's own files say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// Lines that are builders of ours from now on.
    pub adopted: Vec<Builder>,
    /// Their lines, word for word.
    pub adopted_lines: BTreeMap<BuilderName, String>,
    /// All other lines, word for word.
    pub foreign: Vec<String>,
    /// Whether Nix reads our machines file.
    pub reads_ours: bool,
    /// Whether Nix reads its own machines file.
    pub reads_machines: bool,
    /// Whether Nix builds on this machine itself.
    pub builds_locally: bool,
    /// Whether Nix has its builders substitute what they can.
    pub builders_use_substitutes: bool,
    /// `max-silent-time` and `timeout`, in seconds; 0 where nothing is limited.
    pub limits: [u64; 2],
    /// What a person should know of, each with its place.
    pub warnings: Vec<String>,
}

pub(super) async fn watch<Told>(source: MachinesSource, tell: impl Fn(Report) -> Told)
where
    Told: Future<Output = ()>,
{
    let (mut last, mut warned) = (None, HashSet::new());
    loop {
        let now = look(&source);
        for warning in now.warnings.iter().filter(|warning| warned.insert((*warning).clone())) {
            tracing::warn!("{warning}");
        }
        if last.as_ref() != Some(&now) {
            if source.adopt {
                tell(Report::Known(Rank::Machines, now.adopted.clone())).await;
            }
            tell(Report::Nix(now.clone())).await;
            last = Some(now);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Reads everything once.
pub fn look(source: &MachinesSource) -> Look {
    let (all, others) = (read_conf(&source.files, false), read_conf(&source.files, true));
    let ours = source.ours.machines_file.to_string_lossy();
    let machines = source.files.machines();
    let names = |conf: &Conf, file: &str| included(&setting(conf, &machines).text).contains(file);
    let reads_ours = names(&all, &ours);
    let mut look = Look {
        reads_ours,
        reads_machines: names(&all, &machines.to_string_lossy()),
        builds_locally: all.builds_locally(),
        builders_use_substitutes: all.builders_use_substitutes(),
        limits: ["max-silent-time", "timeout"].map(|name| all.number(name)),
        warnings: all.problems.clone(),
        ..Look::default()
    };
    look.warnings.extend(two_in_one(&setting(&all, &machines)));
    // What a person wrote beside our file, Nix reads itself: only its own file may have lost its reader by that.
    let by_hand = names(&others, &ours);
    let candidates = match (by_hand, look.reads_machines) {
        (false, _) => setting(&others, &machines),
        (true, false) => default_setting(&machines),
        (true, true) => return look,
    };
    sort_out(source, &candidates, &mut look);
    look
}

/// Nix's own files, some of them with another text.
pub fn conf_with(files: &NixFiles, other: &dyn Fn(&Path) -> Option<String>) -> Conf {
    let mut conf = Conf::default();
    conf.read(&files.conf().to_string_lossy(), &mut |file: &str| {
        other(Path::new(file)).or_else(|| read(Path::new(file), false))
    });
    conf
}

/// `nix.conf` and the user's own files; `others` alone = without our section.
fn read_conf(files: &NixFiles, others: bool) -> Conf {
    let mut conf = Conf::default();
    let mut read = |file: &str| read(Path::new(file), others);
    for file in std::iter::once(files.conf()).chain(files.user.iter().cloned()) {
        conf.read(&file.to_string_lossy(), &mut read);
    }
    conf
}

/// A file's text. One whose marks make no sense is taken as it is: whoever writes to it says so.
fn read(file: &Path, others: bool) -> Option<String> {
    let text = files::read_bounded(file)?;
    if !others {
        return Some(text);
    }
    match section::blank(text.as_bytes()) {
        Ok(blanked) => String::from_utf8(blanked).ok(),
        Err(_) => Some(text),
    }
}

fn setting(conf: &Conf, machines: &Path) -> Value {
    conf.get("builders").cloned().unwrap_or_else(|| default_setting(machines))
}

/// What Nix assumes where `builders` is not set.
fn default_setting(machines: &Path) -> Value {
    let file = machines.to_string_lossy().into_owned();
    Value { text: format!("@{file}"), place: crate::nix::conf::Place { file, line: 1 } }
}

/// The files that a value of `builders` names itself.
fn included(value: &str) -> BTreeSet<String> {
    value
        .split([';', '\n'])
        .filter_map(|entry| entry.trim().strip_prefix('@'))
        .map(|f| f.trim().to_owned())
        .collect()
}

/// `@/a @/b` is one file to Nix, which is not there.
fn two_in_one(setting: &Value) -> Option<String> {
    let files = included(&setting.text);
    let file = files.iter().find(|file| file.contains(" @"))?;
    Some(format!(
        "{}: builders: Nix takes '{file}' for the name of one file, and passes over it: write ';' between two",
        setting.place
    ))
}

fn sort_out(source: &MachinesSource, setting: &Value, look: &mut Look) {
    let mut include = |file: &str| {
        let ours = Path::new(file) == source.ours.machines_file;
        if ours { None } else { read(Path::new(file), true) }
    };
    let parsed = machines::parse(&setting.text, &source.default_system, &mut include);
    look.warnings.extend(parsed.problems.iter().map(|problem| warning(problem, setting)));
    let mut names = BTreeSet::new();
    for entry in parsed.entries.iter().filter(|entry| !is_ours(entry, &source.ours)) {
        let uri = adoptable(entry).filter(|_| source.adopt);
        match uri.and_then(|uri| Some((uri, name(entry.line.uri.as_str(), &mut names)?))) {
            Some((uri, name)) => {
                look.adopted_lines.insert(name.clone(), entry.raw.clone());
                look.adopted.push(builder(entry, uri, name));
            }
            None => look.foreign.push(entry.raw.clone()),
        }
    }
}

fn warning(problem: &Problem, setting: &Value) -> String {
    let field = problem.field.map(|field| format!(" (field {field})")).unwrap_or_default();
    let place = match &problem.place.file {
        Some(file) => format!("{file}:{}", problem.place.line),
        None => format!("{}: builders", setting.place),
    };
    let consequence = match problem.severity {
        Severity::Note => "muster uses the line all the same",
        Severity::Refused => "the line is left out; because of it, stock Nix may use none of its lines",
    };
    format!("{place}: {}{field}; {consequence}", problem.message)
}

/// A line of this coordinator, or of another one.
fn is_ours(entry: &Entry, ours: &Ours) -> bool {
    let uri = entry.line.uri.as_str();
    let Some((_, query)) = uri.split_once('?') else { return false };
    let program = query.split('&').find_map(|pair| pair.strip_prefix("remote-program="));
    is_local(uri)
        && program.is_some_and(|program| {
            program == ours.program.to_string_lossy() || program.rsplit('/').next() == Some("muster")
        })
}

fn is_local(uri: &str) -> bool {
    host(authority(uri)) == "localhost"
}

/// The way to a machine that muster can serve: a host that ssh reaches.
fn adoptable(entry: &Entry) -> Option<BuilderUri> {
    let line = &entry.line;
    let text = line.uri.as_str();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let bare = scheme.is_none() && !text.contains('/') && !["auto", "daemon", "local"].contains(&word(text));
    let ssh = bare || matches!(scheme, Some("ssh" | "ssh-ng"));
    if !ssh || is_local(text) || line.max_jobs == 0 {
        return None;
    }
    let key = line.ssh_key.as_ref().map(|key| key.as_str());
    let host_key = line.host_key.as_ref().map(|key| key.as_str());
    let values = [("ssh-key", key), ("base64-ssh-public-host-key", host_key)];
    BuilderUri::parse(&with_query(text, &values)).ok()
}

fn word(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}

/// What the line says wins over what is measured; what it leaves open is measured.
fn builder(entry: &Entry, uri: BuilderUri, name: BuilderName) -> Builder {
    let line = &entry.line;
    let given = |n: usize| entry.raw.split_whitespace().nth(n).is_some_and(|field| field != "-");
    let spec = BuilderSpec {
        systems: given(1).then(|| line.systems.clone()),
        features: given(5).then(|| line.supported.clone()),
        mandatory: line.mandatory.clone(),
        slots: given(3).then(|| Slots::new(line.max_jobs)).flatten(),
        speed_factor: given(4).then(|| f64::from(line.speed_factor.get())),
        ..BuilderSpec::named(name)
    };
    Builder { spec, uri }
}

/// The host; a second builder on it gets its user and port too, and a third one a number.
fn name(uri: &str, names: &mut BTreeSet<BuilderName>) -> Option<BuilderName> {
    const MOST_ON_ONE_HOST: u32 = 1000;
    let long = authority(uri).replace(['[', ']'], "");
    let numbered = (2..MOST_ON_ONE_HOST).map(|n| format!("{long}-{n}"));
    let candidates = [host(authority(uri)).to_owned(), long.clone()].into_iter().chain(numbered);
    candidates.map_while(|name| BuilderName::parse(&name).ok()).find(|name| names.insert(name.clone()))
}

#[cfg(test)]
mod tests;
