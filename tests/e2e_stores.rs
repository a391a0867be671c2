//! Stores that fill up, and a local store whose paths are not what they were.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::{Builder, Drv, PATIENCE, Stage, proc, wait_until};

/// A small file system of its own, until it is dropped.
struct Small(PathBuf);

impl Small {
    /// None where it cannot be made.
    fn at(path: PathBuf, mib: u32) -> Option<Self> {
        // Elsewhere a mount would be the whole machine's.
        if !Path::new("/etc/made-by").exists() {
            println!("skipped: this mounts a file system; checks/end-to-end has a place for that");
            return None;
        }
        std::fs::create_dir_all(&path).expect("room");
        let size = format!("size={mib}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status();
        assert!(mounted.expect("mount runs").success());
        Some(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a daemon may still be at work in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn without_coordinator(config: &str) -> Option<Stage> {
    Stage::without_coordinator(&[Builder::new("b1", 1), Builder::new("b2", 1)], config)
}

/// The first builder has no room: one line says so, and the other one builds.
fn the_other_one_builds(stage: &mut Stage, drv: Drv) {
    stage.start_coordinator();
    let outcome = stage.build(&[drv]).wait().succeeds();
    outcome.says_once(&["muster: b1 ", "building again on b2"]);
    outcome.says_once(&["muster:"]);
    assert_eq!(stage.holders("large"), ["b2"]);
    assert_eq!(stage.faults.builds_of("large").last().map(String::as_str), Some("b2"));
    stage.build(&[Drv::new("small", "echo > $out")]).wait().succeeds();
}

#[test]
fn a_builder_that_has_no_room_for_an_output_costs_a_line() {
    let Some(mut stage) = without_coordinator("") else { return };
    let Some(_small) = Small::at(stage.path("b1"), 12) else { return };
    the_other_one_builds(&mut stage, Drv::new("large", "head -c 30000000 /dev/zero > $out"));
}

#[test]
fn a_builder_that_has_no_room_for_the_inputs_costs_a_line() {
    let Some(mut stage) = without_coordinator("") else { return };
    let Some(_small) = Small::at(stage.path("b1"), 12) else { return };
    let source = stage.path("source");
    std::fs::write(&source, vec![7; 30_000_000]).expect("room");
    let drv = Drv::new("large", "cat $source > $out").with("source", &source.display().to_string());
    the_other_one_builds(&mut stage, drv);
}

#[test]
fn a_coordinator_that_has_no_room_for_an_output_says_what_to_do_and_lives() {
    let Some(mut stage) = without_coordinator("") else { return };
    let Some(_small) = Small::at(stage.path("state/spool"), 4) else { return };
    stage.start_coordinator();
    let outcome = stage.build(&[Drv::new("large", "head -c 30000000 /dev/zero > $out")]).wait().fails();
    outcome.says_once(&["the disk of the coordinator's machine is full", "limits.spool_dir"]);
    assert_eq!(stage.faults.builds_of("large").len(), 1, "no other builder would help");
    stage.build(&[Drv::new("middling", "head -c 3000000 /dev/zero > $out")]).wait().succeeds();
    assert!(stage.status().builders.iter().all(|builder| builder.lost == 0));
}

/// Deletes outputs in the client's and the builder's store. The builder's daemons end: they hold temporary roots.
fn forget(stage: &mut Stage, names: &[&str]) {
    let daemons =
        stage.processes().into_iter().filter(|process| process.line().contains("--option builders"));
    daemons.for_each(|daemon| proc::signal(daemon.pid, Signal::TERM));
    for store in ["client", "b1"] {
        wait_until(&format!("{names:?} are gone from {store}"), PATIENCE, || {
            let paths: Vec<_> = names.iter().filter_map(|name| stage.output(store, name)).collect();
            let logical =
                paths.iter().map(|path| Path::new("/nix/store").join(path.file_name().expect("a name")));
            let mut command = stage.command("nix-store");
            command.args(["--store", &format!("local?root={}", stage.path(store).display()), "--delete"]);
            stage.run({
                command.args(logical);
                command
            });
            names.iter().all(|name| stage.output(store, name).is_none())
        });
    }
    stage.all_healthy();
}

/// Builds in the client's own store. `fickle` does what `script` says, which is no part of its derivation.
fn build_here(stage: &Stage, drvs: &[Drv], script: &str) {
    let told = stage.path("told");
    std::fs::write(&told, script).expect("room");
    let told = format!("/told={}", told.display());
    let more = ["-j1", "--option", "extra-sandbox-paths", &told];
    stage.build_with(drvs, "", &more).wait().succeeds();
}

/// An input that is not the same each time: the second time it is longer, and refers to other paths, which must be there
/// before it. (Their order among unrelated paths is chance, so there are several.)
#[test]
fn an_input_that_was_collected_and_built_again_otherwise_travels_as_it_is_now() {
    let Some(mut stage) = Stage::of(1, 1) else { return };
    let others = ["o1", "o2", "o3", "o4"];
    let mut inputs = others.map(|name| Drv::new(name, "echo $name > $out")).to_vec();
    inputs.push(Drv::new("fickle", ". /told").with("others", &format!("[ {} ]", others.join(" "))));
    let user = |name: &str| {
        let user = Drv::new(name, "cat $fickle > $out").with("fickle", "fickle");
        [&inputs[..], &[user]].concat()
    };
    build_here(&stage, &inputs, "echo first > $out");
    stage.build(&user("before")).wait().succeeds();
    assert_eq!(stage.text("before"), "first\n");
    forget(&mut stage, &[&["before", "fickle"], &others[..]].concat());

    build_here(&stage, &inputs, "echo second $others > $out");
    stage.build(&user("after")).wait().succeeds();
    assert!(stage.text("after").starts_with("second /nix/store/"));
    assert!(others.iter().all(|name| stage.output("b1", name).is_some()), "it refers to them");
}
