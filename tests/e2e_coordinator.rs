//! A coordinator that is killed, restarted, stopped or not there yet: it costs clients time, never a build.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use support::stage::MUSTER;
use support::{After, Builder, Client, Drv, Outcome, PATIENCE, Stage, What, When, proc, wait_until};

/// Everything a coordinator may leave behind when it is told to end.
const SOON: Duration = Duration::from_secs(2);

/// For what nobody is left to end: daemons leave when they have lost their input, as fast as a busy machine lets them,
/// and what does not notice stays for ever.
const EVENTUALLY: Duration = Duration::from_secs(15);

/// A build that can be held while its inputs travel, before it starts, in its log, at its end, and while its outputs
/// travel.
fn victim(stage: &Stage) -> Drv {
    let source = stage.path("source");
    std::fs::write(&source, format!("{}@@upload@@", "x".repeat(300_000))).expect("room");
    let script = r#"echo first; echo "@@"log@@; { echo "@@"output@@; cat $source; } > $out"#;
    Drv::new("victim", script).with("source", &source.display().to_string())
}

/// The build must have succeeded, and its client have heard of the lost coordinator in one line.
#[track_caller]
fn survived(outcome: Outcome) {
    outcome.succeeds().says_once(&["muster: ", "coordinator"]);
}

/// No daemon and no build of a coordinator that is gone.
#[track_caller]
fn nothing_is_left(stage: &Stage, limit: Duration) {
    wait_until("no builder's daemon and no build is left", limit, || {
        let daemons =
            stage.processes().into_iter().filter(|process| process.line().contains("--option builders"));
        daemons.chain(stage.build_processes()).next().is_none()
    });
}

fn kill_during(when: When) {
    let Some(mut stage) = Stage::of(2, 1) else { return };
    let fault = stage.faults.arm(when, What::Hold, After::Back);
    let client = stage.build(&[victim(&stage)]);
    stage.faults.struck(&fault);
    stage.kill_coordinator();
    nothing_is_left(&stage, EVENTUALLY);
    stage.start_coordinator();
    survived(client.wait());
    assert!(stage.text("victim").starts_with("@@output@@\nxxx"));
}

#[test]
fn killed_while_inputs_travel() {
    kill_during(When::Upload);
}

#[test]
fn killed_before_the_builder_has_heard_of_the_build() {
    kill_during(When::Start);
}

#[test]
fn killed_in_the_middle_of_a_build() {
    kill_during(When::Log);
}

#[test]
fn killed_before_it_hears_of_the_build_s_success() {
    kill_during(When::End);
}

#[test]
fn killed_while_it_fetches_the_outputs() {
    kill_during(When::Output);
}

#[test]
fn killed_while_a_build_is_queued() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    let mut first = stage.build(&[Drv::new("first", "echo seen; sleep 2; echo 1 > $out")]);
    first.prints("seen");
    let second = stage.build(&[Drv::new("second", "echo 2 > $out")]);
    wait_until("the second build is queued", PATIENCE, || stage.status().builds.len() == 2);
    stage.kill_coordinator();
    stage.start_coordinator();
    survived(first.wait());
    survived(second.wait());
}

/// Holds the hook still from the middle of the build until the coordinator has handed over the outputs and is dead.
/// Nobody takes its place: what the client needs, it must have.
fn outputs_outlive_the_coordinator(script: &str, bytes: usize) {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    let client = held_until_the_coordinator_is_dead(&mut stage, Drv::new("kept", script));
    client.wait().succeeds();
    assert_eq!(stage.text("kept").len(), bytes);
}

fn held_until_the_coordinator_is_dead(stage: &mut Stage, drv: Drv) -> Client {
    let mut client = stage.build(&[drv]);
    client.prints("seen");
    let hooks = client.hooks();
    assert!(!hooks.is_empty(), "no hook");
    hooks.iter().for_each(|hook| proc::signal(hook.pid, Signal::STOP));
    wait_until("the build is answered", PATIENCE, || stage.status().totals.succeeded == 1);
    wait_until("connect holds the outputs", PATIENCE, || client.connects().iter().all(|it| idle(it.pid)));
    stage.kill_coordinator();
    hooks.iter().for_each(|hook| proc::signal(hook.pid, Signal::CONT));
    client
}

/// Whether a process sleeps, twice in a row.
fn idle(pid: i32) -> bool {
    let sleeps = || proc::all().into_iter().any(|process| process.pid == pid && process.state == 'S');
    let now = sleeps();
    std::thread::sleep(Duration::from_millis(50));
    now && sleeps()
}

#[test]
fn killed_between_the_success_and_the_copying_of_small_outputs() {
    outputs_outlive_the_coordinator("echo seen; sleep 1; echo small > $out", 6);
}

#[test]
fn killed_between_the_success_and_the_copying_of_large_outputs() {
    outputs_outlive_the_coordinator("echo seen; sleep 1; head -c 9000000 /dev/zero > $out", 9_000_000);
}

/// Nix 2.26 comes back for each output with a new connection, and may find another coordinator.
#[test]
fn killed_between_the_success_and_the_copying_of_several_outputs() {
    let Some(mut stage) = Stage::of(2, 1) else { return };
    let drv = Drv::new("kept", "echo seen; sleep 1; for o in $out $b $c; do echo $o > $o; done");
    let client = held_until_the_coordinator_is_dead(&mut stage, drv.with("outputs", r#"[ "out" "b" "c" ]"#));
    stage.start_coordinator();
    client.wait().succeeds();
    for name in ["kept", "kept-b", "kept-c"] {
        assert!(stage.text(name).ends_with(&format!("-{name}\n")));
    }
    assert_eq!(stage.faults.builds_of("kept").len(), 1);
}

#[test]
fn killed_while_the_client_copies_an_output() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    let mut client = stage.build(&[Drv::new("large", "head -c 60000000 /dev/zero > $out")]);
    client.prints("-large' from 'ssh-ng://");
    stage.kill_coordinator();
    client.wait().succeeds();
    assert_eq!(stage.text("large").len(), 60_000_000);
}

/// Ten builds in a chain and aside of it, and a coordinator that is killed again and again.
#[test]
fn killed_many_times_during_one_graph() {
    let Some(mut stage) = Stage::of(2, 2) else { return };
    let names: Vec<String> = (0..8).map(|n| format!("d{n}")).collect();
    let drvs: Vec<Drv> = (0..8_usize)
        .map(|n| {
            let inputs = names[n.saturating_sub(2)..n].join(" ");
            Drv::new(&names[n], "sleep 0.3; cat $inputs /dev/null > $out; echo $name >> $out")
                .with("inputs", &format!("[ {inputs} ]"))
        })
        .collect();
    let client = stage.build(&drvs);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(700));
        stage.kill_coordinator();
        stage.start_coordinator();
    }
    client.wait().succeeds();
    assert!(stage.text("d7").ends_with("d7\n"));
}

#[test]
fn a_client_that_comes_before_the_coordinator_waits_for_it() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    stage.stop_coordinator(Signal::TERM);
    assert!(stage.machines_file().exists(), "its lines must stay");
    let mut client = stage.build(&[Drv::new("late", "echo late > $out")]);
    client.prints("waiting for");
    stage.start_coordinator();
    survived(client.wait());
    assert_eq!(stage.text("late"), "late\n");
}

#[test]
fn a_coordinator_that_rests_for_a_while_is_waited_for_and_hinders_no_ctrl_c() {
    let Some(stage) = Stage::of(1, 2) else { return };
    let mut client = stage.build(&[Drv::new("patient", "echo seen; sleep 1; echo 1 > $out")]);
    let mut impatient = stage.build(&[Drv::new("impatient", "echo seen; sleep 1000; echo > $out")]);
    client.prints("seen");
    impatient.prints("seen");
    proc::signal(stage.coordinator_pid(), Signal::STOP);
    impatient.interrupt();
    assert_ne!(impatient.wait_within(SOON).code, Some(0));
    std::thread::sleep(Duration::from_secs(1));
    proc::signal(stage.coordinator_pid(), Signal::CONT);
    client.wait().succeeds();
    wait_until("nothing is left", SOON, || stage.build_processes().is_empty());
}

/// A client with a build that runs, and perhaps cannot move.
fn busy(stage: &Stage, frozen: bool) -> Client {
    let mut client = if frozen {
        let fault = stage.faults.arm(When::Log, What::Hang, After::Dead);
        let client = stage.build(&[victim(stage)]);
        stage.faults.struck(&fault);
        client
    } else {
        stage.build(&[Drv::new("long", "echo seen; sleep 3; echo long > $out")])
    };
    client.prints(if frozen { "first" } else { "seen" });
    client
}

fn ends_soon(signal: Signal, frozen: bool) {
    let Some(mut stage) = Stage::of(2, 1) else { return };
    let client = busy(&stage, frozen);
    let (code, took) = stage.stop_coordinator(signal);
    let expected: &[Option<i32>] = if signal == Signal::INT { &[Some(0), Some(130)] } else { &[Some(0)] };
    assert!(expected.contains(&code), "exit code {code:?}");
    assert!(took < SOON, "it took {took:?}");
    nothing_is_left(&stage, Duration::from_millis(100));
    stage.launch_coordinator();
    survived(client.wait());
}

#[test]
fn sigterm_ends_it_in_under_two_seconds_and_the_next_one_goes_on() {
    ends_soon(Signal::TERM, false);
}

#[test]
fn ctrl_c_ends_it_in_under_two_seconds_and_the_next_one_goes_on() {
    ends_soon(Signal::INT, false);
}

#[test]
fn sigterm_ends_it_in_under_two_seconds_with_a_frozen_builder_too() {
    ends_soon(Signal::TERM, true);
}

#[test]
fn ctrl_c_ends_it_in_under_two_seconds_with_a_frozen_builder_too() {
    ends_soon(Signal::INT, true);
}

/// Stopped meanwhile, it finds both signals at once.
fn ends_at_once(first: Signal, second: Signal, codes: &[i32]) {
    let Some(mut stage) = Stage::of(2, 1) else { return };
    let client = busy(&stage, true);
    let pid = stage.coordinator_pid();
    [Signal::STOP, first, second].into_iter().for_each(|signal| proc::signal(pid, signal));
    let (code, took) = stage.stop_coordinator(Signal::CONT);
    assert!(code.is_some_and(|code| codes.contains(&code)), "exit code {code:?} after {took:?}");
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let is_frozen = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    // A machine that is frozen cannot hear that its coordinator is gone: it loses its power.
    wait_until("nothing is left but what is frozen", EVENTUALLY, || {
        let daemons =
            stage.processes().into_iter().filter(|process| process.line().contains("--option builders"));
        let left: Vec<_> = daemons.chain(stage.build_processes()).collect();
        let frozen = left.iter().filter(|process| is_frozen(process.pid));
        frozen.for_each(|process| proc::signal(process.pid, Signal::KILL));
        left.is_empty()
    });
    stage.launch_coordinator();
    survived(client.wait());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    ends_at_once(Signal::TERM, Signal::INT, &[130, 143]);
}

#[test]
fn a_second_coordinator_is_refused_and_told_of_the_first() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let second = stage.run(stage.muster(&["coordinator"]));
    assert_eq!(second.code, Some(2), "{}", second.terminal);
    second.says_once(&["another coordinator", &format!("pid {}", stage.coordinator_pid())]);
    stage.build(&[Drv::new("after", "echo > $out")]).wait().succeeds();
}

/// A second coordinator with a runtime directory of its own, whose configuration names a file of the first.
fn is_refused(stage: &Stage, key: &str, path: &Path) {
    let (table, name) = key.split_once('.').expect("a key of a table");
    let text = std::fs::read_to_string(stage.path("muster.toml")).expect("a configuration");
    let setting = format!("{name} = \"{}\"\n", path.display());
    let text = match text.split_once(&format!("[{table}]\n")) {
        Some((before, after)) => format!("{before}[{table}]\n{setting}{after}"),
        None => format!("{text}[{table}]\n{setting}"),
    };
    std::fs::write(stage.path("second.toml"), text).expect("room");
    let mut second = stage.command(MUSTER);
    second.args(["coordinator", "--config"]).arg(stage.path("second.toml"));
    second.arg("--runtime-dir").arg(stage.path("run2")).arg("--state-dir").arg(stage.path("state2"));
    let second = stage.run(second);
    assert_eq!(second.code, Some(2), "{}", second.terminal);
    second.says_once(&[path.to_str().expect("text"), key]);
}

#[test]
fn a_second_coordinator_with_another_runtime_directory_takes_nothing_of_the_first() {
    let Some(stage) = Stage::of(1, 1) else { return };
    is_refused(&stage, "endpoint.socket", &stage.endpoint());
    is_refused(&stage, "control.socket", &stage.path("run/control.sock"));
    is_refused(&stage, "endpoint.machines_file", &stage.machines_file());
    let precious = stage.path("precious");
    std::fs::write(&precious, "text").expect("room");
    is_refused(&stage, "endpoint.socket", &precious);
    assert_eq!(std::fs::read_to_string(&precious).expect("there"), "text");
    stage.build(&[Drv::new("after", "echo > $out")]).wait().succeeds();
}

#[test]
fn a_runtime_directory_that_everybody_may_write_is_refused() {
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
    std::fs::create_dir(stage.path("run")).expect("room");
    std::fs::set_permissions(stage.path("run"), std::fs::Permissions::from_mode(0o777)).expect("ours");
    let refused = stage.run(stage.muster(&["coordinator"]));
    assert_eq!(refused.code, Some(2), "{}", refused.terminal);
    refused.says_once(&["cannot be trusted", "chmod go-w"]);
}

#[test]
fn a_coordinator_without_builders_says_so_and_exits_3() {
    let Some(stage) = Stage::without_coordinator(&[] as &[Builder], "") else { return };
    let alone = stage.run(stage.muster(&["coordinator"]));
    assert_eq!(alone.code, Some(3), "{}", alone.terminal);
}

/// A coordinator whose local store is served by `program`, which need not be there yet.
fn with_local_daemon(program: &Path) -> Option<Stage> {
    with_local_daemon_and(program, "")
}

fn with_local_daemon_and(program: &Path, timeouts: &str) -> Option<Stage> {
    let mut stage = Stage::without_coordinator(&[Builder::new("b1", 1)], timeouts)?;
    let program = stage.path(program.to_str().expect("text"));
    let config = stage.path("muster.toml");
    let text = std::fs::read_to_string(&config).expect("written before");
    std::fs::write(&config, format!("nix_daemon = \"{}\"\n{text}", program.display())).expect("room");
    stage.start_coordinator();
    Some(stage)
}

fn real_daemon() -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    let programs: Vec<_> = std::env::split_paths(&path).map(|dir| dir.join("nix-daemon")).collect();
    programs.into_iter().find(|program| program.exists()).expect("Nix is there")
}

#[test]
fn an_outage_of_the_local_daemon_is_waited_out_and_said() {
    let Some(stage) = with_local_daemon(Path::new("late/nix-daemon")) else { return };
    let mut client = stage.build(&[Drv::new("thing", "echo thing > $out")]);
    client.prints("waiting for it");
    std::fs::create_dir(stage.path("late")).expect("room");
    std::os::unix::fs::symlink(real_daemon(), stage.path("late/nix-daemon")).expect("room");
    client.wait().succeeds().says_once(&["the local store's daemon", "waiting for it"]);
    assert_eq!(stage.text("thing"), "thing\n");
}

/// As when a machine is switched to another configuration: its units are restarted one after the other, the builders'
/// too. One build runs, one waits for a slot, and one for the local daemon.
#[test]
fn a_restart_of_every_daemon_one_after_the_other_costs_time_only() {
    let Some(mut stage) = Stage::behind_daemon(1, 1) else { return };
    let mut running = stage.build(&[Drv::new("running", "echo seen; sleep 2; echo $name > $out")]);
    running.prints("seen");
    let queued = stage.build(&[Drv::new("queued", "echo $name > $out")]);
    wait_until("the second build is queued", PATIENCE, || stage.status().builds.len() == 2);
    stage.kill_daemon();
    stage.stop_coordinator(Signal::TERM);
    stage.start_coordinator();
    wait_until("both are asked for again", PATIENCE, || {
        running.terminal().contains("waiting for it") && queued.terminal().contains("waiting for it")
    });
    stage.start_daemon();
    let on_builder =
        || stage.processes().into_iter().filter(|process| process.line().contains("--option builders"));
    wait_until("the first build runs again", PATIENCE, || !stage.build_processes().is_empty());
    on_builder().for_each(|process| proc::signal(process.pid, Signal::TERM));
    for client in [running, queued] {
        client.wait().succeeds().says_once(&["lost the coordinator"]);
    }
    assert_eq!(
        (stage.text("running"), stage.text("queued")),
        ("running\n".to_owned(), "queued\n".to_owned())
    );
}

/// A local daemon that says no more than passes through `mouth`, in each of its first `lives`.
fn mortal_daemon(stage: &Stage, lives: usize, mouth: &str) {
    let (program, starts) = (stage.path("mortal"), stage.path("starts"));
    let script = format!(
        "#!/bin/sh\necho >> {starts}\n[ $(wc -l < {starts}) -gt {lives} ] && exec {daemon} \"$@\"\n\
         # Nobody but the mouth holds our end, so that its end is heard at once.\n\
         exec 3>&1 4<&0 >/dev/null\n\
         {daemon} \"$@\" <&4 3>&- 4<&- | {mouth} >&3 3>&- 4<&- &\n\
         exec 3>&- 4<&- </dev/null\nwait\n",
        starts = starts.display(),
        daemon = real_daemon().display(),
    );
    std::fs::write(stage.path("new"), script).expect("room");
    std::fs::set_permissions(stage.path("new"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    std::fs::rename(stage.path("new"), program).expect("the same directory");
}

fn starts(stage: &Stage) -> usize {
    std::fs::read_to_string(stage.path("starts")).expect("it was started").lines().count()
}

/// It says no more than so many bytes, as often as anybody asks, for a while.
fn prepared_although_the_local_daemon_dies_after(bytes: usize) {
    const LIVES: usize = 6;
    let Some(stage) = with_local_daemon(Path::new("mortal")) else { return };
    mortal_daemon(&stage, LIVES, &format!("dd bs=1 count={bytes} 2>/dev/null"));
    stage.build(&[Drv::new("thing", "echo thing > $out")]).wait().succeeds();
    assert_eq!(stage.text("thing"), "thing\n");
    assert!(starts(&stage) > LIVES, "only {} starts", starts(&stage));
}

/// The handshake has 48 or 56 bytes, and what it says of a path 16 more, or many.
#[test]
fn a_local_daemon_that_dies_again_and_again_over_the_first_question_costs_time_only() {
    prepared_although_the_local_daemon_dies_after(60);
}

/// Nix 2.8 begins with an upload of no paths, which is answered in 8 bytes.
#[test]
fn a_local_daemon_that_dies_again_and_again_over_a_small_upload_costs_time_only() {
    prepared_although_the_local_daemon_dies_after(50);
}

/// It answers every question, and dies over each input that is larger than what it may say.
#[test]
fn a_local_daemon_that_dies_again_and_again_in_the_middle_of_an_input_costs_time_only() {
    const LIVES: usize = 8;
    let Some(stage) = with_local_daemon(Path::new("mortal")) else { return };
    mortal_daemon(&stage, LIVES, "dd bs=1 count=50000 2>/dev/null");
    stage.build(&[victim(&stage)]).wait().succeeds();
    assert!(stage.text("victim").starts_with("@@output@@\nxxx"));
    assert!(starts(&stage) > LIVES, "only {} starts", starts(&stage));
    let totals = stage.status().totals;
    assert_eq!(totals.repeated, 0, "no attempt was lost over it");
}

/// It freezes instead: the builder, which waits for the rest, is not to blame.
#[test]
fn a_local_daemon_that_freezes_in_the_middle_of_an_input_is_not_blamed_on_the_builder() {
    const LIVES: usize = 3;
    let Some(stage) = with_local_daemon_and(Path::new("mortal"), "stalled_after = \"2s\"\n") else { return };
    mortal_daemon(&stage, LIVES, "{ dd bs=1 count=50000 2>/dev/null; exec sleep 60; }");
    stage.build(&[victim(&stage)]).wait().succeeds();
    assert!(stage.text("victim").starts_with("@@output@@\nxxx"));
    let log = stage.coordinator_log();
    assert!(log.contains("nothing has moved on its connection for 2s; the inputs are sent again"), "{log}");
    assert_eq!(stage.status().totals.repeated, 0, "no attempt was lost over it");
}
