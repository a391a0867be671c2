use insta::assert_snapshot;
use serde_json::json;

use super::*;

fn busy() -> Snapshot {
    let builder = |name: &str, health: &str, reason: Option<&str>, retry: Option<u64>| {
        json!({
            "name": name, "health": health, "reason": reason, "retry_in_ms": retry,
            "systems": ["i686-linux", "x86_64-linux"], "features": ["big-parallel"], "mandatory": [], "slots": 4,
            "busy": 2, "speed_factor": 1.0, "trust": "trusted", "nix_version": "2.34.8", "built": 12, "lost": 1
        })
    };
    let mut gpu = builder("gpu", "healthy", None, None);
    gpu["mandatory"] = json!(["cuda"]);
    gpu["speed_factor"] = json!(2.5);
    let mut new = builder("late", "unknown", None, None);
    new.as_object_mut().expect("a table").extend(
        json!({ "systems": [], "features": [], "slots": 0, "busy": 0, "nix_version": null, "trust": null })
            .as_object()
            .expect("a table")
            .clone(),
    );
    let attempt = |number: u32, builder: &str, stage: &str| json!({ "number": number, "builder": builder, "stage": stage, "age_ms": 12_000 });
    let build = |name: &str, attempts, waiting: Option<&str>, lost: u32, requests: u32| {
        json!({
            "drv": format!("a1b2c3d4xxxxxxxxxxxxxxxxxxxxxxxx-{name}.drv"), "system": "x86_64-linux", "features": [],
            "attempts": attempts, "waiting": waiting, "age_ms": 185_000, "requests": requests, "lost": lost
        })
    };
    let document = json!({
        "schema": 1,
        "builders": [
            gpu,
            builder("b1", "down", Some("ssh: connect:\n\u{1b}[31mrefused"), Some(8_000)),
            new,
        ],
        "builds": [
            build("hello-1.0", vec![attempt(1, "b1", "building")], None, 0, 1),
            build("gcc-14", vec![attempt(2, "b1", "uploading"), attempt(3, "gpu", "fetching")], None, 1, 2),
            build("later", vec![], Some("all 4 slots that could take it are busy"), 0, 1),
        ],
        "totals": { "succeeded": 31, "failed": 1, "withdrawn": 0, "repeated": 1, "built_by": { "b1": 31 } }
    });
    serde_json::from_value(document).expect("a snapshot")
}

fn empty() -> Snapshot {
    Snapshot {
        schema: 1,
        builders: vec![],
        builds: vec![],
        totals: Totals::default(),
        absent: vec![],
        passed_over: [].into(),
    }
}

#[test]
fn a_busy_fleet_in_a_file() {
    assert_snapshot!(table(&busy(), None));
}

#[test]
fn a_busy_fleet_in_a_narrow_terminal() {
    let text = table(&busy(), Some(100));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert_snapshot!(text);
}

#[test]
fn an_empty_fleet_says_what_to_do() {
    assert_snapshot!(table(&empty(), Some(80)));
}

#[test]
fn programs_read_the_snapshot_itself() {
    let text = json(&busy()).expect("json");
    assert!(text.starts_with("{\n  \"schema\": 1,"), "{text}");
    assert_eq!(serde_json::from_str::<Snapshot>(&text).expect("a snapshot"), busy());
}

proptest::proptest! {
    #[test]
    fn any_words_fit_into_any_terminal(reason in "\\PC{0,500}|.{0,50}", waiting in "(?s).{0,90}", width in 0..200_u16) {
        let mut snapshot = busy();
        snapshot.builders[1].reason = Some(reason);
        snapshot.builds[2].waiting = Some(waiting);
        let text = table(&snapshot, Some(width));
        proptest::prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}

#[test]
fn a_builders_words_cannot_control_the_terminal() {
    assert!(!table(&busy(), None).contains('\u{1b}'));
    assert!(!table(&busy(), Some(60)).contains('\u{1b}'));
}

#[test]
fn who_is_meant_and_missing_has_a_line_with_the_reason() {
    let row = AbsentRow {
        name: "b3\n".to_owned(),
        host_name: None,
        online: true,
        reason: "online without Tailscale SSH".to_owned(),
    };
    let text = builders(&Snapshot { absent: vec![row], ..empty() }, None);
    assert!(text.ends_with("\n\nb3  is no builder now: online without Tailscale SSH\n"), "{text}");
}
