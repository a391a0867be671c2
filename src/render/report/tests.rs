use std::collections::BTreeSet;

use super::gantt::diagrams;
use super::*;
use crate::domain::{BuilderName, System};

fn builder(name: &str) -> BuilderReport {
    BuilderReport {
        name: BuilderName::parse(name).expect("a name"),
        health: HealthWord::Healthy,
        reason: None,
        systems: BTreeSet::from([System::parse("x86_64-linux").expect("a system")]),
        cores: Some(4),
        slots: 2,
        path: Some("direct".to_owned()),
        link_mb_s: Some(94.61),
        found_ms: 900,
        ready_ms: Some(2_500),
        gone_ms: None,
        built: 3,
        failed: 1,
        lost: 0,
        busy_percent: 61,
        sent_bytes: 5 << 20,
        received_bytes: 1 << 20,
    }
}

fn attempt(builder: &str, name: &str, began_ms: u64, ended_ms: Option<u64>, how: How) -> AttemptReport {
    AttemptReport {
        drv: format!("9csjdxv6ir8kq5b7qmnmzp4l1a3j2k9x-{name}.drv"),
        number: 1,
        builder: BuilderName::parse(builder).expect("a name"),
        began_ms,
        ended_ms,
        how,
        said: matches!(how, How::Failed | How::Lost).then(|| format!("{builder}: it *said* <b>no</b>\n@all")),
    }
}

fn report(attempts: Vec<AttemptReport>, builders: Vec<BuilderReport>) -> Report {
    Report { schema: 1, elapsed_ms: 185_000, builders, attempts, forgotten: 0, waiting: 0 }
}

/// A builder that worked, one that was lost, and one that never came.
fn eventful() -> Report {
    let lost = BuilderReport {
        health: HealthWord::Down,
        reason: Some("no answer for 60 s".to_owned()),
        gone_ms: Some(95_000),
        lost: 1,
        path: Some("relayed by fra".to_owned()),
        link_mb_s: Some(3.27),
        ..builder("b2")
    };
    let never = BuilderReport {
        health: HealthWord::Probing,
        systems: BTreeSet::new(),
        cores: None,
        path: None,
        link_mb_s: None,
        ready_ms: None,
        built: 0,
        failed: 0,
        busy_percent: 0,
        sent_bytes: 0,
        received_bytes: 0,
        ..builder("nix-builder-1-1-macos-26-1")
    };
    let attempts = vec![
        attempt("b1", "gantt-1.0", 3_000, Some(40_000), How::Built),
        attempt("b2", "section:x,y;z#", 3_100, Some(95_000), How::Lost),
        attempt("b1", "title", 40_000, Some(40_000), How::Failed),
        attempt("b1", "click", 96_000, None, How::Running),
        attempt("b1", "end", 97_000, Some(98_000), How::Cancelled),
    ];
    report(attempts, vec![builder("b1"), lost, never])
}

#[test]
fn a_report_on_a_terminal() {
    insta::assert_snapshot!(table(&eventful(), None));
}

#[test]
fn a_report_as_a_jobs_summary() {
    insta::assert_snapshot!(markdown(&eventful()));
}

#[test]
fn nothing_at_all_is_a_report_too() {
    let nothing = report(vec![], vec![]);
    assert_eq!(table(&nothing, Some(80)), "0 built on 0 builders in 3 min 5 s.\n");
    assert!(markdown(&nothing).contains("No builder was known."));
}

#[test]
fn short_builds_are_left_out_before_long_ones_and_troubles_last() {
    let mut attempts: Vec<_> = (0..2_000)
        .map(|n| attempt("b1", &format!("a-name-of-some-length-{n}"), n, Some(2 * n + 10), How::Built))
        .collect();
    attempts.push(attempt("b1", "brief-and-broken", 0, Some(1), How::Failed));
    let report = report(attempts, vec![builder("b1")]);
    let [diagram] = &*diagrams(&report) else { panic!("one diagram") };
    assert!(diagram.text.len() <= gantt::LONGEST && diagram.left_out > 1_000, "{}", diagram.left_out);
    assert!(diagram.text.contains("brief-and-broken FAILED") && diagram.text.contains("length-1999 "));
    assert!(!diagram.text.contains("length-5 "));
    assert!(markdown(&report).contains("shorter builds are left out"));
}

#[test]
fn the_largest_matrix_keeps_within_githubs_limits() {
    let builders: Vec<_> =
        (0..256).map(|n| builder(&format!("nix-builder-1234567890-1-ubuntu-24.04-{n}"))).collect();
    let attempts = (0..20_000).map(|n| {
        let name = format!("{}-{n}", "long-name".repeat(20));
        attempt(builders[n as usize % 256].name.as_str(), &name, n, Some(n + 5_000), How::Built)
    });
    let report = report(attempts.collect(), builders);
    let text = markdown(&report);
    assert!(text.len() < 1 << 20, "{}", text.len());
    for diagram in text.split("```mermaid\n").skip(1) {
        let length = diagram.split("```").next().unwrap_or_default().len();
        assert!(length <= gantt::LONGEST, "{length}");
    }
}
