//! SIGHUP: the configuration is read again while builds run, and none of them is lost.

mod support;

use std::time::Duration;

use muster::policy::snapshot::HealthWord;
use support::{Builder, Drv, PATIENCE, Stage, wait_until};

const IN_FORCE: &str = "was read again and is in force";

/// A builder's table, as it stands in the file.
fn table(text: &str, builder: &str) -> String {
    let tables = text.split("[[builder]]\n").find(|table| table.contains(&format!("/{builder}?")));
    let table = tables.expect("such a builder").split("[endpoint]").next().expect("text");
    format!("[[builder]]\n{table}")
}

#[test]
fn builders_come_change_and_go_and_what_runs_on_them_is_finished() {
    let builders = [Builder::new("b1", 1), Builder::new("b2", 1)];
    let Some(mut stage) = Stage::without_coordinator(&builders, "") else { return };
    let whole = std::fs::read_to_string(stage.path("muster.toml")).expect("written before");
    let second = table(&whole, "b2");
    let alone = whole.replace(&second, "");
    std::fs::write(stage.path("muster.toml"), &alone).expect("room");
    stage.launch_coordinator();
    wait_until("the first builder is healthy", PATIENCE, || {
        stage
            .try_status()
            .is_some_and(|status| status.builders.iter().all(|row| row.health == HealthWord::Healthy))
    });
    stage.machines_written();
    let slow = |name: &str| Drv::new(name, "echo seen; sleep 3; echo $name > $out");
    let mut first = stage.build(&[slow("first")]);
    first.prints("seen");
    let mut queued = stage.build(&[slow("queued")]);
    wait_until("it is queued", PATIENCE, || stage.status().builds.len() == 2);

    // The second builder joins and takes what waits; then the first one leaves, with its build under way.
    stage.reload(|_| whole.clone(), IN_FORCE);
    queued.prints("on 'b2'");
    queued.prints("seen");
    stage
        .reload(|_| alone.replace(&table(&whole, "b1"), &second).replace("slots = 1", "slots = 7"), IN_FORCE);
    for client in [first, queued] {
        let outcome = client.wait().succeeds();
        assert!(outcome.lines_with(&["muster:"]).is_empty(), "{}", outcome.terminal);
    }
    assert_eq!(stage.status().totals.repeated, 0);
    wait_until("the first one is gone", PATIENCE, || stage.status().builders.len() == 1);
    assert_eq!(stage.builder("b2").slots, 7);
    stage.build(&[Drv::new("after", "echo > $out")]).wait().succeeds();
    assert_eq!(stage.faults.builds_of("after"), ["b2"]);
}

#[test]
fn limits_and_timeouts_change_at_once_and_what_needs_a_restart_is_named() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let (endpoint, machines) = (stage.endpoint(), stage.machines_file());
    let lines = std::fs::read_to_string(&machines).expect("lines");
    stage.reload(
        |text| {
            let text = text.replace("reconnect_timeout = \"60s\"", "reconnect_timeout = \"7s\"");
            let text =
                text.replace("[endpoint]\n", "[endpoint]\nlook_ahead = 9\nsocket = \"/elsewhere.sock\"\n");
            format!("store_dir = \"/other/store\"\n{text}[limits]\nmax_nar = 1000\n")
        },
        IN_FORCE,
    );
    let log = stage.coordinator_log();
    for key in ["`store_dir`", "`endpoint.socket`"] {
        assert!(log.lines().any(|line| line.contains(key) && line.contains("next restart")), "{key}: {log}");
    }
    assert_ne!(std::fs::read_to_string(&machines).expect("lines"), lines, "there is more look-ahead");
    let notice = endpoint.with_file_name("endpoint.json");
    wait_until("connect waits for less", PATIENCE, || {
        std::fs::read_to_string(&notice).is_ok_and(|text| text.contains("\"reconnect_timeout_ms\":7000"))
    });
    let outcome = stage.build(&[Drv::new("large", "head -c 2000 /dev/zero > $out")]).wait().fails();
    assert!(
        outcome.terminal.contains("limits.max_nar of muster's configuration allows 1000"),
        "{}",
        outcome.terminal
    );
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_the_log_says_where_it_is() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let mut client = stage.build(&[Drv::new("long", "echo seen; sleep 1; echo > $out")]);
    client.prints("seen");
    let good = std::fs::read_to_string(stage.path("muster.toml")).expect("written before");
    stage.reload(|text| format!("[[nonsense]]\n{text}"), "stays in force");
    let log = stage.coordinator_log();
    let place = format!("{}:1", stage.path("muster.toml").display());
    let said = log.lines().any(|line| line.contains(&place) && line.contains("`nonsense`"));
    assert!(said, "{log}");
    client.wait().succeeds();
    stage.reload(|_| good, IN_FORCE);
    std::thread::sleep(Duration::from_millis(100));
    stage.build(&[Drv::new("after", "echo > $out")]).wait().succeeds();
}
