//! The checks of this machine.

use super::check::Check;
use super::host::{Daemon, numbers, version_of};

/// Every check of this machine, in order.
pub const CHECKS: [&str; 8] = [
    "nix-daemon",
    "local-daemon",
    "local-version",
    "bash",
    "machines-file",
    "nix-conf",
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
    /// The value of `builders` and where it is said.
    pub setting: Option<(String, String)>,
    /// Nix's own machines file, which it reads unless it is told otherwise.
    pub usual: String,
    /// Whether that file holds lines of ours.
    pub usual_has_ours: bool,
}

impl Builders {
    /// The words of the setting that name a file.
    fn files(&self) -> Vec<&str> {
        let value = self.setting.as_ref().map(|(value, _)| value.as_str());
        let words = value.unwrap_or_default().split([' ', ';']);
        let mut files: Vec<&str> = words.filter_map(|word| word.strip_prefix('@')).collect();
        if self.setting.is_none() {
            files.push(&self.usual);
        }
        files
    }
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
            "install Nix (https://nixos.org/download), or name it in the configuration: nix_daemon = \"/path/of/nix-daemon\"",
        ),
    }
}

fn daemon(facts: &Facts) -> Check {
    match &facts.daemon {
        Ok(_) => Check::ok("local-daemon", "answers"),
        Err(why) => Check::fail(
            "local-daemon",
            why,
            "systemctl restart nix-daemon (macOS: sudo launchctl kickstart -k system/org.nixos.nix-daemon)",
        ),
    }
}

fn version(facts: &Facts) -> Check {
    const NAME: &str = "local-version";
    match &facts.daemon {
        Err(_) => Check::skipped(NAME, "not asked: `local-daemon` comes first"),
        Ok(daemon) => Check { name: NAME, ..version_of(daemon) },
    }
}

fn bash(facts: &Facts) -> Check {
    const NAME: &str = "bash";
    let version = facts.daemon.as_ref().ok().and_then(|daemon| daemon.version.as_deref());
    let Some(version) = version else {
        return Check::skipped(NAME, "not asked: `local-daemon` comes first");
    };
    if !needs_bash(version) {
        return Check::ok(NAME, format!("Nix {version} does not need it"));
    }
    match &facts.bash {
        Bash::Found(path) => Check::ok(NAME, path),
        Bash::Missing(path) => Check::fail(
            NAME,
            format!("Nix {version} starts muster by bash, and the daemon's PATH has none: {path}"),
            format!(
                "mkdir -p /etc/systemd/system/nix-daemon.service.d && printf '[Service]\\nEnvironment=PATH={path}:/usr/bin:/bin\\n' \
                 > /etc/systemd/system/nix-daemon.service.d/bash.conf && systemctl daemon-reload && systemctl restart \
                 nix-daemon (on NixOS `systemd.services.nix-daemon.path = [ pkgs.bash ];`)"
            ),
        ),
        Bash::Unseen => Check::warn(
            NAME,
            format!("Nix {version} starts muster by bash, and the daemon's PATH cannot be seen"),
            "run this as root while nix-daemon runs: sudo muster doctor",
        ),
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
        Some(0) => {
            Check::fail(NAME, format!("{file} is empty, so Nix builds here alone"), "muster coordinator")
        }
        None => Check::fail(NAME, format!("{file} is not there"), "muster coordinator"),
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
    let Builders { conf, setting, usual, usual_has_ours } = &facts.builders;
    let (ours, files) = (&facts.machines_file, facts.builders.files());
    let place = setting.as_ref().map_or(conf, |(_, place)| place);
    if files.contains(&ours.as_str()) {
        return Check::ok(NAME, format!("{place}: builders = @{ours}"));
    }
    if *usual_has_ours && files.contains(&usual.as_str()) {
        return Check::ok(NAME, format!("Nix reads {usual}, which holds our lines"));
    }
    let found = match setting {
        Some((value, place)) => format!("{place} says `builders = {value}`, so Nix never reads {ours}"),
        None => format!("{conf} does not name {ours}, so Nix never reads it"),
    };
    match facts.is_root {
        true => Check::fail(NAME, found, format!("muster setup (or, in {conf}: builders = @{ours})")),
        false => {
            Check::warn(NAME, found, format!("say it with each build: nix build --builders @{ours} ..."))
        }
    }
}

fn endpoint(facts: &Facts) -> Check {
    match &facts.endpoint {
        (socket, Ok(())) => Check::ok("endpoint", socket),
        (socket, Err(why)) => Check::fail("endpoint", format!("{socket}: {why}"), "muster coordinator"),
    }
}

fn coordinator(facts: &Facts) -> Check {
    match &facts.coordinator {
        (_, Ok(said)) => Check::ok("coordinator", said),
        (socket, Err(why)) => Check::fail("coordinator", format!("{socket}: {why}"), "muster coordinator"),
    }
}

#[cfg(test)]
mod tests;
