//! `muster simulate`, seen from a shell.

use assert_cmd::Command;
use serde_json::Value;

const LAYERED: &str = "tests/data/recordings/layered.jsonl";

/// What a command prints on both streams, and its exit code.
fn simulate(words: &str) -> (String, String, Option<i32>) {
    let output = Command::cargo_bin("muster")
        .expect("the program is built")
        .env_clear()
        .arg("simulate")
        .args(words.split_whitespace())
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// What it says as JSON.
fn json(words: &str) -> Value {
    let (stdout, stderr, code) = simulate(&format!("{words} --lists 5 --json"));
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{words}");
    serde_json::from_str(&stdout).expect("one object")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn makespan(words: &str) -> f64 {
    number(&json(words), "makespan")
}

#[test]
fn a_recording_is_replayed_on_the_builders_that_it_names_or_on_others() {
    let compared = json(LAYERED);
    let counts = ["schema", "builds", "builders", "attempts", "lost"].map(|key| number(&compared, key));
    assert_eq!(counts, [1.0, 39.0, 3.0, 39.0, 0.0]);
    assert_eq!(number(&json(&format!("{LAYERED} --builders 6")), "builders"), 6.0);
    assert!(makespan(&format!("{LAYERED} --builders 1")) > makespan(&format!("{LAYERED} --builders 6")));
}

#[test]
fn the_ratios_are_those_of_the_makespans() {
    let compared = json("--graph nixpkgs --builds 60 --builders 4 --seed 3");
    for key in ["lower_bound", "best_of_random", "stock"] {
        let ratio = number(&compared, "makespan") / number(&compared, key);
        assert!((number(&compared["ratios"], key) - ratio).abs() < 1e-9, "{key} of {compared}");
    }
    assert!(number(&compared, "lower_bound") <= number(&compared, "makespan"));
}

#[test]
fn a_table_says_the_same_as_json_does() {
    let words = "--graph wide --builds 40 --builders 4";
    let compared = json(words);
    let (stdout, stderr, code) = simulate(&format!("{words} --lists 5"));
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "40 builds on 4 builders, 40 attempts, 0 of them lost");
    assert_eq!(lines[2].trim(), "makespan    this policy / that");
    let row = |what: &str, key: &str, ratio: f64| {
        let expected = format!("{what:<22}{:>10.1} s{ratio:>22.3}", number(&compared, key));
        assert!(lines.contains(&expected.as_str()), "no {expected:?} in {stdout}");
    };
    row("this policy", "makespan", 1.0);
    row("the lower bound", "lower_bound", number(&compared["ratios"], "lower_bound"));
    row("the best random list", "best_of_random", number(&compared["ratios"], "best_of_random"));
    row("stock Nix", "stock", number(&compared["ratios"], "stock"));
}

#[test]
fn a_window_of_one_builds_one_after_the_other() {
    let words = "--graph wide --builds 20 --builders 4 --recall";
    let one = makespan(&format!("{words} --window 1"));
    let all = makespan(words);
    assert!(one > 3.0 * makespan(&format!("{words} --window 4")), "{one} alone");
    assert_eq!(makespan(&format!("{words} --window 1000")), all, "no more than all are asked for");
}

#[test]
fn slow_links_take_their_time_and_one_of_three_is_avoided_for_the_most_part() {
    let words = "--graph deep --builds 24 --builders 3 --recall";
    let (fast, one, all) =
        (makespan(words), makespan(&format!("{words} --slow 1")), makespan(&format!("{words} --slow 3")));
    assert!(all > 1.5 * fast && one < 0.7 * all, "{fast}, {one} with one slow link, {all} with three");
}

#[test]
fn a_builder_that_flaps_loses_what_it_has_and_all_is_built_all_the_same() {
    let words = "--graph wide --builds 60 --builders 3 --recall";
    let flapping = json(&format!("{words} --flap"));
    let [lost, attempts] = ["lost", "attempts"].map(|key| number(&flapping, key));
    assert!(lost > 0.0 && attempts >= 60.0 + lost, "{flapping}");
    assert!(number(&flapping, "makespan") > makespan(words), "{flapping}");
}

#[test]
fn builders_that_go_away_cost_time_and_nothing_else() {
    let words = "--graph wide --builds 60 --builders 3 --recall --seed 1";
    let lost = json(&format!("{words} --lost 2"));
    assert!(number(&lost, "lost") > 0.0 && number(&lost, "makespan") > makespan(words), "{lost}");
    assert!(number(&lost, "stock") > number(&json(words), "stock"), "stock suffers the same");
}

#[test]
fn the_same_seed_says_the_same_and_another_one_something_else() {
    let words = "--graph nixpkgs --builds 40 --builders 4 --unequal --lost 1 --flap";
    assert_eq!(json(&format!("{words} --seed 5")), json(&format!("{words} --seed 5")));
    assert_ne!(json(&format!("{words} --seed 5")), json(&format!("{words} --seed 6")));
}

#[test]
fn what_cannot_be_replayed_is_named() {
    let check = |words: &str, message: &str| {
        let (stdout, stderr, code) = simulate(words);
        assert_eq!((stdout.as_str(), code), ("", Some(2)), "{words}: {stderr}");
        assert!(stderr.contains(message), "{stderr}");
    };
    check("Cargo.toml", "Cargo.toml: line 1: a recording begins with");
    check("--window 0", "0 is not in 1..");
    check("x.jsonl --builds 5", "cannot be used with");
    let (_, stderr, code) = simulate("nowhere.jsonl");
    assert!(stderr.contains("nowhere.jsonl") && code == Some(1), "{stderr}");
}
