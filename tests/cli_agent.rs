//! `muster builder`, the agent: what docs/builders.md says of it, with coordinators that speak by hand.

mod agent;

use std::fs;
use std::time::{Duration, Instant};

use agent::{Agent, Hand};
use serde_json::json;

/// A claim that is not said again lasts so long.
const LEASE: Duration = Duration::from_secs(2);
/// Far longer than a test may take.
const LONG: &str = "--lease-timeout 1h";
const RELEASE: &str = "--ephemeral --release-command 'echo done >>released'";

#[test]
fn two_coordinators_share_its_slots_and_the_status_says_who_runs_what() {
    let agent = Agent::start(&format!("--slots 4 {LONG}"));
    let mut one = agent.coordinator("one");
    assert_eq!(one.claims([0, 0], 0), 4, "alone it has all");
    let mut two = agent.coordinator("two");
    assert_eq!(two.claims([0, 9], 0), 0, "what the other may be using is not given twice");
    assert_eq!(one.hears("granted")["slots"], 0, "who wants nothing leaves its slots to others");
    assert_eq!((one.says_again([0, 0], 0), two.hears("granted")["slots"].clone()), ((), json!(4)));
    two.says_again([3, 9], 4);
    let status = agent.status();
    let claim = &status["claims"][1];
    assert_eq!(
        json!([claim["coordinator"], claim["granted"], claim["running"], claim["wanted"]]),
        json!(["two", 4, 3, 9]),
        "{status}"
    );
    assert_eq!(json!([status["schema"], status["slots"]]), json!([1, 4]));
    assert!(status["load"]["memory_available"].as_u64() > Some(0), "{status}");
    let (said, code) = agent.muster("status");
    assert!(said.contains("one") && said.contains("two") && code == Some(0), "{said}");
}

#[test]
fn a_coordinator_hears_at_once_and_again_how_busy_the_machine_is() {
    let agent = Agent::start(LONG);
    let mut one = agent.coordinator("one");
    one.says([0, 0], 0);
    let first = one.next();
    assert!(first["tell"] == "beat" && first["load"]["average"].is_number(), "{first}");
    assert!(one.hears("beat")["load"]["average"].is_number());
}

#[test]
fn drained_it_gives_slots_to_nobody_until_it_is_undrained() {
    let agent = Agent::start(&format!("--slots 2 {LONG}"));
    let (mut one, mut two) = (agent.coordinator("one"), agent.coordinator("two"));
    assert_eq!((one.claims([1, 1], 0), two.claims([0, 0], 0)), (2, 0));
    assert_eq!(agent.muster("drain").1, Some(0));
    for hand in [&mut one, &mut two] {
        hand.hears_that("it is closed", |told| told["closed"].is_string());
    }
    let status = agent.status();
    assert_eq!(json!([status["claims"][0]["granted"], status["claims"][1]["granted"]]), json!([0, 0]));
    assert!(agent.muster("status").0.contains("nothing new starts here"));
    assert_eq!(agent.muster("undrain").1, Some(0));
    one.hears_that("it is open", |told| told["tell"] == "beat" && told["closed"].is_null());
    assert!(agent.status()["claims"][0]["granted"].as_u64() > Some(0));
}

#[test]
fn its_command_is_run_and_it_ends_with_0_once_the_last_claim_is_given_back() {
    let mut agent = Agent::start(&format!("{RELEASE} {LONG}"));
    let (mut one, mut two) = (agent.coordinator("one"), agent.coordinator("two"));
    one.claims([0, 0], 0);
    two.claims([0, 0], 0);
    one.gives_back();
    assert_eq!(agent.status()["claims"].as_array().map(Vec::len), Some(1), "the other one holds it");
    assert!(!agent.has_released());
    two.gives_back();
    assert_eq!(agent.ends(), Some(0), "{}", agent.log());
    assert!(agent.has_released(), "{}", agent.log());
}

#[test]
fn a_claim_lapses_a_lease_after_its_last_word_although_its_connection_stands() {
    let mut agent = Agent::start(&format!("{RELEASE} --lease-timeout 2s"));
    let mut one = agent.coordinator("one");
    let began = Instant::now();
    one.claims([0, 0], 0);
    while began.elapsed() < LEASE {
        one.says([0, 0], 1);
        std::thread::sleep(Duration::from_millis(100));
    }
    let last = Instant::now();
    one.says([0, 0], 1);
    assert_eq!(agent.ends(), Some(0), "{}", agent.log());
    assert!(last.elapsed() >= LEASE, "{:?}", last.elapsed());
    assert!(agent.has_released() && agent.log().contains("its claim has lapsed"), "{}", agent.log());
    drop(one);
}

#[test]
fn a_coordinator_that_is_restarted_within_its_lease_finds_its_builder() {
    let mut agent = Agent::start(&format!("{RELEASE} --lease-timeout 30s"));
    agent.coordinator("one").claims([1, 1], 0);
    std::thread::sleep(Duration::from_millis(300));
    let mut again = agent.coordinator("one");
    again.claims([1, 1], 0);
    assert_eq!(agent.status()["claims"].as_array().map(Vec::len), Some(1), "it is the same one");
    assert!(agent.is_there() && !agent.has_released());
}

#[test]
fn one_that_is_kept_is_unclaimed_then_and_takes_the_next_claim() {
    let mut agent = Agent::start("--lease-timeout 1s --slots 3");
    agent.coordinator("one").claims([0, 0], 0);
    agent.wait_until("its claim has lapsed", |agent| agent.status()["claims"] == json!([]));
    assert_eq!(agent.coordinator("two").claims([0, 0], 0), 3);
    assert!(agent.is_there());
}

#[test]
fn nobody_comes_and_its_code_is_what_on_idle_says() {
    for (options, code) in [("", 3), ("--on-idle fail", 3), ("--on-idle pass", 0)] {
        let mut agent = Agent::start(&format!("{RELEASE} --idle-timeout 1s {options}"));
        assert_eq!(agent.ends(), Some(code), "{options}: {}", agent.log());
        assert!(agent.has_released(), "{options}");
    }
}

#[test]
fn at_the_end_of_its_lifetime_it_ends_with_0_when_nothing_runs_or_a_lease_later() {
    let mut agent = Agent::start(&format!("{RELEASE} --max-lifetime 1s"));
    assert_eq!(agent.ends(), Some(0), "{}", agent.log());
    assert!(agent.has_released());

    let mut agent = Agent::start("--max-lifetime 1s --lease-timeout 1h");
    let mut one = agent.coordinator("one");
    one.claims([1, 2], 0);
    agent.wait_until("nothing new starts", |agent| agent.status()["claims"][0]["granted"] == 0);
    assert!(agent.is_there(), "what runs may finish");
    one.says([0, 0], 0);
    assert_eq!(agent.ends(), Some(0), "{}", agent.log());

    let began = Instant::now();
    let mut agent = Agent::start("--max-lifetime 1s --lease-timeout 2s");
    let mut one = agent.coordinator("one");
    agent.wait_until("it waits no longer", |_| !one.tries_to_say([1, 1]));
    assert_eq!(agent.ends(), Some(0), "{}", agent.log());
    assert!(began.elapsed() >= Duration::from_secs(1) + LEASE, "{:?}", began.elapsed());
}

#[test]
fn released_by_hand_it_ends_with_0_runs_its_command_and_tells_who_holds_it() {
    let mut agent = Agent::start(&format!("{RELEASE} {LONG}"));
    let mut one = agent.coordinator("one");
    one.claims([0, 0], 0);
    assert_eq!(agent.muster("release").1, Some(0));
    assert!(one.hears("leaving")["why"].is_string());
    assert_eq!((agent.ends(), agent.has_released()), (Some(0), true), "{}", agent.log());
}

#[test]
fn a_signal_ends_it_with_0_and_its_command_is_not_run() {
    let mut agent = Agent::start(&format!("{RELEASE} {LONG}"));
    let mut one = agent.coordinator("one");
    one.claims([0, 0], 0);
    agent.signal();
    assert!(one.hears("leaving")["why"].is_string());
    assert_eq!((agent.ends(), agent.has_released()), (Some(0), false), "{}", agent.log());
}

#[test]
fn without_ephemeral_the_last_claim_ends_nothing_and_a_release_command_is_not_taken() {
    let mut agent = Agent::start(LONG);
    let mut one = agent.coordinator("one");
    one.claims([0, 0], 0);
    one.gives_back();
    assert_eq!(agent.status()["claims"], json!([]));
    assert!(agent.is_there());
    let (said, code) = agent.muster("--release-command true");
    assert!(code == Some(2) && said.contains("--ephemeral"), "{said}");
}

#[test]
fn it_has_one_socket_and_no_port() {
    let agent = Agent::start(LONG);
    agent.coordinator("one").claims([0, 0], 0);
    let inodes = agent.sockets();
    assert!(!inodes.is_empty());
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let lines = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let ports = lines.lines().filter_map(|line| line.split_whitespace().nth(9));
        let ours: Vec<_> = ports.filter(|inode| inodes.contains(&(*inode).to_owned())).collect();
        assert_eq!(ours, [""; 0], "{table}");
    }
}

#[test]
fn only_users_who_are_named_may_claim_and_nobody_but_its_own_may_drain_and_release() {
    let Some(nobody) = agent::nobody() else { return };
    let mut agent = Agent::start(LONG);
    let said = agent.session(&Hand::claim("one", [0, 0], 0), |command| nobody.runs(command));
    assert!(
        said.contains("nobody may not claim this builder: its agent wants --allow-user nobody"),
        "{said}"
    );
    assert!(agent.log().contains("its agent wants --allow-user nobody"), "{}", agent.log());
    for order in ["drain", "undrain", "release"] {
        let (said, code) = agent.muster_by(order, |command| nobody.runs(command));
        assert!(code == Some(1) && said.contains("nobody may not order anything here"), "{order}: {said}");
    }
    assert_eq!(agent.status()["claims"], json!([]));
    assert!(agent.is_there() && agent.status()["closed"].is_null());

    let agent = Agent::start(&format!("--allow-user nobody {LONG}"));
    let said = agent.session(&Hand::claim("one", [0, 0], 0), |command| nobody.runs(command));
    assert!(said.contains(r#""tell":"granted""#), "{said}");
    let (said, code) = agent.muster_by("drain", |command| nobody.runs(command));
    assert!(code == Some(1) && said.contains("may not order anything"), "{said}");
    let (said, code) = agent.muster_by("status", |command| nobody.runs(command));
    assert!(code == Some(0) && said.contains("one"), "{said}");
}

#[test]
fn an_ordinary_users_agent_is_in_the_runtime_directory_and_obeys_its_user() {
    let Some(nobody) = agent::nobody() else { return };
    let mut agent = Agent::of_user(&nobody);
    let (said, code) = agent.muster_by("drain", |command| nobody.runs(command));
    assert_eq!(code, Some(0), "{said}");
    let said = agent.session(&Hand::claim("one", [0, 0], 0), |command| nobody.runs(command));
    assert!(said.contains(r#""tell":"granted""#), "{said}");
    let (said, code) = agent.muster_by("release", |command| nobody.runs(command));
    assert_eq!((code, agent.ends()), (Some(0), Some(0)), "{said}");
}

#[test]
fn where_a_tag_is_asked_for_a_login_that_cannot_show_one_is_refused() {
    let agent = Agent::start(&format!("--allow-tag tag:ci {LONG}"));
    let said = agent.session(&Hand::claim("one", [0, 0], 0), |_| {});
    assert!(said.contains("nothing says where it comes from"), "{said}");
    // Nothing of a tailnet is at this address.
    let said = agent.session(&Hand::claim("one", [0, 0], 0), |command| {
        command.env("SSH_CONNECTION", "192.0.2.7 4000 192.0.2.1 22");
    });
    assert!(said.contains("refused") && said.contains("192.0.2.7 may not claim this builder"), "{said}");
    assert!(agent.log().contains("192.0.2.7 may not claim this builder"), "{}", agent.log());
    assert_eq!(agent.status()["claims"], json!([]));
}

#[test]
fn a_session_by_hand_hears_all_that_is_said_to_it_although_it_says_no_more() {
    let agent = Agent::start(&format!("--slots 3 {LONG}"));
    let said = agent.session(&Hand::status(), |_| {});
    assert!(said.contains(r#""tell":"status""#) && said.contains(r#""slots":3"#), "{said}");
}

#[test]
fn whoever_asks_and_ends_at_once_is_answered() {
    let agent = Agent::start(LONG);
    let said = agent.asked_and_ended(&Hand::status());
    assert!(said.contains(r#""tell":"status""#), "{said}");
}

#[test]
fn a_session_says_what_is_wrong_with_its_streams_or_that_there_is_no_agent() {
    let mut agent = Agent::start(LONG);
    let (said, code) = agent.muster("session");
    assert!(code == Some(1) && said.contains("must be pipes, sockets or a terminal"), "{said}");
    agent.signal();
    assert_eq!(agent.ends(), Some(0));
    let said = agent.session(&Hand::status(), |_| {});
    assert!(said.contains("no agent answers at"), "{said}");
}
