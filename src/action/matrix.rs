//! From how many runners of which kind are wanted to the jobs of a workflow's matrix, and the builders' names.
//!
//! `{"ubuntu-24.04": 2}` becomes two jobs `{"os":"ubuntu-24.04","id":"ubuntu-24.04-1"}` and so on, each with a host name
//! `nix-builder-SUFFIX-ID`.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// GitHub starts no more jobs from one matrix.
const MOST: usize = 256;
/// A DNS label is no longer.
const LABEL: usize = 63;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum BadPlan {
    /// It is no such JSON.
    #[error(
        "the builder counts are no JSON object of runner labels and numbers, such as {{\"ubuntu-24.04\": 4}}: {0}"
    )]
    Json(#[from] serde_json::Error),
    /// A label that a list of names cannot hold.
    #[error(
        "the runner label {0:?} cannot be part of a host name: use letters, digits, dots, dashes and underscores"
    )]
    Label(String),
    /// The same label twice.
    #[error("the runner label '{0}' is there twice")]
    Twice(String),
    /// Nothing to start.
    #[error("there are no builders: each count is 0")]
    None,
    /// More than a matrix can have.
    #[error("{0} builders are too many: a matrix has {MOST} jobs at most")]
    TooMany(u64),
    /// The name of a builder would be too long.
    #[error("the host name '{0}' has more than {LABEL} characters: choose a shorter suffix or label")]
    Long(String),
    /// A suffix that host names cannot have.
    #[error("the suffix {0:?} cannot be part of a host name: use letters, digits and dashes")]
    Suffix(String),
}

/// One job of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Runner {
    /// The label that it runs on.
    pub os: String,
    /// The label and a number from 1.
    pub id: String,
}

/// What the jobs of a workflow need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The jobs.
    pub runners: Vec<Runner>,
    /// What tells the names of this attempt from all others.
    pub suffix: String,
}

/// Labels and numbers in their order.
struct Counts(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Counts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of whole numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
                let mut counts = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if counts.len() == MOST {
                        return Err(de::Error::custom("more labels than a matrix has jobs"));
                    }
                    counts.push(entry);
                }
                Ok(Counts(counts))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Plan {
    /// Reads the counts; `suffix` tells this run from all others.
    pub fn new(counts: &str, suffix: &str) -> Result<Self, BadPlan> {
        let Counts(counts) = serde_json::from_str(counts)?;
        if suffix.is_empty() || !suffix.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(BadPlan::Suffix(suffix.to_owned()));
        }
        check_labels(&counts)?;
        let total = counts.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        if total > MOST as u64 {
            return Err(BadPlan::TooMany(total));
        }
        let runners: Vec<_> = counts.iter().flat_map(|(os, count)| of_label(os, *count)).collect();
        let plan = Self { runners, suffix: suffix.to_owned() };
        let long = plan.names().find(|name| name.len() > LABEL);
        match long {
            Some(long) => Err(BadPlan::Long(long)),
            None if plan.runners.is_empty() => Err(BadPlan::None),
            None => Ok(plan),
        }
    }

    /// The builders' host names.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.runners.iter().map(|runner| format!("nix-builder-{}-{}", self.suffix, runner.id))
    }

    /// The outputs of the job that plans: a name and a value of one line each.
    pub fn outputs(&self) -> Result<[(&'static str, String); 3], serde_json::Error> {
        let names: Vec<_> = self.names().collect();
        Ok([
            ("builder_matrix", serde_json::to_string(&self.runners)?),
            ("builders_list", names.join(" ")),
            ("run_suffix", self.suffix.clone()),
        ])
    }
}

fn check_labels(counts: &[(String, u64)]) -> Result<(), BadPlan> {
    let mut seen = BTreeSet::new();
    for (label, _) in counts {
        let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if label.is_empty() || !label.chars().all(good) {
            return Err(BadPlan::Label(label.clone()));
        }
        if !seen.insert(label) {
            return Err(BadPlan::Twice(label.clone()));
        }
    }
    Ok(())
}

fn of_label(os: &str, count: u64) -> impl Iterator<Item = Runner> {
    (1..=count).map(move |number| Runner { os: os.to_owned(), id: format!("{os}-{number}") })
}

/// Unique for each attempt of each run: GitHub never gives a run's id again, and counts its attempts.
pub fn suffix(run_id: &str, attempt: &str, cluster: Option<&str>) -> String {
    let cluster = cluster.filter(|cluster| !cluster.is_empty()).map(|cluster| format!("-{cluster}"));
    format!("{run_id}-{attempt}{}", cluster.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_jobs_and_names_in_their_order() {
        let plan = Plan::new(r#"{"ubuntu-24.04": 2, "macos-26": 0, "alpha": 1}"#, "7-1").expect("a plan");
        let [matrix, list, suffix] = plan.outputs().expect("outputs");
        assert_eq!(
            matrix.1,
            r#"[{"os":"ubuntu-24.04","id":"ubuntu-24.04-1"},{"os":"ubuntu-24.04","id":"ubuntu-24.04-2"},{"os":"alpha","id":"alpha-1"}]"#
        );
        assert_eq!(
            list.1,
            "nix-builder-7-1-ubuntu-24.04-1 nix-builder-7-1-ubuntu-24.04-2 nix-builder-7-1-alpha-1"
        );
        assert_eq!(
            (matrix.0, list.0, suffix),
            ("builder_matrix", "builders_list", ("run_suffix", "7-1".into()))
        );
    }

    #[test]
    fn a_bad_plan_names_what_is_wrong() {
        let check = |counts: &str, suffix: &str, expected: &str| {
            let error = Plan::new(counts, suffix).expect_err(counts).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "1", "no JSON object");
        check("[]", "1", "no JSON object");
        check(r#"{"a": -1}"#, "1", "no JSON object");
        check(r#"{"a": "1"}"#, "1", "no JSON object");
        check(r#"{"a": 0}"#, "1", "each count is 0");
        check("{}", "1", "each count is 0");
        check(r#"{"a b": 1}"#, "1", "\"a b\"");
        check(r#"{"$(id)": 1}"#, "1", "\"$(id)\"");
        check(r#"{"a": 1, "a": 2}"#, "1", "'a' is there twice");
        check(r#"{"a": 200, "b": 57}"#, "1", "257 builders are too many");
        check(r#"{"a": 18446744073709551615, "b": 1}"#, "1", "too many");
        check(r#"{"a": 1}"#, "x\ny", "the suffix \"x\\ny\"");
        check(r#"{"a": 1}"#, "", "the suffix");
        check(r#"{"a": 1}"#, &"x".repeat(60), "more than 63 characters");
    }

    #[test]
    fn each_attempt_of_each_run_has_a_suffix_of_its_own() {
        assert_eq!(suffix("123", "2", None), "123-2");
        assert_eq!(suffix("123", "2", Some("")), "123-2");
        assert_eq!(suffix("123", "2", Some("arm")), "123-2-arm");
    }
}
