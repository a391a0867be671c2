//! A check, and what came of it.

use serde::Serialize;

use super::fix::{Fix, Step};

const NOT_ASKED: &str = "not asked";

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not asked: it makes no sense here, or a check before it failed.
    Skipped,
    /// It works, but not as well as it could.
    Warn,
    /// It keeps builds from running.
    Fail,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which question.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to type or to write, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What of that is to be typed or written word for word, and where, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// This machine or a builder, and all its checks in the order in which they were asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// A builder's name; none for this machine.
    pub builder: Option<String>,
    /// The checks.
    pub checks: Vec<Check>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The version of this layout.
    pub schema: u32,
    /// Whether nothing failed.
    pub ok: bool,
    /// What was looked at.
    pub subjects: Vec<Subject>,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), fix: None, steps: Vec::new() }
    }

    /// It was not asked.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Skipped, found: why.into(), fix: None, steps: Vec::new() }
    }

    /// It was not asked, since that check failed.
    pub fn after(name: &'static str, first: &str) -> Self {
        Self::skipped(name, format!("{NOT_ASKED}: `{first}` comes first"))
    }

    /// Whether it was not asked because another one failed.
    pub fn depends_on_failure(&self) -> bool {
        self.verdict == Verdict::Skipped && self.found.starts_with(NOT_ASKED)
    }

    /// It could be better.
    pub fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<Fix>) -> Self {
        Self::wrong(name, Verdict::Warn, found.into(), fix.into())
    }

    /// It must be mended.
    pub fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<Fix>) -> Self {
        Self::wrong(name, Verdict::Fail, found.into(), fix.into())
    }

    fn wrong(name: &'static str, verdict: Verdict, found: String, fix: Fix) -> Self {
        Self { name, verdict, found, fix: Some(fix.text), steps: fix.steps }
    }
}

impl Diagnosis {
    /// Sums up.
    pub fn new(subjects: Vec<Subject>) -> Self {
        let failed = |check: &Check| check.verdict == Verdict::Fail;
        let ok = !subjects.iter().flat_map(|subject| &subject.checks).any(failed);
        Self { schema: 1, ok, subjects }
    }

    /// How many checks failed.
    pub fn failures(&self) -> usize {
        let all = self.subjects.iter().flat_map(|subject| &subject.checks);
        all.filter(|check| check.verdict == Verdict::Fail).count()
    }
}
