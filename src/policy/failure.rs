//! What follows from the end of an attempt: one table, (how it ended, the builder's words) -> verdict.
//!
//! The words are those of Nix 2.8 to 2.36, read in its source; the lines of a build's own log that Nix quotes (they
//! begin with `>`) are not its words, and are left out wherever that matters.

use super::settings::Limits;
use crate::domain::{AttemptOutcome, BuildStatus, Stage};

/// Whom a failed attempt counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Nobody: the next attempt is as good as the first.
    Nobody,
    /// The builder: it is the machine's trouble.
    Builder,
    /// Both, until more is known: either may have killed the other.
    Both,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is built: answer.
    Success,
    /// The failure is the derivation's own: answer with the builder's words.
    Final,
    /// It has been tried often enough: answer with the list of what befell it.
    GiveUp,
    /// Try again, on another builder if there is one.
    Elsewhere(Against),
    /// Inputs were missing: forget what we believed to be there, and upload again.
    UploadAgain,
    /// The builder is not what it was taken for: probe it, and try elsewhere.
    ProbeAgain,
    /// No builder is to blame: try again after a while.
    Later,
}

/// What befell the build before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Different builders on which an attempt was lost.
    pub builders_lost: usize,
    /// Attempts that were lost.
    pub losses: u32,
    /// Attempts that builders refused or failed for reasons of their own.
    pub refusals: u32,
    /// Failures of which it is not clear whose they are.
    pub unclear: u32,
    /// Attempts for which inputs were missing.
    pub uploads: u32,
    /// Failures of the local store or disk.
    pub local_errors: u32,
    /// Whether there is a builder that could take it and has not failed it yet.
    pub elsewhere: bool,
    /// Whether our own link is under suspicion.
    pub link_suspect: bool,
}

/// How an attempt ended, as far as the table tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Before anything of the build had reached the builder.
    LostEarly,
    Lost,
    Refused,
    Failed(BuildStatus),
    BadOutput,
    TooLarge,
    LocalError,
    Cancelled,
}

/// What the table says, before it is known how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Final,
    /// The channel or the builder died.
    Lost,
    /// The same before the build began: it says nothing about the derivation.
    Unreachable,
    /// The builder's own trouble.
    Elsewhere,
    /// Nobody's trouble, waited out.
    Later,
    /// Unclear: one more try on a builder that has not failed it yet, if there is one.
    Once,
    Upload,
    Probe,
    /// It does not trust us, and an input lacks a signature: no probe will change that where it is known.
    Unsigned,
    Local,
}

/// A row: which ends, with which words (any of them; none = whatever was said), and what then. The first that fits holds.
struct Row(fn(How) -> bool, &'static [&'static str], Then);

const DISK_FULL: &[&str] = &[
    "No space left on device",
    "disk full",
    "disk is full",
    "lack of free disk space",
    "Disk quota exceeded",
];
const UNSUPPORTED: &[&str] = &[
    "is required to build",
    "missing system features",
    "platform mismatch",
    "local builds are disabled",
    "primary store that isn't a local store",
    "Exec format error",
];
const UNTRUSTED: &[&str] = &["not privileged"];
const UNSIGNED: &[&str] = &["lacks a signature by a trusted key", "lacks a valid signature"];
const MISSING_INPUT: &[&str] = &[
    "is not valid",
    "does not exist, and substitution is disabled",
    "dependency failed",
    "dependencies failed",
    "dependencies of derivation",
    "some references of",
    "path is unknown",
];
const NO_BUILD_USER: &[&str] = &["build users are currently in use", "free build user"];
const DAEMON_TROUBLE: &[&str] = &[
    "interrupted by the user",
    "disconnected unexpectedly",
    "end-of-file",
    "Broken pipe",
    "Connection reset",
    "Cannot allocate memory",
    "out of memory",
    "Resource temporarily unavailable",
    "Too many open files",
    "Read-only file system",
    "Input/output error",
    "is busy",
    "has no members",
    "cannot open connection to remote store",
    "died unexpectedly",
];
/// The machine's out-of-memory killer, or its shutdown: a build does not end so by itself.
const KILLED: &[&str] = &["failed due to signal 9 ", "failed due to signal 15 "];

/// Where a builder's words decide.
fn unclear(how: How) -> bool {
    use BuildStatus::*;
    matches!(
        how,
        How::Refused
            | How::Failed(InputRejected | TransientFailure | MiscFailure | DependencyFailed | NoSubstituters)
    )
}

const TABLE: &[Row] = {
    use BuildStatus::*;
    &[
        Row(|how| how == How::LostEarly, &[], Then::Unreachable),
        Row(|how| how == How::Lost, &[], Then::Lost),
        Row(|how| how == How::Cancelled, &[], Then::Later),
        Row(|how| how == How::BadOutput, &[], Then::Elsewhere),
        Row(|how| how == How::TooLarge, &[], Then::Final),
        Row(|how| how == How::LocalError, &[], Then::Local),
        Row(|how| how == How::Failed(PermanentFailure), KILLED, Then::Once),
        Row(|how| how == How::Failed(PermanentFailure), &["No space left on device"], Then::Once),
        Row(unclear, DISK_FULL, Then::Elsewhere),
        Row(unclear, UNSUPPORTED, Then::Probe),
        Row(unclear, UNTRUSTED, Then::Probe),
        Row(unclear, UNSIGNED, Then::Unsigned),
        Row(unclear, NO_BUILD_USER, Then::Later),
        Row(unclear, DAEMON_TROUBLE, Then::Elsewhere),
        Row(unclear, MISSING_INPUT, Then::Upload),
        Row(|how| matches!(how, How::Failed(DependencyFailed | NoSubstituters)), &[], Then::Upload),
        Row(|how| matches!(how, How::Failed(MiscFailure | TransientFailure)), &[], Then::Once),
        Row(|how| how == How::Refused, &[], Then::Once),
        Row(|how| matches!(how, How::Failed(_)), &[], Then::Final),
    ]
};

/// Judges how an attempt ended, in the light of what befell the build before.
pub fn judge(outcome: &AttemptOutcome, past: &Past, limits: &Limits) -> Verdict {
    let (how, words) = match outcome {
        AttemptOutcome::Done(result) if result.status.is_success() => return Verdict::Success,
        AttemptOutcome::Done(result) | AttemptOutcome::Failed(result) => {
            (How::Failed(result.status), result.error.as_str())
        }
        AttemptOutcome::Refused { message, .. } => (How::Refused, message.as_str()),
        AttemptOutcome::Lost { stage: Stage::Preparing, reason } => (How::LostEarly, reason.as_str()),
        AttemptOutcome::Lost { reason, .. } => (How::Lost, reason.as_str()),
        AttemptOutcome::BadOutput { reason, .. } => (How::BadOutput, reason.as_str()),
        AttemptOutcome::TooLarge(message) => (How::TooLarge, message.as_str()),
        AttemptOutcome::LocalError { message, .. } => (How::LocalError, message.as_str()),
        AttemptOutcome::Cancelled => (How::Cancelled, ""),
    };
    limit(look_up(how, words), words, past, limits)
}

fn look_up(how: How, words: &str) -> Then {
    // A full disk shows in the quoted log too; everything else there is the build's own talk.
    let own = own_words(words);
    let says = |text: &&str| {
        if how == How::Failed(BuildStatus::PermanentFailure) { words } else { &own }.contains(*text)
    };
    let fits = |row: &&Row| row.0(how) && (row.1.is_empty() || row.1.iter().any(says));
    TABLE.iter().find(fits).map_or(Then::Final, |row| row.2)
}

/// What Nix said itself, without the lines that it quotes from the build's log.
fn own_words(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('>')).collect::<Vec<_>>().join("\n")
}

fn limit(then: Then, words: &str, past: &Past, limits: &Limits) -> Verdict {
    let tired = past.refusals + 1 >= limits.refusals;
    match then {
        Then::Final => Verdict::Final,
        Then::Later => Verdict::Later,
        Then::Lost if past.link_suspect => Verdict::Elsewhere(Against::Nobody),
        Then::Lost if past.builders_lost >= limits.builders_lost || past.losses + 1 >= limits.losses => {
            Verdict::GiveUp
        }
        Then::Lost => Verdict::Elsewhere(Against::Both),
        Then::Unreachable if past.link_suspect => Verdict::Elsewhere(Against::Nobody),
        Then::Unreachable => Verdict::Elsewhere(Against::Builder),
        Then::Local if local_disk_is_full(words) || past.local_errors + 1 >= limits.local_errors => {
            Verdict::GiveUp
        }
        Then::Local => Verdict::Later,
        Then::Once if past.elsewhere && past.unclear == 0 => Verdict::Elsewhere(Against::Nobody),
        Then::Once => Verdict::Final,
        Then::Elsewhere | Then::Upload | Then::Probe | Then::Unsigned if tired => Verdict::GiveUp,
        Then::Unsigned if past.refusals > 0 && !past.elsewhere => Verdict::GiveUp,
        Then::Upload if past.uploads < limits.uploads => Verdict::UploadAgain,
        Then::Upload | Then::Elsewhere => Verdict::Elsewhere(Against::Builder),
        Then::Probe | Then::Unsigned => Verdict::ProbeAgain,
    }
}

/// Waiting does not help there, and the user has to know.
pub(super) fn local_disk_is_full(words: &str) -> bool {
    DISK_FULL.iter().any(|text| words.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BuildResult, Stage, StorePath};
    use BuildStatus::*;
    use Verdict::*;

    const FRESH: Past = Past {
        builders_lost: 0,
        losses: 0,
        refusals: 0,
        unclear: 0,
        uploads: 0,
        local_errors: 0,
        elsewhere: true,
        link_suspect: false,
    };

    fn failed(status: BuildStatus, text: &str) -> AttemptOutcome {
        AttemptOutcome::Failed(BuildResult::verdict(status, text))
    }

    fn refused(text: &str) -> AttemptOutcome {
        AttemptOutcome::Refused { stage: Stage::Building, message: text.to_owned() }
    }

    fn lost() -> AttemptOutcome {
        AttemptOutcome::Lost { stage: Stage::Building, reason: "EOF".to_owned() }
    }

    fn check(outcome: &AttemptOutcome, past: Past, expected: Verdict) {
        assert_eq!(judge(outcome, &past, &Limits::default()), expected, "{outcome:?} after {past:?}");
    }

    #[test]
    fn each_status_without_telling_words_has_its_verdict() {
        let unclear = Elsewhere(Against::Nobody);
        for (status, expected) in [
            (PermanentFailure, Final),
            (InputRejected, Final),
            (OutputRejected, Final),
            (TransientFailure, unclear),
            (CachedFailure, Final),
            (TimedOut, Final),
            (MiscFailure, unclear),
            (DependencyFailed, UploadAgain),
            (LogLimitExceeded, Final),
            (NotDeterministic, Final),
            (NoSubstituters, UploadAgain),
        ] {
            check(&failed(status, "some words"), FRESH, expected);
        }
    }

    #[test]
    fn success_is_told_by_the_status_whoever_reports_it() {
        for status in [Built, Substituted, AlreadyValid, ResolvesToAlreadyValid] {
            check(&AttemptOutcome::Done(BuildResult::verdict(status, "")), FRESH, Success);
        }
        check(&AttemptOutcome::Done(BuildResult::verdict(PermanentFailure, "")), FRESH, Final);
    }

    #[test]
    fn a_loss_before_anything_reached_the_builder_is_no_fault_of_the_derivation_s() {
        let lost = AttemptOutcome::Lost { stage: Stage::Preparing, reason: "refused".to_owned() };
        let past = Past { builders_lost: 2, losses: 4, refusals: 5, ..FRESH };
        check(&lost, past, Elsewhere(Against::Builder));
        check(&lost, Past { link_suspect: true, ..past }, Elsewhere(Against::Nobody));
    }

    #[test]
    fn nix_own_words_decide_where_the_status_does_not() {
        let builder = Elsewhere(Against::Builder);
        for (text, expected) in [
            ("writing to file: No space left on device", builder),
            ("executing SQLite statement: database or disk is full", builder),
            ("note: build failure may have been caused by lack of free disk space", builder),
            (
                "a 'x' with features {kvm} is required to build '/d.drv', but I am a 'x' with features {}",
                ProbeAgain,
            ),
            ("Cannot build '/d.drv'.\nReason: \u{1b}[31;1mmissing system features\u{1b}[0m", ProbeAgain),
            ("Cannot build '/d.drv'.\nReason: \u{1b}[31;1mplatform mismatch\u{1b}[0m", ProbeAgain),
            ("cannot add path '/p' because it lacks a signature by a trusted key", ProbeAgain),
            ("cannot add path '/p' because it lacks a valid signature", ProbeAgain),
            ("dependency '/p' of '/d.drv' does not exist, and substitution is disabled", UploadAgain),
            ("path '/p' is not valid", UploadAgain),
            ("2 dependencies of derivation '/d.drv' failed to build", UploadAgain),
            ("interrupted by the user", builder),
            ("Nix daemon disconnected unexpectedly (maybe it crashed?)", builder),
            ("the build users group 'nixbld' has no members", builder),
            ("unable to fork: Resource temporarily unavailable", builder),
            ("all build users are currently in use; consider creating additional users", Later),
        ] {
            check(&refused(text), FRESH, expected);
            check(&failed(MiscFailure, text), FRESH, expected);
            check(&failed(InputRejected, text), FRESH, expected);
        }
    }

    #[test]
    fn a_missing_signature_is_the_end_once_every_builder_has_missed_it() {
        let text = "cannot add path '/p' because it lacks a signature by a trusted key";
        check(&refused(text), Past { refusals: 1, ..FRESH }, ProbeAgain);
        check(&refused(text), Past { elsewhere: false, ..FRESH }, ProbeAgain);
        check(&refused(text), Past { refusals: 1, elsewhere: false, ..FRESH }, GiveUp);
    }

    #[test]
    fn what_the_builds_own_log_says_is_not_what_nix_says() {
        let text = "builder failed with exit code 1;\nlast 2 log lines:\n> error: path 'x' is not valid\n> Broken pipe";
        check(&failed(TransientFailure, text), Past { elsewhere: false, ..FRESH }, Final);
        check(&failed(PermanentFailure, text), FRESH, Final);
    }

    #[test]
    fn a_build_that_was_killed_or_met_a_full_disk_in_its_own_log_is_tried_once_more() {
        for text in [
            "builder for '/d.drv' failed due to signal 9 (Killed)",
            "Reason: builder failed due to signal 15 (Terminated).",
            "builder failed with exit code 1;\nlast log lines:\n> cc1: error writing to /build/x.s: No space left on device",
        ] {
            check(&failed(PermanentFailure, text), FRESH, Elsewhere(Against::Nobody));
            check(&failed(PermanentFailure, text), Past { unclear: 1, ..FRESH }, Final);
            check(&failed(PermanentFailure, text), Past { elsewhere: false, ..FRESH }, Final);
        }
        check(&failed(PermanentFailure, "failed due to signal 11 (Segmentation fault)"), FRESH, Final);
    }

    #[test]
    fn a_loss_counts_against_both_until_two_builders_are_lost() {
        check(&lost(), FRESH, Elsewhere(Against::Both));
        check(&lost(), Past { builders_lost: 1, losses: 1, ..FRESH }, Elsewhere(Against::Both));
        check(&lost(), Past { builders_lost: 2, losses: 2, ..FRESH }, GiveUp);
        check(&lost(), Past { builders_lost: 1, losses: 4, ..FRESH }, GiveUp);
    }

    #[test]
    fn a_loss_counts_against_nobody_while_our_own_link_is_the_suspect() {
        let past = Past { builders_lost: 2, losses: 4, link_suspect: true, ..FRESH };
        check(&lost(), past, Elsewhere(Against::Nobody));
    }

    #[test]
    fn a_bad_output_counts_against_the_builder() {
        let path = StorePath::from_base_name("00000000000000000000000000000000-x").expect("a path");
        check(
            &AttemptOutcome::BadOutput { path, reason: "hash".to_owned() },
            FRESH,
            Elsewhere(Against::Builder),
        );
    }

    #[test]
    fn an_output_above_our_own_limit_is_final_at_once() {
        check(&AttemptOutcome::TooLarge("limits.max_nar".to_owned()), FRESH, Final);
    }

    #[test]
    fn refusals_and_uploads_have_an_end() {
        let full = refused("No space left on device");
        check(&full, Past { refusals: 4, ..FRESH }, Elsewhere(Against::Builder));
        check(&full, Past { refusals: 5, ..FRESH }, GiveUp);
        check(&refused("path '/p' is not valid"), Past { uploads: 2, ..FRESH }, Elsewhere(Against::Builder));
        check(&refused("missing system features"), Past { refusals: 5, ..FRESH }, GiveUp);
    }

    #[test]
    fn our_own_store_gets_three_tries_unless_its_disk_is_full() {
        let local =
            |text: &str| AttemptOutcome::LocalError { stage: Stage::Fetching, message: text.to_owned() };
        check(&local("locked"), FRESH, Later);
        check(&local("locked"), Past { local_errors: 2, ..FRESH }, GiveUp);
        check(&local("No space left on device"), FRESH, GiveUp);
    }
}
