//! With nothing configured: the machines lines that Nix has become the builders, behind a real sshd.

mod support;

use std::fs;

use muster::policy::snapshot::HealthWord;
use support::sshd::Login;
use support::{Drv, PATIENCE, Sshd, Stage, wait_until};

const FOREIGN: &str = "ssh-ng://localhost?remote-store=local%3Froot%3D/nonexistent riscv64-linux - 1 1 odd";

/// A machines line for that server, with its key in the field that stock reads it from.
fn line(sshd: &Sshd, fields: &str) -> String {
    let program = sshd.path("nix-daemon").display().to_string();
    let (address, query) =
        sshd.uri(&program).split_once('?').map(|(a, q)| (a.to_owned(), q.to_owned())).expect("?");
    let (key, query) = query.split_once('&').expect("a key first");
    let key = key.strip_prefix("ssh-key=").expect("a key first");
    let pinned = data_encoding::BASE64.encode(sshd.public_key("host_key").as_bytes());
    format!("{address}?{query} {} {key} {fields} {pinned}", support::expr::system())
}

fn muster(stage: &Stage, words: &[&str]) -> (String, Option<i32>) {
    let output = stage.muster(words).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

fn lines_of_ours(stage: &Stage) -> String {
    fs::read_to_string(stage.machines_file()).unwrap_or_default()
}

#[test]
fn after_the_setup_the_lines_that_nix_had_are_builders_and_foreign_ones_stay() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(mut stage) = Stage::without_coordinator(&[], "") else { return };
    let text = format!("# ours\n{}\n{FOREIGN}\n", line(&sshd, "2 1 - -"));
    fs::write(stage.path("nix/machines"), &text).expect("room");
    let (said, code) = muster(&stage, &["setup"]);
    assert_eq!(code, Some(0), "{said}");
    stage.launch_coordinator();
    wait_until("the builder is healthy", PATIENCE, || {
        stage.try_status().is_some_and(|status| {
            status.builders.len() == 1 && status.builders[0].health == HealthWord::Healthy
        })
    });
    let row = stage.builder("127.0.0.1");
    assert_eq!(
        (row.slots, row.features.len()),
        (2, 4),
        "slots as the line says, features as measured: {row:?}"
    );
    wait_until("the lines are written", PATIENCE, || lines_of_ours(&stage).contains("big-parallel"));
    let lines = lines_of_ours(&stage);
    assert!(lines.ends_with(&format!("\n{FOREIGN}\n")) && !lines.contains("127.0.0.1"), "{lines}");

    let as_configured = format!("@{}", stage.machines_file().display());
    stage.build_with(&[Drv::new("thing", "echo thing > $out")], &as_configured, &[]).wait().succeeds();
    assert_eq!(stage.text("thing"), "thing\n");
    let (said, code) = muster(&stage, &["setup", "--undo"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(stage.path("nix/machines")).expect("there"), text);
}

#[test]
fn a_line_that_appears_later_is_a_builder_and_one_that_goes_is_none() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(mut stage) =
        Stage::without_coordinator(&[], "[[source]]\nmachines = true\n[[expect]]\nsystems = ['x']\n")
    else {
        return;
    };
    stage.launch_coordinator();
    wait_until("it answers", PATIENCE, || stage.try_status().is_some());
    fs::write(stage.path("nix/machines"), line(&sshd, "1 1 - special")).expect("room");
    wait_until("it is offered", PATIENCE, || lines_of_ours(&stage).contains("special"));
    let special = Drv::new("special", "echo > $out").with("requiredSystemFeatures", "[ \"special\" ]");
    stage.build(&[special]).wait().succeeds();
    fs::write(stage.path("nix/machines"), "").expect("room");
    wait_until("it is gone", PATIENCE, || stage.status().builders.is_empty());
}

#[test]
fn direct_lines_have_keys_and_host_keys_in_their_fields() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let Some(stage) = Stage::without_coordinator(&[sshd.builder("far", 3)], "") else { return };
    let (said, code) = muster(&stage, &["coordinator", "--attach", "direct", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    let lines = lines_of_ours(&stage);
    let fields: Vec<_> = lines.split_whitespace().collect();
    assert_eq!(fields.len(), 8, "{lines}");
    assert!(fields[0].starts_with("ssh-ng://127.0.0.1:") && !fields[0].contains("key"), "{lines}");
    assert_eq!((fields[2], fields[3]), (sshd.path("id").to_str().expect("text"), "3"));
    let pinned = data_encoding::BASE64.decode(fields[7].as_bytes()).expect("base64");
    assert!(sshd.public_key("host_key").starts_with(&String::from_utf8(pinned).expect("text")));
}
