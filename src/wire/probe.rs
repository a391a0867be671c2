//! The probe: a script that says what a machine is, and what it said.
//!
//! The script travels on the standard input of `/bin/sh -s`, so that no login shell has to understand it. What it says
//! stands between two marks with a random number in them: whatever a login prints around them is told apart, and a
//! builder that wants to deceive us could lie anyway.

use std::collections::BTreeSet;

use crate::domain::{Feature, System};

/// More than this is no answer to the script.
pub const LONGEST: usize = 64 << 10;

/// What the script says of a machine. Everything may be missing: the machine is asked, not trusted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// By kernel and machine, or as Nix's own configuration says.
    pub system: Option<System>,
    /// The other systems that its Nix builds for.
    pub extra_platforms: BTreeSet<System>,
    /// The features that its Nix's configuration names.
    pub features: Option<BTreeSet<Feature>>,
    /// The login's user.
    pub user: Option<String>,
    /// Where the login's own PATH finds `nix-daemon`; absolute. Stock Nix looks nowhere else.
    pub on_path: Option<String>,
    /// Where `nix-daemon` is; absolute.
    pub nix_daemon: Option<String>,
    /// The daemon's socket, where it is there and may be opened; absolute.
    pub socket: Option<String>,
    /// Where the builder's agent listens; absolute.
    pub agent: Option<String>,
    /// Where muster is; absolute.
    pub muster: Option<String>,
    /// The same where the login's key is bound to `muster builder serve`.
    pub serve: Option<String>,
    /// As `nix --version` says it, without the program's name.
    pub nix_version: Option<String>,
    /// Processors.
    pub cores: Option<u32>,
    /// In bytes.
    pub memory: Option<u64>,
    /// Members of the group of build users.
    pub build_users: Option<u32>,
    /// Free bytes where the store is.
    pub store_free: Option<u64>,
    /// Whether `/dev/kvm` opens.
    pub kvm: Option<Kvm>,
    /// The kernel's formats that an emulator runs.
    pub binfmt: BTreeSet<String>,
    /// Whether builds are sandboxed, in the configuration's own word.
    pub sandbox: Option<String>,
    /// The installation's own id.
    pub machine_id: Option<String>,
    /// The id of this run of the kernel.
    pub boot_id: Option<String>,
    /// Seconds since 1970, by its own clock.
    pub clock: Option<i64>,
    /// What the login printed before the script ran; it would be in the way of the worker protocol.
    pub noise: String,
}

/// What became of opening `/dev/kvm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kvm {
    /// It opens.
    Yes,
    /// It is there, and does not open for this user.
    Denied,
    /// It is not there.
    None,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReport {
    /// The script did not run; and what came instead.
    #[error("the probe's script did not run there{}", instead(.0))]
    NotRun(String),
    /// It did not come to its end.
    #[error("the probe's script stopped half-way")]
    Cut,
}

fn instead(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; its login printed {said:?}") }
}

/// What goes into `/bin/sh -s`. `mark` is unguessable, and has letters and digits only.
pub fn script(mark: &str) -> String {
    format!("mark={mark}\n{}", include_str!("probe.sh"))
}

/// Reads what came out.
pub fn parse(mark: &str, stdout: &[u8]) -> Result<Report, NoReport> {
    let text = String::from_utf8_lossy(&stdout[..stdout.len().min(LONGEST)]);
    let (begin, end) = (format!("\n{mark} begin\n"), format!("{mark} end"));
    let Some((before, rest)) = text.split_once(&begin) else {
        return Err(NoReport::NotRun(clip(text.trim())));
    };
    let mut report = Report { noise: clip(before.trim()), ..Report::default() };
    let mut machine = Machine::default();
    for line in rest.lines() {
        if line == end {
            report.system = report.system.or_else(|| machine.system());
            return Ok(report);
        }
        if let Some((key, value)) = line.split_once(' ') {
            report.learn(&mut machine, key, value.trim());
        }
    }
    Err(NoReport::Cut)
}

/// What stands on the login's standard error before the script ran: its chatter, which is no error.
pub fn chatter<'a>(mark: &str, stderr: &'a str) -> (&'a str, &'a str) {
    match stderr.split_once(&format!("{mark} begin")) {
        Some((before, after)) => (before.trim(), after.trim()),
        None => ("", stderr.trim()),
    }
}

#[derive(Default)]
struct Machine {
    os: Option<String>,
    machine: Option<String>,
}

impl Machine {
    /// Kernel and machine in Nix's words.
    fn system(&self) -> Option<System> {
        let os = match self.os.as_deref()? {
            "Linux" => "linux",
            "Darwin" => "darwin",
            "FreeBSD" => "freebsd",
            _ => return None,
        };
        let machine = match self.machine.as_deref()? {
            "arm64" => "aarch64",
            "amd64" => "x86_64",
            "i386" | "i486" | "i586" => "i686",
            "ppc64le" => "powerpc64le",
            other => other,
        };
        System::parse(&format!("{machine}-{os}")).ok()
    }
}

impl Report {
    fn learn(&mut self, machine: &mut Machine, key: &str, value: &str) {
        let text = || Some(clip(value)).filter(|text| !text.is_empty());
        let path = || text().filter(|path| path.starts_with('/') && is_plain_path(path));
        match key {
            "os" => machine.os = text(),
            "machine" => machine.machine = text(),
            "user" => self.user = text(),
            "on-path" => self.on_path = path(),
            "nix-daemon" => self.nix_daemon = path(),
            "socket" => self.socket = path(),
            "agent" => self.agent = path(),
            "muster" => self.muster = path(),
            "serve" => self.serve = path(),
            "nix-version" => self.nix_version = value.rsplit(' ').next().map(clip),
            "cores" => self.cores = value.parse().ok(),
            "memory" => self.memory = value.parse().ok(),
            "memory-kib" => self.memory = kib(value),
            "build-users" => self.build_users = value.parse().ok(),
            "store-free-kib" => self.store_free = kib(value),
            "kvm" => self.kvm = kvm(value),
            "binfmt" if self.binfmt.len() < 100 => drop(self.binfmt.insert(clip(value))),
            "machine-id" => self.machine_id = text(),
            "boot-id" => self.boot_id = text(),
            "clock" => self.clock = value.parse().ok(),
            "setting" => self.learn_setting(value),
            _ => {}
        }
    }

    fn learn_setting(&mut self, line: &str) {
        let Some((name, value)) = line.split_once('=') else { return };
        let words = value.split_whitespace();
        match name.trim() {
            "system" => self.system = System::parse(value.trim()).ok(),
            "extra-platforms" => self.extra_platforms = words.filter_map(|w| System::parse(w).ok()).collect(),
            "system-features" => self.features = Some(words.filter_map(|w| Feature::parse(w).ok()).collect()),
            "sandbox" => self.sandbox = Some(clip(value.trim())),
            _ => {}
        }
    }

    /// The command that joins the builder's agent, where it has one.
    pub fn agent_command(&self) -> Option<String> {
        let agent = self.agent.as_ref()?;
        match &self.serve {
            // The key knows where the agent is, and takes no word more.
            Some(muster) => Some(format!("'{muster}' builder session")),
            None => Some(format!("'{}' builder session --socket '{agent}'", self.muster.as_ref()?)),
        }
    }

    /// Those of its systems that need an emulator there: another processor's, and no mere 32-bit sibling.
    pub fn emulated(&self) -> BTreeSet<System> {
        let Some(own) = &self.system else { return BTreeSet::new() };
        let native = natively(own.as_str().split('-').next().unwrap_or_default());
        let needs_one = |system: &&System| {
            let machine = system.as_str().split('-').next().unwrap_or_default();
            !native.iter().any(|own| machine == *own || machine.starts_with(&format!("{own}_v")))
        };
        self.extra_platforms.iter().filter(needs_one).cloned().collect()
    }
}

/// The machines whose programs this one runs by itself.
fn natively(machine: &str) -> &[&str] {
    match machine {
        "x86_64" => &["x86_64", "i686"],
        "aarch64" => &["aarch64"],
        "armv7l" => &["armv7l", "armv6l", "armv5tel"],
        "armv6l" => &["armv6l", "armv5tel"],
        "i686" => &["i686"],
        _ => &[],
    }
}

fn kib(value: &str) -> Option<u64> {
    value.parse::<u64>().ok()?.checked_mul(1024)
}

fn kvm(value: &str) -> Option<Kvm> {
    match value {
        "yes" => Some(Kvm::Yes),
        "denied" => Some(Kvm::Denied),
        "none" => Some(Kvm::None),
        _ => None,
    }
}

/// Such a path goes through a login shell within single quotes.
fn is_plain_path(path: &str) -> bool {
    !path.contains(|c: char| c.is_control() || matches!(c, '\'' | '\\' | '!'))
}

fn clip(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests;
