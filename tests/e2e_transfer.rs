//! How inputs reach a builder.

mod support;

use std::fs;
use std::path::Path;

use support::{After, Builder, Drv, Stage, What, When};

/// A source that a channel to a builder would notice, in the client's store and in a binary cache.
fn cached_source(stage: &Stage) -> String {
    let file = stage.path("cached");
    fs::write(&file, "@@upload@@\n").expect("room");
    let mut add = stage.command("nix-store");
    add.args(["--store", &stage.client_store(), "--add"]).arg(&file);
    let said = stage.run(add).succeeds().terminal;
    let path = said.lines().last().expect("a path").to_owned();
    let cache = format!("file://{}", stage.path("cache").display());
    stage.run(stage.nix(&["copy", "--from", &stage.client_store(), "--to", &cache, &path])).succeeds();
    path
}

fn reader(path: &str) -> Drv {
    Drv::new("reader", "cat $source > $out").with("source", &format!("builtins.storePath \"{path}\""))
}

fn configure(stage: &Stage, more: &str) {
    let file = stage.path("nix/nix.conf");
    let text = fs::read_to_string(&file).expect("written before");
    let cache = format!("substituters = file://{}\nrequire-sigs = false\n", stage.path("cache").display());
    fs::write(file, text.replace("substituters =\n", &cache) + more).expect("room");
}

/// Whether the input was sent, although the builder's substituter has it.
fn is_sent(more: &str) -> Option<bool> {
    let mut stage = Stage::without_coordinator(&[Builder::new("b1", 1)], "")?;
    let path = cached_source(&stage);
    configure(&stage, more);
    stage.start_coordinator();
    let fault = stage.faults.arm(When::Upload, What::Cut, After::Back);
    stage.build(&[reader(&path)]).wait().succeeds();
    assert_eq!(stage.text("reader"), "@@upload@@\n");
    assert!(stage.path("b1").join(Path::new(&path).strip_prefix("/").expect("absolute")).exists());
    Some(stage.faults.hit(&fault).is_some())
}

#[test]
fn a_builder_downloads_what_its_substituters_have_where_nix_says_so() {
    let Some(sent) = is_sent("builders-use-substitutes = true\n") else { return };
    assert!(!sent, "it was sent");
}

#[test]
fn without_that_the_input_is_sent() {
    let Some(sent) = is_sent("") else { return };
    assert!(sent, "it was downloaded");
}

#[test]
fn builds_that_share_their_inputs_send_each_once() {
    let Some(stage) = Stage::of(1, 4) else { return };
    let dir = stage.path("sources");
    fs::create_dir(&dir).expect("room");
    for n in 0..60 {
        fs::write(dir.join(n.to_string()), format!("input {n}\n{}\n", "x".repeat(50_000))).expect("room");
    }
    let inputs: String = (0..60).map(|n| format!(" {}", dir.join(n.to_string()).display())).collect();
    let names = ["one", "two", "three", "four"];
    let drvs = names.map(|name| {
        Drv::new(name, "cat $inputs | grep -c '^input' > $out").with("inputs", &format!("[{inputs} ]"))
    });
    stage.build(&drvs).wait().succeeds();
    for name in names {
        assert_eq!(stage.text(name), "60\n");
    }
    assert_eq!(stage.status().totals.repeated, 0);
    let log = stage.coordinator_log();
    let sent = log.lines().filter_map(|line| line.split_once("inputs sent paths=")?.1.parse::<u32>().ok());
    assert_eq!(sent.sum::<u32>(), 60, "{log}");
}
