//! Builders that come and go with what a source says.

mod support;

use std::fs;

use muster::policy::snapshot::HealthWord;
use support::{After, Drv, Faults, PATIENCE, Stage, What, When, wait_until};

/// A coordinator that knows whom the lines of a file name.
fn stage() -> Option<Stage> {
    // The command of a source has no way to know the stage but its working directory.
    let source = "[[source]]\nexec = [\"cat\", \"builders.json\"]\ninterval = \"200ms\"\n";
    let mut stage = Stage::without_coordinator(&[], source)?;
    list(&stage, &[]);
    stage.launch_coordinator();
    wait_until("the coordinator answers", PATIENCE, || stage.try_status().is_some());
    Some(stage)
}

/// Each is a name, its directory, and more fields.
fn list(stage: &Stage, builders: &[(&str, &str, &str)]) {
    let line = |(name, dir, more): &(&str, &str, &str)| {
        let uri = format!("process:{}?program={}", stage.path(dir).display(), Faults::program().display());
        format!("{{\"name\":\"{name}\",\"uri\":\"{uri}\",\"slots\":1{more}}}\n")
    };
    let text: String = builders.iter().map(line).collect();
    fs::write(stage.path("builders.new"), text).expect("room");
    fs::rename(stage.path("builders.new"), stage.path("builders.json")).expect("room");
}

fn healthy(stage: &Stage, expected: &[&str]) {
    wait_until(&format!("{expected:?} are healthy"), PATIENCE, || {
        let rows = stage.status().builders;
        rows.iter().map(|row| row.name.as_str()).eq(expected.iter().copied())
            && rows.iter().all(|row| row.health == HealthWord::Healthy)
    });
}

#[test]
fn builders_come_and_go_without_a_restart() {
    let Some(stage) = stage() else { return };
    let early = stage.build(&[Drv::new("early", "echo early > $out")]);
    list(&stage, &[("b1", "b1", ""), ("b2", "b2", "")]);
    early.wait().succeeds();
    healthy(&stage, &["b1", "b2"]);

    let mut long = stage.build(&[Drv::new("long", "echo seen; sleep 2; echo long > $out")]);
    long.prints("seen");
    list(&stage, &[]);
    wait_until("the idle one is gone", PATIENCE, || stage.status().builders.len() == 1);
    long.wait().succeeds();
    wait_until("so is the other when its build has ended", PATIENCE, || stage.status().builders.is_empty());
    assert!(!fs::read_to_string(stage.machines_file()).expect("a file").is_empty());
}

#[test]
fn a_builder_with_mandatory_features_gets_only_builds_that_ask_for_them() {
    let Some(stage) = stage() else { return };
    let special = r#","features":[],"mandatory":["special"]"#;
    list(&stage, &[("b1", "b1", ""), ("b2", "b2", special)]);
    healthy(&stage, &["b1", "b2"]);
    let plain: Vec<_> = (0..4).map(|n| Drv::new(&format!("plain{n}"), "sleep 0.2; echo > $out")).collect();
    let special = Drv::new("special", "echo > $out").with("requiredSystemFeatures", "[ \"special\" ]");
    stage.build(&[plain, vec![special]].concat()).wait().succeeds();
    for n in 0..4 {
        assert!(stage.output("b1", &format!("plain{n}")).is_some());
    }
    assert!(stage.output("b2", "special").is_some() && stage.output("b2", "plain0").is_none());
}

#[test]
fn another_machine_of_the_same_name_is_not_mistaken_for_the_former_one() {
    let Some(stage) = stage() else { return };
    list(&stage, &[("b", "b1", "")]);
    healthy(&stage, &["b"]);
    let fault = stage.faults.arm(When::Log, What::Hold, After::Back);
    let client = stage.build(&[Drv::new("victim", r#"echo "@@"log@@; echo > $out"#)]);
    stage.faults.struck(&fault);
    list(&stage, &[("b", "b2", "")]);
    client.wait().succeeds();
    assert!(stage.output("b2", "victim").is_some(), "the new one has built it");
    healthy(&stage, &["b"]);
}

#[test]
fn a_command_that_fails_takes_nobody_away() {
    let Some(stage) = stage() else { return };
    list(&stage, &[("b1", "b1", "")]);
    healthy(&stage, &["b1"]);
    fs::write(stage.path("builders.json"), "{\"uri\":\"process:/x\",\"colour\":1}\n").expect("room");
    wait_until("the failure is told", PATIENCE, || {
        stage.coordinator_log().contains("unknown field `colour`")
    });
    stage.build(&[Drv::new("thing", "echo > $out")]).wait().succeeds();
    assert_eq!(stage.coordinator_log().matches("unknown field").count(), 1, "it is told once");
}
