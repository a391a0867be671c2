//! Which builders somebody waits for, and how far they are.

use std::collections::BTreeSet;

use serde::Serialize;

use super::snapshot::{AbsentRow, BuilderRow, HealthWord, Snapshot};
use crate::domain::REFUSES;
use crate::domain::tailnet::dns_label;

/// What is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goal {
    /// These; where there are none, any.
    pub names: Vec<String>,
    /// So many suffice once the time is over; where nobody is named, at once. None: all that are named, or one.
    pub least: Option<usize>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The layout of this document; 1.
    pub schema: u32,
    /// Whether nobody waits any longer, since that is enough.
    pub met: bool,
    /// Builders that are waited for.
    pub wanted: usize,
    /// How many of them suffice once the time is over.
    pub least: usize,
    /// Those of them that take builds.
    pub ready: usize,
    /// Each that is named, or else each that is known.
    pub builders: Vec<Candidate>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// As whoever waits calls it.
    pub name: String,
    /// As it is called here, where that differs.
    pub known_as: Option<String>,
    /// `healthy`, and otherwise what keeps it: `down`, `probing`, `suspect`, `drained`, `refused`, `absent`,
    /// `unknown`.
    pub state: &'static str,
    /// Why, as far as somebody said it.
    pub reason: Option<String>,
}

impl Candidate {
    /// Whether it takes builds.
    pub fn is_ready(&self) -> bool {
        self.state == "healthy"
    }

    fn of_row(name: &str, row: &BuilderRow) -> Self {
        let refused = row.drained.as_ref().and_then(|by| by.strip_prefix(REFUSES));
        if let (HealthWord::Healthy, Some(why)) = (row.health, refused) {
            let (name, known_as) = (name.to_owned(), other(row.name.as_str(), name));
            return Self { name, known_as, state: "refused", reason: Some(why.to_owned()) };
        }
        let drained =
            row.drained.as_ref().map(|by| format!("{by} drained it; `muster undrain` lets it build again"));
        let state = match row.health {
            HealthWord::Healthy if drained.is_some() => "drained",
            HealthWord::Healthy => "healthy",
            HealthWord::Probing => "probing",
            HealthWord::Suspect => "suspect",
            HealthWord::Down => "down",
            HealthWord::Unknown | HealthWord::Gone => "unknown",
        };
        let reason = if state == "healthy" { None } else { row.reason.clone().or(drained) };
        Self { name: name.to_owned(), known_as: other(row.name.as_str(), name), state, reason }
    }

    fn of_absent(name: &str, absent: &AbsentRow) -> Self {
        let known_as = other(&absent.name, name);
        Self { name: name.to_owned(), known_as, state: "absent", reason: Some(absent.reason.clone()) }
    }

    fn unknown(name: &str, passed_over: Option<&String>) -> Self {
        let unheard_of = || "no source has told of it".to_owned();
        let reason =
            Some(passed_over.map_or_else(unheard_of, |why| format!("the tailnet has it, but {why}")));
        Self { name: name.to_owned(), known_as: None, state: "unknown", reason }
    }
}

fn other(known: &str, name: &str) -> Option<String> {
    (known != name).then(|| known.to_owned())
}

impl Goal {
    /// How far it is in this picture, and whether that is enough: all that are named, or, when the time is over, as many as
    /// suffice. Where nobody is named nothing says for whom else to wait, so these are enough at once.
    pub fn look(&self, snapshot: &Snapshot, is_over: bool) -> Standing {
        let builders = if self.names.is_empty() { everybody(snapshot) } else { self.named(snapshot) };
        let ready = builders.iter().filter(|one| one.is_ready()).count();
        let all = if self.names.is_empty() { self.least.unwrap_or(1) } else { builders.len() };
        let least = self.least.unwrap_or(all);
        let met = ready >= all || (is_over && ready >= least);
        Standing { schema: 1, met, wanted: all, least, ready, builders }
    }

    fn named(&self, snapshot: &Snapshot) -> Vec<Candidate> {
        let once: BTreeSet<&String> = self.names.iter().collect();
        once.into_iter().map(|name| find(name, snapshot)).collect()
    }
}

fn everybody(snapshot: &Snapshot) -> Vec<Candidate> {
    let rows = snapshot.builders.iter().map(|row| Candidate::of_row(row.name.as_str(), row));
    let absent = snapshot.absent.iter().map(|absent| Candidate::of_absent(&absent.name, absent));
    rows.chain(absent).collect()
}

/// By its name here, by the one that it asked for in its tailnet, or by what the tailnet makes of the one or the other.
/// Several machines may have asked for a name, and all but one be gone: whoever builds is the one.
fn find(name: &str, snapshot: &Snapshot) -> Candidate {
    let label = dns_label(name);
    let fits = |known: &str, asked: Option<&str>| {
        [Some(known), asked].into_iter().flatten().any(|its| its == name || dns_label(its) == label)
    };
    let rows: Vec<_> = snapshot
        .builders
        .iter()
        .filter(|row| fits(row.name.as_str(), row.host_name.as_deref()))
        .map(|row| Candidate::of_row(name, row))
        .collect();
    let absent = snapshot.absent.iter().filter(|absent| fits(&absent.name, absent.host_name.as_deref()));
    let absent = absent.max_by_key(|absent| absent.online).map(|absent| Candidate::of_absent(name, absent));
    let ready = rows.iter().find(|one| one.is_ready()).cloned();
    let known = ready.or_else(|| rows.into_iter().next()).or(absent);
    known.unwrap_or_else(|| Candidate::unknown(name, passed_over(snapshot, |its| fits(its, None))))
}

/// Why a tailnet's machine of this name is not meant by any source.
fn passed_over(snapshot: &Snapshot, fits: impl Fn(&str) -> bool) -> Option<&String> {
    let mut all = snapshot.passed_over.iter();
    all.find_map(|(why, names)| names.iter().any(|its| fits(its)).then_some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME HEALTH [ASKED-FOR]` each; absent ones have a reason in brackets.
    fn picture(rows: &[&str], absent: &[(&str, &str, bool)]) -> Snapshot {
        let row = |text: &&str| {
            let mut words = text.split(' ');
            let mut next = || words.next().map(str::to_owned);
            serde_json::json!({
                "name": next(), "health": next(), "host_name": next(), "reason": "so", "retry_in_ms": null, "systems": [],
                "features": [], "mandatory": [], "slots": 1, "busy": 0, "speed_factor": 1.0, "trust": null,
                "nix_version": null, "built": 0, "lost": 0
            })
        };
        let absent: Vec<_> = absent
            .iter()
            .map(|(name, asked, online)| serde_json::json!({"name": name, "host_name": asked, "online": online, "reason": "why"}))
            .collect();
        let rows: Vec<_> = rows.iter().map(row).collect();
        let totals = super::super::snapshot::Totals::default();
        let text = serde_json::json!({"schema": 1, "builders": rows, "builds": [], "totals": totals, "absent": absent});
        serde_json::from_value(text).expect("a snapshot")
    }

    fn look(names: &[&str], least: Option<usize>, snapshot: &Snapshot) -> Standing {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Goal { names, least }.look(snapshot, false)
    }

    fn said(standing: &Standing) -> Vec<String> {
        let known =
            |one: &Candidate| one.known_as.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
        standing.builders.iter().map(|one| format!("{}{}: {}", one.name, known(one), one.state)).collect()
    }

    #[test]
    fn enough_are_all_that_are_named_and_once_the_time_is_over_so_many() {
        let snapshot = picture(&["b1 healthy", "b2 down", "b3 healthy"], &[]);
        let check = |names: &[&str], least, before: bool, after: bool| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let goal = Goal { names, least };
            let met = [false, true].map(|is_over| goal.look(&snapshot, is_over).met);
            assert_eq!(met, [before, after], "{goal:?}");
        };
        check(&["b1", "b3"], None, true, true);
        check(&["b1", "b3"], Some(1), true, true);
        check(&["b1", "b2"], None, false, false);
        check(&["b1", "b2"], Some(1), false, true);
        check(&["b1", "b2"], Some(2), false, false);
        check(&["b1", "b1"], None, true, true);
    }

    #[test]
    fn where_nobody_is_named_so_many_are_enough_at_once_or_one() {
        let snapshot = picture(&["b1 healthy", "b2 down", "b3 healthy"], &[]);
        let met = |least| look(&[], least, &snapshot).met;
        assert!(met(None) && met(Some(2)) && !met(Some(3)));
        assert!(!look(&[], None, &picture(&["b1 probing"], &[])).met);
    }

    #[test]
    fn a_name_is_the_one_that_was_asked_for_or_what_the_tailnet_makes_of_it() {
        let snapshot = picture(&["nix-24.04-1 healthy", "b1-1 healthy b1"], &[("b1", "b1", false)]);
        let standing = look(&["nix-24-04-1", "nix-24.04-1", "b1"], None, &snapshot);
        assert!(standing.met);
        assert_eq!(
            said(&standing),
            ["b1 as b1-1: healthy", "nix-24-04-1 as nix-24.04-1: healthy", "nix-24.04-1: healthy"]
        );
    }

    #[test]
    fn a_stale_machine_of_the_same_name_satisfies_nobody() {
        let gone = picture(&[], &[("b1", "b1", false)]);
        assert_eq!(
            (look(&["b1"], None, &gone).met, said(&look(&["b1"], None, &gone))),
            (false, vec!["b1: absent".to_owned()])
        );
        let silent = picture(&["b1 down", "b1-1 healthy b1"], &[]);
        assert!(look(&["b1"], None, &silent).met, "its successor is there");
        let blind = picture(&[], &[("b1", "b1", false), ("b1-1", "b1", true)]);
        assert_eq!(
            said(&look(&["b1"], None, &blind)),
            ["b1 as b1-1: absent"],
            "the one that is online is meant"
        );
    }

    #[test]
    fn whoever_is_not_ready_has_a_reason() {
        let mut snapshot = picture(&["b1 down", "b2 healthy"], &[("b3", "b3", true)]);
        snapshot.builders[1].drained = Some("eva".to_owned());
        let standing = look(&["b1", "b2", "b3", "b4"], None, &snapshot);
        assert_eq!(said(&standing), ["b1: down", "b2: drained", "b3: absent", "b4: unknown"]);
        assert!(standing.builders.iter().all(|one| one.reason.is_some()), "{standing:?}");
        snapshot.builders[1].drained = Some(format!("{REFUSES}it has not the tag"));
        let refused = &look(&["b2"], None, &snapshot).builders[0];
        assert_eq!((refused.state, refused.reason.as_deref()), ("refused", Some("it has not the tag")));
        assert_eq!(look(&[], None, &snapshot).builders.len(), 3, "everybody that is known");
    }

    #[test]
    fn a_machine_that_no_source_means_is_told_so() {
        let mut snapshot = picture(&["b1 healthy"], &[]);
        let why = "it has not the tag tag:x, which this source asks for";
        let names = ["b1", "b2", "nix-24-04", "nix-24.04"].map(str::to_owned).to_vec();
        snapshot.passed_over.insert(why.to_owned(), names);
        let standing = look(&["b1", "b2", "nix-24.04", "b3"], None, &snapshot);
        let said: Vec<_> = standing.builders.iter().map(|one| (one.state, one.reason.as_deref())).collect();
        let meant =
            ("unknown", Some("the tailnet has it, but it has not the tag tag:x, which this source asks for"));
        assert_eq!(said, [("healthy", None), meant, ("unknown", Some("no source has told of it")), meant]);
        assert_eq!(look(&[], None, &snapshot).builders.len(), 1, "it is no builder, and nobody's wish");
    }
}
