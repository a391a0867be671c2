//! `muster wait`.

use std::time::Duration;

use super::{human, tame, tame_to};
use crate::policy::goal::{Candidate, Standing};

/// Of a reason: it may hold the whole rule that is missing in a tailnet's policy.
const LONGEST: usize = 1000;

/// The standing as programs read it.
pub fn json(standing: &Standing) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(standing)
}

/// One builder's, on a line.
pub fn candidate(one: &Candidate) -> String {
    let known_as = one.known_as.as_ref().map_or_else(String::new, |name| format!(", here {}", tame(name)));
    let reason =
        one.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", tame_to(LONGEST, reason)));
    format!("{}{known_as} is {}{reason}", tame(&one.name), one.state)
}

/// That it is enough, and what keeps those who are gone on without.
pub fn met(standing: &Standing) -> String {
    let ready: Vec<_> =
        standing.builders.iter().filter(|one| one.is_ready()).map(|one| tame(&one.name)).collect();
    let builders = if standing.ready == 1 { "builder is" } else { "builders are" };
    let mut text = format!("{} {builders} ready: {}", standing.ready, ready.join(", "));
    if standing.ready < standing.wanted {
        text.push_str(&format!("; {} were waited for", standing.wanted));
        text.push_str(&missing(standing));
    }
    text + "\n"
}

/// That it is not, with the reason of each that is missing.
pub fn not_met(standing: &Standing, after: Duration) -> String {
    let Standing { ready, wanted, least, .. } = standing;
    let mut text = format!("{ready} of {wanted} builders are ready after {}", human(after));
    if least < wanted {
        text.push_str(&format!(", and {least} are needed"));
    }
    let missing = missing(standing);
    if missing.is_empty() {
        text.push_str("; no source knows another one");
    }
    text + &missing
}

/// A line for each.
fn missing(standing: &Standing) -> String {
    let missing = standing.builders.iter().filter(|one| !one.is_ready());
    missing.map(|one| format!("\n  {}", candidate(one))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        let one = |name: &str, known_as: Option<&str>, state, reason: Option<&str>| Candidate {
            name: name.to_owned(),
            known_as: known_as.map(str::to_owned),
            state,
            reason: reason.map(str::to_owned),
        };
        let builders = vec![
            one("b1", Some("b1-1"), "healthy", None),
            one("b2", None, "absent", Some("offline")),
            one("b3", None, "down", Some("denied\x1b[2J")),
        ];
        Standing { schema: 1, met: false, wanted: 3, least: 2, ready: 1, builders }
    }

    #[test]
    fn who_is_missing_has_a_line_with_the_reason() {
        let text = not_met(&standing(), Duration::from_secs(5));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "1 of 3 builders are ready after 5 s, and 2 are needed");
        assert_eq!(lines[1], "  b2 is absent: offline");
        assert!(lines[2].starts_with("  b3 is down: denied") && !text.contains('\x1b'), "{text:?}");
        assert_eq!(candidate(&standing().builders[0]), "b1, here b1-1 is healthy");
        let alone = Standing { builders: standing().builders[..1].to_vec(), wanted: 1, ..standing() };
        assert_eq!(met(&alone), "1 builder is ready: b1\n");
    }

    #[test]
    fn who_is_left_behind_is_said_too() {
        let text = met(&standing());
        assert!(
            text.starts_with("1 builder is ready: b1; 3 were waited for\n  b2 is absent: offline\n  b3 is "),
            "{text}"
        );
    }
}
