//! Asking what `crate::doctor` judges.
//!
//! | part | what |
//! |---|---|
//! | `host` | one builder, step by step |
//! | `login` | one attempt of `ssh`, listened to closely |
//! | `local` | this machine |
//! | `pin` | accepting a host key by its fingerprint |
//! | `progress` | who is asked what |
//! | `trial` | builds by stock Nix |

pub mod host;
pub mod local;
mod login;
pub mod pin;
pub mod progress;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::ssh::{SocketDir, Terms};
use crate::domain::StoreDir;

/// What every question needs.
#[derive(Clone)]
pub struct Around {
    /// Where ssh's masters listen.
    pub sockets: Arc<SocketDir>,
    /// How machines are reached.
    pub terms: Terms,
    /// How long its answers may take.
    pub probe: Duration,
    /// The directory of store paths.
    pub store_dir: StoreDir,
    /// Takes over what must be waited for.
    pub tracker: TaskTracker,
}
