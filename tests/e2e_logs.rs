//! What a client hears of its builds while they run.

mod support;

use rustix::process::Signal;
use support::{Client, Drv, PATIENCE, Stage, expr, proc, wait_until};

/// `nix-build`, which is told nothing of logs.
fn nix_build(stage: &Stage, drv: &Drv) -> Client {
    let file = stage.path("plain.nix");
    std::fs::write(&file, expr::all(&stage.mark(), std::slice::from_ref(drv))).expect("room");
    let builders = format!("@{}", stage.machines_file().display());
    let mut command = stage.command("nix-build");
    command
        .args(["--no-out-link", "-j0", "--store", &stage.client_store(), "--builders", &builders])
        .arg(file);
    Client::start(command, stage.path("plain.log"))
}

#[test]
fn each_line_and_phase_is_told_while_the_build_runs() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let script = r#"echo '@nix { "action": "setPhase", "phase": "firstPhase" }'; echo one;
        until [ -e /proc/self/no-such ] || [ $((i += 1)) -gt 40 ]; do sleep 0.1; done; echo two; echo > $out"#;
    let builders = format!("@{}", stage.machines_file().display());
    let mut client =
        stage.build_with(&[Drv::new("talks", script)], &builders, &["--log-format", "internal-json"]);
    client.prints(r#""fields":["one"]"#);
    let said = client.terminal();
    assert!(!said.contains(r#"["two"]"#), "the build is over already: {said}");
    assert!(
        said.lines()
            .any(|line| line.contains(r#""fields":["firstPhase"]"#) && line.contains(r#""type":104"#)),
        "{said}"
    );
    let outcome = client.wait().succeeds();
    outcome.says_once(&[r#""fields":["two"]"#, r#""type":101"#]);
}

#[test]
fn the_builder_is_named_to_who_asked_for_no_log() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let outcome = nix_build(&stage, &Drv::new("plain", "echo said; echo > $out")).wait().succeeds();
    outcome.says_once(&["building", "-plain.drv'", "on 'b1'"]);
    outcome.says_once(&["said"]);
}

#[test]
fn a_build_that_waits_says_so_and_for_what() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let builders = format!("@{}", stage.machines_file().display());
    let mut first = stage.build(&[Drv::new("first", "echo seen; sleep 60; echo > $out")]);
    first.prints("seen");
    let format = ["--log-format", "internal-json"];
    let mut second = stage.build_with(&[Drv::new("second", "echo > $out")], &builders, &format);
    second.prints("waits for a free slot on");
    let said = second.terminal();
    let line = said.lines().find(|line| line.contains("waits for a free slot on")).expect("printed");
    assert!(line.contains("second") && line.contains(expr::system().as_str()), "{line}");
    drop(first);
    second.wait().succeeds();
}

/// Lines of a kilobyte: a hundred thousand of them.
const FLOOD: &str = "echo seen; line=$(head -c 1000 /dev/zero | tr '\\0' x); yes $line | head -n 100000; echo last; echo > $out";

#[test]
fn a_hundred_megabytes_of_log_that_nobody_reads_hold_up_nobody_and_cost_little_memory() {
    let Some(stage) = Stage::of(1, 2) else { return };
    let mut client = stage.build(&[Drv::new("chatty", FLOOD)]);
    client.prints("seen");
    let readers: Vec<_> = client.hooks().into_iter().chain(client.connects()).collect();
    readers.iter().for_each(|reader| proc::signal(reader.pid, Signal::STOP));
    stage.build_in("other", &[Drv::new("bystander", "echo well > $out")]).wait().succeeds();
    wait_until("it is built all the same", PATIENCE, || stage.status().totals.succeeded == 2);
    let (_, most) = proc::memory(stage.coordinator_pid());
    assert!(most < 64 << 10, "the coordinator needed {most} KiB");
    readers.iter().for_each(|reader| proc::signal(reader.pid, Signal::CONT));
    let outcome = client.wait().succeeds();
    outcome.says_once(&["log lines left out"]);
    outcome.says_once(&["chatty> last"]);
}
