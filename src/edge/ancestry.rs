//! Who started this process: needed to tell invocations of Nix, and their users, from each other.

use std::fs;
use std::os::unix::process::parent_id;

use crate::wire::link::Processes;

/// What was found out about whoever started `connect`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// By id.
    pub processes: Processes,
    /// Whose the client is.
    pub user: Option<u32>,
    /// Whether our parent is stock Nix's build hook.
    pub build_hook: bool,
}

/// Looks at our ancestors. What cannot be seen (another user's processes, no `/proc`) stays 0.
pub fn ancestry() -> Ancestry {
    let (connect, hook) = (std::process::id(), parent_id());
    let parent = parent_of(hook).unwrap_or_default();
    // A daemon names its client's process in its worker's arguments: `nix-daemon 1234`.
    let words = command_line(parent);
    let served = match words.as_slice() {
        [program, client] if program.ends_with("nix-daemon") => client.parse().ok(),
        _ => None,
    };
    let processes = Processes { connect, hook, parent, client: served.unwrap_or(parent) };
    let build_hook = command_line(hook).iter().any(|word| word.ends_with("build-remote"));
    Ancestry { processes, user: user_of(processes.client), build_hook }
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the parent is the second word after it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().next()?.parse().ok()
}

fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn our_parents_are_seen() {
        let seen = ancestry();
        assert_eq!(seen.processes.connect, std::process::id());
        assert!(seen.processes.hook > 0 && seen.processes.parent > 0);
        assert!(!seen.build_hook);
        assert_eq!(seen.user, Some(rustix::process::getuid().as_raw()));
    }
}
