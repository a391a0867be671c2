//! The graph behind what is asked for: known while it is built, and written down afterwards.

mod support;

use muster::wire::recording::Recording;
use support::{Drv, PATIENCE, Stage, wait_until};

/// Three that need each other in a row, and one beside them.
fn graph() -> [Drv; 4] {
    let after = |name: &str, before: &str| {
        Drv::new(name, "read before < $before; echo $before > $out").with("before", before)
    };
    let kept = "echo first > $out";
    [
        Drv::new("first", kept).with("pname", "\"one\""),
        after("second", "first"),
        after("third", "second"),
        Drv::new("beside", kept),
    ]
}

#[test]
fn what_needs_a_build_is_known_as_soon_as_it_is_asked_for() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let [first, second, third, _] = graph();
    stage.build(&[first, second, third]).wait().succeeds();
    // The first question is for the first build alone: the others are found above it.
    let log = stage.coordinator_log();
    let found = log.lines().find(|line| line.contains("the known graph")).expect("it was looked for");
    assert!(found.contains("derivations=3") && found.contains("whole=true"), "{found}");
}

#[test]
fn a_run_is_written_down_with_its_graph_and_can_be_read_again() {
    let Some(stage) = Stage::of(2, 2) else { return };
    stage.build(&graph()).wait().succeeds();
    wait_until("all have ended", PATIENCE, || stage.status().builds.is_empty());
    let file = stage.path("run.jsonl");
    let output =
        stage.muster(&["record", "--output", file.to_str().expect("text")]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file).expect("written");
    let recording = Recording::parse(&text).expect("a recording");
    assert_eq!(recording.builders.len(), 2, "{text}");
    let build = |name: &str| {
        let found = recording.builds.iter().find(|build| build.drv.name() == format!("{name}.drv"));
        found.unwrap_or_else(|| panic!("{name} is missing: {text}"))
    };
    assert_eq!(recording.builds.len(), 4, "{text}");
    assert!(build("first").needs.is_empty() && build("beside").needs.is_empty());
    assert_eq!(build("second").needs, [build("first").drv.clone()]);
    assert_eq!(build("third").needs, [build("second").drv.clone()]);
    assert_eq!(build("first").pname, "one");
    for one in &recording.builds {
        assert!(one.seconds > 0.0 && one.output_bytes > 0 && one.attempts[0].how == "built", "{one:?}");
    }
}
