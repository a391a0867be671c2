//! `muster doctor` against a real sshd and a real nix-daemon, with each failure provoked for real.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::Sshd;
use support::sshd::Login;

/// What a doctor's run came to.
struct Diagnosis {
    code: Option<i32>,
    json: Value,
    stderr: String,
}

impl Diagnosis {
    /// Verdict, finding and fix of that check.
    fn check(&self, name: &str) -> (&str, &str, &str) {
        let checks = self.json["subjects"][0]["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["name"] == name).expect(name);
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        (text("verdict"), text("found"), text("fix"))
    }

    /// The only check that failed.
    fn failed(&self) -> (&str, &str, &str) {
        let checks = self.json["subjects"][0]["checks"].as_array().expect("checks");
        let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "fail").collect();
        assert_eq!((failed.len(), self.code), (1, Some(1)), "{:#}{}", self.json, self.stderr);
        let text = |key: &str| failed[0][key].as_str().unwrap_or_default();
        (text("name"), text("found"), text("fix"))
    }

    fn fails(&self, name: &str, found: &str, fix: &str) {
        let failed = self.failed();
        assert_eq!(failed.0, name, "{failed:?}");
        assert!(failed.1.contains(found) && failed.2.contains(fix), "{failed:?}");
    }
}

/// The program with an ssh of its own configuration: nothing of whoever runs the tests is read or written.
fn muster(dir: &Path, words: &[&str]) -> Command {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).expect("room");
    let write = |path: &Path, text: String| {
        fs::write(path, text).expect("room");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    };
    let known = dir.join("known_hosts");
    write(&dir.join("ssh_config"), format!("UserKnownHostsFile {}\n", known.display()));
    let config = dir.join("ssh_config");
    write(&bin.join("ssh"), format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", config.display()));
    let path = std::env::var("PATH").expect("a PATH");
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(words).env("PATH", format!("{}:{path}", bin.display()));
    for (name, file) in
        [("MUSTER_CONFIG", "none.toml"), ("MUSTER_STATE_DIR", "state"), ("MUSTER_RUNTIME_DIR", "run")]
    {
        command.env(name, dir.join(file));
    }
    fs::write(dir.join("none.toml"), "").expect("room");
    command
}

fn doctor(dir: &Path, words: &[&str]) -> Diagnosis {
    let output = muster(dir, &[&["doctor", "--json"], words].concat()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Diagnosis { code: output.status.code(), json, stderr }
}

/// A server that is known.
fn known(login: Login) -> Option<(Sshd, String)> {
    let sshd = Sshd::new(login)?;
    let uri = sshd.uri(&sshd.path("nix-daemon").display().to_string());
    let pinned = doctor(sshd.dir(), &[&uri, "--pin", &sshd.fingerprint()]);
    assert!(pinned.stderr.contains("is known now"), "{}", pinned.stderr);
    Some((sshd, uri))
}

#[test]
fn a_builder_that_is_well_passes_every_check() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    let diagnosis = doctor(sshd.dir(), &[&uri]);
    assert_eq!(diagnosis.code, Some(0), "{:#}{}", diagnosis.json, diagnosis.stderr);
    for name in [
        "ssh-config",
        "name",
        "port",
        "host-key",
        "key",
        "login",
        "shell",
        "itself",
        "nix",
        "daemon",
        "version",
    ] {
        assert_eq!(diagnosis.check(name).0, "ok", "{name}: {:#}", diagnosis.json);
    }
    assert!(diagnosis.check("features").1.contains("big-parallel"), "{:#}", diagnosis.json);
    assert_eq!((&diagnosis.json["schema"], &diagnosis.json["ok"]), (&1.into(), &true.into()));
}

#[test]
fn an_unknown_host_key_is_shown_and_accepted_by_its_fingerprint_alone() {
    let Some(sshd) = Sshd::new(Login::Plain) else { return };
    let uri = sshd.uri(&sshd.path("nix-daemon").display().to_string());
    let print = sshd.fingerprint();
    doctor(sshd.dir(), &[&uri]).fails("host-key", &print, &format!("--pin {print}"));
    let other = format!("SHA256:{}", "A".repeat(43));
    let refused = doctor(sshd.dir(), &[&uri, "--pin", &other]);
    assert_eq!((refused.code, refused.json), (Some(1), Value::Null));
    assert!(refused.stderr.contains(&print) && !sshd.path("known_hosts").exists(), "{}", refused.stderr);
    assert_eq!(doctor(sshd.dir(), &[&uri, "--pin", "SHA256:short"]).code, Some(2));
    assert_eq!(doctor(sshd.dir(), &[&uri, "--pin", &print]).code, Some(0));
    let again = doctor(sshd.dir(), &[&uri, "--pin", &print]);
    assert!(again.stderr.contains("is known already"), "{}", again.stderr);
}

#[test]
fn a_changed_host_key_is_named_with_both_fingerprints_and_its_line() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    let file = sshd.path("known_hosts");
    let text = fs::read_to_string(&file).expect("pinned");
    let host = text.split(' ').next().expect("a host");
    fs::write(&file, format!("# mine\n{host} {}\n", sshd.public_key("other_key"))).expect("room");
    let changed = doctor(sshd.dir(), &[&uri]);
    changed.fails("host-key", &sshd.fingerprint(), &format!("-R '{host}'"));
    let found = changed.failed().1;
    assert!(found.contains("known_hosts, line 2") && found.matches("SHA256:").count() == 2, "{found}");
    assert_eq!(doctor(sshd.dir(), &[&uri, "--pin", &sshd.fingerprint()]).code, Some(0));
}

#[test]
fn a_key_that_is_no_use_is_named_with_what_helps() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    let dir = sshd.dir().display().to_string();
    let with_key = |name: &str| uri.replace(&format!("{dir}/id&"), &format!("{dir}/{name}&"));
    doctor(sshd.dir(), &[&with_key("id_machine")]).fails(
        "key",
        "is not there",
        &format!("key = \"{dir}/id\""),
    );
    doctor(sshd.dir(), &[&with_key("id.pub")]).fails("key", "public half", &format!("key = \"{dir}/id\""));

    fs::set_permissions(sshd.path("id"), fs::Permissions::from_mode(0o644)).expect("ours");
    doctor(sshd.dir(), &[&uri]).fails("key", "mode 0644", "chmod 600");
    fs::set_permissions(sshd.path("id"), fs::Permissions::from_mode(0o600)).expect("ours");

    let mut lock = Command::new("ssh-keygen");
    lock.args(["-q", "-p", "-P", "", "-N", "a secret", "-f"]).arg(sshd.path("id"));
    assert!(lock.status().expect("it runs").success());
    doctor(sshd.dir(), &[&uri]).fails("key", "needs a passphrase", "ssh-keygen -p -N ''");
}

#[test]
fn a_login_that_is_not_welcome_is_denied() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    let stranger = uri.replace("ssh-ng://", "ssh-ng://no-such-user@");
    doctor(sshd.dir(), &[&stranger]).fails("login", "Permission denied", "ssh-copy-id -i");
}

#[test]
fn a_login_that_talks_or_does_not_run_commands_is_named() {
    let Some((sshd, uri)) = known(Login::Noisy) else { return };
    doctor(sshd.dir(), &[&uri]).fails("shell", "Hello, dear user", ".bashrc");
    drop(sshd);
    let Some((sshd, uri)) = known(Login::Locked) else { return };
    let locked = doctor(sshd.dir(), &[&uri]);
    assert_eq!((locked.code, locked.check("shell").0, locked.check("daemon").0), (Some(0), "skipped", "ok"));
}

#[test]
fn an_untrusted_user_is_told_the_line_to_write() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    let program = sshd.path("nix-daemon");
    let text = fs::read_to_string(&program).expect("written before");
    let untrusted = "\"$@\" --extra-experimental-features daemon-trust-override --force-untrusted";
    fs::write(&program, text.replace("\"$@\"", untrusted)).expect("ours");
    let diagnosis = doctor(sshd.dir(), &[&uri]);
    if diagnosis.check("daemon").0 == "fail" {
        println!("skipped: this Nix cannot be told to distrust its client");
        return;
    }
    let (verdict, found, fix) = diagnosis.check("trust");
    assert_eq!((verdict, diagnosis.code), ("fail", Some(1)), "{:#}", diagnosis.json);
    assert!(found.contains("does not trust root") && fix.contains("extra-trusted-users = root"), "{fix}");
}

#[test]
fn a_daemon_that_is_not_there_or_not_on_path_is_told_apart() {
    let Some((mut sshd, uri)) = known(Login::Plain) else { return };
    let program = sshd.path("nix-daemon").display().to_string();
    let nowhere = uri.replace(&program, "/nowhere/nix-daemon");
    doctor(sshd.dir(), &[&nowhere]).fails("daemon", "/nowhere/nix-daemon", "nix-daemon --stdio");

    sshd.crash();
    let config = sshd.path("sshd_config");
    let text = fs::read_to_string(&config).expect("written before");
    // Of several SetEnv lines sshd takes the first.
    fs::write(&config, text.replace("SetEnv ", "SetEnv PATH=/nowhere ")).expect("ours");
    sshd.start();
    let unnamed = uri.replace(&format!("&remote-program={program}"), "");
    let listens = || doctor(sshd.dir(), &[&unnamed]).check("port").0 == "ok";
    support::wait_until("the server listens again", support::PATIENCE, listens);
    let diagnosis = doctor(sshd.dir(), &[&unnamed]);
    let (verdict, found, fix) = diagnosis.check("nix");
    assert_eq!(verdict, "warn", "{:#}", diagnosis.json);
    let path = found.split(',').next().expect("a path");
    assert!(fix.contains(&format!("&remote-program={path}")), "{fix}");
}

#[test]
fn names_and_ports_that_lead_nowhere_cost_the_others_nothing() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    doctor(sshd.dir(), &["no-such-host.invalid"]).fails("name", "no-such-host.invalid", "HostName");
    doctor(sshd.dir(), &["127.0.0.1:1"]).fails("port", "Connection refused", "systemctl enable --now ssh");
    let all = doctor(sshd.dir(), &["no-such-host.invalid", &uri, "127.0.0.1:1"]);
    let oks: Vec<_> =
        all.json["subjects"].as_array().expect("three").iter().map(|s| s["builder"].clone()).collect();
    assert_eq!(oks, ["no-such-host.invalid", &uri, "127.0.0.1:1"]);
    assert!(all.stderr.contains("2 checks failed"), "{}", all.stderr);
}

#[test]
fn what_is_no_host_is_a_usage_error() {
    let dir = tempfile::tempdir().expect("a directory");
    for words in [&["-- -oProxyCommand=x"][..], &["a b"], &["--pin", "SHA256:x"], &["ftp://x"]] {
        assert_eq!(doctor(dir.path(), words).code, Some(2), "{words:?}");
    }
}

#[test]
fn this_machine_is_looked_at_where_no_host_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = doctor(dir.path(), &["--local-store", "local?root=/nowhere/at-all/x"]);
    assert_eq!(here.json["subjects"][0]["builder"], Value::Null);
    assert_eq!((here.check("coordinator").0, here.check("endpoint").2), ("fail", "muster coordinator"));
}

#[test]
fn a_key_that_was_made_here_opens_the_door_with_its_line() {
    let Some((sshd, uri)) = known(Login::Plain) else { return };
    let output =
        muster(sshd.dir(), &["key", "--file", "new/key"]).current_dir(sshd.dir()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("restrict,port-forwarding "))
        .expect("a line");
    fs::write(sshd.path("authorized_keys"), format!("{line}\n")).expect("room");
    let uri = uri.replace("/id&", "/new/key&");
    assert_eq!(doctor(sshd.dir(), &[&uri]).code, Some(0), "{text}");
    let again =
        muster(sshd.dir(), &["key", "--file", "new/key"]).current_dir(sshd.dir()).output().expect("it runs");
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn trial_builds_by_stock_nix_prove_each_builder() {
    let Some(stage) = support::Stage::of(2, 1) else { return };
    let mut command = stage.muster(&["doctor", "--build", "--json"]);
    let store = format!("--local-store={}", stage.client_store());
    let output = command.arg(store).output().expect("it runs");
    let json: Value = serde_json::from_slice(&output.stdout).expect("json");
    let builders =
        json["subjects"].as_array().expect("subjects").iter().filter(|one| !one["builder"].is_null());
    let builds: Vec<_> = builders
        .map(|one| {
            one["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "build").cloned()
        })
        .collect();
    assert_eq!(builds.len(), 2);
    for build in builds {
        let build = build.expect("asked for");
        assert_eq!(build["verdict"], "ok", "{json:#}");
        assert!(
            build["found"].as_str().is_some_and(|found| found.contains("of 2 trial builds ran here")),
            "{build}"
        );
    }
}
