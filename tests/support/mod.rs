//! A stage for end-to-end tests: real Nix, a real coordinator, embedded builders that fail when they are told to.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

pub mod client;
pub mod expr;
pub mod faults;
pub mod proc;
pub mod sshd;
pub mod stage;
pub mod talk;

pub use client::{Client, Outcome};
pub use expr::Drv;
pub use faults::{After, Faults, What, When};
pub use sshd::Sshd;
pub use stage::{Builder, Stage};

use std::time::{Duration, Instant};

/// Waits for anything of which no time is asked. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until there is something, or panics.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = began.elapsed();
        assert!(waited < limit, "waited {limit:?} in vain: {what}");
        // To look may take a process, which others on the machine have to wait for.
        std::thread::sleep((waited / 10).clamp(Duration::from_millis(5), Duration::from_millis(50)));
    }
}

/// Waits until something is so, or panics.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, limit, || holds().then_some(()));
}
