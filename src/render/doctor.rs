//! `muster doctor`.

use crate::doctor::{Check, Diagnosis, Subject, Verdict};

/// Longest text of one check: a sentence with two fingerprints and a path in it.
const LONGEST: usize = 1500;

/// As programs read it.
pub fn json(diagnosis: &Diagnosis) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(diagnosis)
}

/// As people read it. How many checks failed is for the exit to say.
pub fn text(diagnosis: &Diagnosis) -> String {
    let subjects: Vec<String> = diagnosis.subjects.iter().map(subject).collect();
    let sum = if diagnosis.ok { "\nNothing failed.\n" } else { "" };
    format!("{}{sum}", subjects.join("\n"))
}

fn subject(subject: &Subject) -> String {
    let name = subject.builder.as_deref().unwrap_or("this machine");
    let (asked, not): (Vec<_>, Vec<_>) = subject.checks.iter().partition(|check| !check.depends_on_failure());
    let mut text = format!("{}\n", plain(name));
    text.extend(asked.into_iter().map(check));
    if !not.is_empty() {
        let names: Vec<_> = not.iter().map(|check| check.name).collect();
        text.push_str(&format!("  -     not asked: {}\n", names.join(" ")));
    }
    text
}

fn check(check: &Check) -> String {
    let word = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Skipped => "-",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let fix = check.fix.as_deref().map(|fix| format!("        fix: {}\n", plain(fix))).unwrap_or_default();
    format!("  {word:<4}  {:<14} {}\n{fix}", check.name, plain(&check.found))
}

/// Without anything that a terminal would act on.
fn plain(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        let here =
            vec![Check::ok("nix-daemon", "/usr/bin/nix-daemon"), Check::warn("bash", "unseen", "look")];
        let there = vec![
            Check::fail("login", "Permission denied\x1b[2J", "ssh-copy-id b1"),
            Check::after("shell", "login"),
            Check::after("nix", "shell"),
        ];
        Diagnosis::new(vec![
            Subject { builder: None, checks: here },
            Subject { builder: Some("b1".to_owned()), checks: there },
        ])
    }

    #[test]
    fn each_check_has_a_line_and_its_fix_another() {
        insta::assert_snapshot!(text(&diagnosis()), @r"
        this machine
          ok    nix-daemon     /usr/bin/nix-daemon
          warn  bash           unseen
                fix: look

        b1
          FAIL  login          Permission denied [2J
                fix: ssh-copy-id b1
          -     not asked: shell nix
        ");
    }

    #[test]
    fn programs_read_the_same() {
        let json: serde_json::Value = serde_json::from_str(&json(&diagnosis()).expect("json")).expect("json");
        assert_eq!((&json["schema"], &json["ok"]), (&1.into(), &false.into()));
        assert_eq!(json["subjects"][1]["checks"][0]["verdict"], "fail");
        assert_eq!(json["subjects"][0]["builder"], serde_json::Value::Null);
        assert_eq!(json["subjects"][0]["checks"][0].get("fix"), None);
    }
}
