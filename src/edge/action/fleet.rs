//! Which builders the coordinator has: outputs for later steps, and what is wrong with each, as warnings.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::run::{Runner, join_all};
use super::{Step, StepError, say};
use crate::action::plan::{Command, Level};
use crate::action::workflow;
use crate::domain::builder::BuilderName;
use crate::edge::control;
use crate::policy::Snapshot;
use crate::policy::goal::{Candidate, Goal};
use crate::policy::snapshot::{BuilderRow, HealthWord};

/// A coordinator that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a coordinator that root runs listens.
const SOCKET: &str = "/run/muster/control.sock";

/// A path begins with a relay; packets that ask for a direct one make the two machines look for it, before the first build
/// travels. Where there is none, the builder is used all the same, and that is said.
pub(super) async fn describe(step: &Step<'_>, names: &[String]) -> Result<(), StepError> {
    let relayed = without_direct_path(&step.runner, &ask().await?).await;
    let snapshot = ask().await?;
    for text in remarks(&snapshot, names, &relayed) {
        say(&workflow::annotation(Level::Warning, &text));
    }
    for (name, value) in outputs(&snapshot) {
        step.append("GITHUB_OUTPUT", &workflow::value(name, &value))?;
    }
    Ok(())
}

async fn ask() -> Result<Snapshot, StepError> {
    control::status(Path::new(SOCKET), PATIENCE).await.map_err(|error| {
        let (what, fix) = ("the coordinator".to_owned(), String::new());
        StepError::Command { what, how: error.to_string(), fix }
    })
}

/// Those that stay with a relay however much they are asked.
async fn without_direct_path(runner: &Runner<'_>, snapshot: &Snapshot) -> BTreeSet<BuilderName> {
    let in_tailnet = |row: &&BuilderRow| row.health == HealthWord::Healthy && row.path.is_some();
    let asked: Vec<_> = snapshot.builders.iter().filter(in_tailnet).map(|row| row.name.clone()).collect();
    let commands: Vec<_> = asked.iter().map(ping).collect();
    let ended = join_all(commands.iter().map(|command| runner.output(command)).collect()).await;
    asked.into_iter().zip(ended).filter(|(_, (ended, _))| ended.is_err()).map(|(name, _)| name).collect()
}

/// Fails where the last answer came by a relay still.
fn ping(name: &BuilderName) -> Command {
    Command::new(["tailscale", "ping", "--until-direct", "-c", "5", "--timeout", "1s"])
        .and([name.to_string()])
        .within(Duration::from_secs(8))
}

/// Paths by a relay, and builders that did not come: causes of slowness.
fn remarks(snapshot: &Snapshot, names: &[String], relayed: &BTreeSet<BuilderName>) -> Vec<String> {
    let slow = snapshot.builders.iter().filter(|row| relayed.contains(&row.name)).map(slow_path);
    let goal = Goal { names: names.to_vec(), least: None };
    let missing = goal.look(snapshot, true).builders.into_iter().filter(|one| !one.is_ready());
    slow.chain(missing.map(|one| absence(&one))).collect()
}

fn absence(one: &Candidate) -> String {
    let reason = one.reason.as_deref().unwrap_or("it has not answered yet");
    format!("the cluster is without {}, which is {}: {reason}", one.name, one.state)
}

fn slow_path(row: &BuilderRow) -> String {
    let path = row.path.as_deref().filter(|path| path.starts_with("relayed")).unwrap_or("relayed");
    let measured = row.measured.as_ref();
    let rtt = measured.and_then(|measured| measured.rtt_ms).map(|ms| format!(", {ms} ms there and back"));
    let rate = measured.and_then(|measured| measured.link_mb_s).map(|rate| format!(", {rate:.1} MB/s"));
    format!(
        "{} is {path}{}{}: copies will be slow. A direct path takes UDP between the runners",
        row.name,
        rtt.unwrap_or_default(),
        rate.unwrap_or_default()
    )
}

fn outputs(snapshot: &Snapshot) -> [(&'static str, String); 3] {
    let ready = || snapshot.builders.iter().filter(|row| row.health == HealthWord::Healthy);
    let systems: BTreeSet<_> = ready().flat_map(|row| row.systems.iter().map(ToString::to_string)).collect();
    let systems: Vec<_> = systems.into_iter().collect();
    [
        ("builders-ready", ready().count().to_string()),
        ("systems", systems.join(" ")),
        ("builders-json", serde_json::to_string(&snapshot.builders).unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Snapshot {
        let row = |name: &str, health: &str, path: Option<&str>, rate: Option<f64>| {
            serde_json::json!({
                "name": name, "health": health, "host_name": null, "reason": null, "retry_in_ms": null,
                "systems": ["x86_64-linux"], "features": [], "mandatory": [], "slots": 1, "busy": 0, "speed_factor": 1.0,
                "trust": null, "nix_version": null, "built": 0, "lost": 0, "path": path,
                "measured": {
                    "systems": [], "emulated": [], "features": [], "slots": null, "cores": null, "memory": null,
                    "build_users": null, "store_free": null, "rtt_ms": 31.5, "link_mb_s": rate, "clock_ahead_s": null
                }
            })
        };
        let rows = [
            row("b1", "healthy", Some("direct"), None),
            row("b2", "healthy", Some("relayed by fra"), Some(3.27)),
            row("b3", "probing", None, None),
        ];
        let totals = crate::policy::snapshot::Totals::default();
        let text =
            serde_json::json!({"schema": 1, "builders": rows, "builds": [], "totals": totals, "absent": []});
        serde_json::from_value(text).expect("a snapshot")
    }

    #[test]
    fn a_relay_is_warned_of_with_its_speed_and_whoever_is_missing_with_the_reason() {
        let relayed = BTreeSet::from([BuilderName::parse("b2").expect("a name")]);
        let names = ["b1", "b2", "b3", "b4"].map(str::to_owned);
        assert_eq!(
            remarks(&picture(), &names, &relayed),
            [
                "b2 is relayed by fra, 31.5 ms there and back, 3.3 MB/s: copies will be slow. A direct path takes UDP between \
                 the runners",
                "the cluster is without b3, which is probing: it has not answered yet",
                "the cluster is without b4, which is unknown: no source has told of it",
            ]
        );
    }

    #[test]
    fn only_builders_that_take_builds_are_counted() {
        let outputs = outputs(&picture());
        assert_eq!(outputs[0], ("builders-ready", "2".to_owned()));
        assert_eq!(outputs[1], ("systems", "x86_64-linux".to_owned()));
    }
}
