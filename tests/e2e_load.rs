//! Large things, many things, and odd words.

mod support;

use rustix::process::Signal;
use support::{Drv, PATIENCE, Stage, proc, wait_until};

const MIB: usize = 1 << 20;

#[test]
fn large_inputs_and_outputs_pass_through_in_little_memory() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let source = stage.path("source");
    std::fs::write(&source, vec![7; 100 * MIB]).expect("room");
    let drv = Drv::new("large", "cat $source > $out").with("source", &source.display().to_string());
    stage.build(&[drv]).wait().succeeds();
    let size = stage.output("client", "large").expect("built").metadata().expect("a file").len();
    assert_eq!(size, 100 * MIB as u64);
    let (_, most) = proc::memory(stage.coordinator_pid());
    assert!(most < 64 << 10, "the coordinator needed {most} KiB");
}

#[test]
fn a_client_that_does_not_read_its_log_holds_up_nobody_and_costs_little_memory() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let script = "echo seen; sleep 1; yes 0123456789012345678901234567890123456789 | head -n 100000; echo last; echo > $out";
    let mut client = stage.build(&[Drv::new("chatty", script)]);
    client.prints("seen");
    let readers: Vec<_> = client.hooks().into_iter().chain(client.connects()).collect();
    readers.iter().for_each(|reader| proc::signal(reader.pid, Signal::STOP));
    wait_until("it is built all the same", PATIENCE, || stage.status().totals.succeeded == 1);
    let (_, most) = proc::memory(stage.coordinator_pid());
    assert!(most < 64 << 10, "the coordinator needed {most} KiB");
    readers.iter().for_each(|reader| proc::signal(reader.pid, Signal::CONT));
    let outcome = client.wait().succeeds();
    outcome.says_once(&["log lines left out"]);
    outcome.says_once(&["chatty> last"]);
}

#[test]
fn sixty_builds_at_once_are_no_more_trouble_than_one() {
    let Some(stage) = Stage::of(3, 8) else { return };
    let names: Vec<String> = (0..60).map(|n| format!("n{n}")).collect();
    let mut drvs: Vec<Drv> =
        names.iter().map(|name| Drv::new(name, "sleep 0.5; echo $name > $out")).collect();
    drvs.push(Drv::new("all", "cat $inputs > $out").with("inputs", &format!("[ {} ]", names.join(" "))));
    stage.build(&drvs).wait().succeeds();
    assert_eq!(stage.text("all").lines().count(), 60);
    let status = stage.status();
    assert_eq!((status.totals.succeeded, status.totals.repeated), (61, 0));
    assert!(status.builders.iter().all(|builder| builder.built >= 10), "{:?}", status.totals.built_by);
}

#[test]
fn odd_logs_arrive_as_far_as_nix_can_show_them() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let script = r##"echo "# accept"; echo '@nix { "action": "setPhase", "phase": "oddPhase" }'; printf 'bad \377\376 bytes\n';
        head -c 300000 /dev/zero | tr '\0' z; echo; i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done;
        printf 'no end'; echo > $out"##;
    let outcome = stage.build(&[Drv::new("odd", script)]).wait().succeeds();
    outcome.says_once(&["odd> # accept"]);
    outcome.says_once(&["no end"]);
    outcome.says_once(&["line 19999"]);
    assert_eq!(outcome.lines_with(&["odd> line "]).len(), 20_000);
    let longest = outcome.terminal.lines().map(str::len).max().expect("lines");
    assert!((60_000..70_000).contains(&longest), "the long line is cut: {longest}");
}

/// With one store they would meet in Nix's locks, not here.
#[test]
fn ten_clients_at_once_with_stores_of_their_own_get_all_that_they_want() {
    let Some(stage) = Stage::of(2, 4) else { return };
    let drvs: Vec<Drv> = (0..6).map(|n| Drv::new(&format!("n{n}"), "sleep 0.3; echo $name > $out")).collect();
    let store = |n: usize| format!("store-{n}");
    let clients: Vec<_> = (0..10).map(|n| stage.build_in(&store(n), &drvs[n % 3..])).collect();
    for (n, client) in clients.into_iter().enumerate() {
        client.wait().succeeds();
        for drv in n % 3..6 {
            assert!(stage.output(&store(n), &format!("n{drv}")).is_some(), "{n} lacks {drv}");
        }
    }
    assert_eq!(stage.status().totals.repeated, 0);
}
