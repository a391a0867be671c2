//! What `muster report` tells: what each builder did since the coordinator started, gone ones too, and what ran when.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::fleet::Health;
use super::journal::{Entry, Tally};
use super::snapshot::{HealthWord, millis};
use super::state::State;
use crate::domain::{BuilderName, System, Time};

/// What was done since the start. `muster report --json` prints it as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The layout of this document; 1.
    pub schema: u32,
    /// Milliseconds since the coordinator started; all times below are milliseconds after its start.
    pub elapsed_ms: u64,
    /// By name, those that are gone too.
    pub builders: Vec<BuilderReport>,
    /// In the order in which they began.
    pub attempts: Vec<AttemptReport>,
    /// Older attempts that were forgotten.
    pub forgotten: u64,
    /// Builds that wait for a builder.
    pub waiting: u64,
}

/// What one builder did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuilderReport {
    /// Its name.
    pub name: BuilderName,
    /// How it is; `gone` where nobody knows it any more.
    pub health: HealthWord,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// What it builds for.
    pub systems: BTreeSet<System>,
    /// Processors, where they are known.
    pub cores: Option<u32>,
    /// Builds at once.
    pub slots: u32,
    /// How packets get there, where a tailnet says it: `direct`, or `relayed by NAME`.
    pub path: Option<String>,
    /// Megabytes per second that reach it, as real transfers showed.
    #[serde(default)]
    pub link_mb_s: Option<f64>,
    /// When a source first knew it.
    pub found_ms: u64,
    /// When it first took builds; none where it never did.
    pub ready_ms: Option<u64>,
    /// When it was last down or gone, where it has not come back.
    pub gone_ms: Option<u64>,
    /// Builds that succeeded there.
    pub built: u64,
    /// Builds that failed there by themselves.
    pub failed: u64,
    /// Attempts that were lost or refused there.
    pub lost: u64,
    /// Of the time of its slots since it was ready, how much was used, in percent.
    pub busy_percent: u32,
    /// Bytes of inputs that were sent there.
    pub sent_bytes: u64,
    /// Bytes of outputs that came from there.
    pub received_bytes: u64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// The derivation's base name.
    pub drv: String,
    /// Its number within the build.
    pub number: u32,
    /// Where it ran.
    pub builder: BuilderName,
    /// When it began.
    pub began_ms: u64,
    /// When it ended; none where it runs.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub how: How,
    /// The same in words, where it did not go well.
    pub said: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It runs.
    Running,
    /// It was built.
    Built,
    /// The build itself failed.
    Failed,
    /// The builder was lost, or refused, or sent nonsense.
    Lost,
    /// Nobody wanted it any more.
    Cancelled,
}

impl State {
    /// What was done since the start.
    pub fn report(&self, now: Time) -> Report {
        let running = self.builds.iter().flat_map(|(_, build)| {
            build.attempts.iter().map(|(number, attempt)| AttemptReport {
                drv: build.ask.drv.base_name().to_owned(),
                number: *number,
                builder: attempt.builder.clone(),
                began_ms: millis(attempt.since.since_start()),
                ended_ms: None,
                how: How::Running,
                said: None,
            })
        });
        let mut attempts: Vec<_> = self.journal.entries().map(attempt_report).chain(running).collect();
        attempts.sort_by_key(|attempt| attempt.began_ms);
        let waiting = self.builds.iter().filter(|(_, build)| !build.settled && build.attempts.is_empty());
        Report {
            schema: 1,
            elapsed_ms: millis(now.since_start()),
            builders: self.journal.tallies().map(|(name, tally)| self.told(name, tally, now)).collect(),
            attempts,
            forgotten: self.journal.forgotten(),
            waiting: waiting.count() as u64,
        }
    }

    fn told(&self, name: &BuilderName, tally: &Tally, now: Time) -> BuilderReport {
        let builder = self.fleet.get(name);
        let running = builder.into_iter().flat_map(|builder| &builder.attempts);
        let running = running.filter_map(|id| self.builds.get(id.build)?.attempts.get(&id.number));
        let running: std::time::Duration =
            running.filter(|attempt| attempt.holds_slot()).map(|attempt| now.since(attempt.since)).sum();
        let health = builder.map_or(HealthWord::Gone, |builder| match builder.health {
            Health::Probing => HealthWord::Probing,
            Health::Healthy => HealthWord::Healthy,
            Health::Suspect => HealthWord::Suspect,
            Health::Down => HealthWord::Down,
        });
        BuilderReport {
            name: name.clone(),
            health,
            reason: builder
                .filter(|_| health != HealthWord::Healthy)
                .and_then(|builder| builder.reason.clone()),
            systems: tally.systems.clone(),
            cores: tally.cores,
            slots: tally.slots,
            path: None,
            link_mb_s: builder
                .and_then(|builder| builder.machine.link)
                .map(|rate| (rate / 1e4).round() / 100.0),
            found_ms: millis(tally.found.since_start()),
            ready_ms: tally.ready.map(|at| millis(at.since_start())),
            gone_ms: tally.gone.map(|at| millis(at.since_start())),
            built: tally.built,
            failed: tally.failed,
            lost: tally.lost,
            busy_percent: tally.busy_percent(running, now),
            sent_bytes: tally.sent,
            received_bytes: tally.received,
        }
    }
}

fn attempt_report(entry: &Entry) -> AttemptReport {
    AttemptReport {
        drv: entry.drv.clone(),
        number: entry.number,
        builder: entry.builder.clone(),
        began_ms: millis(entry.began.since_start()),
        ended_ms: Some(millis(entry.ended.since_start())),
        how: entry.how,
        said: entry.said.clone(),
    }
}
