//! This machine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use super::files;

/// The installation's id and the id of this run of its kernel, where they can be read.
pub fn ids() -> (Option<String>, Option<String>) {
    let read = |path: &str| files::read_bounded(Path::new(path)).map(|text| text.trim().to_owned());
    let id = |path: &str| read(path).filter(|id| !id.is_empty());
    (id("/etc/machine-id").or_else(|| id("/var/lib/dbus/machine-id")), id("/proc/sys/kernel/random/boot_id"))
}

/// The name that it has on the network, as far as it is text.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A word that nobody can guess, of letters and digits.
pub fn unguessable() -> String {
    // The standard library seeds each of them from the system's random numbers.
    let number = || RandomState::new().build_hasher().finish();
    format!("muster{:016x}{:016x}", number(), number())
}
