//! How inputs reach a builder.

mod support;

use std::fs;
use std::path::Path;

use support::{After, Builder, Client, Drv, PATIENCE, Stage, What, When, wait_until};

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
    assert_eq!(paths_sent(&stage), 60);
}

/// Nix before 2.18 takes the archive of such a path for the record of the next one.
#[test]
fn what_somebody_else_adds_to_the_builder_in_the_middle_of_an_upload_fails_nothing() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let dir = stage.path("sources");
    fs::create_dir(&dir).expect("room");
    let file = |name: &str, text: &str| {
        fs::write(dir.join(name), text).expect("room");
        dir.join(name).display().to_string()
    };
    let held = file("held", "input @@upload@@\n");
    let others: Vec<String> = (0..20).map(|n| file(&n.to_string(), &format!("input {n}\n"))).collect();
    let inputs = format!("[ {held} {} ]", others.join(" "));
    let fault = stage.faults.arm(When::Upload, What::Hold, After::Back);
    let client =
        stage.build(&[Drv::new("all", "cat $inputs | grep -c '^input' > $out").with("inputs", &inputs)]);
    wait_until("one input has come half way", PATIENCE, || stage.faults.hit(&fault).is_some());
    let mut add = stage.command("nix-store");
    add.args(["--store", &format!("local?root={}", stage.path("b1").display()), "--add"]).args(&others);
    stage.run(add).succeeds();
    stage.faults.release(&fault);
    client.wait().succeeds();
    assert_eq!(stage.text("all").trim(), "21");
    assert_eq!(stage.status().totals.repeated, 0);
}

/// What travelled to builders in all.
fn paths_sent(stage: &Stage) -> u32 {
    let log = stage.coordinator_log();
    let sent = log.lines().filter_map(|line| line.split_once("inputs sent paths=")?.1.parse::<u32>().ok());
    sent.sum()
}

/// A long build, and one that waits for its slot; the input of that is large enough to be sent ahead.
struct OneWaits {
    stage: Stage,
    first: Client,
    second: Client,
}

impl OneWaits {
    fn begin(input: &[u8], prepare: impl FnOnce(&Stage)) -> Option<Self> {
        let stage = Stage::of(1, 1)?;
        let source = stage.path("source");
        fs::write(&source, input).expect("room");
        let first = stage.build(&[Drv::new("first", "sleep 8; echo > $out")]);
        wait_until("the slot is in use", PATIENCE, || stage.builder("b1").busy == 1);
        prepare(&stage);
        let second =
            Drv::new("second", "wc -c < $source > $out").with("source", &source.display().to_string());
        let second = stage.build(&[second]);
        Some(Self { stage, first, second })
    }

    fn both_succeed(self) -> Stage {
        self.first.wait().succeeds();
        self.second.wait().succeeds();
        assert_eq!(self.stage.status().totals.repeated, 0);
        self.stage
    }
}

#[test]
fn inputs_of_a_build_that_waits_travel_while_another_one_builds() {
    let Some(waits) = OneWaits::begin(&vec![7; 30_000_000], |_| ()) else { return };
    let stage = &waits.stage;
    wait_until("its input has travelled", PATIENCE, || {
        stage.coordinator_log().contains("its inputs have travelled ahead")
    });
    assert!(stage.output("b1", "source").is_some(), "it is in the builder's store");
    assert!(!stage.build_processes().is_empty(), "before the first one has ended");
    let stage = waits.both_succeed();
    assert_eq!(stage.text("second").trim(), "30000000");
    assert_eq!(paths_sent(&stage), 1);
}

#[test]
fn inputs_that_could_not_travel_ahead_travel_when_the_build_begins() {
    let mut input = vec![7; 30_000_000];
    input.extend(b"@@upload@@");
    let mut fault = None;
    let waits = OneWaits::begin(&input, |stage| {
        fault = Some(stage.faults.arm(When::Upload, What::Cut, After::Back));
    });
    let Some(waits) = waits else { return };
    wait_until("its way is cut", PATIENCE, || {
        waits.stage.coordinator_log().contains("its inputs do not travel ahead")
    });
    assert!(!waits.stage.build_processes().is_empty(), "the first one goes on");
    let stage = waits.both_succeed();
    assert!(stage.faults.hit(&fault.expect("armed")).is_some());
    assert_eq!(stage.text("second").trim(), "30000010");
}
