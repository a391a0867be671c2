//! The scripts in checks/, with programs that stand for the machine's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with programs: shell scripts of ours, and the machine's own where the script is empty.
fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, script) in scripts {
        let program = dir.path().join(name);
        if script.is_empty() {
            symlink(on_path(name), program).expect("a link");
        } else {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("ours");
        }
    }
    dir
}

fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.exists()).expect("on PATH")
}

/// Whether it succeeds, and what it prints.
fn run(script: &str, words: &[&str], path: &str) -> (bool, String) {
    let mut command = Command::new(repository().join(script));
    let output = command.args(words).env("PATH", path).output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_name_that_no_test_has_is_no_success() {
    let message = r#"{"target":{"kind":["test"],"name":"e2e_one"},"executable":"/nowhere/e2e_one"}"#;
    let cargo = programs(&[("cargo", &format!("echo '{message}'"))]);
    let path = format!("{}:/usr/bin:/bin", cargo.path().display());
    let (succeeds, said) = run("checks/end-to-end", &["e2e_none"], &path);
    assert!(!succeeds, "{said}");
    assert!(said.contains("'e2e_none'") && said.contains("e2e_one"), "{said}");
    let (succeeds, said) = run("checks/end-to-end", &["e2e_one", "no-suite"], &path);
    assert!(succeeds && said.contains("1 skipped"), "{said}");
}

#[test]
fn the_examples_name_tests_that_there_are() {
    let text = fs::read_to_string(repository().join("checks/README.md")).expect("text");
    let words: Vec<&str> = text.split_whitespace().collect();
    let named: Vec<&str> =
        words.windows(2).filter(|pair| pair[0] == "checks/end-to-end").map(|pair| pair[1]).collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(repository().join(format!("tests/{name}.rs")).exists(), "there is no test {name}");
    }
}

#[test]
fn setup_leaves_another_system_s_nix_alone_and_says_what_is_missing() {
    let own = [("sh", ""), ("dirname", ""), ("id", "echo 0"), ("busybox", "true")];
    let dir = programs(&[&own[..], &[("nix", "true")]].concat());
    let path = dir.path().to_str().expect("text");
    let (succeeds, said) = run("checks/setup", &[], path);
    assert!(succeeds, "{said}");
    assert!(said.contains("missing: mmdebstrap") && said.contains(&format!("nix: {path}/nix")), "{said}");
    assert!(!said.contains("busybox"), "{said}");
    let dir = programs(&own);
    let (succeeds, said) = run("checks/setup", &[], dir.path().to_str().expect("text"));
    assert!(!succeeds && said.contains("install Nix"), "{said}");
}
