//! Stock `nix build` through the endpoint, where nothing goes wrong.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::stage::MUSTER;
use support::{Builder, Drv, PATIENCE, Stage, proc, wait_until};

/// Numbered derivations, each of which needs the two before it in its own third of the graph, and says so.
fn graph(count: usize, pause: &str) -> Vec<Drv> {
    let name = |n: usize| format!("d{n}");
    let drv = |n: usize| {
        let inputs: Vec<String> = [3, 6].iter().filter_map(|back| n.checked_sub(*back)).map(name).collect();
        let script =
            format!("echo \"line of $name\"; {pause}; cat $inputs /dev/null > $out; echo $name >> $out");
        Drv::new(&name(n), &script).with("inputs", &format!("[ {} ]", inputs.join(" ")))
    };
    (0..count).map(drv).collect()
}

/// What such a derivation writes.
fn text(n: usize) -> String {
    let inputs: String = [3, 6].iter().filter_map(|back| n.checked_sub(*back)).map(text).collect();
    format!("{inputs}d{n}\n")
}

#[test]
fn a_graph_is_built_on_all_builders_and_every_output_is_right() {
    let Some(stage) = Stage::of(3, 1) else { return };
    let outcome = stage.build(&graph(12, "sleep 0.2")).wait().succeeds();
    let mut builders = BTreeSet::new();
    for n in 0..12 {
        let name = format!("d{n}");
        assert_eq!(stage.text(&name), text(n));
        let by = stage.faults.builds_of(&name);
        assert_eq!(by.len(), 1, "{name} was built more than once");
        assert!(stage.output(&by[0], &name).is_some(), "{} does not have {name}", by[0]);
        outcome.says_once(&["building", &format!("-{name}.drv'"), &format!("on '{}'", by[0])]);
        outcome.says_once(&[&format!("{name}> line of {name}")]);
        builders.extend(by);
    }
    assert_eq!(builders.len(), 3, "all builders had work: {builders:?}");
    assert_eq!(stage.status().totals.succeeded, 12);
}

#[test]
fn nix_log_has_the_builder_s_words_afterwards() {
    let Some(stage) = Stage::of(1, 1) else { return };
    stage.build(&[Drv::new("talks", "echo said here; echo > $out")]).wait().succeeds();
    let out = stage.output("client", "talks").expect("built");
    let path = format!("/nix/store/{}", out.file_name().and_then(|name| name.to_str()).expect("text"));
    let log = stage.run(stage.nix(&["log", "--store", &stage.client_store(), &path])).succeeds();
    log.says_once(&["said here"]);
}

#[test]
fn several_outputs_fixed_ones_and_structured_attributes_arrive() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let several = Drv::new("several", "echo o > $out; echo d > $dev; echo $out > $doc")
        .with("outputs", r#"[ "out" "dev" "doc" ]"#);
    let fixed = Drv::new("fixed", "printf hello > $out")
        .with("outputHashMode", "\"flat\"")
        .with("outputHashAlgo", "\"sha256\"")
        .with("outputHash", "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"");
    // Structured attributes reach no environment variable; only the file says where the output goes.
    let script = r#"grep -q '"a b"' .attrs.json &&
        echo yes > $(grep -o '/nix/store/[a-z0-9]*-structured"' .attrs.json | head -n 1 | tr -d '"')"#;
    let structured = Drv::new("structured", script)
        .with("__structuredAttrs", "true")
        .with("list", r#"[ "a b" 3 { x = null; } ]"#);
    stage.build(&[several, fixed, structured]).wait().succeeds();
    assert_eq!((stage.text("several"), stage.text("several-dev")), ("o\n".to_owned(), "d\n".to_owned()));
    assert!(stage.text("several-doc").ends_with("-several\n"));
    assert_eq!((stage.text("fixed"), stage.text("structured")), ("hello".to_owned(), "yes\n".to_owned()));
}

/// Nix names only the source as this build's input; what the source refers to must come along all the same.
#[test]
fn a_source_comes_with_everything_that_it_refers_to() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let reader = Drv::new("reader", "cat $(cat $source) > $out")
        .with("source", r#"builtins.toFile "pointer" "${builtins.toFile "target" "from afar"}""#);
    stage.build(&[reader]).wait().succeeds();
    assert_eq!(stage.text("reader"), "from afar");
}

#[test]
fn an_output_of_many_megabytes_and_kinds_of_files_arrives_as_it_is() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let script =
        "mkdir -p $out/a/b; head -c 5000000 /dev/urandom > $out/a/big; cksum < $out/a/big > $out/sum;
        echo run > $out/a/b/run; chmod +x $out/a/b/run; ln -s a/b/run $out/link; : > $out/empty";
    stage.build(&[Drv::new("tree", script)]).wait().succeeds();
    let (ours, theirs) = ["client", "b1"].map(|store| stage.output(store, "tree").expect("built")).into();
    for file in ["a/big", "sum", "a/b/run", "empty"] {
        assert!(fs::read(ours.join(file)).ok() == fs::read(theirs.join(file)).ok(), "{file} differs");
    }
    assert_eq!(fs::read_link(ours.join("link")).expect("a link").to_str(), Some("a/b/run"));
}

#[test]
fn a_real_failure_is_reported_once_with_the_builder_s_words_and_not_tried_again() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let outcome = stage.build(&[Drv::new("broken", "echo no such luck; exit 7")]).wait().fails();
    let by = stage.faults.builds_of("broken");
    assert_eq!(by.len(), 1, "it was tried again");
    outcome.says_once(&[&format!("on {}: ", by[0])]);
    outcome.says_once(&["exit code 7"]);
    outcome.says_once(&["broken> no such luck"]);
    let totals = stage.status().totals;
    assert_eq!((totals.succeeded, totals.failed, totals.repeated), (0, 1, 0));
}

#[test]
fn a_fixed_output_with_another_hash_is_the_derivation_s_own_failure() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let fixed = Drv::new("fixed", "printf other > $out")
        .with("outputHashMode", "\"flat\"")
        .with("outputHashAlgo", "\"sha256\"")
        .with("outputHash", "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"");
    let outcome = stage.build(&[fixed]).wait().fails();
    assert!(outcome.terminal.contains("hash mismatch"), "{}", outcome.terminal);
    assert_eq!(stage.faults.builds_of("fixed").len(), 1);
}

#[test]
fn keep_going_builds_what_does_not_depend_on_the_failure() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let drvs = [
        Drv::new("bad", "exit 3"),
        Drv::new("below", "echo > $out").with("inputs", "[ bad ]"),
        Drv::new("good", "sleep 1; echo good > $out"),
    ];
    let lines = format!("@{}", stage.machines_file().display());
    stage.build_with(&drvs, &lines, &["--keep-going"]).wait().fails();
    assert_eq!(stage.text("good"), "good\n");
    assert_eq!(stage.faults.builds_of("bad").len(), 1);
}

#[test]
fn a_rebuild_is_really_built_again_and_compared() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let drvs = [Drv::new("same", "echo same > $out"), Drv::new("dice", "head -c 20 /dev/urandom > $out")];
    stage.build(&drvs).wait().succeeds();
    let lines = format!("@{}", stage.machines_file().display());
    let outcome = stage
        .build_with(&drvs, &lines, &["--rebuild", "--keep-going"])
        .wait_within(Duration::from_secs(30))
        .fails();
    if outcome.terminal.contains("local builds are disabled") {
        return println!("skipped: this Nix hands no rebuild to anybody");
    }
    for name in ["same", "dice"] {
        assert_eq!(stage.faults.builds_of(name).len(), 2, "{name}");
    }
    let reports = outcome.lines_with(&["determin"]);
    assert!(!reports.is_empty() && reports.iter().all(|line| line.contains("-dice")), "{}", outcome.terminal);
}

#[test]
fn a_build_that_requires_a_feature_goes_to_the_builder_that_has_it() {
    let builders = [Builder::new("b1", 4), Builder::new("b2", 1).with("features = [\"special\"]")];
    let Some(stage) = Stage::new(&builders) else { return };
    let special = Drv::new("special", "echo > $out").with("requiredSystemFeatures", r#"[ "special" ]"#);
    let drvs = [Drv::new("plain", "echo > $out"), special];
    stage.build(&drvs).wait().succeeds();
    assert_eq!(stage.faults.builds_of("special"), ["b2"]);
}

#[test]
fn a_build_for_an_expected_system_waits_visibly_until_ctrl_c() {
    let config = "[[expect]]\nsystems = [\"riscv64-linux\"]\n";
    let Some(mut stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], config) else { return };
    stage.start_coordinator();
    let strange = Drv::new("strange", "echo > $out").with("system", "\"riscv64-linux\"");
    let mut client = stage.build(&[strange]);
    client.prints("waits for a builder of riscv64-linux");
    let waiting = stage.status().builds.pop().and_then(|build| build.waiting);
    assert!(waiting.is_some_and(|why| why.contains("riscv64-linux")), "status says why");
    client.interrupt();
    wait_until("its request is gone", Duration::from_secs(1), || stage.status().builds.is_empty());
    assert_ne!(client.wait().code, Some(0));
}

#[test]
fn the_endpoint_is_a_store_to_ask_and_to_copy_from_and_to() {
    let Some(stage) = Stage::of(1, 1) else { return };
    stage.build(&[Drv::new("thing", "echo thing > $out")]).wait().succeeds();
    let base = stage.output("client", "thing").expect("built");
    let path = format!("/nix/store/{}", base.file_name().and_then(|name| name.to_str()).expect("text"));
    let uri = format!("ssh-ng://localhost?remote-program={MUSTER}&remote-store={}", stage.line_ref());
    let newer = stage.run(stage.nix(&["--version"])).terminal;
    let ping = if newer.contains("2.8") { ["store", "ping"] } else { ["store", "info"] };
    stage.run(stage.nix(&[&ping[..], &["--store", &uri]].concat())).succeeds();

    let other = format!("local?root={}", stage.path("other").display());
    let copy = ["copy", "--no-check-sigs"];
    stage.run(stage.nix(&[&copy[..], &["--from", &uri, "--store", &other, &path]].concat())).succeeds();
    assert_eq!(
        fs::read_to_string(stage.output("other", "thing").expect("copied")).ok(),
        Some("thing\n".to_owned())
    );

    let file = stage.path("file");
    fs::write(&file, "brought").expect("room");
    let add = ["store", "add-file", "--store", &other, file.to_str().expect("text")];
    let added = stage.run(stage.nix(&add)).succeeds().terminal;
    let added = added.lines().find(|line| line.starts_with("/nix/store/")).expect("a path").to_owned();
    stage.run(stage.nix(&[&copy[..], &["--to", &uri, "--store", &other, &added]].concat())).succeeds();
    assert_eq!(stage.text("file"), "brought");
}

#[test]
fn two_clients_with_stores_of_their_own_build_the_same_thing_once() {
    let Some(stage) = Stage::of(2, 1) else { return };
    let drv = Drv::new("shared", "echo seen; sleep 1; echo > $out");
    let mut first = stage.build(std::slice::from_ref(&drv));
    first.prints("seen");
    let second = stage.build_in("other", &[drv]);
    first.wait().succeeds();
    second.wait().succeeds();
    assert!(stage.output("client", "shared").is_some() && stage.output("other", "shared").is_some());
    assert_eq!(stage.faults.builds_of("shared").len(), 1);
}

#[test]
#[ignore = "takes the throw-away store of a root file system"]
fn through_the_nix_daemon_it_is_all_the_same_for_anybody() {
    let Some(stage) = Stage::behind_daemon(2, 2) else { return };
    let outcome = stage.build(&graph(6, "sleep 0.1")).wait().succeeds();
    (0..6).for_each(|n| assert_eq!(stage.text(&format!("d{n}")), text(n)));
    outcome.says_once(&["d0> line of d0"]);
    assert_eq!(stage.status().totals.succeeded, 6);

    let mut client = stage.build(&[Drv::new("endless", "echo seen; sleep 1000; echo > $out")]);
    client.prints("seen");
    // To the endpoint all come in as root; the daemon's worker names the client's process.
    let why = stage.run(stage.muster(&["why", "endless"])).terminal;
    assert!(why.contains("by client"), "{why}");
    client.interrupt();
    let gone = || stage.build_processes().is_empty() && stage.status().builds.is_empty();
    wait_until("the build is cancelled", Duration::from_secs(1), gone);
}

#[test]
fn no_nix_but_the_client_s_own_runs_on_a_build_s_path() {
    let Some(stage) = Stage::of(2, 3) else { return };
    let client = stage.build(&graph(20, "sleep 0.1"));
    let (root, coordinator, stop) = (client.pid(), stage.coordinator_pid(), AtomicBool::new(false));
    let strangers = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut strangers = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                strangers.extend(strangers_below(root, coordinator));
                std::thread::sleep(Duration::from_millis(3));
            }
            strangers
        });
        let outcome = client.wait_within(PATIENCE);
        stop.store(true, Ordering::Relaxed);
        outcome.succeeds();
        watch.join().expect("it watched")
    });
    assert!(strangers.is_empty(), "{strangers:#?}");
}

/// Programs of Nix that have no business there, and children of `connect`.
fn strangers_below(client: i32, coordinator: i32) -> Vec<String> {
    let all = proc::all();
    let below = |top: i32| {
        let mut tree = BTreeSet::from([top]);
        loop {
            let size = tree.len();
            tree.extend(
                all.iter()
                    .filter(|process| tree.contains(&process.parent))
                    .map(|process| process.pid)
                    .collect::<Vec<_>>(),
            );
            if tree.len() == size {
                break tree;
            }
        }
    };
    let is_connect = |pid: i32| {
        all.iter()
            .any(|process| process.pid == pid && process.line().starts_with(&format!("{MUSTER} --stdio")))
    };
    let ours = &below(client) | &below(coordinator);
    let strange =
        all.iter().filter(|process| ours.contains(&process.pid) && process.pid != client).filter(|process| {
            let hook = process.line().contains("build-remote") && process.parent == client;
            // Just forked, and not yet what it is going to be.
            let fork = all.iter().any(|parent| parent.pid == process.parent && parent.words == process.words);
            let nix = ["nix", "nix-store", "nix-build", "nix-copy-closure"].contains(&process.program());
            is_connect(process.parent) || (nix && !hook && !fork)
        });
    strange.map(proc::Process::line).collect()
}
