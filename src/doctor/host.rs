//! The checks of one builder.
//!
//! The facts are gathered in the order of [`CHECKS`], and gathering ends with the first failure that what follows
//! depends on; a check without facts is skipped.

use std::collections::BTreeSet;

use super::advice;
use super::check::Check;
use super::fix::say;
use super::ssh::{Attempt, Outcome, Settings};
use crate::config::SshUri;
use crate::domain::{Feature, Trust};
use crate::wire::probe::{Kvm, Report};

/// Every check of a builder that ssh reaches, in order.
pub const CHECKS: [&str; 16] = [
    "ssh-config",
    "name",
    "port",
    "host-key",
    "key",
    "login",
    "shell",
    "itself",
    "nix",
    "daemon",
    "trust",
    "version",
    "features",
    "store-space",
    "clock",
    "build",
];

/// Free space in the store below which it warns, and below which builds cannot be expected to work.
const LITTLE_SPACE: u64 = 10 << 30;
const NO_SPACE: u64 = 1 << 30;
/// Seconds that clocks may differ.
const CLOCKS_DIFFER: i64 = 60;
/// The oldest Nix that is tested.
const OLDEST_NIX: (u32, u32) = (2, 8);

/// What was found out about a builder. None: not asked.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `ssh -G`, or why it failed.
    pub settings: Option<Result<Settings, String>>,
    /// The addresses of its name.
    pub addresses: Option<Result<Vec<String>, String>>,
    /// The greeting of whoever listens at its port.
    pub port: Option<Result<String, Attempt>>,
    /// The key file that the user named.
    pub key: Option<Result<(), BadKey>>,
    /// How logging in went.
    pub attempt: Option<Attempt>,
    /// The fingerprint of the key that a changed one should be.
    pub known: Option<String>,
    /// What the probe's script said.
    pub report: Option<Result<Report, String>>,
    /// Where its PATH finds `nix-daemon`.
    pub on_path: Option<String>,
    /// Whether it is this very machine.
    pub is_ourselves: bool,
    /// The features that its daemon says it has, or else its configuration.
    pub features: Option<BTreeSet<Feature>>,
    /// What its daemon said.
    pub daemon: Option<Result<Daemon, String>>,
    /// Whether only the older protocol answers there.
    pub serve_only: bool,
    /// Seconds by which its clock is ahead of ours.
    pub clock_ahead: Option<i64>,
}

/// What a daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its Nix version; none before protocol 1.33.
    pub version: Option<String>,
    /// Whether it trusts us.
    pub trust: Trust,
}

/// What is wrong with the key file that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadKey {
    /// It is not there; these lie beside it, the likeliest first.
    Missing {
        /// Private keys in the same directory.
        beside: Vec<String>,
    },
    /// It cannot be read, and why.
    Unreadable(String),
    /// Its mode lets others read it.
    TooOpen(u32),
    /// It is the public half.
    Public,
}

/// A builder and what the user asked of it.
#[derive(Debug, Clone, Copy)]
pub struct Patient<'a> {
    /// As the user names it.
    pub name: &'a str,
    /// How it is reached.
    pub uri: &'a SshUri,
    /// The features that it shall offer.
    pub wanted: Option<&'a BTreeSet<Feature>>,
    /// Whether a machines line of Nix's names it.
    pub has_line: bool,
    /// Whether builders that do not trust us are used, for what they may build then.
    pub use_untrusted: bool,
}

/// All checks but `build`, in order.
pub fn checks(patient: Patient<'_>, facts: &Facts) -> Vec<Check> {
    vec![
        settings(facts),
        name(patient, facts),
        port(patient, facts),
        host_key(patient, facts),
        key(patient, facts),
        login(patient, facts),
        shell(patient, facts),
        itself(facts),
        nix(patient, facts),
        daemon(patient, facts),
        trust(patient, facts),
        version(facts),
        features(patient, facts),
        space(facts),
        clock(facts),
    ]
}

/// The checks of a builder that is a process of this machine.
pub fn embedded(answer: &Result<Daemon, String>) -> Vec<Check> {
    let fix = "see that the directory can be written, and that `nix_daemon` in the configuration names Nix's daemon";
    match answer {
        Err(why) => vec![Check::fail("daemon", why, fix), Check::after("version", "daemon")],
        Ok(daemon) => vec![Check::ok("daemon", "answers"), version_of(daemon)],
    }
}

fn settings(facts: &Facts) -> Check {
    match &facts.settings {
        Some(Ok(settings)) => {
            let by = settings.proxy.as_ref().map(|proxy| format!(" through {proxy}")).unwrap_or_default();
            Check::ok(
                "ssh-config",
                format!("ssh goes to {}@{} port {}{by}", settings.user, settings.hostname, settings.port),
            )
        }
        Some(Err(why)) => Check::fail("ssh-config", why, advice::configuration(why)),
        None => Check::after("ssh-config", "name"),
    }
}

fn proxy(facts: &Facts) -> Option<&str> {
    facts.settings.as_ref()?.as_ref().ok()?.proxy.as_deref()
}

fn name(patient: Patient<'_>, facts: &Facts) -> Check {
    match (&facts.addresses, proxy(facts)) {
        (Some(Ok(addresses)), _) => Check::ok("name", addresses.join(" ")),
        (Some(Err(why)), _) => Check::fail("name", why, advice::address(patient)),
        (None, Some(proxy)) => Check::skipped("name", format!("{proxy} looks it up")),
        (None, None) => Check::after("name", "ssh-config"),
    }
}

fn port(patient: Patient<'_>, facts: &Facts) -> Check {
    match (&facts.port, proxy(facts)) {
        (Some(Ok(greeting)), _) => Check::ok("port", format!("answers: {greeting}")),
        (Some(Err(attempt)), _) => {
            Check::fail("port", &attempt.last, advice::reaching(patient, facts, attempt))
        }
        (None, Some(proxy)) => Check::skipped("port", format!("{proxy} connects to it")),
        (None, None) => Check::after("port", "name"),
    }
}

fn host_key(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "host-key";
    let Some(attempt) = &facts.attempt else { return Check::after(NAME, "port") };
    let now = attempt.host_key.as_deref().unwrap_or("of unknown fingerprint");
    let unknown = attempt.outcome == Outcome::UnknownHostKey;
    if let Some(pinned) = patient.uri.host_key.as_ref().filter(|_| unknown) {
        let found = format!("it is {now}, and `host_key` in the configuration says {}", pinned.fingerprint());
        return Check::fail(NAME, found, advice::pinned(patient, facts));
    }
    match &attempt.outcome {
        Outcome::UnknownHostKey => {
            Check::fail(NAME, format!("nobody vouches for {now}"), advice::unknown(patient, attempt))
        }
        Outcome::ChangedHostKey { known } => {
            let old = facts.known.as_deref().unwrap_or("another one");
            let place =
                known.as_ref().map(|(file, line)| format!(" ({file}, line {line})")).unwrap_or_default();
            let found = format!(
                "it has changed: now {now}, known is {old}{place}. Either the machine was installed anew, or somebody \
                 stands between"
            );
            Check::fail(NAME, found, advice::changed(patient, facts, attempt))
        }
        Outcome::RevokedHostKey => Check::fail(
            NAME,
            format!("{now} is marked as revoked here"),
            say("make a new host key on the builder: ")
                .builder("rm /etc/ssh/ssh_host_*_key* && ssh-keygen -A && systemctl restart ssh")
                .say(" (or sshd)"),
        ),
        _ if attempt.host_key.is_none() => {
            Check::skipped(NAME, "the connection ended before the server showed it")
        }
        _ => Check::ok(NAME, format!("known: {now}")),
    }
}

fn key(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "key";
    let path = patient.uri.key.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    if let Some(Err(bad)) = &facts.key {
        return Check::fail(NAME, advice::key_found(&path, bad), advice::key_fix(&path, bad));
    }
    let attempt = facts.attempt.as_ref();
    let denied = attempt.filter(|attempt| matches!(attempt.outcome, Outcome::Denied | Outcome::TooManyKeys));
    if let Some((path, trouble)) = denied.and_then(|attempt| attempt.keys.first()) {
        let (found, fix) = advice::key_trouble(path, *trouble);
        return Check::fail(NAME, found, fix);
    }
    match (attempt, path.as_str()) {
        (_, path) if !path.is_empty() => Check::ok(NAME, format!("{path} can be read")),
        (Some(Attempt { accepted: Some(key), .. }), _) => Check::ok(NAME, format!("{key} is welcome there")),
        (Some(_), _) => Check::skipped(NAME, "the configuration names none; ssh takes its usual ones"),
        (None, _) => Check::after(NAME, "port"),
    }
}

fn login(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "login";
    let Some(attempt) = &facts.attempt else { return Check::after(NAME, "port") };
    if matches!(facts.key, Some(Err(_))) {
        return Check::after(NAME, "key");
    }
    match attempt.outcome {
        Outcome::LoggedIn => Check::ok(NAME, format!("as {}", advice::user(facts))),
        Outcome::UnknownHostKey | Outcome::ChangedHostKey { .. } | Outcome::RevokedHostKey => {
            Check::after(NAME, "host-key")
        }
        Outcome::Denied if !attempt.keys.is_empty() => Check::after(NAME, "key"),
        Outcome::Denied => Check::fail(NAME, &attempt.last, advice::denied(patient, facts, attempt)),
        _ => Check::fail(NAME, &attempt.last, advice::reaching(patient, facts, attempt)),
    }
}

/// The probe's report, once a login works.
fn report(facts: &Facts) -> Option<&Report> {
    facts.report.as_ref()?.as_ref().ok()
}

fn shell(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "shell";
    match &facts.report {
        None => Check::after(NAME, "login"),
        // A key that is locked to a daemon runs no script, and is good enough.
        Some(Err(why)) if matches!(facts.daemon, Some(Ok(_))) => {
            Check::skipped(NAME, format!("the login runs no script, only the daemon ({why})"))
        }
        Some(Err(_)) if facts.serve_only => {
            Check::skipped(NAME, "the login runs no script, only `nix-store --serve`")
        }
        Some(Err(why)) => Check::fail(NAME, why, advice::no_shell(facts)),
        Some(Ok(report)) if report.noise.is_empty() => Check::ok(NAME, "prints nothing of its own"),
        Some(Ok(report)) => {
            let found =
                format!("the login prints {:?} before any command's own output", first_line(&report.noise));
            Check::fail(NAME, found, advice::noise(patient, facts))
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn itself(facts: &Facts) -> Check {
    const NAME: &str = "itself";
    match (report(facts), facts.is_ourselves) {
        (None, _) => Check::after(NAME, "shell"),
        (Some(_), false) => Check::ok(NAME, "another machine than this one"),
        (Some(_), true) => Check::fail(
            NAME,
            "it is this very machine (same machine-id, same boot), and would wait for itself",
            "take it out of the builders: `max-jobs` in nix.conf says how much Nix builds here",
        ),
    }
}

fn nix(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "nix";
    let Some(Ok(report)) = &facts.report else { return Check::after(NAME, "shell") };
    if !patient.uri.remote_program.is_empty() {
        return Check::ok(NAME, format!("the configuration says {}", patient.uri.remote_program.join(" ")));
    }
    match (&facts.on_path, &report.nix_daemon) {
        (Some(path), _) => Check::ok(NAME, format!("{path}, found by PATH")),
        (None, Some(path)) => Check::warn(
            NAME,
            format!(
                "{path}, which is not on the PATH of a login without a terminal; muster finds it, stock Nix does not"
            ),
            advice::uri_with(patient, &format!("remote-program={path}")),
        ),
        (None, None) => Check::fail(NAME, "nix-daemon is nowhere to be found", advice::install(facts)),
    }
}

fn daemon(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "daemon";
    match &facts.daemon {
        None if matches!(facts.report, Some(Ok(Report { nix_daemon: None, .. }))) => {
            Check::after(NAME, "nix")
        }
        None => Check::after(NAME, "login"),
        Some(Ok(_)) => Check::ok(NAME, "answers"),
        Some(Err(_)) if facts.serve_only && patient.has_line => Check::warn(
            NAME,
            "only `nix-store --serve` answers there, not the worker protocol: it is left to Nix itself, its line as it is",
            "nothing has to be done; muster serves it once its key may run `nix-daemon --stdio`",
        ),
        Some(Err(why)) if facts.serve_only => Check::fail(
            NAME,
            format!("only `nix-store --serve` answers there, not the worker protocol ({why})"),
            format!(
                "leave it to stock Nix with a machines line of its own: {}",
                advice::stock_line(patient, facts)
            ),
        ),
        Some(Err(why)) if report(facts).is_some_and(|report| !report.noise.is_empty()) => {
            Check::skipped(NAME, format!("not asked: `shell` comes first ({why})"))
        }
        Some(Err(why)) => Check::fail(NAME, why, advice::daemon(patient)),
    }
}

/// What the daemon said, once it answers.
fn said(facts: &Facts) -> Option<&Daemon> {
    facts.daemon.as_ref()?.as_ref().ok()
}

fn trust(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "trust";
    match said(facts).map(|daemon| daemon.trust) {
        None => Check::after(NAME, "daemon"),
        Some(Trust::Trusted) => Check::ok(NAME, format!("the daemon trusts {}", advice::user(facts))),
        Some(Trust::Unknown) => Check::skipped(NAME, "this Nix does not say whether it trusts us"),
        Some(Trust::Untrusted) if patient.use_untrusted => Check::warn(
            NAME,
            format!(
                "the daemon does not trust {}: it builds what is content-addressed or has signed inputs",
                advice::user(facts)
            ),
            advice::trusted_users(facts),
        ),
        Some(Trust::Untrusted) => Check::fail(
            NAME,
            format!(
                "the daemon does not trust {}: it takes neither paths nor builds from it",
                advice::user(facts)
            ),
            advice::trusted_users(facts),
        ),
    }
}

fn version(facts: &Facts) -> Check {
    said(facts).map_or_else(|| Check::after("version", "daemon"), version_of)
}

/// Whether a daemon's version is one that muster is made for.
pub(super) fn version_of(daemon: &Daemon) -> Check {
    let Some(version) = &daemon.version else {
        return Check::warn(
            "version",
            "this Nix does not say its version, so it is older than 2.8, which is not tested",
            "install Nix 2.8 or later there",
        );
    };
    match numbers(version) {
        Some(numbers) if numbers < OLDEST_NIX => Check::warn(
            "version",
            format!("Nix {version}, which is not tested"),
            "install Nix 2.8 or later there",
        ),
        _ => Check::ok("version", format!("Nix {version}")),
    }
}

/// Major and minor.
pub(super) fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn features(patient: Patient<'_>, facts: &Facts) -> Check {
    const NAME: &str = "features";
    let Some(report) = report(facts) else { return Check::after(NAME, "shell") };
    let Some(offered) = &facts.features else {
        return Check::skipped(NAME, "its Nix does not say which features it offers");
    };
    let list = |features: &BTreeSet<&Feature>| {
        features.iter().map(|feature| feature.as_str()).collect::<Vec<_>>().join(" ")
    };
    let dead = |feature: &&Feature| feature.as_str() == "kvm" && report.kvm != Some(Kvm::Yes);
    let wanted: BTreeSet<&Feature> = patient.wanted.into_iter().flatten().collect();
    let missing: BTreeSet<&Feature> =
        wanted.iter().copied().filter(|feature| !offered.contains(*feature) || dead(feature)).collect();
    if !missing.is_empty() {
        let found = format!("the configuration asks for {}, which it does not offer", list(&missing));
        return Check::fail(NAME, found, advice::features(&list(&missing), report.kvm));
    }
    let live: BTreeSet<&Feature> = offered.iter().filter(|feature| !dead(feature)).collect();
    let dead: BTreeSet<&Feature> = offered.iter().filter(dead).collect();
    match dead.is_empty() {
        true => Check::ok(NAME, if live.is_empty() { "none".to_owned() } else { list(&live) }),
        false => Check::warn(
            NAME,
            format!("{}; its Nix also claims {}, but /dev/kvm does not open", list(&live), list(&dead)),
            advice::kvm(report.kvm),
        ),
    }
}

fn space(facts: &Facts) -> Check {
    const NAME: &str = "store-space";
    let Some(report) = report(facts) else { return Check::after(NAME, "shell") };
    let Some(free) = report.store_free else {
        return Check::skipped(NAME, "it does not say how much is free");
    };
    let found = format!("{} free", bytesize::ByteSize(free));
    match free {
        free if free < NO_SPACE => Check::fail(NAME, found, advice::space()),
        free if free < LITTLE_SPACE => Check::warn(NAME, found, advice::space()),
        _ => Check::ok(NAME, found),
    }
}

fn clock(facts: &Facts) -> Check {
    const NAME: &str = "clock";
    let Some(ahead) = facts.clock_ahead else { return Check::after(NAME, "shell") };
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    match ahead.unsigned_abs() {
        seconds if seconds <= CLOCKS_DIFFER.unsigned_abs() => Check::ok(NAME, "agrees with ours"),
        seconds => Check::warn(NAME, format!("{seconds} s {way} ours"), advice::clock()),
    }
}

#[cfg(test)]
mod tests;
