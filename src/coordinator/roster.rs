//! Who is a builder, by all sources together.
//!
//! Each source says the whole set that it knows. Where two know a builder of the same name, or the same address under
//! two names, the first source in rank has it alone, so that nobody is offered twice. A name that leads elsewhere than
//! before is another machine: nothing that was known of the former one holds for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Builder;
use crate::domain::BuilderName;
use crate::edge::discover::Rank;

/// What follows from a source's news.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A new builder, or one of which something else is said now.
    Found(BuilderName),
    /// No source knows it any more.
    Vanished(BuilderName),
    /// Another machine has taken its name.
    Replaced(BuilderName),
}

/// The sets of all sources, and who they make up.
#[derive(Debug, Default)]
pub struct Roster {
    sets: BTreeMap<Rank, Vec<Builder>>,
    now: BTreeMap<BuilderName, Builder>,
}

impl Roster {
    /// Takes note of a source's set; what it makes no difference to is not mentioned.
    pub fn learn(&mut self, rank: Rank, builders: Vec<Builder>) -> Vec<Change> {
        self.sets.insert(rank, builders);
        let before = std::mem::replace(&mut self.now, merged(&self.sets));
        let gone = before.keys().filter(|name| !self.now.contains_key(name));
        let mut changes: Vec<_> = gone.cloned().map(Change::Vanished).collect();
        for (name, builder) in &self.now {
            match before.get(name) {
                Some(old) if old == builder => {}
                Some(old) if old.uri != builder.uri => changes.push(Change::Replaced(name.clone())),
                _ => changes.push(Change::Found(name.clone())),
            }
        }
        changes
    }

    /// Who has that name now.
    pub fn get(&self, name: &BuilderName) -> Option<&Builder> {
        self.now.get(name)
    }
}

fn merged(sets: &BTreeMap<Rank, Vec<Builder>>) -> BTreeMap<BuilderName, Builder> {
    let (mut merged, mut addresses) = (BTreeMap::new(), BTreeSet::new());
    for builder in sets.values().flatten() {
        let name = &builder.spec.name;
        if !merged.contains_key(name) && addresses.insert(address(builder)) {
            merged.insert(name.clone(), builder.clone());
        }
    }
    merged
}

/// What is reached, whatever keys and programs are used there.
fn address(builder: &Builder) -> String {
    let uri = builder.uri.to_string();
    let address = uri.split('?').next().unwrap_or_default();
    let address =
        address.strip_prefix("ssh-ng://").or_else(|| address.strip_prefix("ssh://")).unwrap_or(address);
    address.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BuilderUri;
    use crate::domain::BuilderSpec;

    fn builder(name: &str, uri: &str) -> Builder {
        let spec = BuilderSpec::named(BuilderName::parse(name).expect("a name"));
        Builder { spec, uri: BuilderUri::parse(uri).expect("a uri") }
    }

    /// What a set changes, as `+name`, `-name` and `!name`.
    fn learn(roster: &mut Roster, rank: Rank, builders: &[(&str, &str)]) -> Vec<String> {
        let builders = builders.iter().map(|(name, uri)| builder(name, uri)).collect();
        let word = |change| match change {
            Change::Found(name) => format!("+{name}"),
            Change::Vanished(name) => format!("-{name}"),
            Change::Replaced(name) => format!("!{name}"),
        };
        roster.learn(rank, builders).into_iter().map(word).collect()
    }

    #[test]
    fn builders_come_change_and_go_with_their_source() {
        let mut roster = Roster::default();
        let exec = Rank::Exec(0);
        assert_eq!(learn(&mut roster, exec, &[("a", "process:/a"), ("b", "process:/b")]), ["+a", "+b"]);
        assert_eq!(learn(&mut roster, exec, &[("b", "process:/b"), ("a", "process:/a")]), [""; 0]);
        assert_eq!(learn(&mut roster, exec, &[("b", "process:/b")]), ["-a"]);
    }

    #[test]
    fn the_first_source_in_rank_has_a_name_or_address_alone() {
        let mut roster = Roster::default();
        learn(&mut roster, Rank::Exec(0), &[("a", "process:/a"), ("b", "process:/b")]);
        let changes =
            learn(&mut roster, Rank::Static, &[("a", "process:/elsewhere"), ("c", "process:/b?program=/n")]);
        assert_eq!(changes, ["-b", "!a", "+c"]);
        assert_eq!(learn(&mut roster, Rank::Machines, &[("d", "process:/b")]), [""; 0]);
        assert_eq!(learn(&mut roster, Rank::Static, &[]), ["-c", "!a", "+d"]);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_another_machine() {
        let mut roster = Roster::default();
        learn(&mut roster, Rank::Static, &[("a", "process:/a")]);
        assert_eq!(learn(&mut roster, Rank::Static, &[("a", "process:/b")]), ["!a"]);
        assert_eq!(learn(&mut roster, Rank::Static, &[("renamed", "process:/b")]), ["-a", "+renamed"]);
    }
}
