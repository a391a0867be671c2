//! Builds, their attempts, and how they end.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::StorePath;

/// One client's wish for one derivation. Several requests may share a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One derivation to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(pub u64);

/// One try of a build on one builder; numbers begin at 1 for each build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The build.
    pub build: BuildId,
    /// Which try this is.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.build.0, self.number)
    }
}

/// Who asks: all builds of one invocation of Nix have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Client {
    /// Whose it is, by user id.
    pub uid: u32,
    /// The process that stands for the invocation.
    pub pid: u32,
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A channel is opened, inputs are rooted, the builder is asked what is missing.
    Preparing,
    /// Inputs travel.
    Uploading,
    /// The builder builds.
    Building,
    /// Outputs travel; the slot is free again.
    Fetching,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Preparing => "preparing",
            Stage::Uploading => "uploading its inputs",
            Stage::Building => "building",
            Stage::Fetching => "fetching its outputs",
        })
    }
}

/// Nix's verdict on a build (`BuildResult::Status` of the worker protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Nix's own names")]
pub enum BuildStatus {
    Built,
    Substituted,
    AlreadyValid,
    PermanentFailure,
    InputRejected,
    OutputRejected,
    TransientFailure,
    CachedFailure,
    TimedOut,
    MiscFailure,
    DependencyFailed,
    LogLimitExceeded,
    NotDeterministic,
    ResolvesToAlreadyValid,
    NoSubstituters,
}

impl BuildStatus {
    const ALL: [BuildStatus; 15] = {
        use BuildStatus::*;
        [
            Built,
            Substituted,
            AlreadyValid,
            PermanentFailure,
            InputRejected,
            OutputRejected,
            TransientFailure,
            CachedFailure,
            TimedOut,
            MiscFailure,
            DependencyFailed,
            LogLimitExceeded,
            NotDeterministic,
            ResolvesToAlreadyValid,
            NoSubstituters,
        ]
    };

    /// The number on the wire.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The status with that number.
    pub fn from_code(code: u64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }

    /// Whether the outputs are valid on the builder.
    pub fn is_success(self) -> bool {
        use BuildStatus::*;
        matches!(self, Built | Substituted | AlreadyValid | ResolvesToAlreadyValid)
    }
}

/// A builder daemon's answer to a build (Nix's `BuildResult`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildResult {
    /// The verdict.
    pub status: BuildStatus,
    /// The daemon's own words; empty on success.
    pub error: String,
    /// How often it was built.
    pub times_built: u64,
    /// Whether a repeated build differed.
    pub non_deterministic: bool,
    /// Seconds since 1970 by the builder's clock; 0 where nothing was built.
    pub start_time: u64,
    /// Seconds since 1970 by the builder's clock; 0 where nothing was built.
    pub stop_time: u64,
    /// Realisations as they came (JSON text), by `<drv hash>!<output>`.
    pub built_outputs: BTreeMap<String, String>,
}

impl BuildResult {
    /// A verdict without a build behind it; `error` is empty on success.
    pub fn verdict(status: BuildStatus, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            times_built: 0,
            non_deterministic: false,
            start_time: 0,
            stop_time: 0,
            built_outputs: BTreeMap::new(),
        }
    }
}

/// How an attempt ended, as the task that ran it saw it. What follows from it is the policy's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It was built and its outputs are here, checked.
    Done(BuildResult),
    /// The builder's daemon answered with a failure.
    Failed(BuildResult),
    /// The builder's daemon refused an operation; the channel still works.
    Refused {
        /// What was under way.
        stage: Stage,
        /// The daemon's words.
        message: String,
    },
    /// The channel broke, or the builder fell silent, or spoke nonsense.
    Lost {
        /// What was under way.
        stage: Stage,
        /// What was seen.
        reason: String,
    },
    /// What the builder sent is not what it had promised.
    BadOutput {
        /// Which output.
        path: StorePath,
        /// What is wrong with it.
        reason: String,
    },
    /// An output is larger than the configuration allows; no other builder would make it smaller.
    TooLarge(String),
    /// The local store or disk failed; no builder is to blame.
    LocalError {
        /// What was under way.
        stage: Stage,
        /// What failed.
        message: String,
    },
    /// It was cancelled, as asked.
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_survives_its_number() {
        for code in 0..15 {
            assert_eq!(BuildStatus::from_code(code).map(BuildStatus::code), Some(code));
        }
        assert_eq!(BuildStatus::from_code(15), None);
        assert_eq!(BuildStatus::NoSubstituters.code(), 14);
    }
}
