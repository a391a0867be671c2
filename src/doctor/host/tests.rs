use super::*;
use crate::config::BuilderUri;
use crate::doctor::Verdict;
use crate::doctor::ssh::KeyTrouble;

const PRINT: &str = "SHA256:uNiVztksCsDhcc0u9e8BrvA8RE8Il5bXbXwVdGhyR5s";

fn uri(text: &str) -> SshUri {
    match BuilderUri::parse(text) {
        Ok(BuilderUri::Ssh(uri)) => uri,
        other => panic!("{other:?}"),
    }
}

fn attempt(outcome: Outcome) -> Attempt {
    Attempt {
        outcome,
        host_key: Some(PRINT.to_owned()),
        keys: Vec::new(),
        accepted: None,
        offered: 1,
        last: "its last word".to_owned(),
    }
}

fn features(words: &str) -> BTreeSet<Feature> {
    words.split_whitespace().map(|word| Feature::parse(word).expect("a feature")).collect()
}

/// A builder that is as it should be.
fn well() -> Facts {
    let settings = Settings {
        user: "eva".to_owned(),
        hostname: "192.0.2.1".to_owned(),
        port: 22,
        ..Settings::default()
    };
    let report = Report {
        nix_daemon: Some("/opt/nix-daemon".to_owned()),
        kvm: Some(Kvm::Yes),
        store_free: Some(100 << 30),
        ..Report::default()
    };
    Facts {
        settings: Some(Ok(settings)),
        addresses: Some(Ok(vec!["192.0.2.1".to_owned()])),
        port: Some(Ok("SSH-2.0-OpenSSH_9.9".to_owned())),
        key: None,
        attempt: Some(attempt(Outcome::LoggedIn)),
        known: None,
        report: Some(Ok(report)),
        on_path: Some("/opt/nix-daemon".to_owned()),
        is_ourselves: false,
        features: Some(features("big-parallel kvm")),
        daemon: Some(Ok(Daemon { version: Some("2.34.8".to_owned()), trust: Trust::Trusted })),
        serve_only: false,
        clock_ahead: Some(1),
    }
}

fn examine(uri_text: &str, wanted: &str, facts: &Facts) -> Vec<Check> {
    let wanted = features(wanted);
    let uri = uri(uri_text);
    let patient =
        Patient { name: "b1", uri: &uri, wanted: Some(&wanted), has_line: false, use_untrusted: false };
    checks(patient, facts)
}

/// The check of that name must come out so, with a fix that holds `fix`.
fn check(facts: &Facts, name: &str, verdict: Verdict, fix: &str) {
    let all = examine("ssh-ng://eva@b1?ssh-key=/k", "big-parallel", facts);
    let found = all.iter().find(|check| check.name == name).expect("a check of that name");
    assert_eq!(found.verdict, verdict, "{found:?}");
    let text = found.fix.as_deref().unwrap_or_default();
    assert!(text.contains(fix), "{found:?}");
    assert!(found.steps.iter().all(|step| text.contains(&step.text)), "{found:?}");
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = well();
    change(&mut facts);
    facts
}

fn with_report(change: impl FnOnce(&mut Report)) -> Facts {
    with(|facts| change(facts.report.as_mut().expect("asked").as_mut().expect("a report")))
}

/// Whatever came to an end with this attempt.
fn ended(attempt: Attempt) -> Facts {
    with(|facts| {
        *facts = Facts {
            settings: facts.settings.take(),
            addresses: facts.addresses.take(),
            port: facts.port.take(),
            attempt: Some(attempt),
            ..Facts::default()
        }
    })
}

#[test]
fn every_check_is_made_in_the_order_of_the_list_whatever_is_known() {
    for facts in [well(), Facts::default()] {
        let checks = examine("b1", "", &facts);
        let mut names: Vec<_> = checks.iter().map(|check| check.name).collect();
        names.push("build");
        assert_eq!(names, CHECKS);
    }
    assert!(examine("b1?ssh-key=/k", "kvm", &well()).iter().all(|check| check.verdict == Verdict::Ok));
    assert!(examine("b1", "kvm", &Facts::default()).iter().all(|check| check.verdict == Verdict::Skipped));
}

#[test]
fn what_depends_on_a_failure_is_skipped() {
    let facts = ended(attempt(Outcome::UnknownHostKey));
    let failed: Vec<_> =
        examine("b1", "", &facts).into_iter().filter(|check| check.verdict == Verdict::Fail).collect();
    assert_eq!(failed.iter().map(|check| check.name).collect::<Vec<_>>(), ["host-key"]);
}

#[test]
fn a_host_key_is_accepted_by_its_fingerprint_only() {
    check(
        &ended(attempt(Outcome::UnknownHostKey)),
        "host-key",
        Verdict::Fail,
        &format!("muster doctor b1 --pin {PRINT}"),
    );
    let known = Some(("/home/e/.ssh/known_hosts".to_owned(), 3));
    let mut changed = ended(attempt(Outcome::ChangedHostKey { known }));
    changed.known = Some("SHA256:old".to_owned());
    check(&changed, "host-key", Verdict::Fail, "ssh-keygen -f /home/e/.ssh/known_hosts -R 192.0.2.1");
    let found = &examine("b1", "", &changed)[3].found;
    assert!(found.contains(PRINT) && found.contains("SHA256:old") && found.contains("line 3"), "{found}");
    check(&ended(attempt(Outcome::RevokedHostKey)), "host-key", Verdict::Fail, "ssh-keygen -A");
}

#[test]
fn a_key_file_that_is_no_use_is_named_with_what_helps() {
    let key = |bad: BadKey, fix: &str| {
        check(&with(|facts| facts.key = Some(Err(bad))), "key", Verdict::Fail, fix);
    };
    key(
        BadKey::Missing { beside: vec!["/root/.ssh/remotebuild".to_owned()] },
        "key = \"/root/.ssh/remotebuild\"",
    );
    key(BadKey::Missing { beside: vec![] }, "muster key --file /k");
    key(BadKey::Unreadable("Permission denied".to_owned()), "chown");
    key(BadKey::TooOpen(0o644), "chmod 600 /k");
    key(BadKey::Public, "name the private one");
}

#[test]
fn a_key_that_ssh_could_not_use_is_the_failure_and_not_the_login() {
    let mut denied = attempt(Outcome::Denied);
    denied.keys = vec![("/k".to_owned(), KeyTrouble::Passphrase)];
    check(&ended(denied.clone()), "key", Verdict::Fail, "ssh-keygen -p -N '' -f /k");
    check(&ended(denied), "login", Verdict::Skipped, "");
    check(&ended(attempt(Outcome::Denied)), "login", Verdict::Fail, "ssh-copy-id -i /k.pub eva@b1");
}

#[test]
fn what_the_machine_lacks_is_told_with_the_line_to_write() {
    check(
        &with(|facts| facts.on_path = None),
        "nix",
        Verdict::Warn,
        "ssh-key=/k&remote-program=/opt/nix-daemon",
    );
    let untrusted = with(|facts| {
        facts.daemon = Some(Ok(Daemon { version: None, trust: Trust::Untrusted }));
    });
    check(&untrusted, "trust", Verdict::Fail, "extra-trusted-users = eva");
    check(&untrusted, "version", Verdict::Warn, "2.8");
    check(&with_report(|report| report.noise = "Welcome!\nx".to_owned()), "shell", Verdict::Fail, ".bashrc");
    check(
        &with_report(|report| report.store_free = Some(1)),
        "store-space",
        Verdict::Fail,
        "nix-collect-garbage",
    );
    check(&with_report(|report| report.store_free = Some(5 << 30)), "store-space", Verdict::Warn, "");
    check(&with(|facts| facts.clock_ahead = Some(-3600)), "clock", Verdict::Warn, "timedatectl");
    check(
        &with(|facts| facts.features = Some(features("x"))),
        "features",
        Verdict::Fail,
        "extra-system-features = big-parallel",
    );
    check(&with_report(|report| report.kvm = Some(Kvm::None)), "features", Verdict::Warn, "modprobe");
}

#[test]
fn a_machine_is_no_builder_of_its_own() {
    check(&with(|facts| facts.is_ourselves = true), "itself", Verdict::Fail, "max-jobs");
}

#[test]
fn a_key_that_is_locked_to_the_daemon_is_good_enough() {
    let facts = with(|facts| facts.report = Some(Err("the script did not run".to_owned())));
    check(&facts, "shell", Verdict::Skipped, "");
    check(&facts, "daemon", Verdict::Ok, "");
}

#[test]
fn a_host_behind_a_proxy_is_not_looked_up_here() {
    let facts = with(|facts| {
        (facts.addresses, facts.port) = (None, None);
        facts.settings.as_mut().expect("asked").as_mut().expect("settings").proxy = Some("gate".to_owned());
    });
    check(&facts, "name", Verdict::Skipped, "");
    check(&facts, "login", Verdict::Ok, "");
}

#[test]
fn reaching_a_machine_has_a_fix_for_each_way_to_fail() {
    for (outcome, fix) in [
        (Outcome::Refused, "systemctl enable --now ssh"),
        (Outcome::TimedOut, "ping"),
        (Outcome::Unreachable, "ping"),
        (Outcome::Penalized, "PerSourcePenaltyExemptList"),
        (Outcome::Closed, "journalctl"),
        (Outcome::NoAgreement, "update"),
        (Outcome::Other, "ssh -v eva@b1 true"),
    ] {
        let facts = Facts { port: Some(Err(attempt(outcome))), ..Facts::default() };
        check(&facts, "port", Verdict::Fail, fix);
    }
    let facts = Facts { addresses: Some(Err("unknown".to_owned())), ..Facts::default() };
    check(&facts, "name", Verdict::Fail, "HostName");
    let facts =
        Facts { settings: Some(Err("Bad owner or permissions on /c".to_owned())), ..Facts::default() };
    check(&facts, "ssh-config", Verdict::Fail, "chmod 600 /c");
}

#[test]
fn a_machine_for_the_older_protocol_is_no_fault_where_nix_has_a_line_for_it() {
    let facts = Facts {
        report: Some(Err("the script did not run".to_owned())),
        daemon: Some(Err("it hung up".to_owned())),
        serve_only: true,
        ..well()
    };
    let worst = |has_line| {
        let uri = uri("ssh://b1");
        let patient = Patient { name: "b1", uri: &uri, wanted: None, has_line, use_untrusted: false };
        checks(patient, &facts).into_iter().max_by_key(|check| check.verdict).expect("checks")
    };
    assert_eq!((worst(true).name, worst(true).verdict), ("daemon", Verdict::Warn));
    assert!(worst(true).found.contains("left to Nix itself"));
    assert_eq!((worst(false).name, worst(false).verdict), ("daemon", Verdict::Fail));
    assert!(worst(false).fix.is_some_and(|fix| fix.contains("ssh://b1 ")));
}

#[test]
fn a_daemon_that_does_not_trust_us_is_no_fault_where_such_builders_are_used() {
    let daemon = Daemon { version: None, trust: Trust::Untrusted };
    let facts = Facts { daemon: Some(Ok(daemon)), ..well() };
    let verdict = |use_untrusted| {
        let uri = uri("b1");
        let patient = Patient { name: "b1", uri: &uri, wanted: None, has_line: false, use_untrusted };
        checks(patient, &facts).into_iter().find(|check| check.name == "trust").map(|check| check.verdict)
    };
    assert_eq!(verdict(true), Some(Verdict::Warn));
    assert_eq!(verdict(false), Some(Verdict::Fail));
}
