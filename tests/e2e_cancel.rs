//! Clients that want their builds no more.

mod support;

use std::time::Duration;

use rustix::process::Signal;
use support::{After, Drv, Stage, What, When, proc, wait_until};

const SECOND: Duration = Duration::from_secs(1);

fn endless(name: &str) -> Drv {
    Drv::new(name, "echo seen; sleep 1000; echo > $out")
}

/// On the builder, and in the coordinator.
#[track_caller]
fn ends_within_a_second(stage: &Stage) {
    let began = std::time::Instant::now();
    wait_until("no build process is left", SECOND, || stage.build_processes().is_empty());
    let left = SECOND.saturating_sub(began.elapsed());
    wait_until("the coordinator has forgotten the build", left, || {
        let status = stage.status();
        status.builds.is_empty() && status.builders.iter().all(|builder| builder.busy == 0)
    });
    assert_eq!(stage.status().totals.withdrawn, 1);
}

#[test]
fn ctrl_c_ends_the_build_on_the_builder_within_a_second() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let mut client = stage.build(&[endless("endless")]);
    client.prints("seen");
    assert!(!stage.build_processes().is_empty(), "it runs");
    client.interrupt();
    ends_within_a_second(&stage);
    assert_ne!(client.wait().code, Some(0));
    stage.build(&[Drv::new("next", "echo > $out")]).wait().succeeds();
}

#[test]
fn the_death_of_the_hook_ends_the_build_within_a_second() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let mut client = stage.build(&[endless("endless")]);
    client.prints("seen");
    let hooks = client.hooks();
    assert!(!hooks.is_empty(), "no hook");
    hooks.iter().for_each(|hook| proc::signal(hook.pid, Signal::KILL));
    ends_within_a_second(&stage);
    client.wait().fails();
}

#[test]
fn the_death_of_the_client_ends_the_build_within_a_second() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let mut client = stage.build(&[endless("endless")]);
    client.prints("seen");
    proc::signal(client.pid(), Signal::KILL);
    ends_within_a_second(&stage);
}

#[test]
fn a_queued_build_is_forgotten_and_the_running_one_goes_on() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let mut first = stage.build(&[Drv::new("first", "echo seen; sleep 2; echo > $out")]);
    first.prints("seen");
    let second = stage.build(&[endless("second")]);
    wait_until("it is queued", support::PATIENCE, || stage.status().builds.len() == 2);
    second.interrupt();
    wait_until("it is forgotten", SECOND, || stage.status().builds.len() == 1);
    first.wait().succeeds();
    assert!(stage.faults.builds_of("second").is_empty(), "it was never ordered");
}

fn while_held_at(when: When) {
    let Some(stage) = Stage::of(1, 1) else { return };
    let source = stage.path("source");
    std::fs::write(&source, format!("{}@@upload@@", "x".repeat(300_000))).expect("room");
    let victim = Drv::new("victim", r#"{ cat $source; echo "@@"output@@; cat $source; } > $out"#)
        .with("source", &source.display().to_string());
    let fault = stage.faults.arm(when, What::Hold, After::Back);
    let client = stage.build(&[victim]);
    stage.faults.struck(&fault);
    client.interrupt();
    ends_within_a_second(&stage);
}

#[test]
fn ctrl_c_while_inputs_travel_frees_the_slot_within_a_second() {
    while_held_at(When::Upload);
}

#[test]
fn ctrl_c_while_outputs_travel_frees_the_slot_within_a_second() {
    while_held_at(When::Output);
}

#[test]
fn ctrl_c_on_a_frozen_builder_frees_the_slot_within_a_second() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let fault = stage.faults.arm(When::Start, What::Hang, After::Dead);
    let client = stage.build(&[endless("victim")]);
    stage.faults.struck(&fault);
    client.interrupt();
    ends_within_a_second(&stage);
}
