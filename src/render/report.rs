//! `muster report`: what was done, on a terminal, as JSON, and as the summary of a job on GitHub.

mod gantt;
mod github;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{bytes, human, plain_table, tame, text_of};
use crate::policy::Report;
use crate::policy::report::{AttemptReport, BuilderReport, How};
use crate::policy::snapshot::HealthWord;

pub use github::markdown;

/// What went wrong is shown so often at most.
const TROUBLES: usize = 50;

/// The report as programs read it.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report)
}

/// The report as people read it, fitted into `width` columns where there is one.
pub fn table(report: &Report, width: Option<u16>) -> String {
    let mut parts = vec![headline(report)];
    if !report.builders.is_empty() {
        parts.push(builders(&report.builders, width));
    }
    parts.extend(Some(relayed(report).join("\n")).filter(|lines| !lines.is_empty()));
    let troubles: Vec<_> = troubles(report).collect();
    if !troubles.is_empty() {
        let mut table = plain_table(&["AFTER", "BUILDER", "BUILD", "WHAT WENT WRONG"], width);
        for attempt in troubles.iter().take(TROUBLES) {
            table.add_row([
                after(attempt.began_ms),
                attempt.builder.to_string(),
                label(attempt),
                said(attempt),
            ]);
        }
        parts.push(text_of(table));
    }
    if troubles.len() > TROUBLES {
        parts.push(format!("and {} more", troubles.len() - TROUBLES));
    }
    parts.join("\n\n") + "\n"
}

/// All of it in one sentence.
fn headline(report: &Report) -> String {
    let sum = |of: fn(&BuilderReport) -> u64| report.builders.iter().map(of).sum::<u64>();
    let running = report.attempts.iter().filter(|attempt| attempt.how == How::Running).count() as u64;
    let counts = [
        (sum(|row| row.built), "built"),
        (sum(|row| row.failed), "failed"),
        (sum(|row| row.lost), "lost and repeated"),
        (running, "running"),
        (report.waiting, "waiting"),
    ];
    let said: Vec<_> = counts
        .iter()
        .filter(|(count, word)| *count > 0 || *word == "built")
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let builders = match report.builders.len() {
        1 => "1 builder".to_owned(),
        count => format!("{count} builders"),
    };
    format!("{} on {builders} in {}.", said.join(", "), after(report.elapsed_ms))
}

fn builders(rows: &[BuilderReport], width: Option<u16>) -> String {
    let mut table = plain_table(&HEADER.map(str::to_uppercase).each_ref().map(String::as_str), width);
    for row in rows {
        table.add_row(cells(row));
    }
    text_of(table)
}

const HEADER: [&str; 10] = [
    "builder",
    "system",
    "cores",
    "path",
    "ready after",
    "built",
    "failed, lost",
    "busy",
    "in, out",
    "state",
];

/// One builder's row, of the terminal's table and of GitHub's.
fn cells(row: &BuilderReport) -> [String; 10] {
    let dash = || "-".to_owned();
    let systems = systems(row);
    [
        row.name.to_string(),
        if systems.is_empty() { dash() } else { systems.join(", ") },
        row.cores.map_or_else(dash, |cores| cores.to_string()),
        way(row).unwrap_or_else(dash),
        row.ready_ms.map_or_else(|| "never".to_owned(), after),
        row.built.to_string(),
        format!("{}, {}", row.failed, row.lost),
        format!("{} %", row.busy_percent),
        format!("{}, {}", bytes(row.sent_bytes), bytes(row.received_bytes)),
        state(row),
    ]
}

/// How packets get there, and how many, as far as it is known.
fn way(row: &BuilderReport) -> Option<String> {
    let rate = row.link_mb_s.map(|rate| format!("{rate:.1} MB/s"));
    let parts: Vec<_> = row.path.as_deref().map(tame).into_iter().chain(rate).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Those whose copies were slow, since they went through a relay.
fn relayed(report: &Report) -> Vec<String> {
    let by_relay = |row: &&BuilderReport| row.path.as_ref().is_some_and(|path| path.starts_with("relayed"));
    let rows = report.builders.iter().filter(by_relay);
    rows.filter_map(|row| {
        Some(format!("{} was {}: a direct path takes UDP between the machines", row.name, way(row)?))
    })
    .collect()
}

/// Its systems, without the levels of an architecture that Nix counts as systems of their own.
fn systems(row: &BuilderReport) -> Vec<&str> {
    let all = row.systems.iter().map(|system| system.as_str());
    all.filter(|system| !system.contains("-v")).collect()
}

fn state(row: &BuilderReport) -> String {
    let word = match row.health {
        HealthWord::Unknown => "unknown",
        HealthWord::Probing => "probing",
        HealthWord::Healthy => "healthy",
        HealthWord::Suspect => "suspect",
        HealthWord::Down => "down",
        HealthWord::Gone => "gone",
    };
    let since = row.gone_ms.map(|at| format!(" since {}", after(at))).unwrap_or_default();
    let reason = row.reason.as_deref().map(|reason| format!(": {}", tame(reason))).unwrap_or_default();
    format!("{word}{since}{reason}")
}

/// Attempts that did not go well, in their order.
fn troubles(report: &Report) -> impl Iterator<Item = &AttemptReport> {
    report.attempts.iter().filter(|attempt| matches!(attempt.how, How::Failed | How::Lost))
}

fn said(attempt: &AttemptReport) -> String {
    attempt.said.as_deref().map(tame).unwrap_or_default()
}

/// What people call the build: its derivation's name.
fn label(attempt: &AttemptReport) -> String {
    let name = attempt.drv.split_once('-').map_or(attempt.drv.as_str(), |(_, name)| name);
    tame(name.strip_suffix(".drv").unwrap_or(name))
}

fn after(ms: u64) -> String {
    human(Duration::from_millis(ms))
}
