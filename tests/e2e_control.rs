//! What people ask of the coordinator, and order.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use muster::policy::snapshot::HealthWord;
use serde_json::Value;
use support::{Builder, Drv, PATIENCE, Stage, wait_until};

/// A build that takes a moment.
fn lasting(name: &str, seconds: u32) -> Drv {
    Drv::new(name, &format!("echo seen {name}; sleep {seconds}; echo > $out"))
}

fn endless(name: &str) -> Drv {
    lasting(name, 1000)
}

/// What a command prints, and how it ends.
fn muster(stage: &Stage, words: &[&str]) -> (String, Option<i32>) {
    let outcome = stage.run(stage.muster(words));
    (outcome.terminal, outcome.code)
}

fn why(stage: &Stage, name: &str) -> Value {
    let output = stage.muster(&["why", name, "--json"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn why_explains_what_runs_what_waits_and_what_is_over() {
    let Some(stage) = Stage::of(1, 1) else { return };
    stage.build(&[Drv::new("over", "echo > $out")]).wait().succeeds();
    let mut client = stage.build(&[endless("runs")]);
    client.prints("seen runs");
    let _waiting = stage.build(&[endless("waits")]);
    wait_until("it waits", PATIENCE, || stage.status().builds.len() == 2);

    let over = why(&stage, "over");
    assert_eq!((&over["phase"], &over["outcome"]), (&"finished".into(), &"built on b1".into()));
    assert_eq!(over["attempts"][0]["ended"], "built");
    let runs = why(&stage, "runs");
    assert_eq!((&runs["phase"], &runs["attempts"][0]["stage"]), (&"running".into(), &"building".into()));
    let hash: String = runs["drv"].as_str().expect("text").chars().take(6).collect();
    assert_eq!(why(&stage, &hash)["drv"], runs["drv"]);
    let waits = why(&stage, "waits");
    assert_eq!(waits["builders"][0]["reason"], "all 1 slots are in use");
    let b1 = why(&stage, "b1");
    assert_eq!((&b1["kind"], &b1["running"][0]["drv"]), (&"builder".into(), &runs["drv"]));

    let (text, code) = muster(&stage, &["why", "waits"]);
    assert!(code == Some(0) && text.contains("all 1 slots are in use"), "{text}");
    let (text, code) = muster(&stage, &["why", "nobody"]);
    assert!(code == Some(1) && text.contains("is called 'nobody'"), "{text}");
}

#[test]
fn a_drained_builder_finishes_what_it_has_and_gets_nothing_new() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let mut first = stage.build(&[lasting("first", 3)]);
    first.prints("seen first");
    let on = stage.status().builds[0].attempts[0].builder.to_string();
    let (text, code) = muster(&stage, &["drain", &on]);
    assert_eq!(
        (text.as_str(), code),
        (&*format!("{on} gets nothing new; builds that still run there: 1\n"), Some(0))
    );
    assert_eq!(stage.builder(&on).drained.as_deref(), Some("root"));
    first.wait().succeeds();
    stage.build(&[Drv::new("second", "echo > $out"), Drv::new("third", "echo > $out")]).wait().succeeds();
    let held = ["second", "third"].map(|name| stage.holders(name));
    assert!(held.iter().all(|builders| !builders.contains(&on)), "{held:?}");
    let (text, code) = muster(&stage, &["drain", "b1", "nobody"]);
    assert!(code == Some(1) && text.contains("no builder is named 'nobody'"), "{text}");
    assert_eq!(muster(&stage, &["undrain", &on]).1, Some(0));
    assert_eq!(stage.builder(&on).drained, None);
}

#[test]
fn a_drain_outlives_the_coordinator_until_it_is_taken_back() {
    let Some(mut stage) = Stage::of(2, 1) else { return };
    assert_eq!(muster(&stage, &["drain", "b2"]).1, Some(0));
    stage.kill_coordinator();
    stage.start_coordinator();
    wait_until("both are there", PATIENCE, || stage.builder("b1").health == HealthWord::Healthy);
    assert_eq!(stage.builder("b2").drained.as_deref(), Some("root"));
    stage.build(&[Drv::new("first", "echo > $out"), Drv::new("second", "echo > $out")]).wait().succeeds();
    assert_eq!(["first", "second"].map(|name| stage.holders(name)), [["b1"], ["b1"]]);
    assert_eq!(muster(&stage, &["undrain", "b2"]).1, Some(0));
    stage.kill_coordinator();
    // Nonsense costs the order, and nothing else.
    fs::write(stage.path("state/drained.json"), "nonsense").expect("room");
    stage.start_coordinator();
    assert_eq!(stage.builder("b2").drained, None);
}

#[test]
fn whoever_wanted_a_cancelled_build_hears_who_cancelled_it() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let mut client = stage.build(&[endless("unwanted")]);
    client.prints("seen unwanted");
    let (text, code) = muster(&stage, &["cancel", "unwanted"]);
    assert!(code == Some(0) && text.ends_with("-unwanted.drv is cancelled\n"), "{text}");
    let outcome = client.wait().fails();
    assert!(
        outcome.terminal.contains("unwanted.drv was cancelled by root (muster cancel)"),
        "{}",
        outcome.terminal
    );
    wait_until("it ends on the builder", PATIENCE, || stage.build_processes().is_empty());
    let (text, code) = muster(&stage, &["cancel", "unwanted"]);
    assert!(code == Some(1) && text.contains("is over already"), "{text}");
}

#[test]
fn others_may_look_and_only_those_of_the_group_may_order() {
    let config = "[control]\ngroup = \"1234\"\n";
    let Some(mut stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], config) else { return };
    fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o755)).expect("ours");
    stage.start_coordinator();
    let by = |gid: u32, words: &[&str]| {
        let mut command = stage.command(env!("CARGO_BIN_EXE_muster"));
        command.args(words).arg("--runtime-dir").arg(stage.path("run")).args(["--config", "/dev/null"]);
        command.arg("--state-dir").arg("/nonexistent");
        command.uid(1000).gid(gid);
        let outcome = stage.run(command);
        (outcome.terminal, outcome.code)
    };
    assert_eq!(by(1000, &["why", "b1"]).1, Some(0));
    for words in [&["drain", "b1"][..], &["undrain", "b1"], &["cancel", "x"], &["stop"]] {
        let (text, code) = by(1000, words);
        assert!(
            code == Some(1) && text.contains("only root may") && text.contains("the group 1234"),
            "{text}"
        );
    }
    let (text, code) = by(1234, &["drain", "b1"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(stage.builder("b1").drained.as_deref(), Some("client"));
}

#[test]
fn stop_lets_builds_finish_answers_what_waits_and_leaves_nix_to_itself() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    let mut first = stage.build(&[lasting("first", 3)]);
    first.prints("seen first");
    let second = stage.build(&[endless("second")]);
    wait_until("it waits", PATIENCE, || stage.status().builds.len() == 2);
    let (text, code) = muster(&stage, &["stop"]);
    assert!(code == Some(0) && text.ends_with("stopped\n"), "{text}");
    assert_eq!(stage.coordinator_ended(), Some(0));
    first.wait().succeeds();
    let second = second.wait().fails();
    assert!(
        second.terminal.contains("second.drv was not built: root is stopping muster"),
        "{}",
        second.terminal
    );
    assert_eq!(fs::read_to_string(stage.machines_file()).expect("a file"), "");
    let began = Instant::now();
    let builders = format!(
        "ssh-ng://localhost?remote-program={}&remote-store={} {} - 1 1",
        env!("CARGO_BIN_EXE_muster"),
        stage.line_ref(),
        support::expr::system()
    );
    let late = stage.build_with(&[Drv::new("late", "echo > $out")], &builders, &[]).wait().fails();
    assert!(late.terminal.contains("the coordinator was stopped by root"), "{}", late.terminal);
    assert!(began.elapsed() < Duration::from_secs(30), "reconnect_timeout is 60 s");
    assert_eq!(muster(&stage, &["stop"]), ("no coordinator runs\n".to_owned(), Some(0)));
    stage.start_coordinator();
    wait_until("the lines are back", PATIENCE, || {
        fs::read_to_string(stage.machines_file()).is_ok_and(|lines| lines.contains("ssh-ng://localhost"))
    });
    stage.build(&[Drv::new("third", "echo > $out")]).wait().succeeds();
}

#[test]
fn stop_at_once_and_stop_after_its_timeout_end_what_runs() {
    let more = "stop_timeout = \"1s\"\n";
    for words in [&["stop", "--now"][..], &["stop"]] {
        let Some(mut stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
        let file = stage.path("muster.toml");
        let text = fs::read_to_string(&file)
            .expect("a file")
            .replace("[timeouts]\n", &format!("[timeouts]\n{more}"));
        fs::write(&file, text).expect("room");
        stage.start_coordinator();
        let mut client = stage.build(&[endless("runs")]);
        client.prints("seen runs");
        let began = Instant::now();
        assert_eq!(muster(&stage, words).1, Some(0));
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(stage.coordinator_ended(), Some(0));
        let outcome = client.wait().fails();
        assert!(
            outcome.terminal.contains("runs.drv was not built: root is stopping"),
            "{}",
            outcome.terminal
        );
        wait_until("nothing is left on the builder", PATIENCE, || stage.build_processes().is_empty());
    }
}

/// `NIX_CONFIG` reaches Nix through `muster use`.
#[test]
fn use_sends_one_commands_builds_to_the_builders_with_a_label() {
    let builders = [Builder::new("b1", 4), Builder::new("b2", 1).with("labels = [\"small\"]")];
    let Some(stage) = Stage::new(&builders) else { return };
    let file = stage.path("use.nix");
    let drvs = [Drv::new("one", "echo > $out"), Drv::new("two", "echo > $out")];
    fs::write(&file, support::expr::all(&stage.mark(), &drvs)).expect("room");
    let mut command = stage.muster(&["use", "small"]);
    command
        .args(["--", "nix", "build", "-L", "--no-link", "-j0", "--store", &stage.client_store(), "-f"])
        .arg(file);
    stage.run(command).succeeds();
    assert_eq!([stage.holders("one"), stage.holders("two")], [["b2"], ["b2"]]);
    let mut command = stage.muster(&["use", "large"]);
    command.args(["--", "true"]);
    let outcome = stage.run(command);
    assert_eq!(outcome.code, Some(3));
    assert!(
        outcome.terminal.contains("is labelled 'large'; labels there are: b2 (small)"),
        "{}",
        outcome.terminal
    );
}

#[test]
fn a_route_sends_everybodys_builds_to_a_label_and_one_that_nobody_satisfies_is_said() {
    let builders = [Builder::new("b1", 4), Builder::new("b2", 1).with("labels = [\"small\"]")];
    let routes =
        "[[route]]\npname = \"sm*\"\nlabels = [\"small\"]\n[[route]]\npname = \"no*\"\nlabels = [\"none\"]\n";
    let Some(mut stage) = Stage::without_coordinator(&builders, routes) else { return };
    stage.start_coordinator();
    stage.build(&[Drv::new("smile", "echo > $out"), Drv::new("other", "echo > $out")]).wait().succeeds();
    assert_eq!([stage.holders("smile"), stage.holders("other")], [["b2"], ["b1"]]);
    let mut client = stage.build(&[Drv::new("nowhere", "echo > $out")]);
    client.prints("labelled none: none is known");
    let reasons = why(&stage, "nowhere");
    assert_eq!(reasons["builders"][0]["reason"], "it is not labelled none");
}

#[test]
fn a_build_that_is_silent_or_lasts_too_long_is_ended_and_its_waiting_is_not_counted() {
    let Some(mut stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
    let file = stage.path("muster.toml");
    let limits = "[timeouts]\nmax_silent_time = \"3s\"\nbuild_timeout = \"8s\"\n";
    let text = fs::read_to_string(&file).expect("a file").replace("[timeouts]\n", limits);
    fs::write(&file, text).expect("room");
    stage.start_coordinator();
    let mut silent = stage.build(&[endless("silent")]);
    silent.prints("seen silent");
    let talkative = "for i in 1 2 3 4 5; do echo $i; sleep 1; done; echo > $out";
    let waiting = stage.build(&[Drv::new("waiting", talkative)]);
    let silent = silent.wait().fails();
    assert!(silent.terminal.contains("on b1: timed out after 3s of silence"), "{}", silent.terminal);
    waiting.wait().succeeds();
    let endless = "while true; do echo x; sleep 1; done";
    let endless = stage.build(&[Drv::new("endless", endless)]).wait().fails();
    assert!(endless.terminal.contains("on b1: timed out after 8s (build_timeout"), "{}", endless.terminal);
    wait_until("nothing is left on the builder", PATIENCE, || stage.build_processes().is_empty());
    assert_eq!(stage.builder("b1").health, HealthWord::Healthy);
}
