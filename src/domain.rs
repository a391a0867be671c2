//! Nouns, and no decisions: the words of the project as types that are parsed once and then trusted.
//!
//! Nothing here reads a clock, a file or the environment, and nothing here knows another layer.

pub mod build;
pub mod builder;
pub mod claim;
pub mod derivation;
pub mod estimate;
pub mod hash;
pub mod host_key;
pub mod join;
pub mod measured;
pub mod offer;
pub mod path_info;
pub mod route;
pub mod store_path;
pub mod system;
pub mod tailnet;
pub mod time;

pub use build::{AttemptId, AttemptOutcome, BuildId, BuildResult, BuildStatus, Client, RequestId, Stage};
pub use builder::{BuilderName, BuilderSpec, Capabilities, Slots, Trust};
pub use claim::{BadCoordinatorId, CoordinatorId, Demand, Grant, REFUSES};
pub use derivation::{BasicDerivation, DerivationOutput};
pub use estimate::{GraphNode, Load, Measurement, Observation, Size};
pub use hash::Sha256;
pub use host_key::{BadHostKey, HostKey};
pub use measured::Measured;
pub use offer::{Expect, WhenEmpty};
pub use path_info::PathInfo;
pub use route::{Glob, Label, Route};
pub use store_path::{StoreDir, StoreHash, StorePath};
pub use system::{Feature, System};
pub use tailnet::{Absentee, Admission, NodeFilter, Sight, SshServer, TailnetPath};
pub use time::Time;
