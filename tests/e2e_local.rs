//! What the local machine is for, and what happens when no builder is there.

mod support;

use std::fs;

use support::{Builder, Client, Drv, PATIENCE, Stage, wait_until};

/// One builder with one slot, this `[endpoint]`, and absences that count soon.
fn stage(endpoint: &str) -> Option<Stage> {
    let config = format!("[endpoint]\n{endpoint}\n");
    let mut stage = Stage::without_coordinator(&[Builder::new("b1", 1)], &config)?;
    let file = stage.path("muster.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace("[timeouts]\n", "[timeouts]\nempty_after = \"1s\"\n")).expect("room");
    stage.start_coordinator();
    Some(stage)
}

/// Builds that want to run at the same time.
fn three(prefix: &str) -> Vec<Drv> {
    (1..=3).map(|n| Drv::new(&format!("{prefix}{n}"), "sleep 2; echo > $out")).collect()
}

fn build(stage: &Stage, drvs: &[Drv], max_jobs: &str) -> Client {
    stage.build_with(drvs, &format!("@{}", stage.machines_file().display()), &["-j", max_jobs])
}

/// How many of three were built on the builder.
fn on_builder(stage: &Stage, prefix: &str) -> usize {
    (1..=3).filter(|n| !stage.holders(&format!("{prefix}{n}")).is_empty()).count()
}

fn order(stage: &Stage, words: &[&str]) {
    stage.run(stage.muster(words)).succeeds();
}

/// Waits until there is no line.
fn offers_nothing(stage: &Stage) {
    wait_until("there is no line", PATIENCE, || {
        let lines = fs::read_to_string(stage.machines_file()).expect("a file");
        lines == "# No builder is there: Nix builds by itself until one is.\n"
    });
}

/// Waits until the lines accept so many builds.
fn accepts(stage: &Stage, builds: u32) {
    wait_until("the lines accept so many builds", PATIENCE, || {
        let lines = fs::read_to_string(stage.machines_file()).expect("a file");
        let jobs: Vec<_> = lines.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
        !jobs.is_empty() && jobs.iter().all(|jobs| *jobs == builds.to_string())
    });
}

#[test]
fn overflow_is_built_here_where_nix_builds_here_and_else_waits() {
    let Some(stage) = stage("local = \"overflow\"") else { return };
    build(&stage, &three("a"), "2").wait().succeeds();
    assert!((1..=2).contains(&on_builder(&stage, "a")), "{}", on_builder(&stage, "a"));
    build(&stage, &three("b"), "0").wait().succeeds();
    assert_eq!(on_builder(&stage, "b"), 3);
}

#[test]
fn never_keeps_everything_on_the_builders_whatever_max_jobs_says() {
    let Some(stage) = stage("local = \"never\"") else { return };
    build(&stage, &three("a"), "2").wait().succeeds();
    build(&stage, &three("b"), "0").wait().succeeds();
    assert_eq!([on_builder(&stage, "a"), on_builder(&stage, "b")], [3, 3]);
}

#[test]
fn without_builders_nix_builds_here_and_what_waits_is_built_when_one_returns() {
    let Some(stage) = stage("when_empty = \"local\"\nlocal = \"never\"") else { return };
    order(&stage, &["drain", "b1"]);
    let mut early = stage.build(&[Drv::new("early", "echo > $out")]);
    early.prints("waits for");
    offers_nothing(&stage);
    early.prints("interrupt this and start it again");
    build(&stage, &[Drv::new("local", "echo > $out")], "2").wait().succeeds();
    assert!(stage.holders("local").is_empty());
    // A line that accepts nothing would have this one wait for ever, without a word.
    build(&stage, &[Drv::new("nowhere", "echo > $out")], "0").wait().fails();
    order(&stage, &["undrain", "b1"]);
    accepts(&stage, 3);
    early.wait().succeeds();
    stage.build(&[Drv::new("late", "echo > $out")]).wait().succeeds();
    assert_eq!([stage.holders("early"), stage.holders("late")], [["b1"], ["b1"]]);
}

#[test]
fn without_builders_a_build_fails_with_what_is_wrong_with_each_where_nobody_will_wait() {
    let Some(stage) = stage("when_empty = \"fail\"\nlocal = \"never\"") else { return };
    order(&stage, &["drain", "b1"]);
    for name in ["one", "two"] {
        let outcome = stage.build(&[Drv::new(name, "echo > $out")]).wait().fails();
        for text in [&*format!("nobody builds {name}.drv"), "b1: it is drained by root"] {
            assert!(outcome.terminal.contains(text), "{}", outcome.terminal);
        }
    }
    order(&stage, &["undrain", "b1"]);
    stage.build(&[Drv::new("three", "echo > $out")]).wait().succeeds();
}

#[test]
fn without_builders_builds_wait_where_waiting_is_wanted() {
    let Some(stage) = stage("when_empty = \"wait\"\nlocal = \"never\"") else { return };
    order(&stage, &["drain", "b1"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    accepts(&stage, 3);
    let mut client = build(&stage, &[Drv::new("patient", "echo > $out")], "2");
    client.prints("waits for");
    order(&stage, &["undrain", "b1"]);
    client.wait().succeeds();
    assert_eq!(stage.holders("patient"), ["b1"]);
}
