//! What builds teach outlives the coordinator, and nothing depends on it.

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::{Drv, PATIENCE, Stage, wait_until};

fn said(mut command: Command) -> String {
    let output = command.output().expect("muster runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// How many builds of that package are known.
fn builds(stage: &Stage, pname: &str) -> u64 {
    let text = stage.muster(&["history", pname, "--json"]).output().expect("muster runs").stdout;
    let document: Value = serde_json::from_slice(&text).unwrap_or_default();
    document["packages"][0]["builds"].as_u64().unwrap_or(0)
}

fn build(stage: &Stage, name: &str, builds_then: u64) {
    stage.build(&[Drv::new(name, "sleep 1; echo > $out")]).wait().succeeds();
    let pname = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
    wait_until("it is kept", PATIENCE, || builds(stage, pname) == builds_then);
}

#[test]
fn what_builds_taught_is_there_after_a_kill_and_is_shown_while_the_coordinator_writes() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    build(&stage, "taught-1", 1);
    stage.kill_coordinator();
    let table = said(stage.muster(&["history"]));
    assert!(table.contains("taught") && table.contains("b1 (1, "), "{table}");
    stage.start_coordinator();
    build(&stage, "taught-2", 2);
    assert!(!said(stage.muster(&["history", "other"])).contains("taught"));
}

#[test]
fn a_broken_history_is_set_aside_and_one_that_cannot_be_written_costs_nothing_but_itself() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    let state = stage.path("state");
    stage.kill_coordinator();
    for name in ["history.sqlite-wal", "history.sqlite-shm"] {
        let _ = fs::remove_file(state.join(name));
    }
    fs::write(state.join("history.sqlite"), "this is no database".repeat(100)).expect("room");
    stage.start_coordinator();
    build(&stage, "after-1", 1);
    assert!(stage.coordinator_log().contains("is broken"), "{}", stage.coordinator_log());
    let aside = fs::read_dir(&state).expect("the state").filter_map(Result::ok);
    assert!(aside.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".sqlite.aside-")));

    stage.kill_coordinator();
    for name in ["history.sqlite", "history.sqlite-wal", "history.sqlite-shm"] {
        let _ = fs::remove_file(state.join(name));
    }
    fs::create_dir_all(state.join("history.sqlite/in-the-way")).expect("room");
    stage.start_coordinator();
    stage.build(&[Drv::new("without", "echo > $out")]).wait().succeeds();
    wait_until("it is said", PATIENCE, || stage.coordinator_log().contains("what builds teach is not kept"));
}
