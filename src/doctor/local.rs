//! The checks of this machine.

use super::check::Check;
use super::fix::{Fix, here, say};
use super::host::{Daemon, numbers, version_of};

/// Every check of this machine, in order.
pub const CHECKS: [&str; 9] = [
    "nix-daemon",
    "local-daemon",
    "local-version",
    "bash",
    "machines-file",
    "nix-conf",
    "other-lines",
    "endpoint",
    "coordinator",
];

/// Since this version Nix starts a line's program without a shell.
const WITHOUT_BASH: (u32, u32) = (2, 20);

/// What was found out about this machine.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Root can do what others must ask for.
    pub is_root: bool,
    /// Where the program `nix-daemon` is.
    pub program: Option<String>,
    /// What the local store's daemon said.
    pub daemon: Result<Daemon, String>,
    /// The PATH that the daemon runs programs with, and whether it holds bash.
    pub bash: Bash,
    /// Our machines file.
    pub machines_file: String,
    /// The lines that it holds; none where it is not there.
    pub machines: Option<usize>,
    /// How Nix is told of it.
    pub builders: Builders,
    /// Our endpoint, and why it does not answer.
    pub endpoint: (String, Result<(), String>),
    /// The coordinator's control socket, and what it said.
    pub coordinator: (String, Result<String, String>),
}

/// What the local daemon finds by its PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bash {
    /// This one.
    Found(String),
    /// None in this PATH.
    Missing(String),
    /// Its PATH cannot be seen.
    Unseen,
}

/// How Nix is told of builders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builders {
    /// The file that is Nix's configuration.
    pub conf: String,
    /// Whether it names our machines file.
    pub reads_ours: bool,
    /// Whether it reads Nix's own machines file.
    pub reads_usual: bool,
    /// Nix's own machines file.
    pub usual: String,
    /// Whether that file holds lines of ours.
    pub usual_has_ours: bool,
    /// What is wrong with all that, each with its place.
    pub problems: Vec<String>,
}

/// All checks, in order.
pub fn checks(facts: &Facts) -> Vec<Check> {
    vec![
        program(facts),
        daemon(facts),
        version(facts),
        bash(facts),
        machines(facts),
        nix_conf(facts),
        other_lines(facts),
        endpoint(facts),
        coordinator(facts),
    ]
}

fn program(facts: &Facts) -> Check {
    match &facts.program {
        Some(path) => Check::ok("nix-daemon", path),
        None => Check::fail(
            "nix-daemon",
            "there is no nix-daemon on PATH or in the usual places",
            say("install Nix (https://nixos.org/download), or name it in the configuration: ")
                .configuration("nix_daemon = \"/path/of/nix-daemon\""),
        ),
    }
}

fn daemon(facts: &Facts) -> Check {
    match &facts.daemon {
        Ok(_) => Check::ok("local-daemon", "answers"),
        Err(why) => Check::fail("local-daemon", why, restart_daemon()),
    }
}

fn version(facts: &Facts) -> Check {
    const NAME: &str = "local-version";
    match &facts.daemon {
        Err(_) => Check::after(NAME, "local-daemon"),
        Ok(daemon) => Check { name: NAME, ..version_of(daemon) },
    }
}

fn bash(facts: &Facts) -> Check {
    const NAME: &str = "bash";
    let version = facts.daemon.as_ref().ok().and_then(|daemon| daemon.version.as_deref());
    let Some(version) = version else {
        return Check::after(NAME, "local-daemon");
    };
    if !needs_bash(version) {
        return Check::ok(NAME, format!("Nix {version} does not need it"));
    }
    match &facts.bash {
        Bash::Found(path) => Check::ok(NAME, path),
        Bash::Missing(path) => Check::fail(
            NAME,
            format!("Nix {version} starts muster by bash, and the daemon's PATH has none: {path}"),
            here(format!(
                "mkdir -p /etc/systemd/system/nix-daemon.service.d && printf '[Service]\\nEnvironment=PATH={path}:/usr/bin:/bin\\n' \
                 > /etc/systemd/system/nix-daemon.service.d/bash.conf && systemctl daemon-reload && systemctl restart \
                 nix-daemon"
            ))
            .say(" (on NixOS `systemd.services.nix-daemon.path = [ pkgs.bash ];`)"),
        ),
        Bash::Unseen => Check::warn(
            NAME,
            format!("Nix {version} starts muster by bash, and the daemon's PATH cannot be seen"),
            say("run this as root while nix-daemon runs: ").here("sudo muster doctor"),
        ),
    }
}

/// As this kind of machine does it.
fn restart_daemon() -> Fix {
    const LINUX: &str = "systemctl restart nix-daemon";
    const MACOS: &str = "sudo launchctl kickstart -k system/org.nixos.nix-daemon";
    match cfg!(target_os = "macos") {
        true => here(MACOS).say(format!(" (Linux: {LINUX})")),
        false => here(LINUX).say(format!(" (macOS: {MACOS})")),
    }
}

/// Nix before 2.20 and every Lix.
fn needs_bash(version: &str) -> bool {
    let lix = version.to_ascii_lowercase().contains("lix")
        || numbers(version).is_some_and(|numbers| numbers >= (2, 90));
    lix || numbers(version).is_none_or(|numbers| numbers < WITHOUT_BASH)
}

fn machines(facts: &Facts) -> Check {
    const NAME: &str = "machines-file";
    let file = &facts.machines_file;
    match facts.machines {
        Some(1..) => Check::ok(NAME, format!("{file} has {}", lines(facts.machines))),
        Some(0) => Check::fail(
            NAME,
            format!("{file} is empty, so Nix builds here alone"),
            here("muster coordinator"),
        ),
        None => Check::fail(NAME, format!("{file} is not there"), here("muster coordinator")),
    }
}

fn lines(count: Option<usize>) -> String {
    match count {
        Some(1) => "1 line".to_owned(),
        count => format!("{} lines", count.unwrap_or(0)),
    }
}

fn nix_conf(facts: &Facts) -> Check {
    const NAME: &str = "nix-conf";
    let Builders { conf, reads_ours, reads_usual, usual, usual_has_ours, .. } = &facts.builders;
    let ours = &facts.machines_file;
    if *reads_ours {
        return Check::ok(NAME, format!("Nix reads {ours}"));
    }
    if *reads_usual && *usual_has_ours {
        return Check::ok(NAME, format!("Nix reads {usual}, which holds our lines"));
    }
    let found = format!("{conf} does not name {ours}, so Nix never reads our lines");
    match facts.is_root {
        true => Check::fail(
            NAME,
            found,
            here("muster setup").say(format!(" (or, in {conf}: builders = @{ours})")),
        ),
        false => {
            let each = say("say it with each build: ").here(format!("nix build --builders @{ours} ..."));
            Check::warn(NAME, found, each)
        }
    }
}

fn other_lines(facts: &Facts) -> Check {
    const NAME: &str = "other-lines";
    match &*facts.builders.problems {
        [] => Check::ok(NAME, "nothing is wrong with the machines lines of others"),
        problems => Check::warn(NAME, problems.join("; "), "correct the line, or take it out"),
    }
}

fn endpoint(facts: &Facts) -> Check {
    match &facts.endpoint {
        (socket, Ok(())) => Check::ok("endpoint", socket),
        (socket, Err(why)) => Check::fail("endpoint", format!("{socket}: {why}"), here("muster coordinator")),
    }
}

fn coordinator(facts: &Facts) -> Check {
    match &facts.coordinator {
        (_, Ok(said)) => Check::ok("coordinator", said),
        (socket, Err(why)) => {
            Check::fail("coordinator", format!("{socket}: {why}"), here("muster coordinator"))
        }
    }
}

#[cfg(test)]
mod tests;
