//! What a plan needs to know of this machine.

use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::action::inputs::Job;
use crate::action::steps::{Facts, LINK, tailscaled_socket};
use crate::edge::users;

/// Looks at all of it.
pub fn facts(job: &Job) -> Facts {
    let macos = job.get("RUNNER_OS").map_or(cfg!(target_os = "macos"), |os| os == "macOS");
    let temporary = job.get("RUNNER_TEMP").map_or("/tmp", String::as_str);
    let dir = format!("{temporary}/muster-action");
    Facts {
        linked: std::fs::read_link(LINK).is_ok_and(|program| program == Path::new(&dir).join("bin/muster")),
        dir,
        macos,
        user: users::name_of(users::own()),
        group: group(),
        free: free(),
        nix_conf: std::fs::read_to_string("/etc/nix/nix.conf").unwrap_or_default(),
        muster_on_path: [LINK, "/usr/bin/muster"].iter().any(|path| Path::new(path).exists()),
        nix_daemon: macos
            || Path::new("/run/systemd/system").exists()
            || Path::new("/nix/var/nix/daemon-socket/socket").exists(),
        tailscaled: UnixStream::connect(tailscaled_socket(macos)).is_ok(),
    }
}

/// By its number: that needs no list of names.
fn group() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Free bytes where the store is, or will be.
pub fn free() -> u64 {
    let of = |path: &str| rustix::fs::statvfs(Path::new(path)).ok();
    of("/nix").or_else(|| of("/")).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}
