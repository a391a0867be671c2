//! `muster status`.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use comfy_table::CellAlignment;

use super::{bytes, human, plain_table, tame, text_of};
use crate::policy::Snapshot;
use crate::policy::snapshot::{AbsentRow, AttemptRow, BuildRow, BuilderRow, HealthWord, Totals};

/// What to do where there is no builder.
const NO_BUILDER: &str = "\
No builder is known. Name one in the configuration:

  [[builder]]
  uri = \"nix@far.example.org\"

or start the coordinator with --builder nix@far.example.org";

/// The snapshot as JSON, as programs read it.
pub fn json(snapshot: &Snapshot) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(snapshot)
}

/// The same on one line.
pub fn json_line(snapshot: &Snapshot) -> Result<String, serde_json::Error> {
    serde_json::to_string(snapshot)
}

/// The snapshot as people read it, fitted into `width` columns where there is one.
pub fn table(snapshot: &Snapshot, width: Option<u16>) -> String {
    let builders = builders(snapshot, width);
    let builds = match &*snapshot.builds {
        [] => "Nothing runs and nothing waits.".to_owned(),
        rows => builds(rows, width),
    };
    format!("{builders}\n{builds}\n\n{}\n", totals(&snapshot.totals))
}

/// The builders alone.
pub fn builders(snapshot: &Snapshot, width: Option<u16>) -> String {
    let text = match &*snapshot.builders {
        [] => NO_BUILDER.to_owned(),
        rows => builder_table(rows, width),
    };
    format!("{text}\n{}", absent(snapshot))
}

/// A line for each machine of a tailnet that is meant to be a builder, and is none.
fn absent(snapshot: &Snapshot) -> String {
    let line = |row: &AbsentRow| format!("{} is no builder now: {}\n", tame(&row.name), tame(&row.reason));
    let lines: String = snapshot.absent.iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn builder_table(rows: &[BuilderRow], width: Option<u16>) -> String {
    let header =
        ["BUILDER", "HEALTH", "SYSTEMS", "FEATURES", "SLOTS", "SPEED", "MACHINE", "NIX", "BUILT", "LOST"];
    let mut table = plain_table(&header, width);
    for row in rows {
        table.add_row([
            row.name.to_string(),
            health(row),
            list(&row.systems),
            features(row),
            slots(row),
            row.speed_factor.to_string(),
            machine(row),
            row.nix_version.as_deref().map_or_else(|| "-".to_owned(), tame),
            row.built.to_string(),
            row.lost.to_string(),
        ]);
    }
    for column in [4, 5, 8, 9] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text_of(table)
}

pub(super) fn health(row: &BuilderRow) -> String {
    let word = match row.health {
        HealthWord::Unknown => "unknown",
        HealthWord::Probing => "probing",
        HealthWord::Healthy => "healthy",
        HealthWord::Suspect => "suspect",
        HealthWord::Down => "down",
        HealthWord::Gone => "gone",
    };
    let retry = row.retry_in_ms.map(|ms| format!(", tried again in {}", age(ms))).unwrap_or_default();
    let reason = row.reason.as_deref().map(|reason| format!(": {}", tame(reason))).unwrap_or_default();
    let drained = row.drained.as_deref().map(|by| format!(", drained by {}", tame(by))).unwrap_or_default();
    format!("{word}{drained}{retry}{reason}")
}

/// Busy ones and all; what was measured, where the user said otherwise.
fn slots(row: &BuilderRow) -> String {
    let measured = row.measured.as_ref().and_then(|measured| measured.slots);
    let other = measured.filter(|&slots| slots != row.slots && row.slots > 0);
    format!("{}/{}{}", row.busy, row.slots, other.map(|n| format!(" ({n} measured)")).unwrap_or_default())
}

/// Its size and how far away it is.
fn machine(row: &BuilderRow) -> String {
    let measured = row.measured.as_ref();
    let parts = [
        measured.and_then(|measured| measured.cores).map(|cores| format!("{cores} cores")),
        measured.and_then(|measured| measured.memory).map(bytes),
        measured.and_then(|measured| measured.rtt_ms).map(|ms| format!("{ms} ms")),
        measured.and_then(|measured| measured.link_mb_s).map(|rate| format!("{rate} MB/s")),
        row.path.as_deref().map(tame),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// What it offers; what a build must ask for is marked.
fn features(row: &BuilderRow) -> String {
    let all: BTreeSet<_> = row.features.union(&row.mandatory).collect();
    let mark = |feature| if row.mandatory.contains(feature) { " (mandatory)" } else { "" };
    list(all.into_iter().map(|feature| format!("{feature}{}", mark(feature))))
}

fn builds(rows: &[BuildRow], width: Option<u16>) -> String {
    let mut table = plain_table(&["ID", "BUILD", "SYSTEM", "AGE", "STATE"], width);
    for row in rows {
        let (id, name) = id_and_name(&row.drv);
        table.add_row([id, name, row.system.to_string(), age(row.age_ms), state(row)]);
    }
    text_of(table)
}

/// A prefix that names the derivation, and its name as people say it.
fn id_and_name(drv: &str) -> (String, String) {
    let (hash, name) = drv.split_once('-').unwrap_or(("", drv));
    let name = name.strip_suffix(".drv").unwrap_or(name);
    (tame(&hash.chars().take(8).collect::<String>()), tame(name))
}

fn state(row: &BuildRow) -> String {
    let mut parts: Vec<String> = row.attempts.iter().map(attempt).collect();
    if parts.is_empty() {
        parts.push(format!("waits: {}", row.waiting.as_deref().map_or("to be looked at".to_owned(), tame)));
    }
    if row.lost > 0 {
        parts.push(format!("lost {}", times(row.lost.into())));
    }
    if row.requests > 1 {
        parts.push(format!("wanted {}", times(row.requests.into())));
    }
    parts.join("; ")
}

fn attempt(row: &AttemptRow) -> String {
    format!("{} on {} for {}", row.stage, row.builder, age(row.age_ms))
}

fn totals(totals: &Totals) -> String {
    format!(
        "Since the start: {} succeeded, {} failed, {} withdrawn; {} repeated on another builder.",
        totals.succeeded,
        totals.failed,
        totals.withdrawn,
        match totals.repeated {
            1 => "1 attempt".to_owned(),
            more => format!("{more} attempts"),
        },
    )
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

fn age(ms: u64) -> String {
    human(Duration::from_millis(ms))
}

fn list(words: impl IntoIterator<Item = impl Display>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| word.to_string()).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests;
