//! Who started a process: needed to tell invocations of Nix, and their users, from each other, and to see where an ssh
//! login comes from.

use std::fs;
use std::iter::successors;
use std::net::IpAddr;
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

/// How far up an ssh server is looked for.
const GENERATIONS: usize = 32;

/// Where the Tailscale SSH login that `pid` belongs to comes from, as far as we may look: tailscaled tells it to `su`, which
/// drops it before the login's shell begins.
///
/// Of processes that are not root's nothing is believed: a login can start one with any environment.
pub fn login_address(pid: u32) -> Option<IpAddr> {
    let line = successors(Some(pid), |pid| parent_of(*pid)).take(GENERATIONS).take_while(|pid| *pid > 1);
    line.filter(|pid| user_of(*pid) == Some(0) && begins_a_login(&command_line(*pid)))
        .find_map(|pid| address_in(&fs::read(format!("/proc/{pid}/environ")).ok()?))
}

fn begins_a_login(words: &[String]) -> bool {
    let program = words.first().and_then(|word| word.rsplit('/').next());
    program == Some("su") || words.get(1).is_some_and(|word| word == "be-child")
}

fn address_in(environ: &[u8]) -> Option<IpAddr> {
    let connection = environ.split(|&byte| byte == 0).find_map(|one| one.strip_prefix(b"SSH_CONNECTION="))?;
    connecting(std::str::from_utf8(connection).ok()?)
}

/// The client's address of an `SSH_CONNECTION`, its first word.
pub fn connecting(connection: &str) -> Option<IpAddr> {
    connection.split(' ').next()?.parse().ok()
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

    #[test]
    fn a_login_comes_from_where_its_server_says() {
        let check = |environ: &[u8], expected: Option<&str>| {
            assert_eq!(address_in(environ), expected.map(|text| text.parse().expect("an address")));
        };
        check(b"HOME=/root\0SSH_CONNECTION=100.64.0.2 4000 100.64.0.3 22\0", Some("100.64.0.2"));
        check(b"SSH_CONNECTION=fd7a:115c:a1e0::2 4000 fd7a:115c:a1e0::3 22\0", Some("fd7a:115c:a1e0::2"));
        check(b"XSSH_CONNECTION=100.64.0.2 1 2 3\0", None);
        check(b"SSH_CONNECTION=elsewhere\0", None);
        check(b"", None);
    }
}
