//! What is typed wrong, configured wrong, or asked for help, seen from a shell.

use std::path::Path;

use assert_cmd::Command;

/// What a command prints on both streams, and its exit code.
fn muster(words: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::cargo_bin("muster")
        .expect("the program is built")
        .env_clear()
        .args(words)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("room");
    file
}

fn name(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_wrong_configuration_names_file_line_and_key_and_exits_2() {
    let file = file("[[builder]]\nuri = \"process:/srv/b1\"\nslot = 2\n");
    let path = name(file.path());
    let expected = format!(
        "muster: {path}:3: unknown key `slot` in [[builder]]; \
         known: name, uri, key, host_key, systems, features, mandatory, slots, speed_factor, cores, memory, consumables, labels\n"
    );
    assert_eq!(muster(&["check-config", path]), (String::new(), expected.clone(), Some(2)));
    assert_eq!(muster(&["status", "--config", path]), (String::new(), expected, Some(2)));
}

#[test]
fn a_good_configuration_is_printed_with_what_it_means() {
    let (stdout, stderr, code) = muster(&["check-config", "docs/example.toml", "--state-dir", "/s"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    assert!(stdout.starts_with("config ok\n") && stdout.contains("lost_after = \"1m\""), "{stdout}");
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let file = file("[[builder]]\nuri = \"process:/srv/b1\"\nslots = 500\n");
    let args = ["check-config", name(file.path()), "--state-dir", "/s"];
    let (_, stderr, code) = muster(&args);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("WARN") && stderr.contains("500 slots"), "{stderr}");
    let (_, stderr, _) = muster(&[&args[..], &["--log-format", "json"]].concat());
    assert!(stderr.starts_with("{\"timestamp\""), "{stderr}");
    let (_, stderr, _) = muster(&[&args[..], &["-qq"]].concat());
    assert_eq!(stderr, "");
}

#[test]
fn a_file_that_is_named_and_not_there_exits_2() {
    let (_, stderr, code) = muster(&["check-config", "/nonexistent/x.toml"]);
    assert_eq!(code, Some(2));
    assert_eq!(stderr, "muster: /nonexistent/x.toml: No such file or directory (os error 2)\n");
}

#[test]
fn wrong_words_exit_2_and_help_exits_0() {
    let check = |words: &[&str], expected| assert_eq!(muster(words).2, Some(expected), "{words:?}");
    check(&[], 2);
    check(&["statsu"], 2);
    check(&["status", "--nonsense"], 2);
    check(&["status", "--log", "=,="], 2);
    check(&["--help"], 0);
    check(&["coordinator", "--help"], 0);
    check(&["--version"], 0);
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (stdout, stderr, code) = muster(&["completions", shell]);
        assert_eq!((stderr.as_str(), code), ("", Some(0)));
        assert!(stdout.contains("check-config"), "{shell}");
    }
}
