//! Two versions of muster at once: a coordinator is replaced by a later or an earlier one while builds run and wait.
//! `checks/end-to-end` makes the later one, whose protocols are one version ahead.

mod support;

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::stage::MUSTER;
use support::{After, Drv, PATIENCE, Stage, What, When, wait_until};

/// Today's program and tomorrow's.
fn programs() -> Option<[PathBuf; 2]> {
    let later = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/next/muster");
    if !later.exists() {
        println!("skipped: checks/end-to-end makes {}", later.display());
        return None;
    }
    Some([PathBuf::from(MUSTER), later])
}

/// A stage whose coordinator is `program`; the lines name the same.
fn stage_of(program: &Path) -> Option<Stage> {
    let mut stage = Stage::without_coordinator(&[support::Builder::new("b1", 1)], "")?;
    stage.program = program.to_owned();
    stage.start_coordinator();
    Some(stage)
}

/// The coordinator of one version ends, and one of the other takes its place: what runs and what waits succeeds.
fn replaced(from: &Path, by: &Path) {
    let Some(mut stage) = stage_of(from) else { return };
    let mut running = stage.build(&[Drv::new("running", "echo seen; sleep 5; echo 1 > $out")]);
    running.prints("seen");
    let queued = stage.build(&[Drv::new("queued", "echo 2 > $out")]);
    wait_until("the second build is queued", PATIENCE, || stage.status().builds.len() == 2);
    let connects = running.connects();
    let line = connects.first().expect("a connect").line();
    assert!(line.starts_with(from.to_str().expect("text")), "{line}");
    stage.stop_coordinator(Signal::TERM);
    stage.program = by.to_owned();
    stage.start_coordinator();
    for client in [running, queued] {
        client.wait().succeeds().says_once(&["muster: ", "coordinator"]);
    }
    stage.build(&[Drv::new("after", "echo > $out")]).wait().succeeds();
    for program in [from, by] {
        let asked = stage.run(stage.muster_by(program, &["status"])).succeeds();
        assert!(asked.terminal.contains("b1"), "{}", asked.terminal);
    }
}

#[test]
fn a_later_coordinator_takes_over_what_runs_and_waits() {
    let Some([now, later]) = programs() else { return };
    replaced(&now, &later);
}

#[test]
fn an_earlier_coordinator_takes_over_what_runs_and_waits() {
    let Some([now, later]) = programs() else { return };
    replaced(&later, &now);
}

#[test]
fn killed_in_the_middle_of_a_build_and_followed_by_the_other_version_again_and_again() {
    let Some([now, later]) = programs() else { return };
    let Some(mut stage) = stage_of(&now) else { return };
    let script = r#"echo "@@"log@@; sleep 0.5; echo "@@"output@@ > $out; head -c 2000000 /dev/zero >> $out"#;
    let first = stage.faults.arm(When::Log, What::Hold, After::Back);
    let client = stage.build(&[Drv::new("victim", script)]);
    stage.faults.struck(&first);
    for (when, program) in [(When::End, &later), (When::Output, &now)] {
        let next = stage.faults.arm(when, What::Hold, After::Back);
        stage.kill_coordinator();
        stage.program = program.clone();
        stage.start_coordinator();
        stage.faults.struck(&next);
    }
    stage.kill_coordinator();
    stage.program = later;
    stage.start_coordinator();
    client.wait().succeeds();
    assert!(stage.text("victim").starts_with("@@output@@\n"));
}
