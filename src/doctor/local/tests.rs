use super::*;
use crate::doctor::Verdict;
use crate::domain::Trust;

fn facts() -> Facts {
    Facts {
        is_root: true,
        program: Some("/usr/bin/nix-daemon".to_owned()),
        daemon: Ok(Daemon { version: Some("2.34.8".to_owned()), trust: Trust::Trusted }),
        bash: Bash::Unseen,
        machines_file: "/run/muster/machines".to_owned(),
        machines: Some(2),
        builders: Builders {
            conf: "/etc/nix/nix.conf".to_owned(),
            reads_ours: true,
            reads_usual: false,
            usual: "/etc/nix/machines".to_owned(),
            usual_has_ours: false,
            problems: Vec::new(),
        },
        endpoint: ("/run/muster/endpoint.sock".to_owned(), Ok(())),
        coordinator: ("/run/muster/control.sock".to_owned(), Ok("2 builders".to_owned())),
    }
}

fn verdict(name: &str, change: impl FnOnce(&mut Facts)) -> Verdict {
    let mut facts = facts();
    change(&mut facts);
    let checks = checks(&facts);
    checks.iter().find(|check| check.name == name).expect("a check of that name").verdict
}

#[test]
fn every_check_is_made_in_the_order_of_the_list() {
    let names: Vec<_> = checks(&facts()).iter().map(|check| check.name).collect();
    assert_eq!(names, CHECKS);
    assert!(checks(&facts()).iter().all(|check| check.verdict == Verdict::Ok));
}

#[test]
fn nix_must_read_our_lines_wherever_they_are() {
    let with = |reads_ours, reads_usual, usual_has_ours| {
        verdict("nix-conf", |facts| {
            let builders = facts.builders.clone();
            facts.builders = Builders { reads_ours, reads_usual, usual_has_ours, ..builders };
        })
    };
    assert_eq!(with(true, false, false), Verdict::Ok);
    assert_eq!(with(false, true, true), Verdict::Ok);
    assert_eq!(with(false, false, true), Verdict::Fail);
    assert_eq!(with(false, true, false), Verdict::Fail);
}

#[test]
fn a_line_that_nix_misreads_is_named() {
    let quoted = || vec!["nix.conf:3: '\"x86_64-linux\"' has quotes".to_owned()];
    assert_eq!(verdict("other-lines", |facts| facts.builders.problems = quoted()), Verdict::Warn);
}

#[test]
fn bash_is_asked_for_only_where_nix_starts_it() {
    let with = |version: &str, bash| {
        verdict("bash", |facts| {
            facts.daemon = Ok(Daemon { version: Some(version.to_owned()), trust: Trust::Trusted });
            facts.bash = bash;
        })
    };
    let missing = || Bash::Missing("/nix/bin".to_owned());
    assert_eq!(with("2.20.0", missing()), Verdict::Ok);
    assert_eq!(with("2.34.8", missing()), Verdict::Ok);
    assert_eq!(with("2.8.0", missing()), Verdict::Fail);
    assert_eq!(with("2.93.0 (Lix)", missing()), Verdict::Fail);
    assert_eq!(with("2.19.3", Bash::Unseen), Verdict::Warn);
    assert_eq!(with("2.19.3", Bash::Found("/bin/bash".to_owned())), Verdict::Ok);
}

#[test]
fn an_empty_machines_file_is_as_bad_as_none() {
    assert_eq!(verdict("machines-file", |facts| facts.machines = Some(0)), Verdict::Fail);
    assert_eq!(verdict("machines-file", |facts| facts.machines = None), Verdict::Fail);
}
