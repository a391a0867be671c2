//! What to type, or to write into which file.

use super::host::{BadKey, Facts, Patient};
use super::ssh::{Attempt, KeyTrouble, Outcome, Settings};
use crate::wire::probe::Kvm;

fn settings(facts: &Facts) -> Option<&Settings> {
    facts.settings.as_ref()?.as_ref().ok()
}

/// Whom we log in as.
pub(super) fn user(facts: &Facts) -> &str {
    let reported = facts.report.as_ref().and_then(|report| report.as_ref().ok()?.user.as_deref());
    reported
        .or_else(|| Some(settings(facts)?.user.as_str()))
        .filter(|user| !user.is_empty())
        .unwrap_or("the ssh user")
}

/// As a word of a shell.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%~".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `[-p PORT] USER@HOST` for ssh and its like.
fn place(patient: Patient<'_>) -> String {
    let port = patient.uri.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = patient.uri.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    format!("{port}{user}{}", patient.uri.host)
}

/// The URI with one parameter more, as the configuration takes it.
pub(super) fn uri_with(patient: Patient<'_>, parameter: &str) -> String {
    let uri = patient.uri.to_string();
    let mark = if uri.contains('?') { '&' } else { '?' };
    format!("in the configuration: uri = \"{uri}{mark}{parameter}\"")
}

pub(super) fn configuration(why: &str) -> String {
    match why.split_once("Bad owner or permissions on ") {
        Some((_, file)) => {
            let file = shell(file.split_whitespace().next().unwrap_or_default());
            format!("chown \"$(id -un)\" {file} && chmod 600 {file}")
        }
        None => "correct that line of ssh's configuration".to_owned(),
    }
}

pub(super) fn address(patient: Patient<'_>) -> String {
    let host = &patient.uri.host;
    format!(
        "name its address in ssh's configuration: printf 'Host {host}\\n  HostName ADDRESS\\n' >> ~/.ssh/config \
         (for a service: /etc/ssh/ssh_config)"
    )
}

/// For all that is between us and a login.
pub(super) fn reaching(patient: Patient<'_>, facts: &Facts, attempt: &Attempt) -> String {
    let port = settings(facts).map_or(22, |settings| settings.port);
    match attempt.outcome {
        Outcome::Refused => format!(
            "start its ssh server: systemctl enable --now ssh (or sshd; on NixOS `services.openssh.enable = true;`). \
             Where it listens at another port than {port}, say so: uri = \"ssh-ng://{}:PORT\"",
            patient.uri.host
        ),
        Outcome::TimedOut | Outcome::Unreachable => format!(
            "see that the machine is on and that no firewall drops port {port} (on NixOS \
             `services.openssh.openFirewall = true;`): ping {}",
            shell(&settings(facts).map_or(patient.uri.host.clone(), |settings| settings.hostname.clone()))
        ),
        Outcome::Closed => {
            "its server hangs up at once: look there with `journalctl -u ssh -u sshd -n 20` (fail2ban, \
             MaxStartups and hosts.deny do that)"
                .to_owned()
        }
        Outcome::Penalized => {
            "it turns our address away for a while, since logins from here have failed: wait a minute and ask again. To \
             be spared, on the builder: PerSourcePenaltyExemptList ADDRESS in /etc/ssh/sshd_config"
                .to_owned()
        }
        Outcome::TooManyKeys => {
            format!("name the one key: {}", uri_with(patient, "ssh-key=/root/.ssh/id_ed25519"))
        }
        Outcome::NoAgreement => "its ssh server is too old or too strict for ours: update it".to_owned(),
        _ => format!("see what ssh says: ssh -v {} true", place(patient)),
    }
}

pub(super) fn unknown(patient: Patient<'_>, attempt: &Attempt) -> String {
    let print = attempt.host_key.as_deref().unwrap_or("FINGERPRINT");
    format!(
        "if `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` (or another type) on the builder prints the same: muster \
         doctor {} --pin {print}",
        shell(patient.name)
    )
}

pub(super) fn changed(patient: Patient<'_>, facts: &Facts, attempt: &Attempt) -> String {
    let file = match &attempt.outcome {
        Outcome::ChangedHostKey { known: Some((file, _)) } => format!("-f {} ", shell(file)),
        _ => String::new(),
    };
    let known_as = settings(facts).map_or(patient.uri.host.clone(), Settings::known_as);
    format!(
        "if the new key is right: ssh-keygen {file}-R {} and then, {}",
        shell(&known_as),
        unknown(patient, attempt)
    )
}

pub(super) fn pinned(patient: Patient<'_>, facts: &Facts) -> String {
    let (host, port) = settings(facts).map_or((patient.uri.host.as_str(), 22), |s| (&s.hostname, s.port));
    format!(
        "if the machine was installed anew, write its new key: host_key = \"$(ssh-keyscan -p {port} {} | cut -d' ' -f2-)\"",
        shell(host)
    )
}

pub(super) fn key_found(path: &str, bad: &BadKey) -> String {
    match bad {
        BadKey::Missing { beside } if beside.is_empty() => format!("{path} is not there"),
        BadKey::Missing { beside } => {
            let others = beside.iter().map(String::as_str).take(3).collect::<Vec<_>>().join(", ");
            format!("{path} is not there, but beside it lies {others}")
        }
        BadKey::Unreadable(why) => format!("{path} cannot be read: {why}"),
        BadKey::TooOpen(mode) => format!("others may read {path} (mode {mode:04o}), so ssh will not"),
        BadKey::Public => format!("{path} is the public half; ssh needs the private one"),
    }
}

pub(super) fn key_fix(patient: Patient<'_>, path: &str, bad: &BadKey) -> String {
    match bad {
        BadKey::Missing { beside } => match beside.first() {
            Some(other) => format!(
                "name that one: key = \"{other}\" in its [[builder]] (in a machines line: {other} as the third field)"
            ),
            None => {
                format!("make one and give its public half to the builder: muster key --file {}", shell(path))
            }
        },
        BadKey::Unreadable(_) => own(path),
        BadKey::TooOpen(_) => format!("chmod 600 {}", shell(path)),
        BadKey::Public => {
            let private = path.strip_suffix(".pub").unwrap_or(path);
            let _ = patient;
            format!("name the private one: key = \"{private}\"")
        }
    }
}

/// Only root gives files away.
fn own(path: &str) -> String {
    format!("sudo chown \"$(id -un)\" {0} && chmod 600 {0}", shell(path))
}

/// What was found, and the fix.
pub(super) fn key_trouble(path: &str, trouble: KeyTrouble) -> (String, String) {
    let word = shell(path);
    match trouble {
        KeyTrouble::Missing => (format!("{path} is not there"), format!("muster key --file {word}")),
        KeyTrouble::Unreadable => (format!("{path} cannot be read"), own(path)),
        KeyTrouble::TooOpen => {
            (format!("others may read {path}, so ssh will not"), format!("chmod 600 {word}"))
        }
        KeyTrouble::Invalid => (
            format!("{path} is no private key that ssh understands"),
            format!("move it away and make a new one: muster key --file {word}"),
        ),
        KeyTrouble::Passphrase => (
            format!("{path} needs a passphrase, and nobody is there to type it"),
            format!(
                "take the passphrase away: ssh-keygen -p -N '' -f {word} (or, as a user with an agent: ssh-add {word})"
            ),
        ),
        KeyTrouble::AgentRefused => (
            format!("the ssh agent does not sign with {path}"),
            "unlock the agent, or name a key without a passphrase: muster key".to_owned(),
        ),
    }
}

pub(super) fn denied(patient: Patient<'_>, facts: &Facts, attempt: &Attempt) -> String {
    let user = user(facts);
    let Some(key) =
        patient.uri.key.as_ref().map(|key| key.display().to_string()).or_else(|| attempt.accepted.clone())
    else {
        return match attempt.offered {
            0 => "make a key and give its public half to the builder: muster key".to_owned(),
            _ => format!("give it one of our keys: ssh-copy-id {}", place(patient)),
        };
    };
    format!(
        "add the line of {key}.pub to the authorized keys of {user} on the builder: ssh-copy-id -i {} {}",
        shell(&format!("{key}.pub")),
        place(patient)
    )
}

pub(super) fn no_shell(facts: &Facts) -> String {
    format!("give {} a login shell on the builder: usermod -s /bin/sh {}", user(facts), shell(user(facts)))
}

pub(super) fn noise(patient: Patient<'_>, facts: &Facts) -> String {
    format!(
        "on the builder, let nothing print without a terminal: put `[ -t 1 ] || return` first in ~{}/.bashrc, or wherever \
         `grep -n echo` finds it; `ssh {} true` must print nothing",
        user(facts),
        place(patient)
    )
}

pub(super) fn install(facts: &Facts) -> String {
    format!(
        "install Nix for all users there (https://nixos.org/download), or see that {} may read /nix/var/nix/profiles",
        user(facts)
    )
}

pub(super) fn daemon(patient: Patient<'_>) -> String {
    format!(
        "see what it says: ssh {} nix-daemon --stdio </dev/null; on the builder: systemctl restart nix-daemon",
        place(patient)
    )
}

/// A machines line for stock Nix.
pub(super) fn stock_line(patient: Patient<'_>, facts: &Facts) -> String {
    let user = patient.uri.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let report = facts.report.as_ref().and_then(|report| report.as_ref().ok());
    let system =
        report.and_then(|report| report.system.clone()).map_or("-".to_owned(), |system| system.to_string());
    let key = patient.uri.key.as_ref().map_or("-".to_owned(), |key| key.display().to_string());
    format!("ssh://{user}{} {system} {key} 1 1", patient.uri.host)
}

pub(super) fn trusted_users(facts: &Facts) -> String {
    let user = user(facts);
    format!(
        "on the builder: echo 'extra-trusted-users = {user}' >> /etc/nix/nix.conf && systemctl restart nix-daemon (on NixOS \
         `nix.settings.trusted-users = [ \"{user}\" ];`)"
    )
}

pub(super) fn features(missing: &str, state: Option<Kvm>) -> String {
    if missing.split(' ').any(|feature| feature == "kvm") && state != Some(Kvm::Yes) {
        return format!("{}; or take kvm out of `features` and `mandatory`", kvm(state));
    }
    format!(
        "on the builder: echo 'extra-system-features = {missing}' >> /etc/nix/nix.conf && systemctl restart nix-daemon; or \
         take it out of `features` and `mandatory`"
    )
}

pub(super) fn kvm(state: Option<Kvm>) -> String {
    match state {
        Some(Kvm::Denied) => "on the builder: chmod 666 /dev/kvm (its udev rule: KERNEL==\"kvm\", MODE=\"0666\")".to_owned(),
        _ => "turn virtualisation on in its firmware, and on the builder: modprobe kvm_intel || modprobe kvm_amd".to_owned(),
    }
}
