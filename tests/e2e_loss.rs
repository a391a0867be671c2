//! Builders that are lost at each step of a build, and builders that misbehave.

mod support;

use std::time::Duration;

use muster::policy::snapshot::HealthWord;
use support::faults::Faults;
use support::{After, Builder, Drv, Outcome, PATIENCE, Stage, What, When, wait_until};

const STEPS: [When; 5] = [When::Upload, When::Start, When::Log, When::End, When::Output];

/// What muster calls the step.
fn step(when: When) -> &'static str {
    match when {
        When::Handshake => "while preparing",
        When::Upload => "while uploading",
        When::Start | When::Log | When::End => "while building",
        When::Output => "while fetching",
    }
}

/// A build that passes by every place at which a fault can strike.
fn victim(stage: &Stage) -> Drv {
    let source = stage.path("source");
    let (before, after) = ("x".repeat(300_000), "y".repeat(300_000));
    std::fs::write(&source, format!("{before}@@upload@@{after}")).expect("room");
    // The marks come together only when the build says them.
    let script = r#"echo first; echo "@@"log@@; { cat $source; echo "@@"output@@; cat $source; } > $out"#;
    Drv::new("victim", script).with("source", &source.display().to_string())
}

fn victim_text(stage: &Stage) -> String {
    let source = std::fs::read_to_string(stage.path("source")).expect("written before");
    format!("{source}@@output@@\n{source}")
}

/// The client must not have noticed more than one line.
#[track_caller]
fn recovered(stage: &Stage, outcome: Outcome, hit: &str, words: &[&str]) {
    let outcome = outcome.succeeds();
    assert!(stage.text("victim") == victim_text(stage), "other bytes than the build wrote");
    outcome.says_once(&[&[hit], words].concat());
    let totals = stage.status().totals;
    assert_eq!((totals.succeeded, totals.failed), (1, 0));
}

/// The output must lie in the own store of the builder that was asked last.
#[track_caller]
fn built_last_by(stage: &Stage) -> String {
    let last = stage.faults.builds_of("victim").pop().expect("somebody built it");
    assert!(stage.holders("victim").contains(&last), "{last} does not have what it built");
    last
}

fn lose(when: When, after: After) {
    let Some(stage) = Stage::of(2, 1) else { return };
    let fault = stage.faults.arm(when, What::Die, after);
    let client = stage.build(&[victim(&stage)]);
    let hit = stage.faults.struck(&fault);
    recovered(&stage, client.wait(), &hit, &["lost", step(when)]);
    let last = built_last_by(&stage);
    assert!(after == After::Back || last != hit, "the dead builder {hit} cannot have built it");
    assert_eq!(stage.status().totals.repeated, 1);
    if after == After::Dead {
        wait_until("it is seen that it is down", PATIENCE, || stage.builder(&hit).health == HealthWord::Down);
    }
}

#[test]
fn a_builder_that_dies_while_inputs_travel_costs_a_line() {
    lose(When::Upload, After::Dead);
    lose(When::Upload, After::Back);
}

#[test]
fn a_builder_that_dies_before_the_build_starts_costs_a_line() {
    lose(When::Start, After::Dead);
    lose(When::Start, After::Back);
}

#[test]
fn a_builder_that_dies_in_the_middle_of_the_log_costs_a_line() {
    lose(When::Log, After::Dead);
    lose(When::Log, After::Back);
}

#[test]
fn a_builder_that_dies_between_the_build_s_end_and_its_result_costs_a_line() {
    lose(When::End, After::Dead);
    lose(When::End, After::Back);
}

#[test]
fn a_builder_that_dies_while_outputs_travel_costs_a_line() {
    lose(When::Output, After::Dead);
    lose(When::Output, After::Back);
}

/// Shows that the faults are real: the same wrapper, and nothing of muster in between.
#[test]
fn stock_nix_alone_fails_at_each_of_these_steps() {
    std::thread::scope(|scope| {
        for when in STEPS {
            scope.spawn(move || {
                let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
                let fault = stage.faults.arm(when, What::Die, After::Back);
                let (program, store) = (Faults::program(), stage.path("b1"));
                let uri = format!("ssh-ng://localhost?remote-program={}", program.display());
                let line =
                    format!("{uri}&remote-store={} {} - 1 1", store.display(), support::expr::system());
                stage.build_with(&[victim(&stage)], &line, &[]).wait().fails();
                assert_eq!(stage.faults.hit(&fault).as_deref(), Some("b1"), "{when:?}");
            });
        }
    });
}

/// A fault strikes the victim's builder, while another build runs elsewhere and must not notice.
fn misbehave(when: When, what: What, after: After, words: &[&str]) {
    let Some(stage) = Stage::of(3, 1) else { return };
    let bystander = Drv::new("bystander", "echo seen; sleep 1; echo well > $out");
    let mut other = stage.build(&[bystander]);
    other.prints("seen");
    let fault = stage.faults.arm(when, what, after);
    let client = stage.build(&[victim(&stage)]);
    let hit = stage.faults.struck(&fault);
    let outcome = client.wait().succeeds();
    assert!(stage.text("victim") == victim_text(&stage), "other bytes than the build wrote");
    outcome.says_once(&[&[hit.as_str()], words].concat());
    assert!(
        stage
            .coordinator_log()
            .lines()
            .any(|line| line.contains(&hit) && words.iter().all(|word| line.contains(word))),
        "the coordinator's log does not say it"
    );
    other.wait().succeeds();
    assert_eq!(stage.faults.builds_of("bystander").len(), 1, "the bystander's build was disturbed");
    built_last_by(&stage);
}

#[test]
fn a_channel_that_closes_in_the_middle_of_a_message_costs_only_its_own_build_a_retry() {
    misbehave(When::Log, What::Cut, After::Back, &["lost", step(When::Log)]);
    misbehave(When::Output, What::Cut, After::Back, &["lost", step(When::Output)]);
}

#[test]
fn nonsense_instead_of_a_result_costs_only_its_own_build_a_retry() {
    misbehave(When::End, What::Nonsense, After::Back, &["lost", step(When::End)]);
}

#[test]
fn a_message_of_unlimited_length_costs_only_its_own_build_a_retry() {
    misbehave(When::Log, What::FloodLine, After::Back, &["lost", step(When::Log)]);
}

#[test]
fn an_output_with_a_flipped_bit_never_reaches_the_client() {
    misbehave(When::Output, What::Corrupt, After::Back, &["bad output"]);
}

#[test]
fn an_output_with_missing_bytes_never_reaches_the_client() {
    misbehave(When::Output, What::Truncate, After::Back, &["bad output"]);
}

#[test]
fn a_builder_that_freezes_in_the_middle_of_a_build_is_not_waited_for() {
    misbehave(When::Log, What::Hang, After::Dead, &["does not answer"]);
}

#[test]
fn a_builder_that_freezes_while_inputs_travel_is_not_waited_for() {
    misbehave(When::Upload, What::Hang, After::Dead, &["does not answer"]);
}

#[test]
fn a_builder_that_freezes_while_outputs_travel_is_not_waited_for() {
    misbehave(When::Output, What::Hang, After::Dead, &["does not answer"]);
}

/// One channel freezes while inputs or outputs should travel on it; the builder answers on all others.
fn a_channel_freezes(when: When) {
    let builders = [Builder::new("b1", 1), Builder::new("b2", 1)];
    let Some(mut stage) = Stage::without_coordinator(&builders, "stalled_after = \"2s\"\n") else { return };
    stage.start_coordinator();
    let fault = stage.faults.arm(when, What::Hold, After::Back);
    let client = stage.build(&[victim(&stage)]);
    let hit = stage.faults.struck(&fault);
    recovered(
        &stage,
        client.wait(),
        &hit,
        &["lost", step(when), "nothing has moved on its connection for 2s"],
    );
    assert!(!stage.coordinator_log().contains("does not answer"), "the builder itself was well");
}

#[test]
fn a_channel_that_freezes_while_inputs_travel_costs_a_line() {
    a_channel_freezes(When::Upload);
}

#[test]
fn a_channel_that_freezes_while_outputs_travel_costs_a_line() {
    a_channel_freezes(When::Output);
}

#[test]
fn a_build_that_says_nothing_for_long_is_no_stall() {
    let Some(mut stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "stalled_after = \"2s\"\n")
    else {
        return;
    };
    stage.start_coordinator();
    stage.build(&[Drv::new("quiet", "sleep 5; echo well > $out")]).wait().succeeds();
    assert_eq!(stage.status().totals.repeated, 0);
}

#[test]
fn an_endless_log_is_the_trouble_of_its_own_build_alone() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let fault = stage.faults.arm(When::Log, What::Flood, After::Back);
    let flooded = stage.build(&[victim(&stage)]);
    stage.faults.struck(&fault);
    stage.build(&[Drv::new("bystander", "sleep 1; echo well > $out")]).wait().succeeds();
    let (_, most) = support::proc::memory(stage.coordinator_pid());
    assert!(most < 100_000, "the coordinator needed {most} KiB");
    drop(flooded);
}

#[test]
fn a_builder_that_talks_nonsense_from_the_start_is_down_and_says_why() {
    let builders = [Builder::new("b1", 1), Builder::new("b2", 1)];
    let Some(mut stage) = Stage::without_coordinator(&builders, "") else { return };
    let fault = stage.faults.arm(When::Handshake, What::Nonsense, After::Dead);
    stage.launch_coordinator();
    let hit = stage.faults.struck(&fault);
    stage.machines_written();
    wait_until("it is down", PATIENCE, || stage.builder(&hit).health == HealthWord::Down);
    assert!(
        stage.builder(&hit).reason.is_some_and(|why| why.contains("protocol mismatch") && why.len() < 1000)
    );
    stage.build(&[victim(&stage)]).wait().succeeds();
    assert_eq!(stage.faults.builds_of("victim").len(), 1);
}

#[test]
fn a_builder_that_never_answers_is_down_and_comes_back_by_itself() {
    let builders = [Builder::new("b1", 1), Builder::new("b2", 1)];
    let Some(mut stage) = Stage::without_coordinator(&builders, "") else { return };
    let fault = stage.faults.arm(When::Handshake, What::Hang, After::Dead);
    stage.launch_coordinator();
    let hit = stage.faults.struck(&fault);
    stage.machines_written();
    stage.build(&[victim(&stage)]).wait().succeeds();
    stage.faults.revive(&hit);
    stage.all_healthy();
}

#[test]
fn a_derivation_that_kills_its_builders_fails_at_the_third_and_the_losses_are_listed() {
    let Some(stage) = Stage::of(4, 1) else { return };
    let faults = [0; 3].map(|_| stage.faults.arm(When::Log, What::Die, After::Back));
    let outcome = stage.build(&[victim(&stage)]).wait_within(Duration::from_secs(30)).fails();
    for fault in faults {
        let hit = stage.faults.hit(&fault).expect("the third one, too");
        assert!(!outcome.lines_with(&[&hit, "lost", step(When::Log)]).is_empty(), "{}", outcome.terminal);
    }
    assert!(outcome.terminal.contains("given up after 3 lost attempts"), "{}", outcome.terminal);
    assert_eq!(stage.faults.builds_of("victim").len(), 3);
    assert_eq!(stage.status().totals.failed, 1);
}

#[test]
fn with_all_builders_gone_a_build_waits_and_goes_on_when_one_is_back() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let fault = stage.faults.arm(When::Log, What::Die, After::Dead);
    let mut client = stage.build(&[victim(&stage)]);
    let hit = stage.faults.struck(&fault);
    client.prints("waits for a builder");
    stage.faults.revive(&hit);
    recovered(&stage, client.wait(), &hit, &["lost", step(When::Log)]);
}
