//! Builders that ssh reaches: a real sshd on loopback, a real nix-daemon behind it.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use muster::policy::snapshot::HealthWord;
use muster::wire::mux::can_stream;
use rustix::process::Signal;
use support::sshd::Login;
use support::{Builder, Drv, PATIENCE, Sshd, Stage, proc, wait_for, wait_until};

/// A stage with this builder, of which nothing is expected.
fn with(builder: Builder) -> Option<Stage> {
    let mut stage = Stage::without_coordinator(&[builder], "")?;
    stage.launch_coordinator();
    Some(stage)
}

/// Why the builder is down, once it is.
fn reason(stage: &Stage, name: &str) -> String {
    wait_for("it is seen why the builder is down", PATIENCE, || {
        let builders = stage.try_status()?.builders;
        let row = builders.into_iter().find(|row| row.name.as_str() == name)?;
        assert_ne!(row.health, HealthWord::Healthy);
        row.reason.filter(|_| row.health == HealthWord::Down)
    })
}

fn ssh_processes(stage: &Stage) -> Vec<proc::Process> {
    proc::marked(&stage.path("run/ssh").display().to_string())
}

#[test]
fn builds_run_over_ssh_more_at_once_than_one_connection_has_sessions() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(stage) = Stage::new(&[sshd.builder("far", 14)]) else { return };
    let names: Vec<String> = (1..=14).map(|number| format!("together-{number}")).collect();
    let drvs: Vec<Drv> = names.iter().map(|name| Drv::new(name, "sleep 10; echo $name > $out")).collect();
    let client = stage.build(&drvs);
    wait_until("all run at once", PATIENCE, || stage.builder("far").busy == 14);
    client.wait().succeeds();
    assert_eq!(stage.text("together-14").trim(), "together-14");
    assert_eq!(stage.status().totals.succeeded, 14);
    assert_eq!(stage.status().totals.repeated, 0);
}

#[test]
fn a_server_that_allows_fewer_sessions_gets_more_connections() {
    let Some(mut sshd) = Sshd::new(Login::Plain) else { return };
    sshd.crash();
    sshd.configure("MaxSessions 2");
    sshd.start();
    let Some(stage) = Stage::new(&[sshd.builder("far", 6)]) else { return };
    let names: Vec<String> = (1..=6).map(|number| format!("few-{number}")).collect();
    let drvs: Vec<Drv> = names.iter().map(|name| Drv::new(name, "sleep 3; echo $name > $out")).collect();
    stage.build(&drvs).wait().succeeds();
    assert_eq!(stage.status().totals.repeated, 0);
}

#[test]
fn channels_to_a_daemons_socket_cost_no_session() {
    let Some(mut sshd) = Sshd::new(Login::Plain) else { return };
    let ssh = Command::new("ssh").arg("-V").output().expect("ssh runs");
    if !can_stream(&String::from_utf8_lossy(&ssh.stderr)) {
        println!("skipped: this ssh cannot open a channel to a socket that ends when the build does");
        return;
    }
    sshd.crash();
    sshd.configure("MaxSessions 3");
    sshd.start();
    sshd.start_daemon();
    let Some(stage) = Stage::new(&[sshd.plain_builder("far", 14)]) else { return };
    let names: Vec<String> = (1..=14).map(|number| format!("together-{number}")).collect();
    let drvs: Vec<Drv> = names.iter().map(|name| Drv::new(name, "sleep 10; echo $name > $out")).collect();
    let client = stage.build(&drvs);
    wait_until("all run at once", PATIENCE, || stage.builder("far").busy == 14);
    // A shell and an ssh for each of the two lanes, of which only one may be needed.
    let masters = ssh_processes(&stage).into_iter().filter(|process| process.program() == "ssh").count();
    assert!(masters <= 2, "{masters} connections");
    client.wait().succeeds();
    assert_eq!(stage.text("together-14").trim(), "together-14");
    assert_eq!(stage.status().totals.repeated, 0);
}

#[test]
fn the_daemon_itself_says_what_it_is() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(stage) = Stage::new(&[sshd.builder("far", 1)]) else { return };
    let row = stage.builder("far");
    assert!(row.systems.iter().any(|system| system.as_str() == support::expr::system()), "{row:?}");
    let features: Vec<_> = row.features.iter().map(|feature| feature.as_str()).collect();
    assert_eq!(features, ["benchmark", "big-parallel", "nixos-test", "special"]);
}

#[test]
fn a_wrong_host_key_is_refused_and_named() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let builder = sshd.unpinned("far", 1).with(&format!("host_key = \"{}\"", sshd.public_key("other_key")));
    let Some(stage) = with(builder) else { return };
    let reason = reason(&stage, "far");
    assert!(reason.contains("its host key has changed") && reason.contains(&sshd.fingerprint()), "{reason}");
}

#[test]
fn an_unknown_host_key_is_refused_with_its_fingerprint_and_the_fix() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(stage) = with(sshd.unpinned("far", 1)) else { return };
    let reason = reason(&stage, "far");
    let fix = format!("muster doctor 127.0.0.1 --pin {}", sshd.fingerprint());
    assert!(reason.contains(&fix), "{reason}");
}

#[test]
fn a_key_that_is_not_there_is_named() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(stage) = with(Builder::at("far", "ssh-ng://127.0.0.1?ssh-key=/nowhere/id", 1)) else { return };
    let reason = reason(&stage, "far");
    assert!(reason.contains("ssh key /nowhere/id cannot be read"), "{reason}");
    drop(sshd);
}

#[test]
fn a_key_that_is_not_welcome_is_said_without_the_banner() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    std::fs::write(sshd.path("authorized_keys"), sshd.public_key("other_key")).expect("room");
    let Some(stage) = with(sshd.builder("far", 1)) else { return };
    let reason = reason(&stage, "far");
    assert!(reason.contains("Permission denied") && !reason.contains("Authorized use"), "{reason}");
}

#[test]
fn a_login_that_prints_is_named_with_what_it_prints() {
    let Some(sshd) = Sshd::new(Login::Noisy) else { return };
    let Some(stage) = with(sshd.builder("far", 1)) else { return };
    let reason = reason(&stage, "far");
    assert!(reason.contains("Hello, dear user") && reason.contains("print nothing"), "{reason}");
}

#[test]
fn an_account_that_cannot_log_in_is_named() {
    let Some(sshd) = Sshd::new(Login::None) else { return };
    let Some(stage) = with(sshd.builder("far", 1)) else { return };
    let reason = reason(&stage, "far");
    assert!(reason.contains("not available"), "{reason}");
}

#[test]
fn a_key_that_may_only_start_a_daemon_serves() {
    let Some(sshd) = Sshd::new(Login::Locked) else { return };
    let Some(stage) = Stage::new(&[sshd.builder("far", 2)]) else { return };
    let systems = stage.builder("far").systems;
    assert_eq!(
        systems.iter().map(|system| system.to_string()).collect::<Vec<_>>(),
        [support::expr::system()]
    );
    stage.build(&[Drv::new("locked", "echo yes > $out")]).wait().succeeds();
    assert_eq!(stage.text("locked").trim(), "yes");
}

#[test]
fn this_very_machine_is_refused() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let own = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if own.trim().is_empty() {
        println!("skipped: this machine has no id");
        return;
    }
    std::fs::write(sshd.path("machine-id"), own).expect("room");
    let Some(stage) = with(sshd.builder("far", 1)) else { return };
    let reason = reason(&stage, "far");
    assert!(reason.contains("the very machine"), "{reason}");
}

#[test]
fn a_builder_that_crashes_costs_a_line_and_is_used_again_when_it_is_back() {
    let Some(mut sshd) = Sshd::new(Login::Plain) else { return };
    let Some(other) = Sshd::new(Login::Plain) else { return };
    // The first of equals is asked first.
    let Some(stage) = Stage::new(&[sshd.builder("a", 1), other.builder("b", 1)]) else { return };
    let client = stage.build(&[Drv::new("victim", "sleep 3; echo built > $out")]);
    wait_until("it runs", PATIENCE, || !stage.build_processes().is_empty() && stage.builder("a").busy == 1);
    sshd.crash();
    let outcome = client.wait().succeeds();
    outcome.says_once(&["a", "lost", "while building"]);
    assert_eq!(stage.text("victim").trim(), "built");
    sshd.start();
    wait_until("it is back", PATIENCE, || stage.builder("a").health == HealthWord::Healthy);
}

#[test]
fn nothing_of_ssh_outlives_a_coordinator_however_it_ends() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(mut stage) = Stage::new(&[sshd.builder("far", 2)]) else { return };
    let _client = stage.build(&[Drv::new("sleeper", "sleep 60; echo > $out")]);
    wait_until("it runs", PATIENCE, || !stage.build_processes().is_empty());
    assert!(!ssh_processes(&stage).is_empty());
    stage.kill_coordinator();
    wait_until("ssh ends", Duration::from_secs(3), || ssh_processes(&stage).is_empty());
    wait_until("the build ends there", Duration::from_secs(3), || stage.build_processes().is_empty());

    stage.start_coordinator();
    wait_until("it runs again", PATIENCE, || !stage.build_processes().is_empty());
    let (_, took) = stage.stop_coordinator(Signal::TERM);
    assert!(took < Duration::from_secs(2), "{took:?}");
    wait_until("ssh ends again", Duration::from_secs(3), || ssh_processes(&stage).is_empty());
}

#[test]
fn words_of_a_uri_never_reach_a_shell() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let trap = sshd.path("trap");
    let words = format!("$(touch${{IFS}}{0});`touch${{IFS}}{0}`&touch${{IFS}}{0}", trap.display());
    let encoded: String = words.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let pinned = format!("host_key = \"{}\"", sshd.public_key("host_key"));
    let Some(stage) = with(Builder::at("far", &sshd.uri(&encoded), 1).with(&pinned)) else { return };
    let reason = reason(&stage, "far");
    assert!(!trap.exists(), "{reason}");
    assert!(reason.contains("no nix-daemon answers"), "{reason}");
}

#[test]
fn a_connection_for_uploads_that_freezes_is_replaced_although_the_builder_answers_on_the_other() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let builder = sshd.builder("far", 1);
    let Some(mut stage) = Stage::without_coordinator(&[builder], "stalled_after = \"2s\"\n") else { return };
    stage.start_coordinator();
    // ssh makes its socket when it is logged in.
    let masters = || -> Vec<i32> {
        let path = |word: &String| Some(word.strip_prefix("ControlPath=")?.trim_matches('"').to_owned());
        let socket = |word: &String| path(word).is_some_and(|path| Path::new(&path).exists());
        let all = ssh_processes(&stage).into_iter().filter(|process| process.program() == "ssh");
        all.filter(|process| process.words.iter().any(socket)).map(|process| process.pid).collect()
    };
    wait_until("both connections are there", PATIENCE, || masters().len() == 2);
    let bulk = masters().into_iter().max().expect("two");
    proc::signal(bulk, Signal::STOP);

    let source = stage.path("source");
    std::fs::write(&source, vec![b'x'; 8 << 20]).expect("room");
    let drv = Drv::new("reader", "wc -c < $source > $out").with("source", &source.display().to_string());
    let outcome = stage.build(&[drv]).wait().succeeds();
    // Whether it was seen by a channel that rests or by one that does not open, is chance.
    outcome.says_once(&["far", "lost", "while uploading"]);
    assert_eq!(stage.text("reader").trim(), (8 << 20).to_string());
    assert!(!stage.coordinator_log().contains("does not answer"), "the builder itself was well");
}
