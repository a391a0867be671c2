//! What is wrong between Nix and its builders, and the fix: facts in, checks out.
//!
//! | part | what |
//! |---|---|
//! | `check` | a check and what came of it |
//! | `fix` | what is to be done, and where it is typed |
//! | `ssh` | what `ssh` says, read |
//! | `host` | the checks of one builder |
//! | `advice` | what to type about ssh |
//! | `local` | the checks of this machine |
//! | `trial` | builds that prove a builder |
//!
//! Nothing here asks anything: `edge::doctor` gathers the facts. Every check that is ever shown stands in a list
//! ([`host::CHECKS`], [`local::CHECKS`]), and `docs/doctor.md` describes them.

mod advice;
pub mod check;
pub mod fix;
pub mod host;
pub mod local;
pub mod ssh;
pub mod trial;

pub use check::{Check, Diagnosis, Subject, Verdict};
