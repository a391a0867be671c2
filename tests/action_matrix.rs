//! `muster matrix` gives what the jq program of the action that this one follows gives, the suffix aside.

use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;

/// The two counts of that action's documentation.
const COUNTS: [&str; 2] = [
    r#"{"ubuntu-24.04": 1, "ubuntu-24.04-arm": 1, "macos-26-intel": 1, "macos-26": 1}"#,
    r#"{"ubuntu-24.04": 4}"#,
];
/// Its program: counts in, matrix out.
const MATRIX: &str = r#"[
    to_entries[] | .key as $os | .value as $count |
    range(1; $count + 1) | { os: $os, id: "\($os)-\(.)" }
]"#;
/// Matrix in, names out.
const NAMES: &str = r#"map("nix-builder-\($suffix)-\(.id)") | join(" ")"#;

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn muster() -> Command {
    let mut command = Command::new(cargo_bin("muster"));
    command.env_clear();
    command
}

fn jq(input: &str, words: &[&str]) -> String {
    use std::io::Write;
    let mut child = Command::new("jq")
        .args(words)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("jq");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("written");
    text(child.wait_with_output().expect("jq ends")).trim_end().to_owned()
}

#[test]
fn the_plan_is_what_jq_makes_of_the_same_counts() {
    if Command::new("jq").arg("--version").output().is_err() {
        eprintln!("skipped: there is no jq");
        return;
    }
    for counts in COUNTS {
        let matrix = jq(counts, &["-c", MATRIX]);
        let names = jq(&matrix, &["-r", "--arg", "suffix", "77-2", NAMES]);
        let expected = format!("builder_matrix={matrix}\nbuilders_list={names}\nrun_suffix=77-2\n");
        let run = [("GITHUB_RUN_ID", "77"), ("GITHUB_RUN_ATTEMPT", "2")];
        let by_word = muster().args(["matrix", counts]).envs(run).output().expect("muster");
        assert_eq!(text(by_word), expected);
        let by_environment = muster().arg("matrix").env("BUILDER_COUNTS", counts).envs(run).output();
        assert_eq!(text(by_environment.expect("muster")), expected);
    }
}

#[test]
fn outside_of_github_a_suffix_must_be_said() {
    let output = muster().args(["matrix", COUNTS[1]]).output().expect("muster");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--suffix"));
    let said = muster().args(["matrix", COUNTS[1], "--suffix", "x"]).output().expect("muster");
    assert!(text(said).ends_with("run_suffix=x\n"));
}
