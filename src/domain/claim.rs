//! What a coordinator may use of a builder, and who says so.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Which coordinator: the same after it was restarted, another one on every other machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CoordinatorId(Arc<str>);

/// A text that cannot stand for a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no coordinator's id: 8 to 64 letters and digits are")]
pub struct BadCoordinatorId(String);

impl CoordinatorId {
    /// Checks it.
    pub fn parse(text: &str) -> Result<Self, BadCoordinatorId> {
        let good = (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if good { Ok(Self(text.into())) } else { Err(BadCoordinatorId(text.chars().take(100).collect())) }
    }
}

/// What [`Grant::closed`] begins with where the agent refuses us; then comes why.
pub const REFUSES: &str = "its agent, which refuses us: ";

impl TryFrom<String> for CoordinatorId {
    type Error = BadCoordinatorId;
    fn try_from(text: String) -> Result<Self, BadCoordinatorId> {
        Self::parse(&text)
    }
}

impl From<CoordinatorId> for String {
    fn from(id: CoordinatorId) -> String {
        id.0.to_string()
    }
}

impl fmt::Display for CoordinatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a coordinator does with a builder, and would like to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Slots in use.
    pub running: u32,
    /// Slots that it could use: what runs, and what waits and could run there.
    pub wanted: u32,
    /// Slots that it takes the builder to have.
    pub capacity: u32,
}

/// What the agent of a builder lets one coordinator do there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Builds at once; none where there is no agent that would say so.
    pub slots: Option<u32>,
    /// Builds at once, of all coordinators together, as the agent was told or has learned; none where the coordinators know.
    pub bears: Option<u32>,
    /// Why nothing new shall start there, where that is so.
    pub closed: Option<String>,
}
