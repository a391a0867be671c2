//! This machine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{files, users};
use crate::domain::CoordinatorId;

/// The installation's id and the id of this run of its kernel, where they can be read.
pub fn ids() -> (Option<String>, Option<String>) {
    let read = |path: &str| files::read_bounded(Path::new(path)).map(|text| text.trim().to_owned());
    let id = |path: &str| read(path).filter(|id| !id.is_empty());
    (id("/etc/machine-id").or_else(|| id("/var/lib/dbus/machine-id")), id("/proc/sys/kernel/random/boot_id"))
}

/// Which coordinator this is to builders' agents: the one of this machine, this user and this directory. Where the machine
/// has no id it is another one after each start.
pub fn coordinator_id(runtime_dir: &Path) -> CoordinatorId {
    let machine = ids().0.unwrap_or_else(unguessable);
    let text = format!("{machine} {} {}", users::own(), runtime_dir.display());
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let id = data_encoding::HEXLOWER.encode(&digest[..16]);
    CoordinatorId::parse(&id).expect("32 letters and digits")
}

/// This machine's name, as far as it may stand in a line.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(64).collect()
}

/// A word that nobody can guess, of letters and digits.
pub fn unguessable() -> String {
    // The standard library seeds each of them from the system's random numbers.
    let number = || RandomState::new().build_hasher().finish();
    format!("muster{:016x}{:016x}", number(), number())
}
