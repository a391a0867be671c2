//! What lines offer, and what becomes of them without builders.

use std::collections::BTreeSet;

use super::{Feature, System};

/// Systems and features that a line keeps offering before any builder has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// At least one.
    pub systems: BTreeSet<System>,
    /// Perhaps none.
    pub features: BTreeSet<Feature>,
}

/// What happens while no builder is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Builds wait.
    Wait,
    /// They are answered with an error.
    Fail,
    /// Nix is offered nothing, and builds by itself.
    Local,
}
